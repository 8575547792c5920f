"""Erasure collateral: when one concept is erased, how much worse can the others be read?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtr

from mechdecouple.results import Metric
from mechdecouple.structure._coding import CodingVectors, coding_vectors
from mechdecouple.structure._readout import (
    CellMoments,
    ClassSums,
    class_means,
    covariance,
    mean_over_contexts,
    solve,
    sums_by,
)
from mechdecouple.structure._rows import Rows

ERASURE_COLLATERAL = Metric(
    name="erasure_collateral",
    family="entanglement",
    title="Erasure collateral",
    measures="accuracy, under noise, that the other concepts lose when a concept is erased",
    range="about [0, .5]; a difference of held-out accuracies, so it can stray below 0",
    direction="lower",
    invariances="rotation, translation, uniform scale",
    null="0: what codes one concept codes nothing of the others",
    assumes="concepts vary independently of each other: what labels share is erased whatever the code",
    source="LEACE: Belrose et al., arXiv 2306.03819",
)

_FOLDS = 5
_NOISE = 0.5


class ErasureCollateral:
    """The collateral as a function of the kept rows, for ``stats.jackknife``.

    In each of five grouped folds, all fitted on the other folds: LEACE of concept f, x ↦ x − a bᵀ(x − μ)/(bᵀa) with a
    the difference of class means and b = Σ⁻¹a, and a read-out Σ⁻¹δ of concept g, scored by class-balanced accuracy on
    the held-out rows before the erasure and after it, where the read-out is fitted anew. Because eraser and read-out
    share Σ, the new read-out equals the old one applied to the erased rows: what a reader that stays as it was loses
    is no more than what is gone.

    Without noise LEACE cuts concepts apart however oblique their directions are, and everything that is left can be
    read. So both are fitted and scored as if the activations had Gaussian noise of standard deviation σ in each
    dimension: Σ has the ridge σ², a score counts Φ(score / σ‖w‖). σ is half the distance ‖μ₁ − μ₀‖ between the class
    means of g, noise taken out. So a concept with a direction of its own starts at Φ(1) = .84 where the rows have no
    noise besides, low enough to lose what is erased with another; of two concepts at cosine c, Φ(√(1 − c²)) is left.

    Args:
        X: [n, d]; Y: [n, k] labels 0/1 (NaN unknown); context: [n] accuracies are averaged over contexts (None: one);
        groups: [n] (None: every row its own).

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ.
    """

    reason = (
        "erasure collateral needs both classes of the concept, and another concept whose classes are further apart "
        "than chance, in several groups"
    )

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        Y: Shaped[np.ndarray, "m k"],
        context: Shaped[np.ndarray, " c"] | None = None,
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        self._rows = rows = Rows(X, Y, context, groups)
        self._fold = rows.folds(_FOLDS, seed)
        self._n_folds = int(self._fold.max()) + 1
        self._moments = CellMoments(rows.X, self._fold, self._n_folds)
        self._sums = ClassSums(rows, self._fold, self._n_folds)
        self._coding = CodingVectors(rows, self._fold, self._n_folds)

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, " k"]:
        """Mean drop on the other concepts when each is erased, [k]; NaN for the ``reason``."""
        drop = self.matrix(rows).T
        drop[np.diag_indices(len(drop))] = np.nan
        return mean_over_contexts(drop)

    def matrix(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "k k"]:
        """Entry [f, g]: drop of g's accuracy when f is erased; on the diagonal a concept's own.

        NaN where f has one class, or g is not coded.
        """
        data, kept = self._rows, self._rows.kept(rows)
        moments = self._moments.of(kept)
        everything = [m.sum(axis=0) for m in moments]
        count, total = self._sums.of(kept)
        gram, product = self._coding.of(kept)
        k = data.y.shape[1]
        outcome, erasable = np.full((len(data.X), k, k + 1), np.nan), np.zeros(k, dtype=bool)
        for f in range(self._n_folds):
            fitted, test = np.flatnonzero(np.arange(self._n_folds) != f), kept & (self._fold == f)
            n, first, second = (m - by_fold[f] for m, by_fold in zip(everything, moments, strict=True))
            if not test.any() or n < 2:
                continue
            sigma = covariance(float(n), first, second)
            pooled = class_means(*(m[:, fitted].sum(axis=0, keepdims=True) for m in (count, total)))[0]
            erased = np.nan_to_num(pooled[:, 1] - pooled[:, 0])
            erasable |= ~np.isnan(pooled).any(axis=(1, 2))
            by_class = mean_over_contexts(class_means(count[:, fitted], total[:, fitted]))
            halves = [
                coding_vectors(gram[:, half], product[:, half]) for half in np.array_split(fitted, 2) if len(half)
            ]
            separation = mean_over_contexts((halves[0] * halves[-1]).sum(axis=-1))
            # Below what rounding leaves of the rows' spread there is no separation to scale the noise to.
            separation = np.where(separation > 1e-10 * float(np.trace(sigma)), separation, np.nan)
            for g in np.flatnonzero(~np.isnan(separation + by_class[:, :, 0].sum(axis=1))):
                noise = _NOISE * np.sqrt(separation[g])
                weights = _readouts(sigma, noise, erased, by_class[g, 1] - by_class[g, 0])
                score = (data.X[test] - by_class[g].mean(axis=0)) @ weights
                width = noise * np.linalg.norm(weights, axis=0)
                chance = ndtr(np.divide(score, width, out=np.zeros_like(score), where=width > 0))
                label = data.y[test, g, None]
                outcome[test, g] = np.where(label == 1, chance, 1 - chance) + 0 * label
        accuracy = self._balanced(outcome)
        return np.where(erasable[:, None], accuracy[:, :1].T - accuracy[:, 1:].T, np.nan)

    def _balanced(self, outcome: Float[np.ndarray, "n k p"]) -> Float[np.ndarray, "k p"]:
        """Mean over contexts of the mean over classes; NaN outcomes do not count."""
        shares = []
        for label in (0, 1):
            counted = (self._rows.y == label)[..., None] & ~np.isnan(outcome)
            flat = [v.reshape(len(outcome), -1) for v in (np.where(counted, outcome, 0.0), counted.astype(float))]
            total, number = (sums_by(self._rows.context, v).reshape(-1, *outcome.shape[1:]) for v in flat)
            shares.append(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))
        return mean_over_contexts(np.mean(shares, axis=0))


def _readouts(
    sigma: Float[np.ndarray, "r r"], noise: float, erased: Float[np.ndarray, "k r"], delta: Float[np.ndarray, " r"]
) -> Float[np.ndarray, "r p"]:
    """Weights of a concept's read-out, then of the same after each of the k erasures."""
    noisy = sigma.copy()
    noisy[np.diag_indices(len(noisy))] += noise**2
    solved = solve(noisy, np.column_stack([delta, erased.T]))
    w, b = solved[:, :1], solved[:, 1:]
    strength = (erased.T * b).sum(axis=0)
    share = np.divide(erased @ w[:, 0], strength, out=np.zeros_like(strength), where=strength > 0)
    return np.column_stack([w, w - b * share])


def erasure_collateral(
    X: Float[np.ndarray, "n d"],
    Y: Shaped[np.ndarray, "m k"],
    context: Shaped[np.ndarray, " c"] | None = None,
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> Float[np.ndarray, " k"]:
    """Accuracy under noise that the other concepts lose, on average, when each is erased; lower is tidier.

    0 for concepts in orthogonal directions. See ``ErasureCollateral``, whose ``matrix`` says which loses by which.

    >>> Y = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (500, 1))
    >>> oblique = np.array([[1.0, 0.0], [0.8, 0.6]])
    >>> erasure_collateral(Y @ np.eye(2), Y).round(2) + 0, erasure_collateral(Y @ oblique, Y).round(2)
    (array([0., 0.]), array([0.07, 0.07]))
    """
    return ErasureCollateral(X, Y, context, groups)()
