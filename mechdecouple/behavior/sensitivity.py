"""Prompt sensitivity: how far answers move when the same question is put in other words. Arrays only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import rankdata

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import jackknife, jackknife_blocks

PROMPT_SENSITIVITY = Metric(
    name="prompt_sensitivity", family="behavior", title="prompt sensitivity", range="[0, 1]", direction="lower",
    measures="mean distance between the scores that two wordings of the same item get",
    null="0: no wording matters; for scores 0 and 1 at most P / (2 (P - 1)) with P wordings",
    assumes="scores in [0, 1]; the wordings mean the same",
    invariances="a shift of all scores of an item",
    source="arXiv:2410.12405",
)  # fmt: skip
CONFIDENCE_ROBUSTNESS = Metric(
    name="confidence_robustness", family="behavior", title="confidence against prompt sensitivity", range="[-1, 1]",
    direction="lower",
    measures="Spearman correlation of an item's prompt sensitivity with confidence in it; negative where confident "
    "answers are the ones that hold under rephrasing",
    null="0: confidence says nothing of robustness",
    invariances="monotone rescaling of either",
    source="arXiv:2410.12405",
)  # fmt: skip

Groups = Shaped[np.ndarray, " n"]


def prompt_sensitivity(scores: Float[np.ndarray, "n p"]) -> Float[np.ndarray, " n"]:
    """S of each item: Σ_{i<j} |Y_i - Y_j| / C(P, 2) over its P wordings; 0 is steady.

    With k of P wordings right, S = 2 k (P - k) / (P (P - 1)).

    Args:
        scores: score (usually 0 or 1, or a probability) of each item [n] under each wording [p].

    Raises:
        InputError: fewer than two wordings, no items, or scores outside [0, 1].

    >>> prompt_sensitivity(np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])).round(3).tolist()
    [0.0, 0.667]
    """
    y = checked_scores(scores, "wordings")
    p = y.shape[1]
    # sorted, score k (from 0) exceeds k others and is exceeded by p - 1 - k
    return np.sort(y, axis=1) @ (2 * np.arange(p) - p + 1) / (p * (p - 1) / 2)


def mean_sensitivity(scores: Float[np.ndarray, "n p"], groups: Groups | None = None) -> Estimate:
    """Mean prompt sensitivity over items, with its jackknife interval over groups (items if not given)."""
    return mean_estimate(prompt_sensitivity(scores), PROMPT_SENSITIVITY, groups, null=0.0)


def confidence_robustness(
    scores: Float[np.ndarray, "n p"], confidence: Float[np.ndarray, " n"], groups: Groups | None = None
) -> Estimate:
    """Spearman correlation of prompt sensitivity with confidence, with its jackknife interval over groups.

    Undefined, with its reason, where either is the same for all items.

    Args:
        scores: as for `prompt_sensitivity`.
        confidence: [n], one number an item (the mean over its wordings, say), higher is surer.

    Raises:
        InputError: not one finite confidence an item.
    """
    sensitivity, confidence = prompt_sensitivity(scores), np.asarray(confidence, dtype=np.float64)
    if confidence.shape != sensitivity.shape or not np.isfinite(confidence).all():
        raise InputError(
            f"confidence has shape {confidence.shape} for {len(sensitivity)} items; give one finite number an item, "
            "and leave out items without one"
        )
    groups = checked_groups(groups, len(sensitivity))
    n_groups = len(np.unique(groups))
    for name, values in (("prompt sensitivity", sensitivity), ("confidence", confidence)):
        if np.ptp(values) < 1e-12:
            reason = f"{name} is {values[0]:.4g} for every item: nothing to correlate"
            return Estimate.undefined(reason, n=n_groups, unit="groups", direction=CONFIDENCE_ROBUSTNESS.direction)
    if n_groups < 2:
        reason = "one group: no interval"
        return Estimate(value=_spearman(sensitivity, confidence), n=1, unit="groups", null=0.0, reason=reason)
    made = jackknife(lambda rows: _spearman(sensitivity[rows], confidence[rows]), jackknife_blocks(groups), n_groups)
    return made.estimate(CONFIDENCE_ROBUSTNESS, null=0.0, p=made.p_differs(0.0))


def mean_estimate(
    values: Float[np.ndarray, " n"], metric: Metric, groups: Groups | None, *, null: float = float("nan")
) -> Estimate:
    """Mean of one number an item as an Estimate, jackknife over groups."""
    groups = checked_groups(groups, len(values))
    n_groups = len(np.unique(groups))
    if n_groups < 2:
        return Estimate(
            value=float(values.mean()), n=n_groups, unit="groups", null=null, direction=metric.direction,
            reason="one group: no interval",
        )  # fmt: skip
    return jackknife(lambda rows: values[rows].mean(), jackknife_blocks(groups), n_groups).estimate(metric, null=null)


def checked_scores(scores: np.ndarray, columns: str) -> np.ndarray:
    """Scores [n, p] in float64, p ≥ 2, all in [0, 1]."""
    y = np.asarray(scores, dtype=np.float64)
    if y.ndim != 2 or y.shape[0] < 1 or y.shape[1] < 2:
        raise InputError(f"scores have shape {y.shape}; expected [items, {columns}] with at least two {columns}")
    inside = (y >= 0) & (y <= 1)
    if not inside.all():
        row, column = np.argwhere(~inside)[0]
        raise InputError(f"score {y[row, column]} of item {row + 1}, column {column + 1} is outside [0, 1]")
    return y


def checked_groups(groups: np.ndarray | None, n: int) -> np.ndarray:
    groups = np.arange(n) if groups is None else np.asarray(groups)
    if groups.shape != (n,):
        raise InputError(f"groups have shape {groups.shape} for {n} items; give one an item")
    return groups


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")
