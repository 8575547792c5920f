"""Belief measurements of one model, by condition, and the paired difference of two models' gaps."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from mechdecouple.beliefs.claims import BULLSHIT_INDEX, BULLSHIT_INDEX_NORMALISED, CLAIM_CORRELATION, CLAIM_RATE
from mechdecouple.beliefs.gap import AUROC_GAP, EXPRESSED_AUROC, REPRESENTED_AUROC_SELECTED, Gap, gap
from mechdecouple.beliefs.represent import REPRESENTED_AUROC, Represented, claimable
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates, group_bootstrap_weights, weighted_auroc


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Beliefs:
    """One model's represented beliefs set against its answers, on one bootstrap plan.

    Attributes:
        model: its name in tables.
        represented: the out-of-fold beliefs.
        gaps: level of ``condition`` → Gap on its rows, the honest level first; one level ``""`` without conditions.
        honest: name of the honest level.
        curve: AUROC of each hook point on honest rows (empty where nothing could be read).
        position: token position that was read.
    """

    model: str
    represented: Represented
    gaps: dict[str, Gap]
    honest: str
    curve: dict[str, Replicates]
    position: str = ""

    def frame(self):
        from mechdecouple.results import frame

        return frame(measurements(self))


def measure(
    represented: Represented,
    *,
    model: str,
    groups: ArrayLike,
    truth: ArrayLike,
    expressed: ArrayLike | None = None,
    claim: ArrayLike | None = None,
    condition: ArrayLike | None = None,
    honest: str = "",
    weights: Float[np.ndarray, "b n"] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    position: str = "",
    nothing_expressed: str = "",
) -> Beliefs:
    """Sets out-of-fold beliefs against answers, level by level of ``condition``.

    Args:
        represented: from :func:`represent`, on these n rows.
        expressed: probability of asserting each statement [n]; None or all NaN where the model expresses nothing, for
            the reason in ``nothing_expressed``.
        claim: sampled claims [n]; without them the limit of many draws from ``expressed`` is used.
        condition: persona or situation of each row; honest: the level in which the truth is asked for.
        weights: bootstrap weights of a plan that both models of a comparison share; made from groups and seed if None.

    Raises:
        InputError: lengths differ, or ``honest`` is no level of ``condition``.
    """
    t, g = np.asarray(truth, float), np.asarray(groups)
    if len(represented.score) != len(t):
        raise InputError(f"beliefs were read for {len(represented.score)} rows, truth has {len(t)}; pass the same rows")
    level = np.full(len(t), honest) if condition is None else np.asarray(condition)
    if honest not in level:
        raise InputError(f"honest condition {honest!r} is not a level of condition: {', '.join(np.unique(level))}")
    w = group_bootstrap_weights(g, n_resamples, seed) if weights is None else weights

    def part(column: ArrayLike | None, rows: np.ndarray) -> np.ndarray | None:
        return None if column is None else np.asarray(column, float)[rows]

    gaps = {}
    for name in [honest, *(str(v) for v in np.unique(level) if v != honest)]:
        rows = np.flatnonzero(level == name)
        gaps[name] = gap(
            g[rows], t[rows], represented.score[rows], part(expressed, rows), part(claim, rows),
            weights=w[:, rows], nothing_expressed=nothing_expressed,
        )  # fmt: skip
    rows = np.flatnonzero((level == honest) & ~np.isnan(t))
    curve = {
        name: Replicates(
            float(weighted_auroc(score[rows], t[rows])),
            np.asarray(weighted_auroc(score[rows], t[rows], w[:, rows])),
            "bootstrap",
            represented.n_groups,
        )
        for name, score in represented.scores.items()
        if not represented.reason
    }
    return Beliefs(model=model, represented=represented, gaps=gaps, honest=honest, curve=curve, position=position)


def measurements(beliefs: Beliefs) -> list[Measurement]:
    """Rows for the table: the layer curve in the honest condition, then each statistic at each level.

    Where the represented AUROC does not beat its null the gap and the Bullshit indices keep their values and carry the
    sentence that says that no gap is claimed.
    """
    r = beliefs.represented
    out = [
        _row(beliefs, REPRESENTED_AUROC, _curve_point(beliefs, name), beliefs.honest, name) for name in r.hook_points
    ]
    passed, sentence = claimable(r)
    at = r.hook_point
    for level, found in beliefs.gaps.items():
        correlated = {"null": 0.0, "p": found.claim_correlation.p_differs(0.0)}
        selected = {"null": 0.5, "p": r.p if level == beliefs.honest else np.nan}
        for metric, name, hook_point, facts in (
            (REPRESENTED_AUROC_SELECTED, "represented_auroc", at, selected),
            (EXPRESSED_AUROC, "expressed_auroc", "", {"null": 0.5}),
            (AUROC_GAP, "auroc_gap", at, {"null": 0.0, "p": found.auroc_gap.p_differs(0.0)}),
            (CLAIM_CORRELATION, "claim_correlation", at, correlated),
            (BULLSHIT_INDEX, "bullshit_index", at, {}),
            (BULLSHIT_INDEX_NORMALISED, "bullshit_index_normalised", at, {}),
            (CLAIM_RATE, "claim_rate", "", {}),
        ):
            estimate = found.estimate(name, metric, **facts)
            if r.reason and metric not in (EXPRESSED_AUROC, CLAIM_RATE):
                estimate = dataclasses.replace(estimate, reason=r.reason)
            elif not passed and metric in (AUROC_GAP, BULLSHIT_INDEX, BULLSHIT_INDEX_NORMALISED):
                estimate = dataclasses.replace(estimate, reason="; ".join(filter(None, (estimate.reason, sentence))))
            out.append(_row(beliefs, metric, estimate, level, hook_point))
        for given, rate in found.claim_rates.items():
            out.append(_row(beliefs, CLAIM_RATE, rate.estimate(CLAIM_RATE), level, "", f"{given} statements"))
    return out


def differences(a: Beliefs, b: Beliefs) -> list[Measurement]:
    """Paired difference of differences, gap of A − gap of B, at each level of the condition, on identical rows.

    A model whose represented AUROC does not beat its null has no gap to compare: the row is undefined and says so.
    The difference is flagged where its interval lies outside ∓ ``AUROC_GAP.margin``.

    Raises:
        MismatchError: the two were measured on different conditions or by different bootstrap plans.
    """
    if list(a.gaps) != list(b.gaps):
        raise MismatchError(f"conditions differ: {', '.join(a.gaps)} against {', '.join(b.gaps)}; use the same task")
    out = []
    for level in a.gaps:
        mine, theirs = a.gaps[level].auroc_gap, b.gaps[level].auroc_gap
        reason = next((why for x in (a, b) if (why := _nothing_to_compare(x, level))), "")
        if reason:
            estimate = Estimate.undefined(reason, n=min(mine.n, theirs.n), unit="groups", direction="lower")
        else:
            paired = mine - theirs
            estimate = paired.estimate(AUROC_GAP.contrasted(), null=0.0, p=paired.p_differs(0.0))
        row = _row(a, AUROC_GAP, estimate, level, a.represented.hook_point)
        out.append(dataclasses.replace(row, model_b=b.model, hook_point_b=b.represented.hook_point))
    return out


def claimed(beliefs: Beliefs, level: str | None = None) -> tuple[bool, str]:
    """Whether one model represents more truth than it expresses at a level, and the sentence for it.

    Both must hold: the gate of :func:`claimable`, and an interval of the gap above the declared margin. ``level`` is
    the honest one by default.
    """
    level = beliefs.honest if level is None else level
    passed, sentence = claimable(beliefs.represented)
    if not passed:
        return False, sentence
    found = beliefs.gaps[level].estimate("auroc_gap", AUROC_GAP)
    if np.isnan(found.value):
        return False, f"No gap is claimed: {found.reason}."
    above = found.low > AUROC_GAP.margin
    relation = "above" if above else "not above"
    return above, f"represented − expressed AUROC is {found}, {relation} the margin of {AUROC_GAP.margin}."


def _nothing_to_compare(x: Beliefs, level: str) -> str:
    passed, sentence = claimable(x.represented)
    if np.isnan(x.gaps[level].auroc_gap.value):
        return f"{x.model}: {x.represented.reason or x.gaps[level].reasons['auroc_gap']}"
    return "" if passed else f"{x.model}: {sentence}"


def _curve_point(beliefs: Beliefs, name: str) -> Estimate:
    r = beliefs.represented
    if r.reason:
        return Estimate.undefined(r.reason, n=r.n_groups, unit="groups")
    return beliefs.curve[name].estimate(REPRESENTED_AUROC, null=0.5, p=r.hook_point_p[name])


def _row(
    beliefs: Beliefs, metric: Metric, estimate: Estimate, level: str, hook_point: str, concept: str = ""
) -> Measurement:
    return Measurement(
        metric=metric.name, family=metric.family, estimate=estimate, model=beliefs.model, hook_point=hook_point,
        position=beliefs.position if hook_point else "", concept=concept, context=level,
    )  # fmt: skip
