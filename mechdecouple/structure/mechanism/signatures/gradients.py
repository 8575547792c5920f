"""Gradients: how the centred logits of some items change with the embedding at each position, or with each input."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.errors import InputError
from mechdecouple.models import Batch, batches, collate
from mechdecouple.structure.mechanism._scores import sampled
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.factors import varying_positions

LIMIT = 256
OPTIONS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class InputGradients:
    """Gradients of centred option logits with respect to what a model takes in.

    Attributes:
        rows: [r] items of the task, ascending.
        positions: [t] positions of the prompt that vary, or columns of whole numbers that a plain module looks up; one,
            0, for other tensor inputs.
        right: [r, t, d] gradient of the right option's logit.
        inputs: [r, t, d] what it is taken at: the embeddings, or the input itself.
        dots: [r, q, t, t] inner products of the gradients at two positions, for q options drawn from each item's.
        symbols: [r, t] token or number at each position; None for other tensor inputs.
        reason: why there are no gradients: prompts without positions that correspond; empty where there are.
    """

    rows: Int[np.ndarray, " r"]
    positions: Int[np.ndarray, " t"]
    right: Float[np.ndarray, "r t d"]
    inputs: Float[np.ndarray, "r t d"]
    dots: Float[np.ndarray, "r q t t"]
    symbols: Int[np.ndarray, "r t"] | None = None
    reason: str = ""


def gradients_cost(n: int, *, limit: int = LIMIT, options: int = OPTIONS) -> int:
    """Item passes that `input_gradients` takes: one forward, and one backward a gradient."""
    return min(n, limit) * (2 + options)


def input_gradients(rig: Rig, *, limit: int = LIMIT, options: int = OPTIONS, seed: int = 0) -> InputGradients:
    """Gradients of the right option's centred logit, and of some options of each item, on at most ``limit`` items.

    Prompts must have one length; the gradients are those at the output of the token embedding, or of the embedding of a
    plain module that looks up whole numbers.

    Args:
        limit: most items; whole groups are drawn until there are as many.
        options: how many options of each item ``dots`` is of; all of them where there are no more.

    Raises:
        InputError: the model's answers are not among a few options, or gradients do not reach its inputs.
    """
    clean = rig.clean
    rows = sampled(rig.task.groups, limit, seed)
    positions, reason = varying_positions(rig)
    if reason and rig.encoded is not None:
        empty = np.zeros((len(rows), 0, 0))
        return InputGradients(rows, positions, empty, empty, np.zeros((len(rows), 0, 0, 0)), reason=reason)
    point, symbols = embedding(rig.model.hook_points), None
    if rig.encoded is not None:
        symbols = np.stack(rig.encoded.tokens)
    elif (point := looked_up(rig)) is not None:
        symbols = np.asarray(rig.task.inputs).astype(np.int64)
        positions = np.flatnonzero((symbols != symbols[0]).any(axis=0))
    if symbols is None:
        positions = np.zeros(1, np.int64)
    else:
        symbols = symbols[rows][:, positions]
    drawn = _draw(clean.offered[rows], options, seed)
    read = _Reader(rig, positions, point)
    got = {}
    start = time.perf_counter()
    plan = batches(len(rows), batch_size=read.batch_size)
    for part in plan:
        for i, one in zip(part, zip(*read(rows[part], clean.right[rows[part]], drawn[part]), strict=True), strict=True):
            got[int(i)] = one
    rig.passes += len(rows) * (2 + drawn.shape[1])
    rig.seconds += time.perf_counter() - start
    right, at, dots = (np.stack([got[i][k] for i in range(len(rows))]) for k in range(3))
    return InputGradients(rows, positions, right, at, dots, symbols)


class _Reader:
    """Gradients of some items in one forward pass."""

    def __init__(self, rig: Rig, positions: np.ndarray, point: str | None) -> None:
        self._model, self._positions, self._point = rig.model, torch.as_tensor(positions), point
        self._logits = DifferentiableLogits(rig.model, rig.task, rig.encoded, chat=rig.chat)
        self._columns = None if rig.classes is None else torch.as_tensor(rig.classes)
        longest = 1 if rig.encoded is None else int(rig.encoded.lengths.max())
        self.batch_size = max(1, rig.batch_tokens // longest) if rig.encoded is not None else 256

    def __call__(
        self, items: np.ndarray, right: np.ndarray, drawn: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Gradients of the right option [b, t, d], where they are taken, and inner products [b, q, t, t]."""
        held: list[Tensor] = []

        def hold(x: Tensor, _: Batch) -> Tensor:
            held.append(x.detach().requires_grad_())
            return held[0]

        batch = self._logits.batch(items)
        with torch.enable_grad():
            if self._point is not None:
                logits = self._logits(batch, items, {self._point: hold})
            else:
                assert batch.array is not None
                held.append(batch.array.detach().requires_grad_())
                logits = self._logits(Batch(array=held[0]), items)
            if self._columns is not None:
                logits = logits[:, self._columns.to(logits.device)]
                logits = logits - logits.mean(dim=1, keepdim=True)
            chosen = torch.as_tensor(np.column_stack([right, drawn]), device=logits.device)
            targets = logits.gather(1, chosen).sum(dim=0)
            if not targets.requires_grad:
                raise InputError(f"the logits of model {self._model.name!r} do not depend on its inputs by gradients")
            last = len(targets) - 1
            gradients = [
                self._at(torch.autograd.grad(target, held[0], retain_graph=i < last, allow_unused=True)[0], held[0])
                for i, target in enumerate(targets)
            ]
        dots = np.stack([np.einsum("bsd,btd->bst", g, g) for g in gradients[1:]], axis=1)
        return gradients[0], self._at(held[0], held[0]), dots

    def _at(self, x: Tensor | None, like: Tensor) -> np.ndarray:
        x = (torch.zeros_like(like) if x is None else x).detach()
        x = x.flatten(1)[:, None] if self._point is None else x[:, self._positions.to(x.device)].flatten(2)
        return x.double().cpu().numpy()


def embedding(hook_points: tuple[str, ...]) -> str:
    """Where the token embeddings come in."""
    return "hook_embed" if "hook_embed" in hook_points else hook_points[0]


def looked_up(rig: Rig) -> str | None:
    """Where a plain module has turned whole numbers [n, t] into embeddings [n, t, d]; None where it does not."""
    inputs = rig.task.inputs
    if inputs is None or inputs.ndim != 2 or inputs.shape[1] < 2 or (inputs != np.round(inputs)).any():
        return None
    if (inputs == inputs[0]).all():
        return None
    first = rig.model.hook_points[0]
    batch = collate(inputs, np.arange(1), model=rig.model)
    with torch.inference_mode():
        found = rig.model.forward(batch, capture=[first], logits=False).activations[first]
    return first if found.ndim == 3 and found.shape[1] == inputs.shape[1] else None


def _draw(offered: np.ndarray, options: int, seed: int) -> Int[np.ndarray, "r q"]:
    """For each item columns of options it offers, each at most once while there are enough."""
    q = min(options, offered.shape[1])
    order = np.random.default_rng(seed).random(offered.shape)
    order = np.argsort(np.where(offered, order, 2.0), axis=1)
    place = np.arange(q) % offered.sum(axis=1)[:, None]
    return np.take_along_axis(order, place, axis=1)
