"""Cases of the metrics of answers, noise and features: gap, calibration, noise tolerance, matched latents, gate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from _coverage.structure import ends, jackknife
from _coverage.study import Case, Kind, Quantity
from _coverage.worlds import Layout
from scipy.special import expit, ndtr

from mechdecouple import sae, stats
from mechdecouple.behavior.calibration import ece_debiased
from mechdecouple.stats import Replicates, weighted_auroc
from mechdecouple.structure import NoiseTolerance, noise_tolerance

SCALES = np.geomspace(0.25, 32, 15)
DRAWS = 2
CLEAN = 0.97
MARGIN = 0.05


def cases() -> Iterator[Case]:
    single, three = Layout(200), Layout(200, 3)
    fewer = Layout(120)
    yield auroc_gap("one row a group", fewer, (2.0, 1.0), (1.8, 1.1))
    yield auroc_gap("one to four rows a group", Layout(100, (1, 4)), (2.0, 1.0), (1.8, 1.1))
    yield auroc_gap("represented almost perfectly", fewer, (3.8, 1.0), (3.8, 1.2))
    yield auroc_gap("all almost perfect, no gap", fewer, (3.8, 3.8), (3.8, 3.8), "boundary")
    yield calibration("one row a group", Layout(400), -1.0, -0.5)
    yield calibration("four rows a group", Layout(200, 4), -1.0, -0.5)
    yield calibration("calibrated", Layout(400), 0.0, 0.0, "boundary")
    yield tolerance("one row a group", single, 0.8)
    yield tolerance("three rows a group", three, 0.8)
    yield tolerance("items much alike", Layout(400), 0.3)
    yield matched("one row a group", Layout(300))
    yield matched("three rows a group", Layout(150, 3))
    for name, layout in (("one item a group", Layout(400)), ("four alike items a group", Layout(150, 4, 0.8))):
        yield gate(name, layout, 0.12, MARGIN)
    yield gate("hardly an item differs", Layout(400), 0.012, 0.0, "boundary")


def auroc_gap(name: str, layout: Layout, a: tuple, b: tuple, kind: Kind = "interior") -> Case:
    """Scores that are normal given the truth, their means ``a`` (represented, expressed) apart: AUROC = Φ(a / √2)."""
    strength = (*a, *b)

    def draw(rng: np.random.Generator) -> list[list[float]]:
        group = layout.members(rng)
        truth = rng.integers(0, 2, len(group))
        scores = layout.noise(rng, group, 4) + np.outer(truth - 0.5, strength)
        weights = stats.group_bootstrap_weights(group, 1000, int(rng.integers(2**31)))
        auroc = [
            Replicates(weighted_auroc(s, truth), np.asarray(weighted_auroc(s, truth, weights)), "bootstrap", len(group))
            for s in scores.T
        ]
        first, second = auroc[0] - auroc[1], auroc[2] - auroc[3]
        return [ends(first), ends(first - second)]

    area = ndtr(np.array(strength) / math.sqrt(2))
    first, second = area[0] - area[1], area[2] - area[3]
    quantities = [Quantity("A", first, kind), Quantity("A − B", first - second, kind)]
    return Case("auroc_gap", name, layout.groups, quantities, draw, cheap=layout.single)


def calibration(name: str, layout: Layout, a: float, b: float, kind: Kind = "interior") -> Case:
    """Confidence whose log odds are ``a`` (or ``b``) above those of being right."""

    def claims(rng: np.random.Generator):
        group = layout.members(rng)
        noise = layout.noise(rng, group, 3)
        log_odds = 1 + 1.2 * noise[:, :1]
        right = ndtr(noise[:, 1:]) < expit(log_odds + np.array([a, b]))
        return group, expit(log_odds[:, 0]), right.astype(float).T

    def draw(rng: np.random.Generator) -> list[list[float]]:
        group, confidence, right = claims(rng)
        found = jackknife(lambda rows: np.array([ece_debiased(confidence[rows], y[rows]) for y in right]), group)
        return [ends(found[0]), ends(found[0] - found[1])]

    def point(rng: np.random.Generator) -> list[float]:
        _, confidence, right = claims(rng)
        first, second = (ece_debiased(confidence, y) for y in right)
        return [first, first - second]

    if a == 0:
        quantities = [Quantity("A", 0.0, "boundary"), Quantity("A − B", 0.0, "boundary")]
        return Case("ece_debiased", name, layout.groups, quantities, draw, cheap=True)
    quantities = [Quantity("A", kind=kind), Quantity("A − B", kind=kind)]
    return Case("ece_debiased", name, layout.groups, quantities, draw, point, cheap=True)


def tolerance(name: str, layout: Layout, spread: float) -> Case:
    """Items that stay right under noise of scale s with chance Φ(m / s), m log-normal; the truth is the curve's ε90."""
    margins = (3.0, 3.6)

    def draw(rng: np.random.Generator) -> list[list[float]]:
        group = layout.members(rng)
        strength = np.exp(spread * layout.noise(rng, group, 1)[:, 0])
        clean = (rng.random(len(group)) < CLEAN).astype(float)
        found = []
        for margin in margins:
            noise = rng.normal(size=(len(SCALES), DRAWS, len(group)))
            right = (margin * strength / SCALES[:, None, None] + noise > 0).mean(axis=1) * clean
            found.append(jackknife(NoiseTolerance(SCALES, right, clean), group))
        return [ends(found[0]), ends(found[0].contrast(found[1], "relative"))]

    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def exact(margin: float) -> float:
        curve = [CLEAN * weights @ ndtr(margin * np.exp(spread * nodes) / s) for s in SCALES]
        return noise_tolerance(SCALES, np.array(curve), CLEAN)

    a, b = (exact(margin) for margin in margins)
    quantities = [Quantity("A", a), Quantity("A − B, relative", 2 * (a - b) / (a + b))]
    return Case("noise_tolerance", name, layout.groups, quantities, draw, cheap=layout.groups == 200)


def matched(name: str, layout: Layout, width: int = 12) -> Case:
    """Two seeds of two models: sparse latents with noise of their own, of A and B alike in two thirds of them.

    Correlations of true partners are spread around the threshold, so that the share is neither 0 nor 1.
    """
    loyal = np.linspace(0.3, 0.95, width)

    def latents(rng: np.random.Generator):
        group = layout.members(rng)
        common, other = layout.noise(rng, group, width), layout.noise(rng, group, width)
        alien = np.where(np.arange(width) % 3 == 2, other, common)
        found = []
        for source in (common, common, alien, alien):
            own = layout.noise(rng, group, width)
            found.append(np.maximum(np.sqrt(loyal) * source + np.sqrt(1 - loyal) * own - 0.5, 0.0))
        return group, found[:2], found[2:]

    def sharing(rng: np.random.Generator):
        group, a, b = latents(rng)
        return sae.matched_share_excess(a, b, groups=group, n_permutations=0)

    def draw(rng: np.random.Generator) -> list[list[float]]:
        return [ends(sharing(rng).replicates)]

    def point(rng: np.random.Generator) -> list[float]:
        return [sharing(rng).replicates.value]

    return Case("matched_share_excess", name, layout.groups, [Quantity("A against B")], draw, point)


def gate(name: str, layout: Layout, discordance: float, difference: float, kind: Kind = "interior") -> Case:
    """The interval of the difference in accuracy of two models."""

    def draw(rng: np.random.Generator) -> list[list[float]]:
        found = stats.paired_tost(*answers(rng, layout, discordance, difference), margin=MARGIN)
        return [[found.difference, found.low95, found.high95]]

    return Case("gate", name, layout.groups, [Quantity("A − B", difference, kind)], draw, cheap=True)


def answers(
    rng: np.random.Generator, layout: Layout, discordance: float, difference: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0/1 answers of two models that differ on a share ``discordance`` of the items, A better by ``difference``."""
    group = layout.members(rng)
    u = ndtr(layout.noise(rng, group, 1)[:, 0])
    only_a, rest = u < (discordance + difference) / 2, u > 0.3
    apart = u < discordance
    return np.where(apart, only_a, rest).astype(float), np.where(apart, ~only_a, rest).astype(float), group
