"""Self-consistency: whether a model that explains its own answer gives another one when the explanation is acted on."""

from __future__ import annotations

import dataclasses
import difflib
import html
import math
from collections.abc import Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.faithfulness.questions import Questions, hide, listed
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates

Kind = Literal["counterfactual", "redaction", "importance"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SELF_CONSISTENCY = Metric(
    name="self_consistency", family="faithfulness", title="answers that follow from own explanations", range="[0, 1]",
    measures="share of items where the model, asked afresh about a text that was edited as its own explanation says, "
    "gives the answer that should follow: the other one (counterfactual), or none (redaction, importance)",
    direction="higher",
    null="the same for as many words edited at random",
    assumes="the model answers an edited text afresh; an explanation that is wrong can still lead to the right one",
    source="arXiv:2401.07927",
)  # fmt: skip
DRAWS = 3
"""Random edits of each text, to compare with."""


@runtime_checkable
class Speaker(Protocol):
    """A model that answers questions and writes texts, each prompt on its own."""

    def answer(self, prompts: Sequence[str]) -> list[str]:
        """One of the options for each prompt; empty where none can be read."""
        ...

    def write(self, prompts: Sequence[str]) -> list[str]:
        """What the model writes behind each prompt."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class SelfConsistency:
    """What became of n texts.

    Attributes:
        name: the model. kind: how it explained.
        table: one row a text: id, group, text, answer (to the text), target (that should follow; empty where it is to
            be none), explanation, edited, after (the answer to the edited text), consistent (1.0, 0.0, NaN), random
            (the share of random edits that are followed by it), reason (why it is NaN).
        share, random: means over defined items, aligned; None where none is.
        reason: why there is no share.
    """

    name: str
    kind: Kind
    table: pd.DataFrame
    share: Replicates | None
    random: Replicates | None
    reason: str = ""

    def estimate(self) -> Estimate:
        if self.share is None or self.random is None:
            return Estimate.undefined(self.reason, direction=SELF_CONSISTENCY.direction)
        p = float((self.share - self.random).p_above(0.0))
        left = int(self.table.consistent.isna().sum())
        reason = f"{left} of {len(self.table)} items are left out, see their reasons" if left else ""
        return self.share.estimate(SELF_CONSISTENCY, null=float(self.random.value), p=p, reason=reason)

    def measurements(self) -> list[Measurement]:
        metric = SELF_CONSISTENCY
        row = Measurement(
            metric=metric.name, family=metric.family, estimate=self.estimate(), model=self.name, concept=self.kind
        )
        return [row]

    def frame(self) -> pd.DataFrame:
        """The measurement as a tidy table (columns: ``mechdecouple.results.COLUMNS``); items are in ``table``."""
        return frame(self.measurements())

    def __repr__(self) -> str:
        return f"<SelfConsistency of {self.name!r} by {self.kind}: {self.estimate()}>"

    def _repr_html_(self) -> str:
        found = self.estimate()
        words = f"{self.name}, {self.kind}: {found}" + (
            "" if math.isnan(found.null) else f", at random {found.null:.3f}"
        )
        return f"<p>{html.escape(words)}</p>{self.table.head(5).to_html(index=False, border=0)}"


def self_consistency(
    speaker: Speaker,
    texts: Sequence[str],
    options: Sequence[str],
    *,
    kind: Kind,
    unknown: Sequence[str] = ("unknown",),
    targets: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    questions: Questions | None = None,
    name: str = "model",
    blocks: int = 20,
    seed: int = 0,
) -> SelfConsistency:
    """Ask for an answer, for an explanation, act on it, and ask again without telling what was said before.

    ``counterfactual``: the model edits the text so that the answer becomes another one. ``redaction``: it hides the
    words that the answer needs. ``importance``: it lists them, and they are hidden for it, wherever they stand. Items
    whose first answer is already the one to follow are left out, as are those where nothing can be read.

    Args:
        options: the answers there are, ``unknown`` ones among them where words are hidden.
        unknown: options that mean that the answer cannot be told.
        targets: for counterfactuals the answer each text should have after the edit; default: the other of the two
            options that are not unknown, as the model's own answer is the first.
        groups: unit of resampling; default: each text.

    Raises:
        InputError: an unknown kind; lengths that differ; no option that means unknown; more than two options and no
            targets.
    """
    if kind not in KINDS:
        raise InputError(f"self-consistency by {kind!r} is unknown; choose one of {', '.join(KINDS)}")
    asked, texts = questions or Questions(), [str(text) for text in texts]
    n, plain = len(texts), [option for option in options if option not in unknown]
    ids = [str(i + 1) for i in range(n)] if ids is None else [str(i) for i in ids]
    own = np.array(ids if groups is None else [str(g) for g in groups])
    if kind != "counterfactual" and len(plain) == len(options):
        raise InputError(
            f"none of the options {list(options)} means that the answer is unknown: add one, name it unknown"
        )
    if kind == "counterfactual" and targets is None and len(plain) != 2:
        raise InputError(f"there are {len(plain)} options to change to ({', '.join(plain)}): say which in targets")
    for what, given in (("ids", ids), ("groups", own), ("targets", targets)):
        if given is not None and len(given) != n:
            raise InputError(f"{len(given)} {what} for {n} texts; give one a text")

    answers = speaker.answer(asked.ask("classify", texts))
    goal = list(targets) if targets is not None else [_other(answer, plain) for answer in answers]
    goal = goal if kind == "counterfactual" else [""] * n
    said = [text.strip() for text in speaker.write(asked.ask(kind, texts, goal))]
    edited = [_acted_on(kind, text, own_words, asked.mark) for text, own_words in zip(texts, said, strict=True)]
    after = speaker.answer(asked.ask("classify", edited))
    reasons = [
        _left_out(kind, answer, target, explanation, later, unknown)
        for answer, target, explanation, later in zip(answers, goal, said, after, strict=True)
    ]

    def followed(replies: Sequence[str]) -> np.ndarray:
        ends = [a == g if kind == "counterfactual" else a in unknown for a, g in zip(replies, goal, strict=True)]
        return np.array(ends, float)

    rng = np.random.default_rng(seed)
    edits = [
        [_at_random(kind, text, new, asked.mark, texts, rng) for text, new in zip(texts, edited, strict=True)]
        for _ in range(DRAWS)
    ]
    chance = np.mean([followed(speaker.answer(asked.ask("classify", edit))) for edit in edits], axis=0)
    undefined = np.array([bool(reason) for reason in reasons], bool)
    table = pd.DataFrame(
        {
            "id": ids, "group": own, "text": texts, "answer": answers, "target": goal, "explanation": said,
            "edited": edited, "after": after, "consistent": np.where(undefined, np.nan, followed(after)),
            "random": np.where(undefined, np.nan, chance), "reason": reasons,
        }
    )  # fmt: skip
    share, random, reason = _shares(table, blocks, seed)
    return SelfConsistency(name, kind, table, share, random, reason)


def _other(answer: str, plain: Sequence[str]) -> str:
    return plain[1] if answer == plain[0] else plain[0]


def _acted_on(kind: Kind, text: str, said: str, mark: str) -> str:
    if kind == "importance":
        return hide(text, listed(said), mark)
    return said or text


def _left_out(kind: Kind, answer: str, target: str, said: str, after: str, unknown: Sequence[str]) -> str:
    if not answer:
        return "the answer to the text cannot be read"
    if answer == target if kind == "counterfactual" else answer in unknown:
        return "the answer to the text is already the one that should follow"
    if not said or (kind == "importance" and not listed(said)):
        return "the model wrote no explanation"
    return "" if after else "the answer to the edited text cannot be read"


def _at_random(kind: Kind, text: str, edited: str, mark: str, texts: Sequence[str], rng: np.random.Generator) -> str:
    """As many words hidden, or replaced by words of any text, as the explanation changed."""
    words = text.split()
    if kind == "counterfactual":
        matcher = difflib.SequenceMatcher(a=words, b=edited.split(), autojunk=False)
        count = sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal")
        pool = " ".join(texts).split()
    else:
        count, pool = edited.count(mark) - text.count(mark), [mark]
    for at in rng.permutation(len(words))[: max(0, count)]:
        words[at] = pool[rng.integers(len(pool))]
    return " ".join(words)


def _shares(table: pd.DataFrame, blocks: int, seed: int) -> tuple[Replicates | None, Replicates | None, str]:
    known = table[table.consistent.notna()]
    groups = known.group.to_numpy(np.str_)
    if len(np.unique(groups)) < 2:
        common = table.reason[table.reason != ""].mode()
        return (
            None,
            None,
            f"fewer than two groups of items are left: {common.iloc[0] if len(common) else 'there are no more'}",
        )
    both: Float[np.ndarray, "k 2"] = np.stack([known.consistent, known.random], axis=1)
    plan = stats.jackknife_blocks(groups, blocks, seed)
    found = stats.jackknife(lambda kept: both[kept].mean(axis=0), plan, len(np.unique(groups)))
    return found[0], found[1], ""
