"""What else could explain a belief score: surface features, the context itself, the input, an untrained model."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.stats import rankdata

from mechdecouple.beliefs.protocol.auroc import READ_AUROC, auroc_estimate, replicates
from mechdecouple.beliefs.protocol.transfer import Table
from mechdecouple.probes import cross_validated
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks

SURFACE_CORRELATION = Metric(
    name="belief_surface_correlation",
    family="controls",
    title="Belief against a surface feature",
    measures="Spearman correlation of the belief with a feature of the text (log-likelihood, length, polarity)",
    range="[-1, 1]",
    invariances="increasing maps of either",
    null="0, unless the feature goes with the truth itself",
)
SURFACE_AUROC = dataclasses.replace(
    READ_AUROC,
    name="surface_auroc",
    family="controls",
    title="AUROC of a surface feature",
    measures="how well a feature of the text ranks true above false statements by itself",
    invariances="increasing maps of the feature",
)
WITHIN_DECILES_AUROC = dataclasses.replace(
    READ_AUROC,
    name="belief_auroc_within_deciles",
    title="AUROC within deciles",
    measures="AUROC of the belief over pairs from the same tenth of the statements by a surface feature",
    null="0.5: the belief knows no more than the feature does",
)
IDENTITY_AUROC = Metric(
    name="context_identity_auroc",
    family="controls",
    title="AUROC of the context's identity",
    measures="how well contexts can be told apart linearly at the hook point of the belief, one against the rest",
    range="[0, 1]",
    null="0.5: the hook point does not tell contexts apart",
)
BEYOND_AUROC = Metric(
    name="represented_auroc_beyond",
    family="controls",
    title="AUROC beyond a baseline",
    measures="AUROC of the belief minus that of the same selection on what cannot know (layer 0, an untrained model)",
    range="[-1, 1]",
    null="0: the baseline is read as well",
)
_DECILES = 10
_PENALTIES = (1.0, 0.1, 0.01)


def surface_correlation(
    score: Float[np.ndarray, " n"], feature: Float[np.ndarray, " n"], table: Table, seed: int
) -> Estimate:
    """Spearman correlation over honest rows where the feature is known, jackknife over groups."""
    rows = _known(feature, table.usable)
    n = len(np.unique(table.group[rows]))
    if len(rows) < 3 or np.ptp(feature[rows]) == 0 or np.ptp(score[rows]) == 0:
        what = "belief" if len(rows) > 2 and np.ptp(feature[rows]) else "feature"
        return Estimate.undefined(f"the {what} is the same in all {len(rows)} rows", unit="groups", n=n)

    def spearman(kept: np.ndarray) -> float:
        a, b = (rankdata(x[rows[kept]]) for x in (score, feature))
        spread = a.std() * b.std()
        return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread else float("nan")

    found: Replicates = jackknife(spearman, jackknife_blocks(table.group[rows], seed=seed), n)
    return found.estimate(SURFACE_CORRELATION, null=0.0, p=found.p_differs(0.0))


def surface_auroc(feature: Float[np.ndarray, " n"], table: Table) -> Estimate:
    """AUROC of the feature alone, the higher taken as truer: below ½ false statements score higher."""
    kept = _known(feature, table.usable)
    rows = np.isin(np.arange(len(feature)), kept)
    return table.auroc(feature, rows, SURFACE_AUROC, np.zeros(len(feature), int))


def within_deciles(score: Float[np.ndarray, " n"], feature: Float[np.ndarray, " n"], table: Table) -> Estimate:
    """AUROC of the belief over pairs from the same decile of the feature and the same fold."""
    kept = _known(feature, table.usable)
    rows = np.isin(np.arange(len(feature)), kept)
    decile = np.zeros(len(feature), int)
    if len(kept):
        edges = np.quantile(feature[kept], np.arange(1, _DECILES) / _DECILES)
        decile[kept] = np.searchsorted(edges, feature[kept], side="right")
    return table.auroc(score, rows, WITHIN_DECILES_AUROC, decile * (table.fold.max() + 1) + table.fold)


def identity(
    X: Float[np.ndarray, "n d"],
    levels: Shaped[np.ndarray, " n"],
    rows: Bool[np.ndarray, " n"],
    table: Table,
    device: str,
) -> Estimate:
    """AUROC of a probe that tells each level from the rest on unseen groups, the mean over levels."""
    kept = np.flatnonzero(rows)
    names = np.unique(levels[kept])
    n = len(np.unique(table.group[kept]))
    if len(names) < 2:
        return Estimate.undefined(f"{len(names)} level: there is nothing to tell apart", unit="groups", n=n)
    target = (levels[kept][:, None] == names).astype(float)
    if len(names) == 2:
        target = target[:, 1:]
    found = cross_validated([X[kept]], target, fold=table.fold[kept], penalties=_PENALTIES, device=device)
    score = found.score[0]
    if np.isnan(score).any():
        return Estimate.undefined(found.reason, unit="groups", n=n)
    full = np.zeros((len(levels), target.shape[1]))
    label = np.zeros_like(full)
    full[kept], label[kept] = score, target
    each = [
        replicates(full[:, j], label[:, j], table.fold, table.group, kept, table.weights)
        for j in range(target.shape[1])
    ]
    mean = Replicates.mean(each)
    return auroc_estimate(mean, target[:, 0], IDENTITY_AUROC)


def beyond(
    score: Float[np.ndarray, " n"], baseline: Float[np.ndarray, " n"], table: Table
) -> tuple[Estimate, Estimate]:
    """AUROC of the baseline's belief, and the paired difference of the two on honest rows."""
    rows = np.flatnonzero(table.usable)
    given = (table.truth, table.fold, table.group, rows, table.weights)
    mine, theirs = replicates(score, *given), replicates(baseline, *given)
    found = mine - theirs
    return auroc_estimate(theirs, table.truth[rows]), found.estimate(BEYOND_AUROC, null=0.0, p=found.p_above(0.0))


def _known(feature: np.ndarray, usable: np.ndarray) -> np.ndarray:
    return np.flatnonzero(usable & np.isfinite(feature))
