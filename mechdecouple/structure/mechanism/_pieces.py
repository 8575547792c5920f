"""Pieces: the evidence for and against one mechanism in two models, from what was measured of both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mechdecouple.results import Estimate
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._distances import angle, farthest, lacking, turned
from mechdecouple.structure.mechanism.evidence import Evidence
from mechdecouple.structure.mechanism.interchange_map import InterchangeMap
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.portrait import HELD, Portrait
from mechdecouple.structure.mechanism.signatures.gradient_symmetry import GRADIENT_SYMMETRY
from mechdecouple.structure.mechanism.signatures.shared import shared_options
from mechdecouple.structure.mechanism.signatures.variance_split import VARIANCE_REST, VARIANCE_SHARE
from mechdecouple.structure.mechanism.signatures.wrong_options import WRONG_OPTIONS_CLASS, wrong_options
from mechdecouple.structure.mechanism.stitched import Direction, Stitching
from mechdecouple.structure.mechanism.verdict import BY_ANSWER, CAUSAL_PROFILE, NEAREST, STITCHING, Answer

MANY = 12
"""Fewer answers than these have wrong options that can be alike by chance."""


def route_pieces(a: Portrait, b: Portrait, seeds: Sequence[tuple[Portrait, Portrait]]) -> tuple[Evidence, ...]:
    """What speaks on the route; ``seeds`` are pairs of seeds of one recipe.

    - causal profile: the part of which the answers of one model depend more than those of the other, as the difference
      of the angles by which resampling it turns the answers (in right angles: 0.2 is 18 degrees);
    - variance split: the concept whose share of the right option's variance differs most;
    - gradient symmetry: difference of the angles between input gradients at two positions, in right angles.
    """
    out = []
    for name, (measure, within, beyond, settles) in _ROUTE.items():
        distance, detail = measure(a, b)
        spread = [measure(one, other)[0].value for one, other in seeds]
        spread = tuple(s for s in spread if math.isfinite(s))
        out.append(Evidence(
            axis="route", name=name, distance=distance, within=within, beyond=beyond, settles=settles, spread=spread,
            detail=detail,
        ))  # fmt: skip
    return tuple(out)


def wrong_options_piece(a: Portrait, b: Portrait) -> Evidence:
    """One less the correlation of both models' logits of wrong options."""
    found = wrong_options(a.clean, b.clean, a.rig.task.groups, shared=False, names=(a.name, b.name), permutations=0)
    distance = lacking(found.agreement, next(iter(found.reasons.values()), ""))
    return Evidence(axis="variables", name="wrong options", distance=distance, within=0.02, beyond=0.5, settles=0.6)


def by_answer_piece(a: Portrait, b: Portrait, route: Answer) -> Evidence:
    """One less the correlation of both models' wrong options, averaged over the items of each answer.

    It is no evidence where the route is not known to be the same: a clock and a pizza of the same frequencies agree on
    them. Nor where answers are few: their profiles hold too little to be alike by chance alone.
    """
    distance = Estimate.undefined("answers that agree can be made of other variables where the route is not the same")
    shared = shared_options(a.rig)
    if route == "same" and (shared is None or len(shared.names) < MANY):
        distance = Estimate.undefined(f"fewer than {MANY} answers that all items choose among")
    elif route == "same" and shared is not None:
        x, y = (OptionLogits(shared.of(one.clean), shared.right) for one in (a, b))
        found = wrong_options(x, y, a.rig.task.groups, names=(a.name, b.name), permutations=0)
        distance = lacking(found.by_class, found.reasons.get(WRONG_OPTIONS_CLASS.name, ""))
    return Evidence(axis="variables", name=BY_ANSWER, distance=distance, within=0.05)


def stitching_pieces(
    stitching: Stitching | None, reason: str = "", yardstick: Sequence[Stitching] = ()
) -> tuple[Evidence, Evidence]:
    """How far a model stays behind its self-stitch when the other one drives it; the worse direction.

    - stitching: at the hook point that is driven worst, from the best of the other's. Every state on the way of one
      must follow from some state of the other. Being apart is no evidence, unless seeds of one recipe (``yardstick``)
      drive each other so well that a map of this kind is known to find what they share;
    - nearest states: at the hook point that is driven best. Something is shared where this is near, which speaks
      against other variables; it does not make all of them the same.
    """
    facts = {"axis": "variables", "within": 0.2}
    all_states, detail = _stitched(stitching, reason, min)
    nearest, place = _stitched(stitching, reason, max)
    spread = tuple(_stitched(s, "", min)[0].value for s in yardstick)
    spread = tuple(s for s in spread if math.isfinite(s))
    return (
        Evidence(name=STITCHING, distance=all_states, beyond=0.5, fallible=True, spread=spread, detail=detail, **facts),
        Evidence(name=NEAREST, distance=nearest, detail=place, **facts),
    )


def interchange_piece(maps: tuple[InterchangeMap, InterchangeMap] | None, reason: str = "") -> Evidence:
    """Difference of the shares of answers that follow a declared concept, each where most do; the largest concept's.

    It stands beside the others and does not speak: models that use other waves follow the same concepts, and directions
    that were not found in one model are no evidence that it has none.
    """
    distance, detail = Estimate.undefined(reason or "no answers follow a declared concept in both models"), ""
    followed = {} if maps is None else _followed(*maps)
    if followed:
        distance, detail = farthest(followed)
    return Evidence(
        axis="variables", name="interchange", distance=distance,
        detail=f"concept {detail}" if detail else "",
    )  # fmt: skip


def _profiles(a: Portrait, b: Portrait) -> tuple[Estimate, str]:
    p, q = a.profile, b.profile
    i, j = p.column(HELD), q.column(HELD)
    differences = {p.components[x].name: turned(p.share[x, i]) - turned(q.share[y, j]) for x, y in alike(a, b)}
    distance, name = farthest(differences)
    if not differences:
        distance = Estimate.undefined("no part of one model plays the role of one of the other's")
    return distance, name


def alike(a: Portrait, b: Portrait) -> list[tuple[int, int]]:
    """Rows of the profiles for parts that play the same role: those of one name in models of one architecture; else
    inputs, and all parts of a kind together, which do not depend on the number of layers."""
    p, q = a.profile, b.profile
    rows, others = ({c.name: i for i, c in enumerate(x.components) if not c.fine} for x in (p, q))
    shared = [name for name in rows if name in others]
    if a.rig.model.hook_points == b.rig.model.hook_points:
        return [(rows[name], others[name]) for name in shared]
    named = [(rows[n], others[n]) for n in shared if p.components[rows[n]].kind in ("embedding", "input")]
    whole = [(p.whole(kind), q.whole(kind)) for kind in ("pattern", "attention", "mlp")]
    return named + [(x, y) for x, y in whole if x is not None and y is not None]


def _splits(a: Portrait, b: Portrait) -> tuple[Estimate, str]:
    return _told(a, b, VARIANCE_SHARE.name, VARIANCE_REST.name, lambda share: share)


def _symmetries(a: Portrait, b: Portrait) -> tuple[Estimate, str]:
    return _told(a, b, GRADIENT_SYMMETRY.name, GRADIENT_SYMMETRY.name, angle)


def _told(
    a: Portrait, b: Portrait, metric: str, explained: str, scale: Callable[[Replicates], Replicates]
) -> tuple[Estimate, str]:
    """The entries of one metric in both signatures; where there are none, the reason of the ``explained`` one."""
    one, other = a.signature, b.signature
    both = [e for e in one.entries if e.metric.name == metric and e.name in other.names]
    found, name = farthest({e.of: scale(one[e.name]) - scale(other[e.name]) for e in both})
    reasons = [s.reasons[explained] for s in (one, other) if explained in s.reasons]
    return (Estimate.undefined(reasons[0]), "") if math.isnan(found.value) and reasons else (found, name)


def _stitched(stitching: Stitching | None, reason: str, pick: Callable[..., int]) -> tuple[Estimate, str]:
    """The farther direction, each at the driven hook point that ``pick`` takes by its best transfer."""
    if stitching is None:
        return Estimate.undefined(reason or "the models were not stitched"), ""
    found = [_driven(direction, pick) for direction in stitching.directions]
    unknown = [one for one in found if math.isnan(one[0].value)]
    return unknown[0] if unknown else max(found, key=lambda f: f[0].value)


def _driven(direction: Direction, pick: Callable[..., int]) -> tuple[Estimate, str]:
    known = np.flatnonzero(direction.informative.any(axis=0))
    if not len(known):
        return Estimate.undefined(direction.sentence), ""
    best = {int(t): int(np.nanargmax(direction.transfer.value[:, t])) for t in known}
    t = pick(best, key=lambda t: float(direction.transfer.value[best[t], t]))
    source = f"{direction.source} at {direction.source_points[best[t]]}"
    return lacking(
        direction.transfer[best[t], t]
    ), f"{source} drives {direction.target} at {direction.target_points[t]}"


def _followed(a: InterchangeMap, b: InterchangeMap) -> Mapping[str, Replicates]:
    best = {c: (a.best(c), b.best(c)) for c in a.concepts if c in b.concepts}
    return {
        c: one.score("share") - other.score("share")
        for c, (one, other) in best.items()
        if one is not None and other is not None
    }


_ROUTE: dict[str, tuple[Callable[[Portrait, Portrait], tuple[Estimate, str]], float, float, float]] = {
    CAUSAL_PROFILE: (_profiles, 0.2, 0.2, 0.6),
    "variance split": (_splits, 0.2, 0.6, math.inf),
    "gradient symmetry": (_symmetries, 0.2, 0.25, math.inf),
}
"""How each is measured, and its bounds: alike up to, apart beyond, settled beyond."""
