"""Calibration of the pair: does confidence fit correctness, and better in one of two equally accurate models?"""

from __future__ import annotations

import numpy as np

from mechdecouple import stats
from mechdecouple.behavior import Answers
from mechdecouple.behavior.calibration import BRIER, ECE_DEBIASED, brier, ece_debiased
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.verdict import Contrast
from mechdecouple.results import Estimate, Measurement
from mechdecouple.tasks import Task


def compare_calibration(
    a: Answers, b: Answers, task: Task, names: tuple[str, str], n_blocks: int, seed: int
) -> tuple[Contrast, list[Measurement]]:
    """Brier score and debiased calibration error of both models on the gate's items, and their paired difference."""
    rows = gate_rows(task)
    for answers in (a, b):
        if answers.correct is None or np.isnan(answers.confidence[rows]).any():
            reason = answers.reason or f"answers scored in {answers.unit} carry no confidence"
            return Contrast(ECE_DEBIASED, None, reason=reason), [
                Measurement(metric=m.name, family=m.family, estimate=Estimate.undefined(reason), model=name)
                for m in (BRIER, ECE_DEBIASED)
                for name in names
            ]
    groups = task.groups[rows]
    blocks = stats.jackknife_blocks(groups, n_blocks, seed)
    pairs = [(x.confidence[rows], np.asarray(x.correct, float)[rows]) for x in (a, b)]
    found = stats.jackknife(
        lambda kept: np.array([[f(p[kept], y[kept]) for f in (brier, ece_debiased)] for p, y in pairs]),
        blocks,
        len(np.unique(groups)),
    )
    measurements = [
        Measurement(metric=metric.name, family=metric.family, estimate=found[i, j].estimate(metric), model=name)
        for i, name in enumerate(names)
        for j, metric in enumerate((BRIER, ECE_DEBIASED))
    ]
    return Contrast.between(ECE_DEBIASED, found[0, 1], found[1, 1]), measurements
