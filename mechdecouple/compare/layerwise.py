"""The map of differences: every measure of structure, A against B, hook point by hook point."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mechdecouple import stats
from mechdecouple.compare.inside import Inside
from mechdecouple.compare.pairing import Site
from mechdecouple.results import Measurement


def layerwise(a: Inside, b: Inside, sites: Sequence[Site], names: tuple[str, str], position: str) -> list[Measurement]:
    """Paired differences of every measure that is defined in both models at a site, on the measure's scale.

    p is that of 'no difference', adjusted over the whole map (Benjamini-Hochberg): the false-discovery rate at which
    the difference stands out. The map describes: verdicts rest on the primary metrics alone.
    """
    rows = []
    for site in sites:
        for (name, point, concept), one in a.found.items():
            left = a.get(one.metric, point, concept) if point == site.a else None
            right = b.get(one.metric, site.b, concept)
            if left is None or right is None:
                continue
            difference = left.contrast(right, one.metric.scale)
            if not np.isfinite(difference.value):
                continue
            estimate = difference.estimate(one.metric.contrasted(), null=0.0, p=float(difference.p_differs(0.0)))
            rows.append(
                Measurement(
                    metric=name,
                    family=one.metric.family,
                    estimate=estimate,
                    model=names[0],
                    model_b=names[1],
                    hook_point=site.a,
                    hook_point_b=site.b,
                    position=position,
                    concept=concept,
                )
            )
    adjusted = stats.benjamini_hochberg(np.array([row.estimate.p for row in rows], dtype=float))
    return [
        dataclasses.replace(row, estimate=dataclasses.replace(row.estimate, p=float(p)))
        for row, p in zip(rows, adjusted, strict=True)
    ]
