"""Latents on rows as sparse tables, and the sums over rows that every correlation of two of them is made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import sparse

from mechdecouple.errors import InputError, MismatchError

Latents = np.ndarray | sparse.csr_matrix | sparse.csr_array
"""Latents of n rows ``[n, m]``: a dense table, or a sparse one as ``SparseAutoencoder.encode_sparse`` makes."""

ENTRIES = 2**22
"""Numbers held at once while a product is made: 32 MB."""


@dataclass(frozen=True, eq=False)
class Codes:
    """The live latents of one dictionary, each scaled to norm 1 around its mean, so that products are correlations.

    Attributes:
        live: their numbers in the dictionary.
        rows: the scaled (not centred) latents.
        mean: of each scaled latent over the rows.
    """

    live: Int[np.ndarray, " l"]
    rows: sparse.csr_matrix
    mean: Float[np.ndarray, " l"]

    @property
    def n(self) -> int:
        return shape(self.rows)[0]

    @property
    def m(self) -> int:
        return len(self.live)

    @cached_property
    def columns(self) -> sparse.csc_matrix:
        return sparse.csc_matrix(self.rows)

    @cached_property
    def firing(self) -> sparse.csc_matrix:
        """1 where a latent fires."""
        return _with_data(self.columns, np.ones(self.columns.nnz))

    @cached_property
    def energy(self) -> sparse.csc_matrix:
        """Squares, each latent's summing to 1."""
        squares = _with_data(self.columns, np.square(self.columns.data))
        total = np.asarray(squares.sum(0)).ravel()
        return sparse.csc_matrix(squares.multiply(1 / np.where(total > 0, total, 1)))

    @cached_property
    def table(self) -> Float[np.ndarray, "n l"]:
        """Dense and centred, in single precision."""
        return (self.rows.toarray() - self.mean).astype(np.float32)

    @property
    def density(self) -> float:
        return self.rows.nnz / max(1, self.n * self.m)

    def reordered(self, order: Int[np.ndarray, " n"]) -> Codes:
        return Codes(self.live, self.rows[order], self.mean)


def shape(latents: Latents | sparse.csc_matrix) -> tuple[int, int]:
    """Rows and latents."""
    n, m = latents.shape  # pyright: ignore[reportGeneralTypeIssues]  (scipy leaves the type of its shapes open)
    return int(n), int(m)


def as_sparse(latents: Latents, name: str) -> sparse.csr_matrix:
    """Latents as a canonical sparse table (no stored zeros, columns in order).

    Raises:
        InputError: not a table, no rows, or NaN or infinity (the first such row is named).
    """
    if latents.ndim != 2 or not shape(latents)[0]:
        raise InputError(f"latents of {name} have shape {latents.shape}, expected [rows, latents]")
    if not isinstance(latents, np.ndarray):
        table = sparse.csr_matrix(latents, copy=True)
        table.sum_duplicates()
    else:
        step = max(1, ENTRIES // max(1, latents.shape[1]))
        parts = [sparse.csr_matrix(latents[start : start + step]) for start in range(0, len(latents), step)]
        table = sparse.csr_matrix(sparse.vstack(parts, format="csr"))
    table.eliminate_zeros()
    if not np.isfinite(table.data).all():
        row = np.searchsorted(table.indptr, np.argmin(np.isfinite(table.data)), side="right") - 1
        raise InputError(f"row {int(row)} of the latents of {name} holds NaN or infinity")
    return table


def repetitions(*latents: Latents) -> Int[np.ndarray, " n"]:
    """A number for each row, the same for rows that are identical in every one of the tables."""
    tables = [as_sparse(x, "a dictionary") for x in latents]
    numbers = np.empty(shape(tables[0])[0], np.uint64)
    for row in range(len(numbers)):
        digest = hashlib.blake2b(digest_size=8)
        for table in tables:
            part = slice(table.indptr[row], table.indptr[row + 1])
            digest.update(len(table.indices[part]).to_bytes(8, "little"))
            digest.update(table.indices[part].tobytes())
            digest.update(table.data[part].tobytes())
        numbers[row] = int.from_bytes(digest.digest(), "little")
    return np.unique(numbers, return_inverse=True)[1]


def check_rows(
    a: sparse.csr_matrix, b: sparse.csr_matrix, groups: np.ndarray | None
) -> tuple[Shaped[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The group of each row, and which rows are not a repetition of an earlier one."""
    n, n_b = shape(a)[0], shape(b)[0]
    if n != n_b:
        raise MismatchError(f"latents of A have {n} rows and those of B {n_b}; encode the same items in both")
    content = repetitions(a, b)
    distinct = np.zeros(n, bool)
    distinct[np.unique(content, return_index=True)[1]] = True
    if groups is None:
        return content, distinct
    if len(groups) != n:
        raise MismatchError(f"{len(groups)} groups for {n} rows of latents; give one group a row")
    return np.asarray(groups), distinct


def standardised(table: sparse.csr_matrix, distinct: Bool[np.ndarray, " n"], min_rows: int) -> Codes:
    """The latents that fire on at least ``min_rows`` distinct rows and are not constant, scaled."""
    n, m = shape(table)
    fires = np.bincount(table[distinct].indices, minlength=m) >= min_rows
    columns = table[:, np.flatnonzero(fires)].tocsc().astype(np.float64)
    # Spread is summed around the mean: a latent that is large and hardly varies loses it in the sum of squares.
    mean = np.asarray(columns.sum(0)).ravel() / n
    deviation = columns.data - np.repeat(mean, np.diff(columns.indptr))
    latent = np.repeat(np.arange(len(mean)), np.diff(columns.indptr))
    silent = n - np.diff(columns.indptr)
    spread = np.bincount(latent, weights=np.square(deviation), minlength=len(mean)) + silent * np.square(mean)
    varies = spread > 1e-12 * n * np.square(mean)
    scale = sparse.diags_array(1 / np.sqrt(spread[varies]))
    live = np.flatnonzero(fires)[varies]
    return Codes(live, sparse.csr_matrix(columns[:, varies] @ scale), mean[varies] / np.sqrt(spread[varies]))


def pair_sums(
    x: sparse.csc_matrix,
    y: sparse.csc_matrix,
    i: Int[np.ndarray, " p"],
    j: Int[np.ndarray, " p"],
    blocks: Int[np.ndarray, " n"],
    n_blocks: int,
) -> Float[np.ndarray, "p k"]:
    """Σ x[row, i]·y[row, j] over the rows of each block, for some pairs of columns only."""
    out = np.zeros((len(i), n_blocks))
    order = np.argsort(i, kind="stable")
    i, j = i[order], j[order]
    lengths = np.diff(y.indptr)[j]
    n = shape(x)[0]
    width = max(1, ENTRIES // n)
    slot = np.unique(i, return_inverse=True)[1]
    piece = slot // width + np.cumsum(lengths) // ENTRIES  # both ascend, so each value is one run
    buffer = np.zeros((width, n))
    for part in np.split(np.arange(len(i)), np.flatnonzero(np.diff(piece)) + 1) if len(i) else ():
        slots, first = np.unique(slot[part], return_index=True)
        latents = i[part][first]
        rows_x, owner = ragged(x.indptr[latents], x.indptr[latents + 1])
        at = (slots % width)[owner]
        buffer[at, x.indices[rows_x]] = x.data[rows_x]
        taken, pair = ragged(y.indptr[j[part]], y.indptr[j[part] + 1])
        rows = y.indices[taken]
        product = buffer[(slot[part] % width)[pair], rows] * y.data[taken]
        sums = np.bincount(pair * n_blocks + blocks[rows], weights=product, minlength=len(part) * n_blocks)
        out[order[part]] = sums.reshape(len(part), n_blocks)
        buffer[at, x.indices[rows_x]] = 0
    return out


def ragged(
    start: Int[np.ndarray, " k"], stop: Int[np.ndarray, " k"]
) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
    """Whole numbers of several ranges laid end to end, and which range each is of."""
    lengths = stop - start
    owner = np.repeat(np.arange(len(start)), lengths)
    offset = np.cumsum(lengths) - lengths
    return np.arange(len(owner)) - offset[owner] + start[owner], owner


def _with_data(table: sparse.csc_matrix, data: np.ndarray) -> sparse.csc_matrix:
    return sparse.csc_matrix((data, table.indices, table.indptr), shape=table.shape)
