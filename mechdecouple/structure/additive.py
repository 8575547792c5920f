"""Additive share: how much of what concepts do to the activations is the sum of what each does alone, everywhere?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import sparse

from mechdecouple.results import Metric
from mechdecouple.structure._rows import Rows

ADDITIVE_SHARE = Metric(
    name="additive_share",
    family="fracture",
    title="Additive share",
    measures="share of the variance between combinations of concepts and contexts that each concept adds on its own",
    range="about [0, 1]; a ratio of unbiased terms, so it can stray",
    direction="higher",
    invariances="rotation, translation, uniform scale, a shift of its own for each context",
    null="concepts / (conditions - contexts): condition means without any order",
    assumes="two or more groups at a condition; groups are independent",
    source="analysis of variance of condition means; cf. Kobak et al. 2016, doi:10.7554/eLife.10989",
)


_CHUNK = 4_000_000


class AdditiveShare:
    """The additive share as a function of the kept rows, for ``stats.jackknife``.

    A condition is a combination of all concepts in one context, μ_c its mean. The means are regressed on the concepts
    and the contexts; every condition counts alike, however many rows it has. What contexts alone explain is taken off
    first, so that a context's own offset neither hides fracture nor adds to it. The share is what the main effects of
    the concepts explain of the rest; what is left are interactions, among concepts (conjunctive codes) and of concepts
    with contexts (fracture).

    Both terms are sums over inner products μ_c·μ_c', and each of these is estimated from pairs of rows of different
    groups alone: noise, and what a group has of its own, adds to neither. Rows with an unknown label, and conditions
    with fewer than two groups, are left out; empty conditions are no difficulty as long as more are filled than there
    are main effects. With few conditions the main effects fit some of the interactions by chance: compare the null,
    and two models on the same rows only.

    Args:
        X: [n, d]; Y: [n] or [n, k] labels 0/1 (NaN unknown); context: [n] (None: one context); groups: [n] (None: every
        row its own).

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ.
    """

    reason = (
        "the additive share needs more conditions with two or more groups than there are concepts and contexts, and "
        "condition means that differ beyond noise"
    )

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        Y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"] | None = None,
        groups: Shaped[np.ndarray, " g"] | None = None,
    ) -> None:
        rows = Rows(X, Y, context, groups)
        known = np.flatnonzero(~np.isnan(rows.y).any(axis=1))
        self._n = len(rows.X)
        self._row = np.full(self._n, -1)
        self._row[known] = np.arange(len(known))
        self._X, self._group = rows.X[known], rows.groups[known]
        labels = np.column_stack([rows.context[known], rows.y[known]]).astype(np.int64)
        self._levels, self._cell = np.unique(labels, axis=0, return_inverse=True)
        self._cell = self._cell.ravel()

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        """The share; NaN for the ``reason``."""
        return self._parts(rows)[0]

    def null(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        """The share that the concepts explain by chance of condition means without any order."""
        return self._parts(rows)[1]

    def _parts(self, rows: Int[np.ndarray, " m"] | None) -> tuple[float, float]:
        kept = self._row if rows is None else self._row[rows]
        kept = kept[kept >= 0]
        cell, group = self._cell[kept], self._group[kept]
        met = np.unique(group * len(self._levels) + cell) % len(self._levels)
        filled = np.bincount(met, minlength=len(self._levels)) >= 2
        context = np.unique(self._levels[filled, 0], return_inverse=True)[1]
        size = np.bincount(context).astype(float)
        concepts = _beyond_contexts(self._levels[filled, 1:], context, size)
        freedom = len(context) - len(size)
        if concepts.shape[1] in (0, freedom):
            return np.nan, np.nan
        usable = filled[cell]
        number = np.cumsum(filled) - 1
        products = _Products(self._X[kept[usable]], number[cell[usable]], group[usable], context)
        within = products.trace() - products.along_classes(context, size)
        explained = products.along(concepts)
        differ = within > 1e-10 * products.size()
        return float(explained / within) if differ else np.nan, concepts.shape[1] / freedom


def _beyond_contexts(
    labels: Int[np.ndarray, "c k"], context: Int[np.ndarray, " c"], size: Float[np.ndarray, " contexts"]
) -> Float[np.ndarray, "c p"]:
    """Orthonormal basis, over the conditions, of what the concepts' labels add to the contexts."""
    left, length, _ = np.linalg.svd(labels - (_sums(labels, context) / size[:, None])[context], full_matrices=False)
    return left[:, length > 1e-9 * np.sqrt(len(labels))]


def _sums(values: Shaped[np.ndarray, "n r"], code: Int[np.ndarray, " n"], n_codes: int = 0) -> Float[np.ndarray, "c r"]:
    total = np.zeros((max(n_codes, int(code.max(initial=-1)) + 1), values.shape[1]))
    np.add.at(total, code, values)
    return total


class _Products:
    """Unbiased inner products G of the condition means: each averages over the pairs of rows of different groups.

    G is the product of the means but for conditions that share a group; only these entries are stored.
    """

    def __init__(
        self,
        X: Float[np.ndarray, "n r"],
        cell: Int[np.ndarray, " n"],
        group: Int[np.ndarray, " n"],
        context: Int[np.ndarray, " c"],
    ) -> None:
        n_cells = len(context)
        entry, which = np.unique(group * n_cells + cell, return_inverse=True)
        owner, cells = np.divmod(entry, n_cells)
        order = np.argsort(which, kind="stable")
        total = np.add.reduceat(X[order], np.flatnonzero(np.r_[True, np.diff(which[order]) > 0]))
        count = np.bincount(which).astype(float)
        sizes = np.bincount(cells, weights=count, minlength=n_cells)
        # Where groups share conditions unevenly an offset would not cancel between pairs: each context is centred.
        means = _sums(total, cells, n_cells) / sizes[:, None]
        centre = _sums(means, context) / np.bincount(context)[:, None]
        total -= count[:, None] * centre[context[cells]]
        sums = _sums(total, cells, n_cells)
        self._means = sums / sizes[:, None]

        # Entries of one group stand together; groups of equal length go in one step. A pair of conditions keeps the
        # products of rows that share a group as its real part, their number as its imaginary part.
        same = sparse.csr_array((n_cells, n_cells), dtype=complex)
        first = np.flatnonzero(np.r_[True, np.diff(owner) > 0])
        length = np.diff(np.r_[first, len(owner)])
        for m in np.unique(length):
            own = first[length == m][:, None] + np.arange(m)
            for some in np.array_split(own, max(1, own.size * m // _CHUNK)):
                weight = count[some]
                value = total[some] @ total[some].transpose(0, 2, 1) + 1j * weight[:, :, None] * weight[:, None, :]
                at = (np.repeat(cells[some], m, axis=1).ravel(), np.tile(cells[some], m).ravel())
                same = same + sparse.coo_array((value.ravel(), at), shape=same.shape).tocsr()
        same = same.tocoo()
        self._row, self._column = same.coords
        value = np.asarray(same.data)
        raw = np.concatenate(
            [
                np.einsum("ij,ij->i", sums[self._row[some]], sums[self._column[some]])
                for some in np.array_split(np.arange(same.nnz), max(1, same.nnz * X.shape[1] // _CHUNK))
            ]
        )
        pairs = sizes[self._row] * sizes[self._column]
        self._change = (raw - value.real) / (pairs - value.imag) - raw / pairs

    def size(self) -> float:
        """Sum of the squared lengths of the means, noise included."""
        return float(np.vdot(self._means, self._means))

    def trace(self) -> float:
        """tr G."""
        return self.size() + float(self._change[self._row == self._column].sum())

    def along(self, U: Float[np.ndarray, "c p"]) -> float:
        """tr UᵀGU."""
        projected = U.T @ self._means
        return float(np.vdot(projected, projected) + self._change @ (U[self._row] * U[self._column]).sum(axis=1))

    def along_classes(self, member: Int[np.ndarray, " c"], size: Float[np.ndarray, " classes"]) -> float:
        """The same along the normalised indicators of classes of conditions."""
        total = _sums(self._means, member)
        together = member[self._row] == member[self._column]
        shared = (self._change / size[member[self._row]])[together].sum()
        return float((np.einsum("ij,ij->i", total, total) / size).sum() + shared)


def additive_share(
    X: Float[np.ndarray, "n d"],
    Y: Shaped[np.ndarray, " m *k"],
    context: Shaped[np.ndarray, " c"] | None = None,
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> float:
    """Share of what concepts do that is the sum of what each does alone, everywhere; higher is tidier.

    1 for one direction a concept; 1/C for unrelated directions in C contexts; k/(2ᵏ − 1) for one direction for each
    combination of k concepts. See ``AdditiveShare``.

    >>> Y, context = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (20, 1)), np.repeat([0, 1], 40)
    >>> round(additive_share(np.eye(4)[Y @ [2, 1]], Y, context), 9), round(additive_share(Y @ np.eye(2), Y, context), 9)
    (0.666666667, 1.0)
    """
    return AdditiveShare(X, Y, context, groups)()
