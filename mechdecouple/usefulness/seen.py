"""What a person sees of a task's items, as columns of numbers."""

from __future__ import annotations

import numpy as np

from mechdecouple.tasks import Task

MAX_LEVELS = 50
MAX_INPUTS = 64


def seen(task: Task) -> dict[str, np.ndarray]:
    """Name -> [n] float: the declared concepts, which of them is asked for, context and condition.

    Named levels become a 0/1 column each, where there are at most 50 of them. Of tasks on tensors without concepts, the
    inputs themselves, where an item has at most 64 numbers. What is the same for all items is left out, and so is
    truth: who uses a model does not see it.
    """
    columns = dict(task.concepts)
    for name in ("asks", "context", "condition"):
        values = getattr(task, name)
        if values is not None:
            columns |= _levels(name, values)
    if not columns and task.inputs is not None and task.inputs[0].size <= MAX_INPUTS:
        flat = task.inputs.reshape(len(task), -1).astype(float)
        columns = {f"input {j}": flat[:, j] for j in range(flat.shape[1])}
    return {name: values for name, values in columns.items() if np.ptp(values) > 0}


def _levels(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    levels = np.unique(values)
    if not 2 <= len(levels) <= MAX_LEVELS:
        return {}
    # of two levels one column says all
    told = levels[1:] if len(levels) == 2 else levels
    return {f"{name}={level}": (values == level).astype(float) for level in told}
