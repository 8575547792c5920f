"""DifferentiableLogits: the logits of an item's options as tensors that gradients flow through."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.behavior.options import encode_options
from mechdecouple.errors import InputError
from mechdecouple.models import Batch, Edit, Encoded, HookedModel, collate
from mechdecouple.tasks import Task


class DifferentiableLogits:
    """What `read` scores, batch by batch and with gradients: options by their first token, or classes.

    Args:
        encoded: the items as `encode` gave them; None for tensor inputs.

    Attributes:
        right: [n] index of the right option or class; None where the task has no answers among given ones.
    """

    right: Int[np.ndarray, " n"] | None

    def __init__(self, model: HookedModel, task: Task, encoded: Encoded | None, *, chat: bool = False) -> None:
        inputs = encoded if encoded is not None else task.inputs
        if inputs is None:
            raise InputError(f"task {task.name!r} has no inputs that model {model.name!r} reads; give it inputs")
        self._model, self._inputs, self._encoded = model, inputs, encoded
        choices = encoded is not None and task.choices is not None
        self._options = encode_options(model, task, encoded, chat=chat) if encoded is not None and choices else None
        self.right = None
        if task.answers is not None and task.performance == "class":
            self.right = np.asarray(task.answers, dtype=np.int64)
        elif task.answers is not None and self._options is not None and task.choices is not None:
            self.right = np.array([c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)])

    def batch(self, items: Int[np.ndarray, " b"]) -> Batch:
        """The items as the model takes them."""
        return collate(self._inputs, items, model=self._model)

    def __call__(
        self, batch: Batch, items: Int[np.ndarray, " b"], edits: Mapping[str, Edit] | None = None
    ) -> Float[Tensor, "b m"]:
        """Logits, less their mean over the options of each item; 0 where an item has fewer than m options."""
        logits = self._model.forward(batch, edits=edits).logits
        assert logits is not None
        if self._options is not None:
            return self._of_options(logits, items)
        if self._encoded is not None and logits.ndim == 3:
            rows = torch.arange(len(items), device=logits.device)
            logits = logits[rows, torch.as_tensor(self._encoded.last()[items], device=logits.device)]
        return logits - logits.mean(dim=1, keepdim=True)

    def _of_options(self, logits: Tensor, items: np.ndarray) -> Tensor:
        assert self._options is not None
        first = [[tokens[0] for tokens in self._options.tokens[i]] for i in items]
        width = max(map(len, first))
        ids = torch.tensor([f + f[:1] * (width - len(f)) for f in first], device=logits.device)
        offered = torch.tensor([[j < len(f) for j in range(width)] for f in first], device=logits.device)
        at = torch.as_tensor(self._options.at[items], device=logits.device)
        picked = logits[torch.arange(len(items), device=logits.device), at].gather(1, ids)
        kept = torch.where(offered, picked, 0.0)
        mean = kept.sum(dim=1, keepdim=True) / offered.sum(dim=1, keepdim=True)
        return torch.where(offered, picked - mean, 0.0)
