"""Which tokens of an item become rows, and how they are taken out of a padded batch, on the device that computed it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.models import Encoded
from mechdecouple.models.batch import moved
from mechdecouple.tasks import Task

POSITIONS = ("last", "mean", "all")


def check_position(task: Task, position: str) -> None:
    """Raises an InputError unless ``position`` is ``last``, ``mean``, ``all`` or a position column of the task."""
    columns = [column for column in task.frame.columns if column.startswith("position_")]
    if position not in (*POSITIONS, *columns):
        known = ", ".join((*POSITIONS, *columns))
        raise InputError(f"position {position!r} is unknown; expected {known}, or a position_* column of the task")


def picked_tokens(encoded: Encoded, task: Task, position: str, special: bool) -> list[np.ndarray]:
    """Per item the indices of the tokens that ``position`` names (for the mean: those averaged over).

    Args:
        special: count BOS, EOS, CLS and the like as tokens; a position column names its token either way.
    """
    if position in POSITIONS:
        kept = [np.arange(len(mask)) if special else np.flatnonzero(~mask) for mask in encoded.special]
        return [tokens[-1:] for tokens in kept] if position == "last" else kept
    return [np.array([at]) for at in encoded.at(list(task.frame[position]), column=position)]


class Picker:
    """Takes the rows of one batch out of its activations [b, t, ...]; made once a batch, used at every hook point."""

    def __init__(self, tokens: list[np.ndarray], width: int, position: str, device: torch.device) -> None:
        self.position, self.shape = position, (len(tokens), width)
        if position == "mean":
            weights = torch.zeros(len(tokens), 1, width)
            for item, kept in enumerate(tokens):
                weights[item, 0, torch.from_numpy(kept)] = 1 / len(kept)
            self._weights = moved(weights, device)
        else:
            flat = np.concatenate([item * width + kept for item, kept in enumerate(tokens)])
            self._flat = moved(torch.from_numpy(flat), device)

    def __call__(self, values: Tensor, hook_point: str) -> Tensor:
        """The rows [r, d] of activations [b, t, ...]; trailing dimensions (heads) are flattened."""
        if tuple(values.shape[:2]) != self.shape or values.ndim < 3:
            raise InputError(
                f"hook point {hook_point!r} has shape {tuple(values.shape)}; expected a vector a token, {self.shape}"
            )
        values = values.flatten(2)
        if self.position == "mean":
            return torch.bmm(self._weights, values.to(torch.float32))[:, 0]
        return values.flatten(0, 1).index_select(0, self._flat)


def pick_array(values: Tensor, position: str) -> Tensor:
    """The rows [b, d] of a plain module's activations [b, ...]: flattened, or averaged over space (dimensions 2 on)."""
    if position == "mean" and values.ndim > 2:
        return values.flatten(2).to(torch.float32).mean(dim=2)
    return values.flatten(1) if values.ndim > 1 else values[:, None]
