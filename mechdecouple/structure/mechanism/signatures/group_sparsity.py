"""Group sparsity: over how few representations of its task's group does a model answer?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Metric
from mechdecouple.structure.mechanism.signatures.group_basis import GroupBasis

GROUP_SPARSITY = Metric(
    name="group_sparsity",
    family="mechanism",
    title="sparsity in the group basis",
    measures="how few blocks of the group basis (frequencies, for a cyclic task) the centred option logits lie in: "
    "1 - (effective number - 1) / (that of equal shares by size - 1)",
    range="(-inf, 1]",
    invariances="anything that leaves the logits alone; a constant added to all logits of an item; their scale; "
    "which blocks they are",
    null="0: logits that are not sparser than those of a model that names the right option and treats all others alike",
    assumes="a task that composes elements of a group, whose options are its elements",
    source="key frequencies of arXiv:2301.05217; representations of arXiv:2302.03025",
)
EFFECTIVE_BLOCKS = dataclasses.replace(
    GROUP_SPARSITY,
    name="effective_representations",
    title="effective number of representations",
    measures="participation number of the shares of the blocks of the group basis (frequencies, for a cyclic task) in "
    "the centred option logits",
    range="[1, inf)",
    null="(Σ size)² / Σ size²: a model that names the right option and treats all others alike",
)
SPECTRUM_OVERLAP = dataclasses.replace(
    GROUP_SPARSITY,
    name="spectrum_overlap",
    title="overlap of representations",
    measures="overlap of the shares of the blocks of the group basis in the centred option logits of two models: "
    "Σ √(share in A · share in B)",
    range="[0, 1]",
    invariances="anything that leaves the logits alone; a constant added to all logits of an item; their scale",
    null="mean over permutations of blocks of one size: two models that learned any of them",
)


def spectrum(logits: Float[np.ndarray, "n m"], basis: GroupBasis) -> Float[np.ndarray, " q"]:
    """Share of each block of the basis in the logits of all items; NaN where the logits do not differ."""
    power = basis.power(logits).sum(axis=0)
    return power / power.sum() if power.sum() > 0 else np.full(len(power), math.nan)


def effective_blocks(share: Float[np.ndarray, " q"]) -> float:
    """1 / Σ share²: how many blocks of equal share would do.

    >>> effective_blocks(np.array([0.5, 0.5, 0.0]))
    2.0
    """
    return float(1 / (share**2).sum())


def group_sparsity(share: Float[np.ndarray, " q"], basis: GroupBasis) -> float:
    """1 where one block says it all, 0 where each has the share of its size; NaN with a single block.

    >>> from mechdecouple.structure.mechanism.signatures.group_basis import fourier_basis
    >>> round(group_sparsity(np.array([1.0, 0.0, 0.0]), fourier_basis(np.arange(7))), 6)
    1.0
    """
    even = effective_blocks(basis.sizes / basis.sizes.sum())
    return float(1 - (effective_blocks(share) - 1) / (even - 1)) if even > 1 else math.nan


def spectrum_overlap(a: Float[np.ndarray, " q"], b: Float[np.ndarray, " q"]) -> float:
    """Σ √(a b) of two spectra: 1 where they are the same, 0 where they have no block in common."""
    return float(np.sqrt(np.maximum(a * b, 0.0)).sum())


def overlap_null(
    a: Float[np.ndarray, " q"], b: Float[np.ndarray, " q"], basis: GroupBasis, draws: int = 199, seed: int = 0
) -> Float[np.ndarray, " draws"]:
    """The overlap with the blocks of B permuted among those of one size."""
    rng = np.random.default_rng(seed)
    out = np.empty(draws)
    for i in range(draws):
        moved = b.copy()
        for size in np.unique(basis.sizes):
            where = np.flatnonzero(basis.sizes == size)
            moved[where] = b[rng.permutation(where)]
        out[i] = spectrum_overlap(a, moved)
    return out
