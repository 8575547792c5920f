"""Pushes on one model: noise on its weights, their curvature, which concepts they serve, and ablation of its units.

Cost, in passes over the sampled items: 48 forward for weight noise; on half of them some 40 backward for sharpness, and
for the weight sweep and each of its five controls a backward pass of each item; for ablation 34 reads of the answers
at each hook point.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats as sps
from torch import Tensor

from mechdecouple import interventions, stats
from mechdecouple.compare.answer_loss import LIMIT, AnswerLoss, weight_loss
from mechdecouple.compare.subject import Subject
from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import Edit
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.structure.ablation_curve import ABLATION_AREA, AblationArea, ablation_counts, ablation_curve
from mechdecouple.structure.sharpness import RELATIVE_SHARPNESS, RelativeSharpness
from mechdecouple.structure.weight_noise import (
    NOISE_SIZES,
    WEIGHT_NOISE_SLOPE,
    WeightNoise,
    filter_scales,
    noisy_losses,
)
from mechdecouple.structure.weight_sweep import WEIGHT_MODULARITY, WEIGHT_MODULARITY_EXCESS, weight_sweep

FRESH = 5
"""Networks with fresh weights that a weight sweep is set against."""
STEPS, ORDERS = 3, 4
"""Ablation: shares of the units taken, and pairs of random orders to take them in."""


def weight_measurements(subject: Subject, seed: int) -> list[Measurement]:
    """Weight-noise slope, relative sharpness and weight modularity with its control; undefined with a reason where the
    task or the model allows none of them."""
    try:
        loss, parameters = weight_loss(subject)
        scales = filter_scales(parameters, subject.model.filter_axes())
    except (ModelError, InputError) as error:
        noise = sharpness = modularity = excess = Estimate.undefined(str(error))
    else:
        noise = _noise(subject, loss, parameters, scales, seed)
        half = loss.part(LIMIT // 2)
        sharpness = _sharpness(subject, half, parameters, scales, seed)
        modularity, excess = _modularity(subject, half, parameters, seed)
    found = {
        WEIGHT_NOISE_SLOPE: noise, RELATIVE_SHARPNESS: sharpness,
        WEIGHT_MODULARITY: modularity, WEIGHT_MODULARITY_EXCESS: excess,
    }  # fmt: skip
    return [
        Measurement(metric=metric.name, family=metric.family, estimate=estimate, model=subject.model.name)
        for metric, estimate in found.items()
    ]


def ablation_measurements(subject: Subject, points: Sequence[str], position: str, seed: int) -> list[Measurement]:
    """Area under the ablation curve at each hook point, with its coordinates and its principal axes as units."""
    place = {"metric": ABLATION_AREA.name, "family": ABLATION_AREA.family, "model": subject.model.name}
    return [
        Measurement(
            **place,
            hook_point=point,
            position=position,
            context=units,
            estimate=_ablation(subject, point, units == "principal axes", seed),
        )
        for point in points
        for units in ("coordinates", "principal axes")
    ]


def _noise(
    subject: Subject, loss: AnswerLoss, parameters: dict[str, Tensor], scales: dict[str, Tensor], seed: int
) -> Estimate:
    with torch.no_grad():
        clean = loss(parameters).double().cpu().numpy()
    return _estimate(
        WeightNoise(NOISE_SIZES, noisy_losses(loss, parameters, scales, seed=seed), clean),
        WEIGHT_NOISE_SLOPE, subject, loss.items,
    )  # fmt: skip


def _sharpness(
    subject: Subject, loss: AnswerLoss, parameters: dict[str, Tensor], scales: dict[str, Tensor], seed: int
) -> Estimate:
    try:
        found = RelativeSharpness(loss, parameters, scales, seed=seed)
    except RuntimeError as error:  # an operation without second derivative, or no memory for it
        return Estimate.undefined(f"the loss could not be differentiated twice: {str(error).splitlines()[0]}")
    return _estimate(found, RELATIVE_SHARPNESS, subject, loss.items)


def _modularity(
    subject: Subject, loss: AnswerLoss, parameters: dict[str, Tensor], seed: int
) -> tuple[Estimate, Estimate]:
    if subject.task.asks is None:
        reason = "the task has no column asks, so it is not known which concept an answer is about"
        return Estimate.undefined(reason), Estimate.undefined(reason)
    names, asks = np.unique(subject.task.asks[loss.items], return_inverse=True)
    if len(names) < 2:
        reason = f"all sampled items ask for one concept ({names[0]})"
        return Estimate.undefined(reason), Estimate.undefined(reason)
    groups = len(np.unique(subject.groups[loss.items]))
    sweep = weight_sweep(loss.logit, parameters, asks, subject.blocks[loss.items], groups, draws=FRESH, seed=seed)
    if sweep.reason:
        return Estimate.undefined(sweep.reason), Estimate.undefined(sweep.reason)
    mean, spread = float(sweep.fresh.mean()), float(sweep.fresh.std(ddof=1))
    p = float(stats.permutation_p(sweep.modularity.value, sweep.fresh))
    excess = sweep.excess.estimate(WEIGHT_MODULARITY_EXCESS, null=0.0, p=p)
    excess = _widened(excess, WEIGHT_MODULARITY_EXCESS, spread / math.sqrt(FRESH), FRESH)
    control = f"fresh weights: {mean:.3f}, standard deviation {spread:.3f} over {FRESH} draws; z = {sweep.z:.1f}"
    return sweep.modularity.estimate(WEIGHT_MODULARITY, null=mean, p=p), dataclasses.replace(excess, reason=control)


def _ablation(subject: Subject, point: str, principal: bool, seed: int) -> Estimate:
    baseline = subject.baseline
    if not baseline.higher_is_better or baseline.reason:
        return Estimate.undefined(baseline.reason or "a loss has no chance level to fall to")
    values = subject.acts[point].astype(np.float64)
    mean = values.mean(axis=0)
    basis = _axes(values) if principal else np.eye(len(mean))[:, np.ptp(values, axis=0) > 0]
    if not basis.shape[1]:
        return Estimate.undefined("the activations are constant: there is no unit to ablate")

    def scores(mask: np.ndarray) -> np.ndarray:
        def to_mean(_, positions):
            return _set_to_mean(basis[:, mask], mean, positions)

        return subject.answers(point, to_mean).score

    counts = ablation_counts(basis.shape[1], STEPS)
    curve = ablation_curve(scores, basis.shape[1], counts, ORDERS, seed)
    chance = 0.0 if math.isnan(baseline.chance) else baseline.chance
    area = AblationArea(counts / basis.shape[1], curve, baseline.score, chance)
    return _estimate(area, ABLATION_AREA, subject, np.arange(len(subject.task)))


def _axes(values: np.ndarray) -> np.ndarray:
    """Principal axes [d, r] along which the rows vary."""
    centred = values - values.mean(axis=0)
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    return rows[singular > 1e-6 * max(singular[0], 1e-300)].T


def _set_to_mean(directions: np.ndarray, mean: np.ndarray, positions: np.ndarray | None) -> Edit:
    """Set the coordinates along orthonormal ``directions`` [d, r] to their mean; features of a token are flattened."""
    q, centre = torch.as_tensor(directions), torch.as_tensor(mean)

    def change(x: Tensor) -> Tensor:
        flat, axes = x.reshape(-1, len(centre)), q.to(x)
        return (flat - ((flat - centre.to(x)) @ axes) @ axes.T).reshape(x.shape)

    return interventions.splice(change, positions)


def _estimate(
    found: WeightNoise | RelativeSharpness | AblationArea, metric: Metric, subject: Subject, items: np.ndarray
) -> Estimate:
    """The Estimate over groups of items, with the error of random draws where there were any."""
    replicates = stats.jackknife(found, subject.blocks[items], len(np.unique(subject.groups[items])))
    if not np.isfinite(replicates.value):
        return Estimate.undefined(found.reason, direction=metric.direction)
    estimate = replicates.estimate(metric)
    if isinstance(found, RelativeSharpness):
        return estimate
    return _widened(estimate, metric, found.draw_error(), found.draws)


def _widened(estimate: Estimate, metric: Metric, error: float, draws: int) -> Estimate:
    """The interval with the standard error of a mean over random draws added to that over items."""
    extra = float(sps.t.ppf(0.975, draws - 1)) * error
    low, high = (
        estimate.value + sign * math.hypot(end - estimate.value, extra)
        for sign, end in ((-1, estimate.low), (1, estimate.high))
    )
    method = f"{estimate.method}; error of {draws} random draws added"
    return dataclasses.replace(estimate, low=metric.clip(low), high=metric.clip(high), method=method)
