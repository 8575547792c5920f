"""Sampled claims: what a model says when it is left to write, many times over, with the interval of its rate."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechdecouple.behavior._sampling import sample_texts, silence
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.generate import normalise
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric
from mechdecouple.stats import wilson
from mechdecouple.tasks import Task

MIN_DRAWS = 20
"""Fewer draws an item leave a Wilson interval wider than .4 at a rate of one half."""

SAMPLED_CLAIM_RATE = Metric(
    name="sampled_claim_rate", family="behavior", title="rate of asserting, sampled", range="[0, 1]",
    measures="share of an item's sampled continuations that assert the statement, of those that claim anything",
    null="the truth of the statement, for a truthful model",
    assumes="continuations that could be read are like those that could not: look at the parse-failure rate",
    source="interval: Wilson 1927",
)  # fmt: skip
CLAIM_FAILURES = Metric(
    name="claim_failures", family="behavior", title="claims that could not be read", range="[0, 1]", direction="lower",
    measures="share of sampled continuations that begin with none of the options",
    null="0: every continuation is an answer",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SampledClaims:
    """Claims drawn from a model.

    Attributes:
        ids: [n] str.
        claims: [n, k] 1.0 asserts the statement, 0.0 gives another option, NaN could not be read.
        rate: [n] share of 1.0 among the claims that could be read; NaN where there is none.
        low, high: [n] its Wilson interval.
        n_read: [n] claims that could be read. failure_rate: share of all draws that could not.
        reason: empty, or why the model makes no claims (then everything is NaN).
    """

    ids: np.ndarray
    claims: np.ndarray
    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_read: np.ndarray
    failure_rate: float
    reason: str = ""

    @classmethod
    def of(
        cls, claims: Float[np.ndarray, "n k"], ids: Sequence[str] | np.ndarray | None = None, *, level: float = 0.95,
        reason: str = "",
    ) -> SampledClaims:  # fmt: skip
        """From claims drawn elsewhere, such as an API: [n, k] of 1, 0 and NaN, k ≥ 20 draws an item.

        Raises:
            InputError: fewer than 20 draws an item, other values, not one id an item, an id twice.

        >>> SampledClaims.of(np.array([[1.0] * 15 + [0.0] * 4 + [np.nan]])).rate.round(3).tolist()
        [0.789]
        """
        claims = np.asarray(claims, dtype=np.float64)
        if claims.ndim != 2 or claims.shape[1] < MIN_DRAWS or len(claims) == 0:
            raise InputError(f"claims have shape {claims.shape}; expected [items, draws] of at least {MIN_DRAWS} draws")
        odd = ~(np.isnan(claims) | np.isin(claims, (0.0, 1.0)))
        if odd.any():
            row, draw = np.argwhere(odd)[0]
            raise InputError(f"claim {claims[row, draw]} of item {row + 1} must be 0, 1 or NaN (could not be read)")
        names = np.arange(1, len(claims) + 1).astype(np.str_) if ids is None else np.asarray(ids, dtype=np.str_)
        if len(names) != len(claims) or len(np.unique(names)) < len(names):
            raise InputError(f"{len(np.unique(names))} different ids for {len(claims)} items; give each its own")
        n_read = np.isfinite(claims).sum(axis=1)
        hits = np.nansum(claims, axis=1)
        bands = np.array([wilson(h, k, level) for h, k in zip(hits, n_read, strict=True)])
        rate = np.divide(hits, n_read, out=np.full(len(claims), np.nan), where=n_read > 0)
        failures = float(np.nan) if reason else float(1 - n_read.mean() / claims.shape[1])
        return cls(
            ids=names, claims=claims, rate=rate, low=bands[:, 0], high=bands[:, 1], n_read=n_read,
            failure_rate=failures, reason=reason,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.rate)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item."""
        names = ("ids", "rate", "low", "high", "n_read")
        return pd.DataFrame({"id" if name == "ids" else name: getattr(self, name) for name in names})

    def _repr_html_(self) -> str:
        return self.frame().head(5).to_html(index=False, border=0)


def parse_choice(text: str, options: Sequence[str]) -> int:
    """Which option a text begins with, -1 for none: the longest one that fits, case and punctuation aside.

    An option must end where a word ends; an option of one letter must be followed by punctuation or nothing, since "A
    dog" answers nothing.

    >>> parse_choice("Yes, it is.", ["Yes", "No"]), parse_choice("Not sure", ["Yes", "No"])
    (0, -1)
    >>> parse_choice("A) Paris", ["A", "B"]), parse_choice("A city", ["A", "B"])
    (0, -1)
    """
    said = normalise(text).lstrip("(")
    fits = []
    for option in (normalise(o) for o in options):
        end = r"(?![\w\s])" if len(option) == 1 and option.isalpha() else r"(?!\w)"
        fits.append(len(option) if option and re.match(re.escape(option) + end, said) else 0)
    longest = max(fits, default=0)
    return fits.index(longest) if longest > 0 and fits.count(longest) == 1 else -1


def settled(text: str, options: Sequence[str]) -> bool:
    """Whether no continuation of a text can change what `parse_choice` reads from it.

    >>> settled("Yes, it", ["Yes", "No"]), settled("Yes", ["Yes", "No"]), settled("Maybe", ["Yes", "No"])
    (True, False, True)
    """
    if "\ufffd" in text:  # a character whose bytes are not all there
        return False
    said, names = normalise(text).lstrip("("), [normalise(option) for option in options]
    chosen = parse_choice(text, options)
    if chosen >= 0:
        return len(said) > len(names[chosen]) and not any(
            name.startswith(said) for name in names if len(name) > len(names[chosen])
        )
    head = said[:-1]  # the last character may yet be joined by an accent
    return bool(head) and not any(name.startswith(head) for name in names)


def sample_claims(
    model: HookedModel,
    task: Task,
    n_draws: int = MIN_DRAWS,
    *,
    max_new_tokens: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
    level: float = 0.95,
    chat: bool = False,
    batch_tokens: int = 8192,
    edits: EditsFor | None = None,
) -> SampledClaims:
    """Let a decoder model write ``n_draws`` continuations of each prompt, and read which of them assert the statement.

    A continuation counts for the option it begins with (`parse_choice`); of token tasks, for the option whose tokens it
    begins with. Items whose options lack the affirming one make no claims. Forward passes are shared by continuations
    that begin alike, and end once the claim is settled, so one-word answers cost little more than one draw.

    Args:
        temperature: 1 draws from the model as it is.
        edits: as for `read`, to draw claims under an intervention.

    Raises:
        InputError: fewer than 20 draws.
        TaskError: no choices or no affirming one; a prompt that leaves no room to generate (names the row).
    """
    if n_draws < MIN_DRAWS:
        raise InputError(f"n_draws is {n_draws}; draw at least {MIN_DRAWS}, or the interval says nothing")
    if task.choices is None or task.affirm is None:
        raise TaskError(f"{task.name}: claims need choices and the one that asserts; declare affirm")
    claims = np.full((len(task), n_draws), np.nan)
    reason = silence(model)
    if reason:
        return SampledClaims.of(claims, task.ids, level=level, reason=reason)
    if task.tokens is not None:
        max_new_tokens = max(len(option.split()) for options in task.choices for option in options)
    choices = task.choices
    texts = sample_texts(
        model, task, n_draws=n_draws, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, chat=chat,
        batch_tokens=batch_tokens, edits=edits, decided=lambda row, text: settled(text, choices[row]),
    )  # fmt: skip
    for row, (options, drawn) in enumerate(zip(task.choices, texts, strict=True)):
        if task.affirm not in options:
            continue
        affirm = options.index(task.affirm)
        read = _tokens_choice if task.tokens is not None else parse_choice
        of_text = {text: read(text, options) for text in drawn}
        made = [np.nan if of_text[t] < 0 else float(of_text[t] == affirm) for t in drawn.elements()]
        claims[row] = np.random.default_rng((seed, row)).permutation(made)  # any column is a draw of its own
    asked = np.array([task.affirm in options for options in task.choices])
    failures = float(np.isnan(claims[asked]).mean())
    return dataclasses.replace(SampledClaims.of(claims, task.ids, level=level), failure_rate=failures)


def _tokens_choice(text: str, options: Sequence[str]) -> int:
    said = text.split()
    fits = [k for k, option in enumerate(options) if said[: len(option.split())] == option.split()]
    return max(fits, key=lambda k: len(options[k].split())) if fits else -1
