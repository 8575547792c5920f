"""Model distance: how far apart runs are inside, whether arms are farther apart than seeds, and a map of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from mechdecouple import structure
from mechdecouple.compare.many.relabel import Relabellings
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates

MODEL_DISTANCE = Metric(
    name="model_distance",
    family="similarity",
    title="distance inside",
    range="[0, 3.1416]",
    measures="angle arccos(debiased linear CKA) of two runs on identical rows, averaged over paired hook points: a "
    "distance, 0 for equal geometry",
    null="about 1.571, a right angle, for unrelated representations; debiasing lets it stray to either side",
    invariances="rotation, translation, isotropic scaling of either run",
    assumes="paired hook points play the same part in every run",
    source="debiased CKA arXiv:2010.15327; its angle is a metric as in arXiv:2110.14739",
)


def model_distances(
    sites: Sequence[Sequence[np.ndarray]], groups: np.ndarray | None = None, *, n_blocks: int = 20, seed: int = 0
) -> tuple[Replicates | None, list[bool]]:
    """Angle of every two models, averaged over sites.

    U-centred Gram matrices are vectors of one inner-product space and debiased CKA is their cosine, so each angle, and
    a mean of angles over the same sites, keeps the triangle inequality.

    Args:
        sites: for each site the activations [n, d_i] of every model i, on identical rows.
        groups: [n] the independent unit of each row, for the jackknife.

    Returns:
        distances [m, m] with jackknife replicates (None where no site is left), and which sites were used: one at
        which any model is constant is left out for all.

    Raises:
        MismatchError: sites with different numbers of models.
    """
    if len({len(site) for site in sites}) > 1:
        raise MismatchError(f"sites hold {sorted({len(s) for s in sites})} models: expected one array a model at each")
    angles, used = [], []
    for site in sites:
        # near 0 an angle is the square root of what rounding leaves of 1 - CKA
        exact = [np.asarray(X, dtype=np.float64) for X in site]
        cka = structure.cka_matrix(exact, exact, groups, n_blocks=n_blocks, n_permutations=0, seed=seed).value
        used.append(bool(np.isfinite(cka.value).all() and np.isfinite(cka.replicates).all()))
        if used[-1]:
            off = 1.0 - np.eye(len(site))
            angles.append(cka.map(lambda c: np.asarray(np.arccos(np.clip(c, -1, 1)))).map(lambda a, off=off: a * off))
    return (Replicates.mean(angles) if angles else None), used


def between_share_of_distances(distance: np.ndarray, deals: Relabellings) -> np.ndarray:
    """Share of the sum of squared distances that lies between arms, in each dealing of the runs [1 + r].

    PERMANOVA (Anderson 2001): with Euclidean distances it is the between-arm share of the variance. It also answers to
    arms of unequal spread, most where they are of unequal size.
    """
    squared = np.asarray(distance, dtype=np.float64) ** 2
    m = len(squared)
    total = squared.sum() / (2 * m)
    if total <= 0:
        return np.zeros(len(deals.others) + 1)
    arms = np.arange(deals.declared.max() + 1)
    member = (deals.all[:, :, None] == arms).astype(np.float64)
    within = (np.einsum("rma,mn->rna", member, squared) * member).sum(axis=1) / (2 * member[0].sum(axis=0))
    return np.round(1 - within.sum(axis=1) / total, 12)


@dataclasses.dataclass(frozen=True, eq=False)
class ModelMap:
    """Models as a tree and as points in a plane, from their distances [m, m].

    Raises:
        InputError: not a symmetric matrix of distances with a zero diagonal.
    """

    distance: np.ndarray

    def __post_init__(self) -> None:
        d = np.asarray(self.distance, dtype=np.float64)
        fits = d.ndim == 2 and d.shape[0] == d.shape[1] and len(d) >= 2 and np.isfinite(d).all()
        if not fits or not np.allclose(d, d.T) or np.diagonal(d).any() or (d < 0).any():
            raise InputError(
                f"distances of shape {d.shape}: expected [m, m], finite, symmetric, not negative, 0 on the diagonal"
            )
        object.__setattr__(self, "distance", (d + d.T) / 2)

    @cached_property
    def linkage(self) -> np.ndarray:
        """Average linkage [m - 1, 4], as scipy draws it."""
        return linkage(squareform(self.distance, checks=False), "average")

    @cached_property
    def _eigen(self) -> tuple[np.ndarray, np.ndarray]:
        m = len(self.distance)
        centring = np.eye(m) - 1 / m
        values, vectors = np.linalg.eigh(-0.5 * centring @ self.distance**2 @ centring)
        return values[::-1], vectors[:, ::-1]

    @cached_property
    def coordinates(self) -> np.ndarray:
        """Classical scaling [m, 2]; the sign of each axis is set by its largest entry."""
        values, vectors = self._eigen
        points = vectors[:, :2] * np.sqrt(np.maximum(values[:2], 0))
        largest = points[np.abs(points).argmax(axis=0), np.arange(points.shape[1])]
        return points * np.where(largest < 0, -1.0, 1.0)

    @cached_property
    def explained(self) -> float:
        """Share of the sum of absolute eigenvalues that the two axes hold; 1 where the map loses nothing."""
        values = self._eigen[0]
        total = float(np.abs(values).sum())
        return float(np.maximum(values[:2], 0).sum()) / total if total else 1.0

    @cached_property
    def stress(self) -> float:
        """Kruskal's stress of the map: rms error of its distances over the rms of the true ones; 0 loses nothing."""
        points = self.coordinates
        drawn = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=-1))
        size = float((self.distance**2).sum())
        return float(np.sqrt(((drawn - self.distance) ** 2).sum() / size)) if size else 0.0
