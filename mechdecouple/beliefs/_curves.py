"""One layer's belief of every row, out of fold, and its AUROC with jackknife replicates."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.probes import MassMeanFitter
from mechdecouple.stats import Replicates, weighted_auroc

# Calibrated scores of equal activations agree to rounding; they are ties.
_DECIMALS = 9


def believed(
    X: Float[np.ndarray, "n d"],
    truth: Int[np.ndarray, " n"],
    group: np.ndarray,
    honest: Bool[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
    seed: int,
) -> Float[np.ndarray, " n"]:
    """Out-of-fold calibrated belief of every row; probes see honest rows of other folds only."""
    score, X = np.empty(len(X)), np.asarray(X, np.float64)
    for left_out in np.unique(fold):
        fit = honest & (fold != left_out)
        probe = MassMeanFitter("ledoit-wolf", seed=seed).fit(X[fit], truth[fit], group[fit])
        score[fold == left_out] = probe.predict_proba(X[fold == left_out])
    return np.round(score, _DECIMALS)


def auroc_replicates(
    scores: Float[np.ndarray, "l n"],
    truth: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    rows: Bool[np.ndarray, " n"],
    group: np.ndarray,
) -> Replicates:
    """AUROC of each row of scores among ``rows``, with jackknife replicates by block."""
    kept = np.concatenate([np.ones((1, len(blocks))), np.arange(blocks.max() + 1)[:, None] != blocks])[:, rows]
    found = np.stack([np.asarray(weighted_auroc(one[rows], truth[rows], kept)) for one in scores], axis=1)
    return Replicates(found[0], found[1:], "jackknife", len(np.unique(group[rows])))
