"""What is lost when latents are taken out of activations, against changes as large in random directions."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_matrix

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.probes import LogisticFitter
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, weighted_auroc

KNOWING_DROP = Metric(
    name="knowing_drop",
    family="sae",
    title="Represented AUROC that these latents hold",
    measures="fall of the AUROC of the represented truth, honest condition, when the latents that know more than is "
    "said are taken out of the activations",
    range="[-1, 1]",
    null="mean fall when changes of equal norm, row by row, point in random directions",
    assumes="a linear probe, fitted on the whole activations of other groups",
)
_DRAWS = 99


def removal_drop(
    X: tuple[Float[np.ndarray, "f d"], Float[np.ndarray, "n d"]],
    truth: tuple[Float[np.ndarray, " f"], Float[np.ndarray, " n"]],
    groups: tuple[Shaped[np.ndarray, " f"], Shaped[np.ndarray, " n"]],
    latents: csr_matrix,
    directions: Float[np.ndarray, "k d"],
    n_blocks: int = 20,
    seed: int = 0,
) -> Estimate:
    """Fall of the AUROC of the truth on held-out rows without the part of k latents.

    Args:
        X, truth, groups: of the f rows that the probe is fitted on, and of the n held-out rows.
        latents: [n, k]; directions: what a unit of each adds.
    """
    try:
        probe = LogisticFitter(folds=3, seed=seed).fit(X[0].astype(np.float64), truth[0], groups[0])
    except InputError as error:
        return Estimate.undefined(str(error), unit="groups")
    if len(np.unique(truth[1])) < 2:
        return Estimate.undefined("held-out honest statements are all true, all false, or none", unit="groups")
    held, taken = X[1].astype(np.float64), latents @ directions.astype(np.float64)
    blocks = stats.jackknife_blocks(groups[1], n_blocks, seed)
    kept = np.concatenate([np.ones((1, len(held))), np.arange(blocks.max() + 1)[:, None] != blocks])

    def left(change: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(weighted_auroc(probe.decision_function(held - change), truth[1], weights))

    found = left(np.zeros_like(taken), kept) - left(taken, kept)
    whole = left(np.zeros_like(taken), kept[:1])
    draws = whole - np.array([left(random_like(taken, latents, s), kept[:1]) for s in seeds(seed, _DRAWS)])
    replicates = Replicates(found[0], found[1:], "jackknife", len(np.unique(groups[1])))
    p = float(stats.permutation_p(found[0], draws[:, 0]))
    note = "the interval holds the probe and the choice of latents as they are"
    return replicates.estimate(KNOWING_DROP, null=float(draws.mean()), p=p, reason=note)


def random_like(change: Float[np.ndarray, "n d"], latents: csr_matrix, seed: int) -> Float[np.ndarray, "n d"]:
    """Changes made of the same latents along random directions, as large on each row as ``change`` is."""
    n_latents = latents.get_shape()[1]
    other = latents @ np.random.default_rng(seed).normal(size=(n_latents, change.shape[1]))
    size = np.linalg.norm(other, axis=1, keepdims=True)
    wanted = np.linalg.norm(change, axis=1, keepdims=True)
    return other * np.divide(wanted, size, out=np.zeros_like(size), where=size > 0)


def seeds(seed: int, n: int) -> Int[np.ndarray, " n"]:
    """Seeds of n draws."""
    return np.random.default_rng(seed).integers(2**31, size=n)
