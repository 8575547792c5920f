"""Alignment: which layers of two models of unequal depth belong together, chosen by similarity and paid for in rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechdecouple.compare.pairing import Site, sites
from mechdecouple.compare.side import Side
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.structure import cka_matrix
from mechdecouple.tasks import Task

_FEWEST_GROUPS = 16
_NEARER = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Alignment:
    """Layers of two models paired in order.

    Attributes:
        pairs: (layer of A, layer of B), rising in both; every layer of the model that has fewer is in one.
        similarity: [a, b] debiased linear CKA on the spent rows. Among the chosen pairs it is too high: never report it
            as their similarity.
        spent: [n] rows that the choice was made on; whatever is said of the pairs must come from the others.
    """

    pairs: tuple[tuple[int, int], ...]
    similarity: Float[np.ndarray, "a b"]
    spent: Bool[np.ndarray, " n"]


def alignment_rows(groups: Shaped[np.ndarray, " n"], share: float = 0.2, seed: int = 0) -> Bool[np.ndarray, " n"]:
    """Rows to spend on an alignment: all those of a ``share`` of the groups, drawn at random, at least eight groups.

    Raises:
        InputError: fewer than 16 groups, or a share outside (0, 1/2].
    """
    if not 0 < share <= 0.5:
        raise InputError(f"share {share}: expected a number above 0 and at most 0.5")
    names, group = np.unique(groups, return_inverse=True)
    if len(names) < _FEWEST_GROUPS:
        raise InputError(
            f"{len(names)} groups of items: aligning layers by similarity takes at least {_FEWEST_GROUPS}, since it "
            "spends some of them; pair the layers by depth"
        )
    n_spent = max(_FEWEST_GROUPS // 2, round(share * len(names)))
    spent = np.zeros(len(names), dtype=bool)
    spent[np.random.default_rng(seed).choice(len(names), n_spent, replace=False)] = True
    return spent[group]


def align(A: Sequence[np.ndarray], B: Sequence[np.ndarray], spent: Bool[np.ndarray, " n"]) -> Alignment:
    """Pair the layers of two models so that the summed CKA of the pairs is the largest that keeps their order.

    Each layer of the model with fewer gets one of its own in the other. The best of many alignments looks similar even
    where the models share nothing, so the choice is made on the ``spent`` rows alone and these are then done with.

    Args:
        A, B: layers [n, d_l] in order, rows being the same items; spent: from ``alignment_rows``.

    Raises:
        InputError: no layers, activations that are not finite. MismatchError: different numbers of rows.

    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(200, 5)) for _ in range(3)]
    >>> align(X[1:], X, alignment_rows(np.arange(200))).pairs
    ((0, 1), (1, 2))
    """
    for layer in (*A, *B):
        if len(layer) != len(spent):
            raise MismatchError(
                f"a layer has {len(layer)} rows, {len(spent)} are marked as spent or not: expected equal"
            )
    found = cka_matrix([a[spent] for a in A], [b[spent] for b in B], n_blocks=0, n_permutations=0)
    similarity = np.asarray(found.value.value)
    return Alignment(in_order(similarity), similarity, spent)


def in_order(similarity: Float[np.ndarray, "a b"]) -> tuple[tuple[int, int], ...]:
    """The pairs (row, column), rising in both and one for each of the fewer, of largest sum; by dynamic programming.

    Undefined similarity (a constant layer) counts as none. Of equally similar layers the nearer in relative depth wins.
    """
    if similarity.shape[0] > similarity.shape[1]:
        return tuple((j, i) for i, j in in_order(similarity.T))
    few, many = similarity.shape
    depth = [np.linspace(0, 1, size) if size > 1 else np.array([0.5]) for size in (few, many)]
    gain = np.nan_to_num(similarity) - _NEARER * np.abs(np.subtract.outer(*depth))
    best = np.zeros((few + 1, many + 1))
    best[1:, 0] = -np.inf
    for i in range(1, few + 1):
        for j in range(1, many + 1):
            best[i, j] = max(best[i, j - 1], best[i - 1, j - 1] + gain[i - 1, j - 1])
    pairs, j = [], many
    for i in range(few, 0, -1):
        while best[i, j] == best[i, j - 1]:
            j -= 1
        pairs.append((i - 1, j - 1))
        j -= 1
    return tuple(reversed(pairs))


def aligned_sites(a: Side, b: Side, spent: np.ndarray) -> tuple[Site, ...]:
    """Sites paired by similarity on the spent items, asked honestly and in distribution like those measured later."""
    rows = np.flatnonzero((spent & a.task.honest_mask & ~a.task.shift_mask)[a.acts.items])
    in_a, in_b = ([side.acts[point][rows] for point in side.points] for side in (a, b))
    return sites(a.model, a.points, b.model, b.points, align(in_a, in_b, np.ones(len(rows), dtype=bool)).pairs)


def alignment_note(chosen: Sequence[Site], spent: np.ndarray, task: Task) -> str:
    """What was chosen, and what it cost, in a sentence."""
    n_groups, n_all = len(np.unique(task.groups[spent])), len(np.unique(task.groups))
    pairs = ", ".join(f"{site.a} with {site.b}" for site in chosen)
    return (
        f"Layers are paired in order by similarity (debiased CKA) on {n_groups} of {n_all} groups of items, which are "
        f"kept out of everything measured at these pairs: {pairs}."
    )
