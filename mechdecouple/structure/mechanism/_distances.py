"""Distances of two models by one measure each, as estimates: 0 alike, 1 nothing in common."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mechdecouple.results import Estimate
from mechdecouple.stats import Replicates

_RIGHT_ANGLE = math.pi / 2


def turned(share: Replicates) -> Replicates:
    """How far taking out a part turns the answers, from the share of them that depends on it (see `share_changed`).

    One less the share is the cosine of the answers before and after; the angle, in right angles, is linear in how much
    is changed, where the share grows with its square and hides a small part beside a large one.
    """
    return share.map(lambda s: np.arccos(1 - np.clip(s, 0, 1)) / _RIGHT_ANGLE)


def angle(cosine: Replicates) -> Replicates:
    """A cosine as an angle, in right angles: 0 for 1, 1 for 0, 2 for -1."""
    return cosine.map(lambda c: np.arccos(np.clip(c, -1, 1)) / _RIGHT_ANGLE)


def farthest(differences: Mapping[str, Replicates], level: float = 0.95) -> tuple[Estimate, str]:
    """The largest absolute difference of several, with an interval that holds it at the level, and its name.

    Each difference has an interval at a level that all of them keep together (Bonferroni); the largest one is at least
    the largest of the lower ends and at most that of the upper ones. Undefined differences are left out.
    """
    known = {name: d for name, d in differences.items() if math.isfinite(d.value)}
    if not known:
        return Estimate.undefined("nothing to compare"), ""
    each = 1 - (1 - level) / len(known)
    size = {name: abs(d.value) for name, d in known.items()}
    half = {name: d.interval(each)[1] - d.value for name, d in known.items()}
    ends = [(size[name] - half[name], size[name] + half[name]) for name in known]
    name = max(size, key=lambda n: size[n])
    first = known[name]
    if any(math.isnan(end) for pair in ends for end in pair):
        return Estimate(value=size[name], n=first.n, unit="groups", reason="too few groups for an interval"), name
    return Estimate(
        value=size[name], low=max(0.0, max(low for low, _ in ends)), high=max(high for _, high in ends),
        method="jackknife over groups, Bonferroni", n=first.n, unit="groups",
    ), name  # fmt: skip


def lacking(similarity: Replicates, reason: str = "") -> Estimate:
    """One less a similarity that is 1 for models that are alike."""
    if not math.isfinite(similarity.value):
        return Estimate.undefined(reason or "the similarity is undefined")
    low, high = similarity.interval()
    return Estimate(
        value=1 - similarity.value, low=1 - high, high=1 - low, method="jackknife over groups", n=similarity.n,
        unit="groups", reason="too few groups for an interval" if math.isnan(low) else "",
    )  # fmt: skip
