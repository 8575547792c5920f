"""Hidden knowledge: pairs of a true and a false answer to one question, ranked right inside against outside."""

from __future__ import annotations

import dataclasses
import html

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import ArrayLike

from mechdecouple.beliefs.gap_metrics import KNOWLEDGE_METRICS
from mechdecouple.beliefs.proper import weighted_mean
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate
from mechdecouple.stats import Replicates, group_bootstrap_weights

_FEW_GROUPS = 10


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class HiddenKnowledge:
    """K and K* of what is represented and of what is expressed, with group-bootstrap replicates.

    Attributes:
        knowledge_internal, knowledge_external: K of the represented and of the expressed score, in [0, 1].
        hidden_knowledge: K_internal − K_external, in [−1, 1].
        knowledge_star_internal, knowledge_star_external, hidden_knowledge_star: the same of K*.
        hidden_knowledge_relative: (K_internal − K_external) / K_external; NaN where K_external is 0.
        n_questions: questions with a true and a false answer, which are those that count.
        reasons: for each undefined statistic why it is so; for others a limit that it carries.
    """

    knowledge_internal: Replicates
    knowledge_external: Replicates
    hidden_knowledge: Replicates
    knowledge_star_internal: Replicates
    knowledge_star_external: Replicates
    hidden_knowledge_star: Replicates
    hidden_knowledge_relative: Replicates
    n_questions: int
    reasons: dict[str, str]

    def estimate(self, name: str, **facts) -> Estimate:
        """The Estimate of one statistic, by attribute name; ``facts`` (null, p) are handed to it."""
        return getattr(self, name).estimate(KNOWLEDGE_METRICS[name], reason=self.reasons.get(name, ""), **facts)

    def frame(self):
        """One row a statistic: value, low, high, n, reason."""
        import pandas as pd

        kept = ("value", "low", "high", "method", "n", "unit", "reason")
        rows = {name: dataclasses.asdict(self.estimate(name)) for name in KNOWLEDGE_METRICS}
        return pd.DataFrame([{"statistic": name} | {k: row[k] for k in kept} for name, row in rows.items()])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{name.replace('_', ' ')}</td><td>{html.escape(str(self.estimate(name)))}</td></tr>"
            for name in KNOWLEDGE_METRICS
        )
        return f"<table><tr><th>statistic</th><th>value [95 % interval]</th></tr>{cells}</table>"


def knowledge(
    question: ArrayLike, truth: ArrayLike, score: ArrayLike
) -> tuple[Shaped[np.ndarray, " q"], Float[np.ndarray, " q"], Bool[np.ndarray, " q"]]:
    """K of each question: share of its (true, false) pairs of answers that the score ranks right, ties ½.

    The mean over questions is no AUROC: pairs of answers to different questions never meet, and a question with many
    answers counts as much as one with two.

    Args:
        question: of each answer [n]; truth: 0 or 1; score: any real number, higher meaning truer.

    Returns:
        the questions that have a true and a false answer; K of each, in [0, 1]; and K*, whether it is perfect: every
        true answer strictly above every false one. Source: arXiv:2503.15299.

    Example:
        >>> knowledge(["a", "a", "a", "b", "b"], [1, 0, 0, 1, 0], [0.7, 0.7, 0.2, 0.9, 0.1])
        (array(['a', 'b'], dtype='<U1'), array([0.75, 1.  ]), array([False,  True]))
    """
    t, s = np.asarray(truth, float), np.asarray(score, float)
    names, q = np.unique(np.asarray(question), return_inverse=True)
    if not len(q) == len(t) == len(s):
        raise InputError(f"question has {len(q)} rows, truth {len(t)}, score {len(s)}: all need the same rows")
    if not len(q):
        return names, np.empty(0), np.empty(0, bool)
    if not np.isin(t, (0.0, 1.0)).all() or np.isnan(s).any():
        raise InputError("knowledge needs truth of 0 or 1 and a score for every answer; leave out the others")
    order = np.lexsort((s, q))
    q, t, s = q[order], t[order], s[order]
    start = np.r_[True, (q[1:] != q[:-1]) | (s[1:] != s[:-1])]
    run = np.cumsum(start) - 1
    rank = (np.bincount(run, np.arange(len(q))) / np.bincount(run))[run]
    n, true = np.bincount(q), np.bincount(q, t)
    first = np.r_[0, np.cumsum(n)[:-1]]
    wins = np.bincount(q, t * (rank - first[q])) - true * (true - 1) / 2
    pairs = true * (n - true)
    both = pairs > 0
    return names[both], wins[both] / pairs[both], wins[both] == pairs[both]


def hidden_knowledge(
    question: ArrayLike,
    truth: ArrayLike,
    represented: ArrayLike,
    expressed: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    weights: Float[np.ndarray, "b n"] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> HiddenKnowledge:
    """Knowledge inside against knowledge outside, within questions.

    Args:
        question: of each answer [n]; truth: 0, 1, or NaN where unknown (left out).
        represented: score of the answer inside; expressed: outside. Both any real number, NaN where there is none:
            such a row is left out of both; where nothing at all is expressed, what is inside is still given.
        groups: the unit of resampling, each question within one; the questions themselves by default.
        weights: bootstrap row weights of a plan shared with other tables; made from ``groups`` when absent.

    Raises:
        InputError: columns of different lengths, or a question in two groups.

    Example:
        >>> truth = np.tile([1.0, 0.0], 20)
        >>> found = hidden_knowledge(np.arange(40) // 2, truth, represented=truth, expressed=np.full(40, 0.5))
        >>> found.hidden_knowledge.value, found.hidden_knowledge_relative.value, found.hidden_knowledge_star.value
        (0.5, 1.0, 1.0)
    """
    names, q = np.unique(np.asarray(question), return_inverse=True)
    t, b, p = (np.asarray(column, float) for column in (truth, represented, expressed))
    g = np.asarray(question if groups is None else groups)
    w = group_bootstrap_weights(g, n_resamples, seed) if weights is None else np.asarray(weights, float)
    if not len(q) == len(t) == len(b) == len(p) == len(g) == w.shape[1]:
        raise InputError(
            f"question has {len(q)} rows, truth {len(t)}, represented {len(b)}, expressed {len(p)}, groups {len(g)}, "
            f"weights {w.shape[1]}: all need the same rows"
        )
    group = np.unique(g, return_inverse=True)[1]
    row = np.zeros(len(names), int)
    row[q] = np.arange(len(q))
    astray = np.flatnonzero(group != group[row[q]])
    if len(astray):
        at = astray[0]
        found, other = sorted({str(g[at]), str(g[row[q[at]]])})
        raise InputError(
            f"question {str(names[q[at]])!r} is in groups {found!r} and {other!r}; give each question one group"
        )

    silent = np.isnan(p).all()
    rows = np.flatnonzero(~np.isnan(t) & ~np.isnan(b) & (silent | ~np.isnan(p)))
    asked, inside, inside_star = knowledge(q[rows], t[rows], b[rows])
    shape = len(inside)
    outside, outside_star = (np.full(shape, np.nan),) * 2 if silent else knowledge(q[rows], t[rows], p[rows])[1:]
    n = len(np.unique(group[row[asked]]))

    def mean(x: np.ndarray) -> Replicates:
        x = np.asarray(x, float)
        return Replicates(weighted_mean(x), np.asarray(weighted_mean(x, w[:, row[asked]])), "bootstrap", n)

    internal, external = mean(inside), mean(outside)
    found = {
        "knowledge_internal": internal,
        "knowledge_external": external,
        "hidden_knowledge": internal - external,
        "knowledge_star_internal": mean(inside_star),
        "knowledge_star_external": mean(outside_star),
        "hidden_knowledge_star": mean(inside_star) - mean(outside_star),
        "hidden_knowledge_relative": _relative(internal, external),
    }
    reasons = {name: _reason(name, found[name].value, shape, bool(silent), n) for name in found}
    return HiddenKnowledge(**found, n_questions=shape, reasons={name: why for name, why in reasons.items() if why})


def _relative(internal: Replicates, external: Replicates) -> Replicates:
    def over(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a - b) / np.where(b > 0, b, np.nan)

    value = float(over(np.asarray(internal.value), np.asarray(external.value)))
    return Replicates(value, over(internal.replicates, external.replicates), "bootstrap", internal.n)


def _reason(name: str, value: float, n_questions: int, silent: bool, n_groups: int) -> str:
    if not n_questions:
        return "no question has both a true and a false answer with a score"
    if np.isnan(value):
        return "nothing is expressed" if silent else "nothing is known outside, so no gap can be relative to it"
    return f"interval rests on only {n_groups} groups" if n_groups < _FEW_GROUPS else ""
