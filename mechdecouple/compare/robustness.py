"""Robustness of the pair: how much activation noise each bears, and how each does on the task's declared shift."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from mechdecouple import interventions, stats
from mechdecouple.behavior import Answers
from mechdecouple.compare.gate import PERFORMANCE
from mechdecouple.compare.subject import Subject
from mechdecouple.compare.verdict import Contrast
from mechdecouple.models import Edit
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure import (
    NOISE_TOLERANCE,
    NOISE_TOLERANCE_TOTAL,
    NoiseTolerance,
    functional_rms,
    noise_std,
    total_rms,
)
from mechdecouple.tasks import Task

SCALES = np.geomspace(0.25, 32, 15)
DRAWS = 2
MARGIN = 0.05

NOISE_ACCURACY = Metric(
    name="noise_accuracy",
    family="robustness",
    title="performance under activation noise",
    range="[0, 1]",
    measures="performance with noise of the stated multiple of the functional rms added",
    direction="higher",
)
SHIFT_PERFORMANCE = dataclasses.replace(
    PERFORMANCE,
    name="shift_performance",
    family="robustness",
    title="performance on the shift split",
    direction="higher",
    measures="mean score over honest-condition items of the task's declared shift",
    margin=MARGIN,
)


@dataclasses.dataclass(frozen=True, eq=False)
class NoiseCurve:
    """Scores of one model under noise at one hook point.

    Attributes:
        scores: [scales, n] per-item score, averaged over draws.
        clean: [n] without noise; functional, total: rms of what is read and of all of the activation.
    """

    hook_point: str
    scores: np.ndarray
    clean: np.ndarray
    functional: float
    total: float


def noise_curve(subject: Subject, hook_point: str, gradients: np.ndarray, seed: int) -> NoiseCurve:
    """Add isotropic noise at the read token, of total rms ``scale`` times the functional rms, for each scale;
    ``gradients`` [m, r, d] are those of the answers there."""
    values = subject.acts[hook_point].astype(np.float64)
    functional = functional_rms(values, gradients)
    scores = np.zeros((len(SCALES), len(subject.task)))
    generator = torch.Generator().manual_seed(seed)
    for i, scale in enumerate(SCALES):
        size = noise_std(float(scale), functional, values.shape[1])

        def make(_: np.ndarray, positions: np.ndarray | None, size: float = size) -> Edit:
            return interventions.add_noise(size, generator, positions)

        scores[i] = np.mean([subject.answers(hook_point, make).score for _ in range(DRAWS)], axis=0)
    return NoiseCurve(hook_point, scores, subject.baseline.score, functional, total_rms(values))


def tolerance(subject: Subject, curve: NoiseCurve, unit: str = "functional") -> Replicates:
    """Noise at which performance falls to 90 % of the clean one, by the jackknife over groups of items."""
    scales = SCALES if unit == "functional" else SCALES * curve.functional / curve.total
    found = NoiseTolerance(scales, curve.scores, curve.clean)
    return stats.jackknife(found, subject.blocks, len(np.unique(subject.groups)))


def noise_measurements(subject: Subject, curve: NoiseCurve, position: str) -> list[Measurement]:
    place = {"model": subject.model.name, "hook_point": curve.hook_point, "position": position, "family": "robustness"}
    never = f"performance stays above 90 % of the clean one up to {SCALES[-1]:g} times the functional rms"
    rows = [
        Measurement(metric=m.name, estimate=_estimate(tolerance(subject, curve, u), m, never), **place)
        for m, u in ((NOISE_TOLERANCE, "functional"), (NOISE_TOLERANCE_TOTAL, "total"))
    ]
    means = subject.replicates(curve.scores.T)
    return rows + [
        Measurement(
            metric="noise_accuracy", estimate=means[i].estimate(NOISE_ACCURACY), context=f"eps={scale:.2f}", **place
        )
        for i, scale in enumerate(SCALES)
    ]


def tolerance_contrast(a: Sequence[tuple[Subject, NoiseCurve]], b: Sequence[tuple[Subject, NoiseCurve]]) -> Contrast:
    """ε90 of A against B, averaged over the paired hook points at which it is defined in both."""
    pairs = [(tolerance(*x), tolerance(*y)) for x, y in zip(a, b, strict=True)]
    pairs = [(x, y) for x, y in pairs if np.isfinite(x.value) and np.isfinite(y.value)]
    if not pairs:
        return Contrast(
            NOISE_TOLERANCE, None, reason="at no hook point does noise bring both models to 90 % of their performance"
        )
    mean_a, mean_b = (Replicates.mean([p[i] for p in pairs]) for i in (0, 1))
    # Two runs of one recipe were seen to differ in it by more than the margin.
    over = f"mean over {len(pairs)} hook point{'s' * (len(pairs) > 1)}"
    return Contrast.between(NOISE_TOLERANCE, mean_a, mean_b, over=over, needs_seeds=True)


def shift(a: Answers, b: Answers, task: Task, n_blocks: int, seed: int) -> tuple[Contrast, list[Estimate]]:
    """Performance on the shift split: the contrast, and the Estimates of A and B."""
    rows = task.honest_mask & task.shift_mask & np.isfinite(a.score) & np.isfinite(b.score)
    if not rows.any():
        reason = a.reason or b.reason or "no honest-condition item of the shift split has a score in both models"
        return Contrast(SHIFT_PERFORMANCE, None, reason=reason), [Estimate.undefined(reason)] * 2
    groups = task.groups[rows]
    if len(np.unique(groups)) < 2:
        reason = "the honest-condition items of the shift split are all of one group, so there is no interval"
        return Contrast(SHIFT_PERFORMANCE, None, reason=reason), [Estimate.undefined(reason)] * 2
    blocks = stats.jackknife_blocks(groups, n_blocks, seed)
    both = np.stack([a.score[rows], b.score[rows]], axis=1)
    found = stats.jackknife(lambda kept: both[kept].mean(axis=0), blocks, len(np.unique(groups)))
    estimates = [found[i].estimate(SHIFT_PERFORMANCE, null=a.chance) for i in (0, 1)]
    return Contrast.between(SHIFT_PERFORMANCE, found[0], found[1]), estimates


def _estimate(found: Replicates, metric: Metric, reason: str) -> Estimate:
    if not np.isfinite(found.value):
        return Estimate.undefined(reason, direction=metric.direction)
    return found.estimate(metric)
