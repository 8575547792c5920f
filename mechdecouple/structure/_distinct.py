"""U-statistics of linear Gram matrices over rows of distinct groups, with each block of groups left out in turn.

Rows of one group are alike, so products of two of them say more than the covariance does: averaged with the others
they bias its estimates (CKA upwards, participation ratio downwards), the more so the fewer groups there are. Here no
product holds two rows of one group. With K = XX', L = YY' of centred rows, group sums s_a and t_a, A_a = X_a'Y_a,
C = Σ A_a and P = Σ s_a t_a', and i, j, … rows of distinct groups,

    Σ K_ij L_ij = |C|² - Σ_a |A_a|²
    Σ K_ij L_ik = 2 Σ_a s_a' A_a t_a - <P, C>
    Σ K_ij L_kl = Σ_a |s_a|² Σ_a |t_a|² - 6 Σ_a |s_a|² |t_a|² + 2 |P|²

and what concerns one group comes from the Gram matrix of its own rows. With one row a group these are the sums of
``_moments``.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Float64, Int

_CHUNK_PAIRS = 4_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class Distinct:
    """Unbiased squared covariances; first entry for all rows, then one for each block left out. NaN below 4 groups.

    Attributes:
        cross: ||cov(x, y)||^2; squared_trace: (tr cov x)(tr cov y).
    """

    cross: Float[np.ndarray, " r"]
    squared_trace: Float[np.ndarray, " r"]


def distinct(
    X: Float64[np.ndarray, "n d"],
    Y: Float64[np.ndarray, "n e"],
    group: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"] | None = None,
) -> Distinct:
    """The statistics of the rows of X and Y; ``group`` holds codes 0 … g - 1, and a block holds whole groups.

    Cost: a few n x d x e products; with n < d give rows in the basis of their span.
    """
    order = np.argsort(group, kind="stable")
    same = Y is X
    X, group = X[order], group[order]
    Y = X if same else Y[order]
    block = np.zeros(len(X), dtype=int) if blocks is None else np.unique(blocks[order], return_inverse=True)[1]
    n_blocks = int(block.max()) + 1
    sizes = np.bincount(group)
    starts = np.cumsum(sizes) - sizes
    X = X - X.mean(axis=0)
    Y = X if same else Y - Y.mean(axis=0)
    sum_x = np.add.reduceat(X, starts)
    sums = sum_x, sum_x if same else np.add.reduceat(Y, starts)
    of_group = block[starts]
    parts = [
        (X[rows].T @ Y[rows], sums[0][own].T @ sums[1][own])
        for rows, own in ((block == b, of_group == b) for b in range(n_blocks))
    ]
    C, P = (np.sum(part, axis=0) for part in zip(*parts, strict=True))
    inside = _Inside(X, Y, sizes, starts)
    found = []
    for b in range(-1, n_blocks) if blocks is not None else (-1,):
        kept = of_group != b
        size = sizes[kept].astype(float)
        n = size.sum()
        mean = [-s[~kept].sum(axis=0) / max(n, 1.0) for s in sums]
        c, p = (C, P) if b < 0 else (C - parts[b][0], P - parts[b][1])
        w = [size @ s[kept] for s in sums]
        shift = np.outer(mean[0], mean[1])
        c = c - n * shift
        p = p - np.outer(w[0], mean[1]) - np.outer(mean[0], w[1]) + size @ size * shift
        found.append(_statistics(size, c, p, inside.of(kept, *mean)))
    return Distinct(*np.array(found).T)


class _Inside:
    """Sums over pairs of rows inside each group, about any centre; groups of equal size together."""

    def __init__(self, X: np.ndarray, Y: np.ndarray, sizes: np.ndarray, starts: np.ndarray) -> None:
        self._X, self._Y = X, Y
        self._parts = []
        for size in np.unique(sizes):
            members = np.flatnonzero(sizes == size)
            for own in np.array_split(members, max(1, len(members) * int(size) ** 2 // _CHUNK_PAIRS)):
                rows = starts[own][:, None] + np.arange(size)
                gram = np.einsum("gid,gjd->gij", X[rows], X[rows])
                other = gram if Y is X else np.einsum("gid,gjd->gij", Y[rows], Y[rows])
                self._parts.append((own, rows, gram, other))
        self._n = len(sizes)

    def of(self, kept: np.ndarray, mean_x: np.ndarray, mean_y: np.ndarray) -> np.ndarray:
        """[6, kept groups]: |A|², s'At, |s|² and |t|² of each group, traces of K and L; rows less the means."""
        out = np.zeros((6, self._n))
        along = self._X @ mean_x, self._Y @ mean_y
        square = mean_x @ mean_x, mean_y @ mean_y
        for own, rows, *grams in self._parts:
            K, L = (
                gram - u[rows][:, :, None] - u[rows][:, None, :] + m
                for gram, u, m in zip(grams, along, square, strict=True)
            )
            k, l = K.sum(axis=2), L.sum(axis=2)
            out[:, own] = (
                np.einsum("gij,gij->g", K, L), (k * l).sum(axis=1), k.sum(axis=1), l.sum(axis=1),
                np.einsum("gii->g", K), np.einsum("gii->g", L),
            )  # fmt: skip
        return out[:, kept]


def _statistics(size: np.ndarray, c: np.ndarray, p: np.ndarray, inside: np.ndarray) -> tuple[float, float]:
    if len(size) < 4:
        return float("nan"), float("nan")
    both, mixed, x, y, trace_x, trace_y = inside
    pairs, triples, quadruples = tuples(size)
    far = x.sum() * y.sum() - 6 * (x @ y) + 2 * np.vdot(p, p)
    cross = (np.vdot(c, c) - both.sum()) / pairs - 2 * (2 * mixed.sum() - np.vdot(p, c)) / triples + far / quadruples
    ends = trace_x.sum() * trace_y.sum() - trace_x @ trace_y
    middle = (
        trace_x @ y + trace_y @ x - (trace_x.sum() * y.sum() + trace_y.sum() * x.sum()) / 2
    )  # half of each order of the two sides
    return float(cross), float(ends / pairs - 2 * middle / triples + far / quadruples)


def tuples(size: np.ndarray) -> tuple[float, float, float]:
    """How many ordered pairs, triples and quadruples of rows of distinct groups there are."""
    n, s2, s3, s4 = (float((size**power).sum()) for power in (1, 2, 3, 4))
    return n**2 - s2, n**3 - 3 * n * s2 + 2 * s3, n**4 - 6 * n**2 * s2 + 3 * s2**2 + 8 * n * s3 - 6 * s4
