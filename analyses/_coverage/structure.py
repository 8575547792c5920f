"""Cases of the metrics of activations: geometry, similarity, fracture, overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from _coverage.study import Case, Kind, Quantity
from _coverage.worlds import Codes, Labelled, Layout

from mechdecouple import stats, structure
from mechdecouple.stats import Replicates

LAYOUTS = {
    "one row a group": Layout(200),
    "four rows a group, alike": Layout(200, 4, 0.8),
    "one to five rows a group, alike": Layout(200, (1, 5), 0.8),
    "fewer rows than dimensions": Layout(60),
    "three alike rows a group, fewer than dimensions": Layout(60, 3, 0.8),
}


def ends(found: Replicates) -> list[float]:
    return [found.value, *found.interval()]


def jackknife(statistic: Callable, group: np.ndarray) -> Replicates:
    return stats.jackknife(statistic, stats.jackknife_blocks(group), int(group.max()) + 1)


def cases() -> Iterator[Case]:
    for name, layout in LAYOUTS.items():
        yield participation_ratio(name, layout, wide="fewer" in name)
        yield cka(name, layout, wide="fewer" in name)
    yield cka("unrelated, one row a group", LAYOUTS["one row a group"], shared=0.0)
    yield cka("unrelated, four rows a group, alike", LAYOUTS["four rows a group, alike"], shared=0.0)
    pair = Codes(concepts=3, contexts=2, tilt=0.5), Codes(concepts=3, contexts=2, tilt=0.3)
    single, four = LAYOUTS["one row a group"], LAYOUTS["four rows a group, alike"]
    yield overlap("one row a group", single, *pair)
    yield overlap("four rows a group, alike", four, *pair)
    wide = [Codes(concepts=3, contexts=2, tilt=tilt, inert=70) for tilt in (0.5, 0.3)]
    yield overlap("fewer rows than dimensions", Layout(60), *wide)
    yield overlap("no overlap", single, Codes(concepts=3, contexts=2), Codes(concepts=3, contexts=2), "boundary")
    three = {"contexts": 3}
    half, tidy = Codes(fracture=0.5, sigma=0.7, **three), Codes(sigma=0.9, **three)
    yield ccgp("one row a group", single, half, tidy)
    yield ccgp("three rows a group over uneven contexts", Layout(120, 3), half, tidy, spanning=True, uneven=True)
    wide = Codes(0.3, 0.7, inert=70, **three), Codes(0, 0.8, inert=70, **three)
    yield ccgp("fewer rows than dimensions", Layout(60), *wide)
    fractured = Codes(fracture=1.0, **three)
    yield ccgp("fractured (near .5)", single, fractured, fractured, kind="boundary")
    yield ccgp(
        "hardly an error (near 1)", single, Codes(sigma=0.4, **three), Codes(sigma=0.42, **three), kind="boundary"
    )
    few = {"contexts": 2, "concepts": 1}
    split = Codes(fracture=0.5, sigma=0.7, **few), Codes(fracture=0.25, sigma=0.7, **few)
    yield residual("one row a group", Layout(120), *split)
    yield residual("three rows a group", Layout(80, 3), *split)
    yield residual("tidy (near .5)", Layout(120), Codes(**few), Codes(**few), "boundary")


def participation_ratio(name: str, layout: Layout, wide: bool) -> Case:
    """Two spectra on partly shared noise; the truth is (Σλ)²/Σλ²."""
    d, decay = (80, (0.95, 0.93)) if wide else (12, (0.8, 0.7))
    spectra = [rate ** np.arange(d) for rate in decay]

    def draw(rng: np.random.Generator) -> list[list[float]]:
        group = layout.members(rng)
        shared, own = layout.noise(rng, group, d), layout.noise(rng, group, d)
        blocks = stats.jackknife_blocks(group)
        models = (shared, (shared + own) / math.sqrt(2))
        a, b = (
            structure.participation_ratio_jackknife(Z * np.sqrt(s), blocks, layout.groups, group)
            for Z, s in zip(models, spectra, strict=True)
        )
        return [ends(a.map(np.log)), ends(a.contrast(b, "log-ratio"))]

    logs = [math.log(s.sum() ** 2 / (s**2).sum()) for s in spectra]
    quantities = [Quantity("log A", logs[0]), Quantity("log A − log B", logs[0] - logs[1])]
    return Case("participation_ratio", name, layout.groups, quantities, draw, cheap=layout.single and not wide)


def cka(name: str, layout: Layout, shared: float = 0.5, wide: bool = False) -> Case:
    """Y = √shared X M + √(1 − shared) noise, and Z the same with half of it; the truth is that of the covariances."""
    d = 80 if wide else 8
    M = np.random.default_rng(5).normal(size=(d, d)) / math.sqrt(d)

    def truth(part: float) -> float:
        covariance = part * M.T @ M + (1 - part) * np.eye(d)
        return part * (M**2).sum() / math.sqrt(d * (covariance**2).sum())

    def draw(rng: np.random.Generator) -> list[list[float]]:
        group = layout.members(rng)
        X, *noise = (layout.noise(rng, group, d) for _ in range(3))
        others = [
            math.sqrt(part) * X @ M + math.sqrt(1 - part) * e
            for part, e in zip((shared, shared / 2), noise, strict=True)
        ]
        found = structure.cka_matrix([X], others, group, n_permutations=0, device="cpu").value
        return [ends(found[0, 0]), ends(found[0, 0] - found[0, 1])]

    kind = "interior" if shared else "boundary"
    both = truth(shared), truth(shared / 2)
    quantities = [Quantity("A with B", both[0], kind), Quantity("A with B − A with C", both[0] - both[1], kind)]
    return Case("cka", name, layout.groups, quantities, draw, cheap=layout.single and not wide)


def overlap(name: str, layout: Layout, a: Codes, b: Codes, kind: Kind = "interior") -> Case:
    def models(rng: np.random.Generator) -> tuple[Labelled, np.ndarray, np.ndarray]:
        return _two_models(rng, layout, a, b)

    def draw(rng: np.random.Generator) -> list[list[float]]:
        rows, X, Z = models(rng)
        found = jackknife(
            lambda kept: np.array([structure.coding_overlap(V[kept], rows.y[kept]) for V in (X, Z)]), rows.group
        )
        return [ends(found[0]), ends(found[0] - found[1])]

    def point(rng: np.random.Generator) -> list[float]:
        rows, X, Z = models(rng)
        found = [structure.coding_overlap(V, rows.y) for V in (X, Z)]
        return [found[0], found[0] - found[1]]

    quantities = [Quantity("A", kind=kind), Quantity("A − B", kind=kind)]
    return Case("coding_overlap", name, layout.groups, quantities, draw, point, cheap=True)


def ccgp(name: str, layout: Layout, a: Codes, b: Codes, kind: Kind = "interior", **options: bool) -> Case:
    def statistics(rng: np.random.Generator):
        rows, *models = _two_models(rng, layout, a, b, **options)
        return rows, [structure.Ccgp(X, rows.y[:, 0], rows.context, rows.group) for X in models]

    return _paired("ccgp", name, layout, statistics, kind, lambda found: found)


def residual(name: str, layout: Layout, a: Codes, b: Codes, kind: Kind = "interior") -> Case:
    def statistics(rng: np.random.Generator):
        rows, *models = _two_models(rng, layout, a, b)
        return rows, [structure.ErasureResidual(X, rows.y[:, 0], rows.context, rows.group) for X in models]

    return _paired("erasure_residual", name, layout, statistics, kind, lambda found: found[0])


def _paired(metric: str, name: str, layout: Layout, statistics: Callable, kind: Kind, pick: Callable) -> Case:
    """The case of a statistic of kept rows, in two models and as their difference."""

    def draw(rng: np.random.Generator) -> list[list[float]]:
        rows, (a, b) = statistics(rng)
        first, second = (pick(jackknife(s, rows.group)) for s in (a, b))
        return [ends(first), ends(second), ends(first - second)]

    def point(rng: np.random.Generator) -> list[float]:
        _, (a, b) = statistics(rng)
        first, second = float(pick(a())), float(pick(b()))
        return [first, second, first - second]

    quantities = [Quantity(q, kind=kind) for q in ("A", "B", "A − B")]
    return Case(metric, name, layout.groups, quantities, draw, point)


def _two_models(
    rng: np.random.Generator, layout: Layout, a: Codes, b: Codes, **options: bool
) -> tuple[Labelled, np.ndarray, np.ndarray]:
    """The same items in two models whose noise is half shared."""
    rows = Labelled.draw(rng, layout, a, **options)
    shared, own = layout.noise(rng, rows.group, a.d), layout.noise(rng, rows.group, a.d)
    noise = shared, (shared + own) / math.sqrt(2)
    X, Z = (code.activations(rows.z, rows.context, e) for code, e in zip((a, b), noise, strict=True))
    return rows, X, Z
