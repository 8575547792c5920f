"""Group basis: functions on the options of a task that composes elements of a group, sorted by representation."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.cyclic import cyclic
from mechdecouple.structure.mechanism.signatures.factors import inputs
from mechdecouple.structure.mechanism.signatures.shared import SharedOptions, shared_options

MOST = 128
"""A group with more elements is not looked for in a table of answers."""


@dataclasses.dataclass(frozen=True, eq=False)
class GroupBasis:
    """Orthonormal functions on the options, in blocks that the group maps into themselves.

    Attributes:
        functions: [m, m] columns. block: [m] of each column; the first block is the constant.
        names: of the blocks.
    """

    functions: Float[np.ndarray, "m m"]
    block: Int[np.ndarray, " m"]
    names: tuple[str, ...]

    @property
    def sizes(self) -> Int[np.ndarray, " q"]:
        """Functions in each block but the constant."""
        return np.bincount(self.block)[1:]

    def power(self, logits: Float[np.ndarray, "n m"]) -> Float[np.ndarray, "n q"]:
        """Squared length of each item's logits in each block but the constant."""
        square = (np.asarray(logits, np.float64) @ self.functions) ** 2
        return (square @ np.eye(len(self.names))[self.block])[:, 1:]


def fourier_basis(element: Int[np.ndarray, " p"]) -> GroupBasis:
    """Waves over the residues that options stand for; a block a frequency 0, 1, …, p // 2.

    >>> fourier_basis(np.arange(5)).names
    ('0', '1', '2')
    """
    p = len(element)
    columns, block = [], []
    for k in range(p // 2 + 1):
        angle = 2 * np.pi * k * np.asarray(element) / p
        for wave in (np.cos(angle), np.sin(angle)):
            if np.linalg.norm(wave) > 1e-6:
                columns.append(wave / np.linalg.norm(wave))
                block.append(k)
    return GroupBasis(np.stack(columns, axis=1), np.array(block), tuple(map(str, range(p // 2 + 1))))


def table_basis(table: Int[np.ndarray, "m m"]) -> GroupBasis:
    """The same for any finite group, from its table of answers; a block an irreducible representation.

    Representations that are complex conjugates of each other are one block. The labels of the inputs do not matter, and
    need not be those of the options.

    Args:
        table: answer (0 … m-1) to each pair of inputs.

    Raises:
        InputError: the table is not that of a group.
    """
    m = len(table)
    if not all(np.array_equal(np.sort(line), np.arange(m)) for line in (*table, *table.T)):
        raise InputError("the table is not that of a group: an answer stands twice in a row or column")
    # What turns the answers with one second input into those with another permutes the options as the group does.
    moves = np.empty((m, m), np.int64)
    for b in range(m):
        moves[b, table[:, 0]] = table[:, b]
    # No two moves take one option to the same place, so that where they take the first one names them.
    named = np.argsort(moves[:, 0])
    product = named[moves[:, moves[:, 0]]]
    if not np.array_equal(moves[product], moves[:, moves]):
        raise InputError("the table is not that of a group: what its moves do one after another is no move")
    identity = int(named[0])
    inverse = (product == identity).argmax(axis=1)
    conjugates = [sorted({int(product[product[h, g], inverse[h]]) for h in range(m)}) for g in range(m)]
    classes = {tuple(sorted({*conjugates[g], *conjugates[inverse[g]]})) for g in range(m)}
    rng = np.random.default_rng(0)
    total = np.zeros((m, m))
    for members in sorted(classes):
        weight = rng.normal() / np.sqrt(len(members))
        for g in members:
            total[moves[g], np.arange(m)] += weight
    value, functions = np.linalg.eigh(total)
    alike = np.cumsum(np.r_[0, np.diff(value) > 1e-6 * np.ptp(value)])
    constant = alike[int(np.abs(functions.sum(axis=0)).argmax())]
    order = np.argsort(np.where(alike == constant, -1, alike), kind="stable")
    sizes = np.bincount(alike)
    block = np.unique(np.where(alike == constant, -1, alike)[order], return_inverse=True)[1].ravel()
    names = [f"{int(size)} functions" for size in sizes[[alike[order][block == q][0] for q in range(len(sizes))]]]
    return GroupBasis(functions[:, order], block, tuple(f"{i}: {name}" for i, name in enumerate(names)))


def task_basis(rig: Rig) -> tuple[GroupBasis, SharedOptions] | str:
    """The basis of a task whose answers compose two inputs: cyclic, or any group whose table is complete.

    Otherwise the reason why there is none.
    """
    options = shared_options(rig)
    if options is None:
        return "items choose among different options: there is no group of them"
    grid = cyclic(rig)
    if grid is not None:
        return fourier_basis(grid.element), options
    found, reason = inputs(rig)
    m = len(options.names)
    two = [codes for codes in found.values() if codes.max() == m - 1]
    for i, a in enumerate(two if m <= MOST else ()):
        for b in two[i + 1 :]:
            table = np.full((m, m), -1)
            table[a, b] = options.right
            if (table >= 0).all() and np.array_equal(table[a, b], options.right):
                try:
                    return table_basis(table), options
                except InputError as error:
                    reason = str(error)
    return reason or "the answers are no complete table of two inputs with as many values as there are options"
