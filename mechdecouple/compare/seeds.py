"""Seeds: how far two runs of one recipe differ in what is measured on the pair."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import combinations

from mechdecouple.compare.families import JUDGED, MEASURES, Findings, measure_calibration
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair, Side
from mechdecouple.compare.verdict import Contrast


def with_spread(
    found: dict[str, Findings],
    relatives: tuple[list[Side], list[Side]],
    sites: tuple[Site, ...],
    families: Sequence[str],
) -> dict[str, list[Contrast]]:
    """The contrasts, each with the largest difference that two runs of one recipe show in the same measurement."""
    contrasts = {name: list(cs) for findings in found.values() for name, cs in findings.contrasts.items()}
    spread: dict[tuple[str, int], float] = {}
    for which, sides in enumerate(relatives):
        own = tuple(Site(s.a, s.a, s.depth) if which == 0 else Site(s.b, s.b, s.depth) for s in sites)
        for one, other in combinations(sides, 2):
            within = Pair(one, other, own)
            judged = (MEASURES[family] for family in families if family in JUDGED)
            for measure in (measure_calibration, *judged):
                for name, cs in measure(within, False).contrasts.items():
                    for i, contrast in enumerate(cs):
                        size = abs(contrast.estimate().value)
                        if size == size:
                            spread[name, i] = max(spread.get((name, i), 0.0), size)
    return {
        name: [dataclasses.replace(c, seed_spread=spread.get((name, i), math.nan)) for i, c in enumerate(cs)]
        for name, cs in contrasts.items()
    }
