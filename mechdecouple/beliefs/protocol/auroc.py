"""AUROC over statements that one probe read: pairs from the same fold, with a group bootstrap."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, weighted_auroc

READ_AUROC = Metric(
    name="represented_auroc_within_folds",
    family="beliefs",
    title="AUROC of what is represented",
    measures="how well the belief of statements from unseen groups ranks true above false ones, by the same probe",
    range="[0, 1]",
    invariances="increasing maps of each fold's belief",
    null="0.5",
    assumes="groups are drawn independently; the probes are held as fitted",
)


def auroc_within(
    score: Float[np.ndarray, " m"],
    truth: Float[np.ndarray, " m"],
    cells: Shaped[np.ndarray, " m"],
    weights: Float[np.ndarray, "b m"],
) -> Float[np.ndarray, " b"]:
    """AUROC over true–false pairs from the same cell, ties ½, for each set of row weights; NaN without such a pair.

    Beliefs of different folds come from different probes; to compare them would punish a fold for its base rate.

    >>> score, truth = np.array([.9, .1, .2, .8]), np.array([1., 0., 1., 0.])
    >>> auroc_within(score, truth, np.array(["a", "a", "b", "b"]), np.ones((1, 4))).tolist()
    [0.5]
    """
    won, pairs = np.zeros((2, len(weights)))
    for cell in np.unique(cells):
        rows = np.flatnonzero(cells == cell)
        if len(np.unique(truth[rows])) < 2:
            continue
        w = weights[:, rows]
        mass = (w * truth[rows]).sum(axis=1) * (w * (1 - truth[rows])).sum(axis=1)
        won += np.where(mass > 0, mass * np.nan_to_num(np.asarray(weighted_auroc(score[rows], truth[rows], w))), 0.0)
        pairs += mass
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def replicates(
    score: Float[np.ndarray, " n"],
    truth: Float[np.ndarray, " n"],
    cells: Shaped[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    rows: Int[np.ndarray, " m"],
    weights: Float[np.ndarray, "b n"],
) -> Replicates:
    """``auroc_within`` of some rows and its bootstrap; aligned where made from the same weights."""
    plan = np.concatenate([np.ones((1, len(rows))), weights[:, rows]])
    found = auroc_within(score[rows], truth[rows], cells[rows], plan)
    # A fixed count of groups: replicates of parts of one table pair.
    return Replicates(float(found[0]), found[1:], "bootstrap", len(np.unique(groups[rows])))


def auroc_estimate(found: Replicates, truth: Float[np.ndarray, " m"], metric: Metric = READ_AUROC) -> Estimate:
    """With interval and p against ½; where no fold holds both classes, NaN with what is missing."""
    if np.isfinite(found.value):
        return found.estimate(metric, null=0.5, p=found.p_above(0.5))
    counts = f"{int((truth == 1).sum())} true and {int((truth == 0).sum())} false statements of known truth"
    return Estimate.undefined(f"{counts}: no fold holds both", unit="groups", n=found.n)
