"""Shared options: the same answers for every item, a column each."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.structure.mechanism.options import OptionLogits, right_options
from mechdecouple.structure.mechanism.rig import Rig


@dataclasses.dataclass(frozen=True, eq=False)
class SharedOptions:
    """Which column of `OptionLogits` holds which option, for items that all choose among the same ones.

    Attributes:
        names: [m] the options, in sorted order.
        column: [n, m] where each item has them.
        right: [n] number of the right one.
    """

    names: tuple[str, ...]
    column: Int[np.ndarray, "n m"]
    right: Int[np.ndarray, " n"]

    def of(self, logits: OptionLogits) -> Float[np.ndarray, "n m"]:
        """Centred logits with a column an option, in the order of the names."""
        return np.take_along_axis(logits.values, self.column, axis=1)


def shared_options(rig: Rig) -> SharedOptions | None:
    """The options that all items share, in whatever order items list them; None where items choose among others."""
    task, right = rig.task, right_options(rig.task)
    if rig.classes is not None:
        column = np.broadcast_to(np.arange(len(rig.classes)), (len(task), len(rig.classes)))
        return SharedOptions(tuple(map(str, rig.classes.tolist())), column, np.searchsorted(rig.classes, right))
    if task.choices is None:
        return None
    names = sorted(task.choices[0])
    orders = set(task.choices)
    if any(sorted(order) != names for order in orders):
        return None
    where = {order: [order.index(name) for name in names] for order in orders}
    column = np.array([where[order] for order in task.choices])
    return SharedOptions(tuple(names), column, (column == right[:, None]).argmax(axis=1))
