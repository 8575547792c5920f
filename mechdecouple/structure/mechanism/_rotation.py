"""Trained rotation: the directions whose exchange makes answers follow a concept, by gradients through the model."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.behavior.differentiable import DifferentiableLogits
from mechdecouple.structure.mechanism._stage import Place, Stage
from mechdecouple.structure.mechanism.counterfactuals import Pairs

STEPS, BATCH = 40, 32
COST = 3 * STEPS * BATCH
"""Item passes of a training: a step back costs two."""
_RATE = 0.05


def trained_frame(
    stage: Stage,
    place: Place,
    pairs: Pairs,
    start: Float[np.ndarray, "k d"],
    within: Float[np.ndarray, "r d"],
    seed: int = 0,
) -> Float[np.ndarray, "k d"]:
    """Orthonormal directions such that swapping them makes pairs' answers right, starting from some.

    They are sought among mixtures of the differences that the concept makes when all else is held, and weighted like
    them. Without that, a direction in which the concept can be read but that nothing uses can be coupled to one that
    drives the answer and that the concept never moves: answers follow, yet no variable was found (arXiv:2311.17030).

    Args:
        pairs: of fit rows; start: its part in the span of ``within`` is kept; within: orthogonal, as long as the
            concept moves them, r >= k.
    """
    rig = stage.rig
    read = DifferentiableLogits(rig.model, rig.task, rig.encoded, chat=rig.chat)
    device = rig.model.device
    basis = torch.as_tensor(within, dtype=torch.float32, device=device)
    rng = np.random.default_rng(seed)
    first = start @ within.T / (within**2).sum(axis=1)
    # Where little of the start is in the span, the rest is made up at random.
    first = first / np.linalg.norm(first, axis=1, keepdims=True).clip(1e-9) + 1e-3 * rng.normal(size=first.shape)
    weights = torch.tensor(first, dtype=torch.float32, device=device, requires_grad=True)
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    source = stage.taken(place, pairs.source)
    start_time = time.perf_counter()
    for step in range(STEPS):
        chosen = rng.choice(len(pairs), min(BATCH, len(pairs)), replace=False)
        items = pairs.base[chosen]
        given = source[torch.as_tensor(chosen)]
        edit = stage.moving(place, items, given, _onto(_orthonormal(weights @ basis)))
        logits = read(read.batch(items), items, {place.hook_point: edit})
        loss = _loss(logits, items, pairs.right[chosen], stage)
        (gradient,) = torch.autograd.grad(loss, [weights])
        # Adam, down a cosine: the optimisers of torch take seconds to import.
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        way = mean / (1 - 0.9 ** (step + 1)) / ((square / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
        rate = _RATE * (1 + math.cos(math.pi * step / STEPS)) / 2
        weights = (weights.detach() - rate * way).requires_grad_()
    rig.passes, rig.seconds = rig.passes + COST, rig.seconds + time.perf_counter() - start_time
    with torch.no_grad():
        frame = _orthonormal(weights.double() @ basis.double())
    return frame.cpu().numpy()


def _orthonormal(rows: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    return torch.linalg.qr(rows.T).Q.T


def _onto(frame: Float[Tensor, "k d"]) -> Callable[[Tensor], Tensor]:
    return lambda delta: delta.float() @ frame.T @ frame


def _loss(logits: Tensor, items: np.ndarray, right: np.ndarray, stage: Stage) -> Tensor:
    """Cross-entropy of the right option among those of each item."""
    task, classes = stage.rig.task, stage.rig.classes
    if classes is not None:
        columns, right = torch.as_tensor(classes, device=logits.device), np.searchsorted(classes, right)
        logits = logits[:, columns]
    else:
        assert task.choices is not None
        offered = torch.tensor([[j < len(task.choices[i]) for j in range(logits.shape[1])] for i in items])
        logits = torch.where(offered.to(logits.device), logits, -torch.inf)
    return torch.nn.functional.cross_entropy(logits.float(), torch.as_tensor(right, device=logits.device))
