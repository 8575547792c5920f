"""Questions about a proposed answer: the task's prompts with an answer written behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple.behavior.generate import normalise
from mechdecouple.behavior.read import read
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task


def proposals(
    model: HookedModel, task: Task, proposed: Sequence[str] | np.ndarray | None, reading: dict[str, Any]
) -> tuple[np.ndarray, str]:
    """[n] str: the answers given, else the model's own, and why there are none (then empty strings)."""
    if proposed is not None:
        if isinstance(proposed, str) or len(proposed) != len(task):
            raise InputError(f"{len(proposed)} proposed answers for {len(task)} items; give one an item")
        return np.asarray([str(p) for p in proposed], dtype=np.str_), ""
    if task.prompts is None or task.performance not in ("choice", "generation"):
        raise TaskError(
            f"{task.name}: a question about an answer needs prompts and answers in words; this task's performance is "
            f"{task.performance!r}"
        )
    answers = read(model, task, **reading)
    if answers.answer_text is None:
        return np.full(len(task), ""), answers.reason
    return answers.answer_text, ""


def rightness(task: Task, proposed: np.ndarray) -> np.ndarray:
    """[n] 1.0 where the proposed answer is the task's, else 0.0; NaN where the task has no answers in words."""
    if task.answers is None or task.performance not in ("choice", "generation"):
        return np.full(len(task), np.nan)
    pairs = zip(proposed.tolist(), task.answers.tolist(), strict=True)
    return np.array([float(normalise(said) == normalise(answer)) for said, answer in pairs])


def ask(task: Task, proposed: np.ndarray, template: str, **columns: Any) -> Task:
    """A task that asks ``template`` of each item, ``{prompt}`` and ``{answer}`` filled in (other braces stay)."""
    if task.prompts is None:
        raise TaskError(f"{task.name}: a question about an answer needs prompts; give the task that column")
    for field in ("{prompt}", "{answer}"):
        if field not in template:
            raise InputError(f"the template {template[:60]!r} lacks {field}; write it where it belongs")
    parts = re.split(r"(\{prompt\}|\{answer\})", template)  # one pass: braces inside a prompt are not fields
    prompts = [
        "".join({"{prompt}": prompt, "{answer}": answer}.get(part, part) for part in parts)
        for prompt, answer in zip(task.prompts, proposed.tolist(), strict=True)
    ]
    table = pd.DataFrame({"id": task.ids, "group": task.groups, "prompt": prompts, **columns})
    return Task.from_frame(table, name=task.name, affirm="True" if "choices" in columns else None)
