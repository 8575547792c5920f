"""What may be said of arms of runs, in sentences, and the rule by which a difference of arms is flagged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mechdecouple.compare.many.distance import ModelMap
from mechdecouple.compare.many.relabel import runs_needed, smallest_p
from mechdecouple.compare.many.spread import ArmContrast
from mechdecouple.results import Estimate

UNIT = (
    "The unit is the model: means, intervals and p-values of arms count runs, not items. They speak of the recipes "
    "behind the arms as far as the runs are a fair draw of their seeds."
)
FAITHFUL = 0.1
"""Kruskal's stress up to which a map is read as a fair picture of the distances."""


def flagged(contrast: ArmContrast, alpha: float, n_tests: int) -> bool | None:
    """Whether arms differ: p after Holm's correction is at most ``alpha`` and, for a metric with a margin, the interval
    of some difference of arms lies wholly beyond it. None where that could not be: undefined, or too few runs."""
    if not contrast.defined:
        return None
    if contrast.p_adjusted <= alpha:
        margin = contrast.metric.margin
        return math.isnan(margin) or any(_beyond(contrast.difference(*arms), margin) for arms in _pairs(contrast))
    return None if contrast.smallest_p * n_tests > alpha else False


def contrast_sentence(contrast: ArmContrast, flag: bool | None, alpha: float) -> str:
    """One metric in words: the arms with the spread of their seeds, the largest difference, and what it can mean."""
    metric = contrast.metric
    title = f"{metric.title[:1].upper()}{metric.title[1:]}"
    if not contrast.defined:
        return f"{title} is not compared: {contrast.reason}."
    means = ", ".join(_arm(contrast, arm) for arm in contrast.values)
    a, b = max(_pairs(contrast), key=lambda arms: abs(contrast.difference(*arms).value))
    d = contrast.difference(a, b)
    scale = {"difference": "difference", "log-ratio": "log ratio", "relative": "relative difference"}[metric.scale]
    which = f" of {a} and {b}" if len(contrast.values) > 2 else ""
    interval = f" [{d.low:+z.3f}, {d.high:+z.3f}]" if math.isfinite(d.low) else ""
    margin = f" against a margin of {metric.margin:g}" if math.isfinite(metric.margin) else ""
    said = (
        f"{title}: {means}; {scale}{which} {d.value:+z.3f}{interval}{margin}, p = {contrast.p:.2g} over "
        f"{contrast.method}, {contrast.p_adjusted:.2g} after Holm's correction."
    )
    if flag:
        tidier = ""
        if metric.direction:
            best = (max if metric.direction == "higher" else min)(contrast.values, key=contrast.mean)
            tidier = f" {best} is the tidier."
        return f"The arms differ. {said}{tidier}"
    if flag is None:
        return said
    if contrast.p_adjusted <= alpha:
        return f"The arms differ, but not surely by more than the margin. {said}"
    return f"No difference of arms shown. {said}"


def shortfall(sizes: Sequence[int], alpha: float, n_tests: int) -> str:
    """What it would take to show a difference, where the declared runs cannot; empty where they can."""
    best = smallest_p(sizes)
    if n_tests == 0 or best * n_tests <= alpha:
        return ""
    needed = runs_needed(len(sizes), alpha / n_tests)
    tests = "one test" if n_tests == 1 else f"{n_tests} tests with Holm's correction"
    return (
        f"{' + '.join(map(str, sizes))} runs give p = {best:.2g} at best, so over {tests} no difference of arms can "
        f"reach {alpha:g}: it takes {needed} runs an arm."
    )


def distance_sentence(
    distance: np.ndarray | None, arm: Sequence[str], share: Estimate, p_adjusted: float, drawn: ModelMap | None
) -> str:
    """How far apart runs of one arm and of different arms are inside."""
    if distance is None or drawn is None:
        return f"Distances inside are not compared: {share.reason}."
    pairs = list(combinations(range(len(arm)), 2))
    same, other = (
        [float(distance[i, j]) for i, j in pairs if (arm[i] == arm[j]) == wanted] for wanted in (True, False)
    )
    within = f"{np.mean(same):.3f} between runs of one arm and " if same else ""
    caution = (
        ""
        if drawn.stress <= FAITHFUL
        else f" The map in a plane distorts them (stress {drawn.stress:.2f}): go by the tree."
    )
    return (
        f"Distances inside (angle of debiased CKA, 0 alike, 1.571 unrelated) average {within}{np.mean(other):.3f} "
        f"between arms; {share.value:.0%} of their squares lies between arms ({share.null:.0%} expected if arms meant "
        f"nothing), p = {share.p:.2g}, {p_adjusted:.2g} after Holm's correction.{caution}"
    )


def _arm(contrast: ArmContrast, arm: str) -> str:
    sd, n = contrast.seed_sd(arm), len(contrast.values[arm])
    return f"{arm} {contrast.mean(arm):z.3f}" + (f" (sd of {n} runs {sd:.3f})" if n > 1 else " (one run)")


def _pairs(contrast: ArmContrast) -> list[tuple[str, str]]:
    return list(combinations(contrast.values, 2))


def _beyond(difference: Estimate, margin: float) -> bool:
    return difference.low > margin or difference.high < -margin
