"""What fits a budget of item passes, and what fits memory: which parts are ablated, on which items, from which tape."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism._scores import sampled
from mechdecouple.structure.mechanism.attribution import PASSES
from mechdecouple.structure.mechanism.component import Component, hook_points
from mechdecouple.structure.mechanism.components import look
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import ABLATIONS, Ablation, Tape

BUDGET = 12_000
"""Item passes that a profile may take: half a minute for six layers of width 256 at 16 tokens on two cores."""
ITEMS = (64, 256)
"""A profile takes as many items as its budget allows, between these bounds."""
_TAPE_BYTES = 2**29


def profile_items(
    components: Sequence[Component], ablations: Sequence[Ablation] = ABLATIONS, budget: int = BUDGET
) -> int:
    """Items that leave room in a budget for every part that other models have too and an eighth of the others."""
    fine = sum(c.fine for c in components)
    wanted = len(components) - fine + math.ceil(fine / 8)
    return int(np.clip(budget // (PASSES + 2 + wanted * len(ablations)), *ITEMS))


def schedule(
    rig: Rig, parts: Sequence[Component], ablations: Sequence[Ablation], budget: int, limit: int | None, seed: int
) -> tuple[Int[np.ndarray, " n"], int]:
    """Rows to read, and how many parts can be ablated exactly.

    Raises:
        InputError: no components, names given twice, unknown ablations, a budget that holds no part.
    """
    if not parts or not ablations or set(ablations) - set(ABLATIONS):
        raise InputError(
            f"{len(parts)} components under ablations {list(ablations)}: expected at least one of each, ablations of "
            f"{', '.join(ABLATIONS)}"
        )
    if len({c.name for c in parts}) < len(parts):
        raise InputError("two components have the same name: give each its own")
    rows = sampled(rig.task.groups, limit or profile_items(parts, ablations, budget), seed)
    n, k, tapes = len(rows), len(ablations), n_tapes(rig, parts, len(rows), len(ablations))
    if n * (tapes + len(parts) * k) <= budget:
        return rows, len(parts)
    count = (budget // n - tapes - PASSES) // k
    if count < 1:
        least = n * (tapes + PASSES + k)
        raise InputError(f"a budget of {budget} item passes holds no ablation on {n} items: give {least} or more")
    return rows, count


def ranked(parts: Sequence[Component], attributed: Float[np.ndarray, "c n"] | None) -> list[int]:
    """Parts in the order in which a budget is spent on them."""
    if attributed is None:
        return list(range(len(parts)))
    size = (attributed**2).mean(axis=1)
    return sorted(range(len(parts)), key=lambda i: (parts[i].fine, parts[i].kind == "head pattern", -size[i]))


def taped(rig: Rig, parts: Sequence[Component], rows: Sequence[int], k: int) -> Iterator[tuple[list[int], Tape]]:
    """The parts by what fits memory together, in order of depth, each with a tape that holds their activations."""
    for members in _by_memory(rig, parts, sorted(rows), len(rig), k):
        yield members, rig.tape(hook_points([parts[i] for i in members]))


def n_tapes(rig: Rig, parts: Sequence[Component], n: int, k: int) -> int:
    """Readings that it takes to record them all."""
    return len(_by_memory(rig, parts, range(len(parts)), n, k))


def _by_memory(rig: Rig, parts: Sequence[Component], rows: Sequence[int], n: int, k: int) -> list[list[int]]:
    points = hook_points([parts[i] for i in rows])
    size = {p: v[:1].numel() * 4 * n * k for p, v in look(rig, points).items()}
    out, held = [list[int]()], set[str]()
    for i in rows:
        grown = held | set(parts[i].hook_points)
        if out[-1] and sum(size.get(p, 0) for p in grown) > _TAPE_BYTES:
            out.append([])
            grown = set(parts[i].hook_points)
        out[-1].append(i)
        held = grown
    return out
