import dataclasses

import numpy as np

from mechdecouple.compare.inside import Inside
from mechdecouple.compare.layerwise import layerwise
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.structural import Measured
from mechdecouple.stats import Replicates, benjamini_hochberg
from mechdecouple.structure import CCGP, PARTICIPATION_RATIO

SITES = (Site("p", "u", 0.0), Site("q", "v", 1.0))


def measured(metric, value, rng, concept=""):
    return Measured(metric, concept, Replicates(value, value + 0.01 * rng.normal(size=20), "jackknife", 200))


def inside(points, scale, rng):
    found = {}
    for i, point in enumerate(points):
        found["ccgp", point, "x"] = measured(CCGP, 0.9 - 0.2 * scale * i, rng, "x")
        found["participation_ratio", point, ""] = measured(PARTICIPATION_RATIO, 4.0 * (1 + scale), rng)
    found["ccgp", points[0], "lost"] = Measured(CCGP, "lost", None, "no classes")
    return Inside(found)


def test_every_measure_is_compared_at_its_site_on_its_scale_and_adjusted_over_the_map():
    rng = np.random.default_rng(0)
    a, b = inside("pq", 0, rng), inside("uv", 1, rng)

    def difference(i, metric):
        concept, scale = ("x", "difference") if metric == "ccgp" else ("", "log-ratio")
        left, right = a.found[metric, "pq"[i], concept], b.found[metric, "uv"[i], concept]
        return left.replicates.contrast(right.replicates, scale)

    rows = layerwise(a, b, SITES, ("A", "B"), "last")
    at = {(r.metric, r.hook_point, r.hook_point_b): r.estimate for r in rows}
    assert set(at) == {(m, s.a, s.b) for m in ("ccgp", "participation_ratio") for s in SITES}
    assert at["ccgp", "p", "u"].value == 0
    assert np.isclose(at["ccgp", "q", "v"].value, 0.2)
    assert np.isclose(at["participation_ratio", "p", "u"].value, np.log(4 / 8))
    one = {place: difference(0 if place[1] == "p" else 1, place[0]) for place in at}
    p = np.array([one[place].p_differs(0.0) for place in at])
    np.testing.assert_allclose([e.p for e in at.values()], benjamini_hochberg(p))
    assert at["ccgp", "q", "v"].p < 0.01 < 0.5 < at["ccgp", "p", "u"].p


def test_a_measure_that_one_model_lacks_is_left_out():
    rng = np.random.default_rng(0)
    a, b = inside("pq", 0, rng), inside("uv", 0, rng)
    b = dataclasses.replace(b, found={k: v for k, v in b.found.items() if k[0] != "ccgp"})
    assert {r.metric for r in layerwise(a, b, SITES, ("A", "B"), "last")} == {"participation_ratio"}
    assert layerwise(Inside({}), b, SITES, ("A", "B"), "last") == []
