"""Interchange: whether answers follow a concept when its directions are swapped between items at one place."""

from __future__ import annotations

from mechdecouple.structure.mechanism._interchanged import (
    FOLLOWS,
    KEEPS,
    METHODS,
    SCORES,
    SHARE,
    UNSEEN,
    Interchange,
    Method,
)
from mechdecouple.structure.mechanism._stage import FIT, POOL, Place, Stage
from mechdecouple.structure.mechanism._swaps import Swaps, cell_cost
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task

__all__ = [
    "FOLLOWS",
    "KEEPS",
    "LIMIT",
    "METHODS",
    "SCORES",
    "SHARE",
    "UNSEEN",
    "Interchange",
    "Method",
    "Place",
    "interchange",
    "interchange_cost",
]

LIMIT = 128
"""Pairs of items that swaps are tried on by default."""


def interchange(
    rig: Rig,
    concept: str,
    point: str,
    *,
    position: str = "all",
    method: Method = "mean_difference",
    k: int | None = None,
    limit: int = LIMIT,
    seed: int = 0,
) -> Interchange:
    """Swap a concept's directions between held-out items at one place and see whether the answers follow.

    The base item's coordinates in the directions are replaced by those of another item with another value of the
    concept; the answer should be that of the item of the table that has this value and agrees with the base in all
    else. Directions come from items of other groups.

    Args:
        rig: the model on all items of the task: they are the table, of which some are read.
        point: a hook point that holds features.
        position: ``all`` tokens together (of prompts of one length), ``last``, a ``position_*`` column, or the index
            of a token as text. Tensor inputs: ``all``.
        method: ``mean_difference`` (scatter between the levels' means, the other concepts standing still), ``pca``
            (of differences of items that agree in all else), or ``rotation`` (trained from the first, within the
            second; costs ``interchange_cost``).
        k: directions of each token; default: those that hold 99 % of the scatter between levels that repeats in other
            groups.
        limit: pairs of held-out items to try it on; five times as many items serve to find the directions.

    Returns:
        its ``reason`` says why where nothing can be swapped.

    Raises:
        InputError: unknown concept, method or position, no hook point of features, fewer than two groups, k < 1.
        ModelError: unknown hook point.

    Example:
        >>> interchange(Rig(load("zoo:factored"), load_task("zoo:factored")), "size", "blocks.1.hook_resid_post",
        ...     position="last")  # doctest: +SKIP
    """
    stage = Stage(rig, [point], limit=limit, seed=seed)
    return Swaps(stage, concept, seed).at(stage.place(point, position), method, k)


def interchange_cost(
    task: Task, concept: str, cells: int = 1, *, method: Method = "mean_difference", limit: int = LIMIT
) -> int:
    """Item passes that swapping a concept at so many places takes at most, recording included."""
    tested = min(limit, len(task) // 2)
    return min((FIT + POOL) * limit, len(task)) + cells * cell_cost(task, concept, tested, method)
