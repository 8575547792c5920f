"""Faithfulness of the pair: are the answers of one of two equally accurate models easier to explain truly?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.verdict import Contrast
from mechdecouple.errors import InputError
from mechdecouple.faithfulness import RACU, Faithfulness, measure, passes
from mechdecouple.faithfulness.measure import LIMIT, drawn
from mechdecouple.models import HookedModel, encode
from mechdecouple.results import Estimate, Measurement
from mechdecouple.tasks import Task

if TYPE_CHECKING:
    from mechdecouple.compare.side import Pair, Side


def explain(side: Side) -> Faithfulness | str:
    """Explanations of a model's answers on the items whose answers are compared, and how far they hold; or why there
    are none."""
    if side.subject is None:
        return side.untestable
    config, model = side.config, side.model
    left = np.isin(np.arange(len(side.task)), side.acts.items[side.rows])
    task = side.task.select(np.flatnonzero(gate_rows(side.task) & left))
    # Only masked language models have a mask that means something to them; both models of a pair are masked alike.
    mask = "auto" if model.input_kind == "array" or model.head == "mlm" else "resample"
    options = {"chat": config.chat, "batch_tokens": config.batch_tokens, "blocks": config.blocks, "seed": config.seed}
    try:
        return measure(model, task, mask=mask, limit=explained(config), progress=False, **options)
    except InputError as error:
        return str(error)


def compare_faithfulness(pair: Pair) -> tuple[Contrast, list[Measurement], tuple[str, ...]]:
    """RACU of A against B, mean over the explanations that both have; what was measured on each, and its limits."""
    found = pair.a.explained, pair.b.explained
    rows: list[Measurement] = []
    notes: list[str] = []
    for side, own in zip((pair.a, pair.b), found, strict=True):
        if isinstance(own, str):
            undefined = Estimate.undefined(own or "nothing was measured", direction=RACU.direction)
            rows.append(Measurement(metric=RACU.name, family=RACU.family, estimate=undefined, model=side.name))
        else:
            rows += own.measurements()
            notes += [f"Explanations of {own.name}: {limit}" for limit in own.limits]
    return _contrast(pair, *found), rows, tuple(notes)


def _contrast(pair: Pair, a: Faithfulness | str, b: Faithfulness | str) -> Contrast:
    for side, own in ((pair.a, a), (pair.b, b)):
        if isinstance(own, str):
            return Contrast(RACU, None, reason=f"{side.name}: {own}")
    assert isinstance(a, Faithfulness) and isinstance(b, Faithfulness)
    if a.masked != b.masked:
        return Contrast(RACU, None, reason=f"features of {a.name} are {a.masked}, those of {b.name} {b.masked}")
    methods = [method for method in a.methods if method in b.methods]
    mine, theirs = a.score(RACU, methods), b.score(RACU, methods)
    for own, value in ((a, mine), (b, theirs)):
        if np.isnan(value.value):
            return Contrast(RACU, None, reason=f"masking everything changes no answer of {own.name}")
    return Contrast.between(RACU, mine, theirs, over=f"mean over {len(methods)} explanations")


def explained(config: CompareConfig) -> int:
    """Most items that are explained, but for the rest of the last group."""
    return min(LIMIT, config.probe_items)


def explaining(model: HookedModel, task: Task, config: CompareConfig) -> int:
    """Most forward passes of single items that explaining one model takes; ``task`` holds the items whose answers are
    compared. 0 where answers are not among options or classes."""
    if task.performance not in ("choice", "class"):
        return 0
    part = task.select(drawn(task.groups, explained(config), config.seed))
    if model.input_kind == "array":
        return 0 if part.inputs is None else passes([part.inputs[0].size] * len(part))
    return passes(encode(model, part, chat=config.chat).lengths.tolist())
