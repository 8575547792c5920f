"""Neural collapse: how little the rows of a class vary, against how far the classes are apart."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Float64, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import grouped_folds
from mechdecouple.results import Metric
from mechdecouple.structure._groups import group_codes
from mechdecouple.structure._rows import finite, reduced

NEURAL_COLLAPSE = Metric(
    name="neural_collapse",
    family="geometry",
    title="within-class variability (NC1)",
    measures="variance inside classes over variance between class means, in the span of the means: tr(Σ_W Σ_B⁺) / C",
    range="[0, inf)",
    direction="lower",
    invariances="rotation, translation, isotropic scaling, dimensions in which class means do not differ",
    null="no honest null: it has no bound where classes are not told apart, and is then left undefined",
    assumes="a classifier: classes that exclude each other, with means that differ in every direction they can",
    source="arXiv:2008.08186",
    scale="log-ratio",
)

_FOLDS = 4
_NOISE_ROWS = 1024
_EXACT = 1e-9


class NeuralCollapse:
    """NC1 as a function of the kept rows, for ``stats.jackknife``.

    Σ_W is the covariance inside a class and Σ_B that of the class means, each class counting alike. Noise in the means
    of n_c rows widens Σ_B by Σ_W / n_c and tilts its span, so that the plain ratio falls with the number of dimensions
    (in 768 dimensions and 200 rows a class by a third and more). Here no product holds noise twice. With M the centred
    class means, NC1 = tr((M'M)⁺² M'Σ_W M); the means are taken from two of four folds of whole groups and Σ_W from a
    third, over pairs of rows of different groups, and both factors are averaged over all choices of folds. So each is
    unbiased. What is left is the curvature of the inverse: where the weakest direction of M'M does not stand out from
    noise, the ratio is undefined; and so it is where the estimate of a variance comes out negative.

    Args:
        X: [n, d] activations; labels: [n] the class of each row (NaN where unknown); groups: [n] unit of resampling
        (None: every row its own).

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: activations that are not finite, lengths that differ.
    """

    reason = (
        f"NC1 needs two or more classes, each in {_FOLDS} or more groups and twice in one of the folds, whose means "
        "stand out from noise in every direction that so many classes can span, and a variance inside them that noise "
        "does not hide"
    )

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        labels: Shaped[np.ndarray, " m"],
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        X, labels = finite(X), np.asarray(labels)
        if labels.shape != (len(X),):
            raise InputError(f"labels have shape {labels.shape}, expected ({len(X)},), one a row of the activations")
        groups = group_codes(groups, len(X))
        known = labels == labels
        self._row = np.where(known, np.cumsum(known) - 1, -1)
        self._X = reduced(X[known]) if known.any() else X[known]
        size = math.sqrt(float(np.mean(self._X**2))) if known.any() else 0.0
        self._X = self._X / size if size > 0 else self._X
        self._classes, self._label = np.unique(labels[known], return_inverse=True)
        self._group = groups[known]
        one_fold = len(np.unique(self._group)) < _FOLDS
        dealt = None if one_fold else grouped_folds(self._label, self._group, _FOLDS, seed)
        self._fold = np.zeros(len(self._X), dtype=int) if dealt is None else dealt
        self._sample = np.random.default_rng(seed).permutation(len(self._X))[:_NOISE_ROWS]

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        """NC1 of the kept rows; NaN for the ``reason``."""
        kept = np.zeros(len(self._X), dtype=bool)
        places = self._row if rows is None else self._row[rows]
        kept[places[places >= 0]] = True
        n_classes = len(self._classes)
        cell = self._fold * n_classes + self._label
        count = np.bincount(cell[kept], minlength=_FOLDS * n_classes)
        if n_classes < 2 or (count == 0).any():
            return math.nan
        x, label, fold, group = self._X[kept], self._label[kept], self._fold[kept], self._group[kept]
        means = _sums(x, cell[kept], len(count)) / count[:, None]
        means = means.reshape(_FOLDS, n_classes, -1)
        inside = x - (_sums(x, label, n_classes) / np.bincount(label)[:, None])[label]
        means = means - means.mean(axis=1, keepdims=True)

        side_by_side = means.swapaxes(0, 1).reshape(n_classes, -1)
        products = side_by_side @ side_by_side.T
        total = means.sum(axis=0)
        between = (total @ total.T - products) / (_FOLDS * (_FOLDS - 1))
        # From four folds alone noise would now and then be found next to none, and anything stand out from it.
        noise = np.trace(products / _FOLDS - between) / (n_classes - 1)
        noise = max(noise, _noise(inside, cell[kept], group))
        energy, axes = np.linalg.eigh(between)
        rank = min(n_classes - 1, np.linalg.matrix_rank(np.concatenate(means)))
        energy, axes = energy[-rank:], axes[:, -rank:]
        spread = self._spread(inside, kept)
        floor = (2 * math.sqrt(rank) + 3) * max(noise, 0.0) / math.sqrt(spread * _FOLDS * (_FOLDS - 1))
        if energy[0] <= max(floor, _EXACT * energy[-1]):
            return math.nan
        within = _within(inside, axes.T @ means, label, fold, group)
        value = math.nan if within is None else float((np.diagonal(within) / energy**2).sum())
        return max(value, 0.0) if value > -_EXACT else math.nan

    def _spread(self, inside: Float64[np.ndarray, "m r"], kept: np.ndarray) -> float:
        """Participation ratio of the variance inside classes, on a sample of the rows."""
        sample = inside[(np.cumsum(kept) - 1)[self._sample[kept[self._sample]]]]
        squares = np.einsum("ij,ij->i", sample, sample)
        pairs = float(((sample @ sample.T) ** 2).sum() - (squares**2).sum())
        return max(1.0, float(squares.sum() ** 2 / pairs)) if pairs > 0 else 1.0


def _noise(inside: Float64[np.ndarray, "m r"], cell: Int[np.ndarray, " m"], group: Int[np.ndarray, " m"]) -> float:
    """Expected squared error of a class mean of one fold, from how its groups differ; 0 where each cell has one."""
    parts, part = np.unique(np.column_stack([cell, group]), axis=0, return_inverse=True)
    of, count = parts[:, 0], np.bincount(cell)
    left = inside - (_sums(inside, cell, len(count)) / np.maximum(count, 1)[:, None])[cell]
    squares = np.einsum("ij,ij->i", sums := _sums(left, part.ravel(), len(parts)), sums) / count[of] ** 2.0
    n_groups = np.bincount(of, minlength=len(count))
    several = n_groups > 1
    error = np.bincount(of, squares, minlength=len(count))[several] * (n_groups / np.maximum(n_groups - 1, 1))[several]
    return float(error.mean()) if several.any() else 0.0


def _within(
    inside: Float64[np.ndarray, "n d"],
    directions: Float64[np.ndarray, "k r d"],
    label: Int[np.ndarray, " n"],
    fold: Int[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
) -> Float64[np.ndarray, "r r"] | None:
    """Mean over classes of Σ_W between the directions of two folds, rows being of a third; None without such rows.

    Σ_W is half the mean of (x_i - x_j)(x_i - x_j)' over rows of one class and fold that are of different groups.
    """
    n_classes, n_folds = int(label.max()) + 1, len(directions)
    part = np.unique(np.column_stack([fold * n_classes + label, group]), axis=0, return_inverse=True)[1].ravel()
    cell = fold * n_classes + label
    in_cell, in_part = np.bincount(cell), np.bincount(part)
    partners = (in_cell[cell] - in_part[part]).astype(float)
    pairs = np.bincount(label, weights=partners)
    if (pairs == 0).any():
        return None
    weight = 1 / (n_classes * pairs * (n_folds - 1) * (n_folds - 2))
    found = np.zeros((directions.shape[1],) * 2)
    for f in range(n_folds):
        rows = np.flatnonzero(fold == f)
        along = inside[rows] @ np.delete(directions, f, axis=0).swapaxes(1, 2)
        parts, at = np.unique(part[rows], return_inverse=True)
        of_part = np.zeros(len(parts), dtype=int)
        of_part[at] = label[rows]
        found += _paired(along, partners[rows] * weight[label[rows]])
        found -= _paired(np.stack([_sums(a, label[rows], n_classes) for a in along]), weight)
        found += _paired(np.stack([_sums(a, at, len(parts)) for a in along]), weight[of_part])
    return found


def _paired(along: Float64[np.ndarray, "k n r"], weight: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "r r"]:
    """Weighted sum over rows, and over pairs of different first indices, of outer products."""
    total = along.sum(axis=0)
    return (weight[:, None] * total).T @ total - sum((weight[:, None] * a).T @ a for a in along)


def _sums(X: Float64[np.ndarray, "n d"], code: Int[np.ndarray, " n"], n_codes: int) -> Float64[np.ndarray, "c d"]:
    order = np.argsort(code, kind="stable")
    count = np.bincount(code, minlength=n_codes)
    out = np.zeros((n_codes, X.shape[1]))
    out[count > 0] = np.add.reduceat(X[order], (np.cumsum(count) - count)[count > 0], axis=0)
    return out


def neural_collapse(
    X: Float[np.ndarray, "n d"], labels: Shaped[np.ndarray, " m"], groups: Shaped[np.ndarray, " g"] | None = None
) -> float:
    """NC1 of a classifier's activations, noise taken out; lower is tidier, 0 where all rows of a class are one point.

    Classes that form a simplex of radius r in isotropic noise σ have σ² (C - 1)² / (r² C). See ``NeuralCollapse``.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(4000) % 4
    >>> X = 3 * np.eye(4)[labels] + rng.normal(size=(4000, 4))
    >>> round(neural_collapse(X, labels), 1), round(3**2 / (9 * 3 / 4 * 4), 1)
    (0.3, 0.3)
    """
    return NeuralCollapse(X, labels, groups)()
