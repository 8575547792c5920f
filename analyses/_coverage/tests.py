"""Cases of tests: the gate's size, false positives on models that do not differ, p-values of permutations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from _coverage.behavior import answers
from _coverage.structure import jackknife
from _coverage.study import Case, Quantity
from _coverage.worlds import Codes, Labelled, Layout

from mechdecouple import stats, structure
from mechdecouple.compare.verdict import Contrast, flag
from mechdecouple.structure import CCGP, CODING_OVERLAP, PARTICIPATION_RATIO

METRICS = (CCGP, CODING_OVERLAP, PARTICIPATION_RATIO)


def cases() -> Iterator[Case]:
    yield tost("one item a group", Layout(400))
    yield tost("four alike items a group", Layout(150, 4, 0.8))
    yield tost("one to five alike items a group", Layout(200, (1, 5), 0.8))
    yield permutation("one row a group", Layout(60))
    yield permutation("three alike rows a group", Layout(60, 3, 0.8))
    yield false_positives("one row a group", Layout(120), Codes(fracture=0.4, sigma=0.8, contexts=2))


def tost(name: str, layout: Layout, discordance: float = 0.12, margin: float = 0.05) -> Case:
    """Two models whose true difference is the margin: 'equal' may be said in at most alpha of the runs."""

    def draw(rng: np.random.Generator) -> list[float]:
        return [stats.paired_tost(*answers(rng, layout, discordance, margin), margin=margin).p]

    quantity = Quantity("said to be equal at the margin", 0.05, "size")
    return Case("gate", f"size, {name}", layout.groups, [quantity], draw, cheap=True)


def permutation(name: str, layout: Layout, d: int = 6) -> Case:
    """CKA of unrelated representations: p is at most .05 in 5 % of the runs."""

    def draw(rng: np.random.Generator) -> list[float]:
        group = layout.members(rng)
        X, Y = layout.noise(rng, group, d), layout.noise(rng, group, d)
        found = structure.cka_matrix([X], [Y], group, n_permutations=99, n_blocks=0, seed=int(rng.integers(2**31)))
        return [float(found.p[0, 0])]

    return Case("cka", f"permutation p, {name}", layout.groups, [Quantity("p ≤ .05", 0.05, "exact")], draw, cheap=True)


def false_positives(name: str, layout: Layout, code: Codes) -> Case:
    """Two models of one distribution on the same items: every difference found between them is false.

    The erasure residual of two such models is the case 'tidy' of that metric.
    """

    def contrasts(rng: np.random.Generator) -> list[Contrast]:
        rows = Labelled.draw(rng, layout, code)
        blocks = stats.jackknife_blocks(rows.group)
        found = []
        for _ in range(2):
            X = code.activations(rows.z, rows.context, layout.noise(rng, rows.group, code.d))
            y = rows.y[:, 0]
            found.append(
                [
                    jackknife(structure.Ccgp(X, y, rows.context, rows.group), rows.group),
                    jackknife(lambda kept, X=X: structure.coding_overlap(X[kept], rows.y[kept]), rows.group),
                    structure.participation_ratio_jackknife(X, blocks, layout.groups, rows.group),
                ]
            )
        return [Contrast.between(m, a, b) for m, a, b in zip(METRICS, *found, strict=True)]

    def draw(rng: np.random.Generator) -> list[float]:
        found = contrasts(rng)
        flagged = any(flag(found))
        p = np.array([c.estimate().p for c in found])
        adjusted = stats.holm(p)
        return [float(not flagged), float(np.nanmin(adjusted)), *(float(v) for v in p)]

    quantities = [
        Quantity("any metric flagged (margins, Holm)", 0.05, "size"),
        Quantity("any metric differs from 0 (Holm)", 0.05, "size"),
        *(Quantity(f"{m.name} differs from 0", 0.05, "size") for m in METRICS),
    ]
    return Case("false positives", name, layout.groups, quantities, draw)
