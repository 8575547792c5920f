"""What is explained and by what: the options that answers are chosen among, and the features that can be masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from mechdecouple.behavior.options import encode_options
from mechdecouple.errors import InputError
from mechdecouple.faithfulness.stand_ins import StandIns
from mechdecouple.models import Encoded, HookedModel
from mechdecouple.tasks import Task


@dataclasses.dataclass(frozen=True, eq=False)
class OptionIds:
    """The options of each item as columns of the model's logits.

    Attributes:
        ids: [n, m] token or class; the first one again where an item has fewer than m.
        offered: [n, m] which there are. right: [n] which is right.
        at: [n] the token that answers; 0 for tensor inputs.
    """

    ids: Int[np.ndarray, "n m"]
    offered: Bool[np.ndarray, "n m"]
    right: Int[np.ndarray, " n"]
    at: Int[np.ndarray, " n"]


def option_ids(model: HookedModel, task: Task, encoded: Encoded | None, *, chat: bool) -> OptionIds:
    """Options by their first token, or the classes that are right for some item.

    Raises:
        InputError: no such options, a single class, or options that begin alike.
    """
    if task.performance not in ("choice", "class") or task.answers is None:
        raise InputError(
            f"task {task.name!r} is read as {task.performance!r}: explanations are checked where answers are among "
            "options or classes"
        )
    if task.performance == "class":
        classes, right = np.unique(task.answers.astype(np.int64), return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"all items of task {task.name!r} have one class: there is no other answer to choose")
        ids = np.broadcast_to(classes, (len(task), len(classes)))
        at = np.zeros(len(task), np.int64) if encoded is None else encoded.last()
        return OptionIds(ids, np.ones(ids.shape, bool), right.astype(np.int64), at)
    assert task.choices is not None
    if encoded is None:
        raise InputError(f"model {model.name!r} takes tensors and answers with classes: give the task class answers")
    options = encode_options(model, task, encoded, chat=chat)
    first = [[tokens[0] for tokens in of_item] for of_item in options.tokens]
    for row, of_item in enumerate(first):
        if len(set(of_item)) < len(of_item):
            raise InputError(
                f"{task.place(row)}, column choices: two options begin with the same token for model {model.name!r}; "
                "explanations tell options apart by their first tokens"
            )
    width = max(map(len, first))
    ids = np.array([of_item + of_item[:1] * (width - len(of_item)) for of_item in first])
    offered = np.array([[j < len(of_item) for j in range(width)] for of_item in first])
    right = np.array([c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)], np.int64)
    return OptionIds(ids, offered, right, options.at)


def features(
    model: HookedModel,
    task: Task,
    encoded: Encoded | None,
    at: Int[np.ndarray, " n"],
    stand_ins: StandIns,
    among: Sequence[np.ndarray] | None,
) -> Bool[np.ndarray, "n t"]:
    """Which tokens (or numbers) of each item can be masked.

    Special tokens cannot, nor those behind the token that answers; nor that one itself, where it is a masked language
    model's mask, or where masked tokens are taken out.

    Raises:
        InputError: nothing of an item is left, or ``among`` does not fit it.
    """
    n, width = stand_ins.values.shape
    out = np.zeros((n, width), bool)
    for item in range(n):
        own = np.ones(width, bool)
        if encoded is not None:
            own = ~encoded.special[item]
            place = np.arange(len(own))
            if model.head == "lm":
                own &= place <= at[item]
            if model.head == "mlm" or stand_ins.kind == "remove":
                own &= place != at[item]
        if among is not None:
            given = np.asarray(among[item], bool).reshape(-1)
            if given.shape != own.shape:
                raise InputError(
                    f"{task.place(item)}: among has {len(given)} values; expected a bool for each of its {len(own)} "
                    f"{'numbers' if encoded is None else 'tokens'}"
                )
            own = own & given
        if not own.any():
            raise InputError(f"{task.place(item)}: nothing of it can be masked; leave the item out")
        out[item, : len(own)] = own
    return out
