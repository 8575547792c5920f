"""Conditional erasure residual: erase a concept everywhere at once; can it still be read within a context?"""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtr

from mechdecouple.results import Metric
from mechdecouple.structure._coding import (
    CodingVectors,
    coding_vectors_over,
    pooled_difference,
    without_other_concepts,
)
from mechdecouple.structure._readout import CellMoments, covariance, mean_over_contexts, solve
from mechdecouple.structure._rows import Rows

ERASURE_RESIDUAL = Metric(
    name="erasure_residual",
    family="fracture",
    title="Conditional erasure residual",
    measures="AUROC, under noise, of a concept read within contexts after one global erasure",
    range="[0, 1]",
    direction="lower",
    invariances="rotation, translation, uniform scale",
    null=".5: the global erasure took everything; only meaningful where the concept could be read before",
    source="LEACE: Belrose et al., arXiv 2306.03819",
    margin=0.05,
)
CODING_ENERGY_LEFT = Metric(
    name="coding_energy_left",
    family="fracture",
    title="Coding energy left after erasure",
    measures="share of the squared distance between class means, within contexts, that a global erasure leaves",
    range="about [0, 1]; unbiased, so it can stray below 0",
    direction="lower",
    invariances="rotation, translation, uniform scale",
    null="0: one code for all contexts; (C - 1)/C for C unrelated codes of equal strength",
    source="LEACE: Belrose et al., arXiv 2306.03819",
)

_FOLDS = 5
_NOISE = 0.25


class ErasureResidual:
    """Both residuals as a function of the kept rows, for ``stats.jackknife``.

    In each of five grouped folds LEACE for a binary concept, x ↦ x − a bᵀ(x − μ)/(bᵀa) with a the difference of class
    means and b = Σ⁻¹a, is fitted on the other folds, all contexts together. Then, within each context:

    * AUROC: a read-out (Σ' + σ²I)⁻¹δ' is fitted on the erased fitted rows and scored on the erased held-out rows, both
      as if Gaussian noise of standard deviation σ were added to each dimension. The noise is not drawn: in the fit it
      is the ridge σ², in the score it makes each pair of rows count Φ(Δscore / √2 σ‖w‖). σ is half the distance of a
      class mean from the middle of the two, ‖μ₁ − μ₀‖/4, before erasure (root mean square over contexts, from disjoint
      halves of the fitted folds). So two point classes at their full distance score Φ(2√2) = .998, at a tenth of it
      .61, at a hundredth .51: a remainder that is separable only because nothing else is there counts as erased.
      Other concepts given with it stand still: δ is the concept's coefficient in a regression on all of them, and
      what their labels explain of the held-out scores is taken off before ranking.
    * Energy: δ'_fitted · δ'_held-out over δ_fitted · δ_held-out, summed over contexts; disjoint groups, so noise
      adds nothing on average.

    Args:
        X: [n, d]; y: [n] or [n, k] labels 0/1 (NaN unknown); context: [n]; groups: [n] (None: every row its own).

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ.
    """

    reason = (
        "the classes of the concept are no further apart than chance before erasure, or there are too few groups of "
        "each class in a context"
    )

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"],
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        self._rows = rows = Rows(X, y, context, groups)
        self._fold = rows.folds(_FOLDS, seed)
        self._n_folds = int(self._fold.max()) + 1
        self._global = CellMoments(rows.X, self._fold, self._n_folds)
        self._coding = CodingVectors(rows, self._fold, self._n_folds)
        self._members = [np.flatnonzero(rows.context == c) for c in range(len(rows.names))]
        self._bases = [_basis(rows.X[member]) for member in self._members]
        self._inside = [
            _inside(rows.X[member], basis) for basis, member in zip(self._bases, self._members, strict=True)
        ]
        self._local = [
            CellMoments(X, self._fold[member], self._n_folds)
            for X, member in zip(self._inside, self._members, strict=True)
        ]

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> np.ndarray:
        """[2, k] (or [2]): noise-calibrated AUROC, then share of coding energy left; NaN for the ``reason``."""
        data, kept = self._rows, self._rows.kept(rows)
        moments = self._global.of(kept)
        everything = [m.sum(axis=0) for m in moments]
        local = [m.of(kept[member]) for m, member in zip(self._local, self._members, strict=True)]
        gram, product = self._coding.of(kept)
        n_contexts, k = len(data.names), data.y.shape[1]
        auroc = np.full((self._n_folds, n_contexts, k), np.nan)
        left, whole = np.zeros(k), np.zeros(k)
        others = [np.flatnonzero(np.arange(self._n_folds) != f) for f in range(self._n_folds)]
        sets = [
            (fitted, fitted[: len(fitted) // 2], fitted[len(fitted) // 2 :], np.array([f]))
            for f, fitted in enumerate(others)
        ]
        vectors = coding_vectors_over(gram, product, list(itertools.chain(*sets)))
        for f, fitted in enumerate(others):
            delta, *halves, held_out = vectors[4 * f : 4 * f + 4]
            separation = mean_over_contexts((halves[0] * halves[1]).sum(axis=-1))
            count, total, second = (m - by_fold[f] for m, by_fold in zip(everything, moments, strict=True))
            sigma = covariance(max(float(count), 1.0), total, second)
            # Below what rounding leaves of the rows' spread there is no separation to scale the noise to.
            least = 1e-10 * float(np.trace(sigma))
            pooled = pooled_difference(gram[:, fitted], product[:, fitted])
            b = solve(sigma, pooled.T)
            strength = (pooled * b.T).sum(axis=1)
            b = np.divide(b, strength, out=np.zeros_like(b), where=strength > 0)
            erased = [d - np.einsum("ckr,rk->ck", d, b)[..., None] * pooled for d in (delta, held_out)]
            both = ~np.isnan(delta[..., 0] + held_out[..., 0])
            left += np.where(both, (erased[0] * erased[1]).sum(axis=-1), 0).sum(axis=0)
            whole += np.where(both, (delta * held_out).sum(axis=-1), 0).sum(axis=0)
            scale = _NOISE * np.sqrt(np.where(separation > least, separation, np.nan))
            for c, member in enumerate(self._members):
                test = kept[member] & (self._fold[member] == f)
                fit = tuple(m[fitted].sum(axis=0) for m in local[c])
                X, y, design = self._inside[c][test], data.y[member[test]], self._coding.design[member[test]]
                auroc[f, c] = _auroc(X, y, design, self._bases[c], fit, pooled, b.T, erased[0][c], scale)
        energy = np.divide(left, whole, out=np.full(k, np.nan), where=whole > 0)
        undefined = np.isnan(auroc).all(axis=1).any(axis=0)
        value = np.where(undefined, np.nan, mean_over_contexts(mean_over_contexts(auroc)))
        return np.asarray(data.shaped(np.stack([value, energy])))


def _auroc(
    X: Float[np.ndarray, "m s"],
    y: Float[np.ndarray, "m k"],
    design: Float[np.ndarray, "m p"],
    basis: np.ndarray | None,
    moments: tuple,
    a: Float[np.ndarray, "k r"],
    b: Float[np.ndarray, "k r"],
    delta: Float[np.ndarray, "k r"],
    scale: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " k"]:
    """AUROC [k] on the test rows X of one context (in its basis), read with the moments of its fitted rows."""
    count, total, second = moments
    usable = ~np.isnan(scale + delta[:, 0]) & (y == 0).any(axis=0) & (y == 1).any(axis=0)
    values = np.full(len(scale), np.nan)
    if not usable.any():
        return values
    spread = second / count - np.outer(total, total) / count**2
    # Erasure moves rows along a by what is read along b; where a leaves the rows' span it adds one dimension.
    outward = _outward(a[usable], basis)
    a, b, delta = (_coordinates(v[usable], basis, outward) for v in (a, b, delta))
    extra = a.shape[1] - X.shape[1]
    if extra:
        X, spread = np.pad(X, ((0, 0), (0, extra))), np.pad(spread, (0, extra))
    along = b @ spread
    # S - h aᵀ - a hᵀ + (bᵀh) a aᵀ with h = S b, as one symmetric update of rank two.
    shift = along - (along * b).sum(axis=1)[:, None] / 2 * a
    w = np.empty_like(a)
    for i, noise in enumerate(scale[usable] ** 2):
        update = np.outer(shift[i], a[i])
        noisy = spread - (update + update.T)
        noisy[np.diag_indices(len(noisy))] += noise
        w[i] = solve(noisy, delta[i][:, None])[:, 0]
    score = X @ w.T - (X @ b.T) * (a * w).sum(axis=1)
    others = np.column_stack([design[:, :1], design[:, 1:][:, usable]])
    score = without_other_concepts(score, others, ~np.isnan(y[:, usable]))
    width = np.sqrt(2) * scale[usable] * np.linalg.norm(w, axis=1)
    for i, j in enumerate(np.flatnonzero(usable)):
        values[j] = _noisy_auroc(score[y[:, j] == 1, i], score[y[:, j] == 0, i], width[i])
    return values


def _noisy_auroc(positive: np.ndarray, negative: np.ndarray, spread: float) -> float:
    """Chance that a positive outscores a negative when their difference has Gaussian noise of this spread."""
    if spread == 0:
        return 0.5
    return float(ndtr((positive[:, None] - negative) / spread).mean())


def _basis(X: Float[np.ndarray, "n r"]) -> np.ndarray | None:
    """Orthonormal basis [r, n] of the rows' span where they are fewer than the dimensions; None for all of space."""
    return np.linalg.qr(X.T)[0] if len(X) < X.shape[1] else None


def _inside(V: Float[np.ndarray, "m r"], basis: np.ndarray | None) -> np.ndarray:
    return V if basis is None else V @ basis


def _outward(a: Float[np.ndarray, "k r"], basis: np.ndarray | None) -> np.ndarray | None:
    """Unit vector of the part of each a that lies outside the span."""
    if basis is None:
        return None
    rest = a - (a @ basis) @ basis.T
    length = np.linalg.norm(rest, axis=1, keepdims=True)
    return np.divide(rest, length, out=np.zeros_like(rest), where=length > 0)


def _coordinates(V: Float[np.ndarray, "k r"], basis: np.ndarray | None, outward: np.ndarray | None) -> np.ndarray:
    return V if basis is None else np.column_stack([V @ basis, (V * outward).sum(axis=1)])


def erasure_residual(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m *k"],
    context: Shaped[np.ndarray, " c"],
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> tuple[float, float] | tuple[np.ndarray, np.ndarray]:
    """Noise-calibrated AUROC after a global erasure, and share of coding energy left; lower is tidier for both.

    See ``ErasureResidual``. Tidy: .5 and 0; C unrelated codes: near 1 and (C − 1)/C.

    >>> rng = np.random.default_rng(0)
    >>> y, context = rng.integers(0, 2, 4000), rng.integers(0, 4, 4000)
    >>> X = rng.normal(size=(4000, 8)) * .1
    >>> X[np.arange(4000), context] += y
    >>> auroc, energy = erasure_residual(X, y, context)
    >>> auroc > .95, round(energy, 1)
    (True, 0.8)
    """
    auroc, energy = ErasureResidual(X, y, context, groups)()
    return (float(auroc), float(energy)) if np.ndim(y) == 1 else (auroc, energy)
