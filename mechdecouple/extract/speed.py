"""Speed: how fast an extraction was, and what share of that is the model's own bare forward pass."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch

from mechdecouple.extract.lanes import lane
from mechdecouple.extract.planning import Plan
from mechdecouple.models import Batch, HookedModel, collate

# Measuring takes two passes over a sample, in all at most this share of the time in the model.
_SHARE, _BATCHES = 0.03, 3


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a run was.

    Attributes:
        unit: what is counted: ``tokens`` without padding, or ``items`` where inputs are tensors.
        count: of them.
        seconds: from the first batch until the last row was kept.
        of_bare_forward: time of the bare forward pass over the run's time: 1 is the speed of the model alone; None
            where unknown. Bare is a pass over the same batches that stops at the end of the layer that is asked for
            last and keeps nothing.
        reason: why it is unknown.
    """

    unit: str
    count: int
    seconds: float
    of_bare_forward: float | None = None
    reason: str = ""

    @property
    def per_second(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0

    def record(self) -> dict[str, Any]:
        """Ready for JSON."""
        facts = {
            self.unit: self.count,
            "seconds": round(self.seconds, 4),
            f"{self.unit}_per_second": round(self.per_second, 1),
            "of_bare_forward": None if self.of_bare_forward is None else round(self.of_bare_forward, 4),
        }
        return facts | ({"of_bare_forward_reason": self.reason} if self.reason else {})

    def __str__(self) -> str:
        if self.of_bare_forward is None:
            share = f"share of the bare forward pass unknown: {self.reason}"
        else:
            share = f"{100 * self.of_bare_forward:.0f} % of the bare forward pass"
        return f"{self.count:,} {self.unit} in {self.seconds:.2f} s, {self.per_second:,.0f} {self.unit}/s, {share}"


def speed(todo: Plan, ran: list[int], seconds: float, in_model: float) -> Speed:
    """The speed of a run of some batches of a plan.

    The share of the bare pass is the share of time in the model times what the bare pass takes of it; the latter is
    measured now, on a sample.

    Args:
        ran: the batches. seconds: the whole run took; in_model: of them in the model, with its hooks.
    """
    unit = "items" if todo.tokens is None else "tokens"
    known = Speed(unit, int(todo.work[ran].sum()), seconds)
    if not ran:
        return dataclasses.replace(known, reason="everything was there")
    sample = _sample(todo, ran)
    if not sample:
        return dataclasses.replace(known, reason=f"too few items to measure it within {_SHARE:.0%} of the run")
    try:
        ratio = _bare_over_hooked(todo, sample)
    except torch.OutOfMemoryError:
        return dataclasses.replace(known, reason="no memory was left to measure it")
    return dataclasses.replace(known, of_bare_forward=ratio * in_model / seconds)


def bare_point(model: HookedModel, hook_points: tuple[str, ...]) -> str:
    """Where the bare pass stops: the first layer's end at or behind the last of the hook points, else that one."""
    order = {name: at for at, name in enumerate(model.hook_points)}
    last = max(hook_points, key=order.__getitem__)
    return next((name for name in model.layer_points if order[name] >= order[last]), last)


def _sample(todo: Plan, ran: list[int]) -> list[np.ndarray]:
    """Items of batches spread evenly over those that ran; part of one where a whole one is too much."""
    allowed = _SHARE / 2 * len(ran)
    whole = min(_BATCHES, int(allowed))
    if whole:
        at = ((np.arange(whole) + 0.5) * len(ran) / whole).astype(int)
        return [todo.batches[ran[i]] for i in at]
    batch = todo.batches[ran[len(ran) // 2]]
    part = batch[: int(allowed * len(batch))]
    return [part] if len(part) else []


def _bare_over_hooked(todo: Plan, sample: list[np.ndarray]) -> float:
    """Seconds of bare passes over those of passes that keep every hook point, the two in turn."""
    spent = {False: 0.0, True: 0.0}
    points = {False: tuple(todo.hook_points), True: (bare_point(todo.model, tuple(todo.hook_points)),)}
    with torch.inference_mode():
        for number, items in enumerate(sample):
            batch = collate(todo.items, items, model=todo.model)
            for bare in (False, True) if number % 2 == 0 else (True, False):
                spent[bare] += _seconds(todo.model, batch, points[bare])
    return spent[True] / spent[False]


def _seconds(model: HookedModel, batch: Batch, capture: tuple[str, ...]) -> float:
    if model.device.type == "cpu":
        # Of the processor: who else works on the machine makes one of two short passes slower, and not the other.
        start = time.process_time()
        model.forward(batch, capture=capture, logits=False)
        return time.process_time() - start
    clock = lane(model.device).clock()
    model.forward(batch, capture=capture, logits=False)
    clock.stop()
    return clock.seconds()
