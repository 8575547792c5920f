"""Unlike: which masked items a model does not know, by what they look like inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.faithfulness.masf import LEAST, LEVEL, masf
from mechdecouple.faithfulness.maskable import Maskable
from mechdecouple.faithfulness.masks import random_masks
from mechdecouple.stats import Replicates


@dataclasses.dataclass(frozen=True, eq=False)
class Unlike:
    """p-values of masked items against known ones.

    Attributes:
        p: [r, k] of the tested items under each of r masks; small where one looks unlike. NaN with a reason.
        tested: [k] which items; the known ones are others.
        rate: [r] share below ``masf.LEVEL``.
    """

    p: Float[np.ndarray, "r k"]
    tested: Int[np.ndarray, " k"]
    rate: Replicates | None
    reason: str = ""


def unlike(
    subject: Maskable,
    masks: Sequence[Bool[np.ndarray, "n t"]],
    *,
    trained_ratio: float = 0.0,
    untouched: float = 0.5,
    points: Sequence[str] | None = None,
    blocks: int = 20,
    seed: int = 0,
) -> Unlike:
    """Test one half of the items, masked, against the other half by `masf`.

    Halves are drawn by item: items of other groups may look unlike without any mask.

    Args:
        masks: r masks of all items.
        trained_ratio: the largest share that was masked in training; known items are masked as in masked fine-tuning up
            to it. At 0 known items are whole.
        untouched: share of known items that is left whole all the same; 0 to compare masked items with masked ones.
        points: hook points; the residual stream after each layer, or each layer's output.
    """
    halves = np.random.default_rng(seed).permutation(len(subject))
    known, tested = np.sort(halves[: len(halves) // 2]), np.sort(halves[len(halves) // 2 :])
    if len(known) < LEAST:
        reason = f"{len(known)} known items are too few to say what looks unlike them; {LEAST} are needed"
        return Unlike(np.full((len(masks), len(tested)), np.nan), tested, None, reason)
    rng, own = np.random.default_rng(seed + 1), subject.nothing[known]
    if trained_ratio:
        own = random_masks(subject.maskable[known], rng, most=trained_ratio, untouched=untouched)
    points = subject.model.layer_points if points is None else points
    reference = pooled(subject, points, known, own)
    p = np.stack([masf(reference, pooled(subject, points, tested, mask[tested])) for mask in masks])
    groups = subject.task.groups[tested]
    plan = stats.jackknife_blocks(groups, blocks, seed)
    low = (p < LEVEL).astype(np.float64)
    rate = stats.jackknife(lambda kept: low[:, kept].mean(axis=1), plan, len(np.unique(groups)))
    return Unlike(p, tested, rate)


def pooled(
    subject: Maskable, points: Sequence[str], items: Int[np.ndarray, " k"], masked: Bool[np.ndarray, "k t"]
) -> list[Float[np.ndarray, "k d"]]:
    """Per hook point the largest value of each unit over an item's tokens; over space for tensor inputs.

    Raises:
        InputError: no hook points.
    """
    if not points:
        raise InputError("no hook points are given at which items could look unlike; name one")
    out: dict[str, np.ndarray] = {}
    for rows, batch, _, found in subject.captured(points, items, masked):
        for point, value in found.items():
            if batch.mask is None:
                largest = value.flatten(2).amax(dim=2) if value.ndim > 2 else value
            else:
                hidden = ~batch.mask.reshape(*batch.mask.shape, *(1,) * (value.ndim - 2))
                largest = value.masked_fill(hidden, -torch.inf).amax(dim=1).flatten(1)
            out.setdefault(point, np.zeros((len(items), largest.shape[1])))[rows] = largest.double().cpu().numpy()
    return [out[point] for point in points]
