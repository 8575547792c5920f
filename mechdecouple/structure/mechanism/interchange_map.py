"""Interchange map: which declared concepts answers are computed from, and where on the way they can be swapped."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.progress import bar
from mechdecouple.results import Measurement, frame
from mechdecouple.stats import benjamini_hochberg
from mechdecouple.structure.mechanism._interchanged import Interchange, Method
from mechdecouple.structure.mechanism._stage import FIT, POOL, Place, Stage
from mechdecouple.structure.mechanism._swaps import Swaps, cell_cost
from mechdecouple.structure.mechanism.counterfactuals import declared
from mechdecouple.structure.mechanism.interchange import LIMIT
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task

BUDGET = 8_000
"""Item passes that a map may take by default."""
_FEW = 4
_LIVES = 0.01
"""A concept can live at a token where at least this share of the variance is its own and repeats between groups."""


@dataclasses.dataclass(frozen=True, eq=False)
class InterchangeMap:
    """One model's interchanges: concepts by hook points, and by token positions as far as the budget went.

    Attributes:
        cells: in the order tried: all tokens together (or the last, of prompts that differ in length), then single
            ones. Concepts without counterfactuals have one cell, with the reason.
        left_out: concept and place of what the budget did not reach.
        passes: item passes that were made.
    """

    model: str
    method: Method
    cells: tuple[Interchange, ...]
    left_out: tuple[tuple[str, Place], ...]
    passes: int

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.concept for c in self.cells))

    @cached_property
    def points(self) -> tuple[str, ...]:
        """Hook points by depth."""
        places = {c.place.hook_point: c.place.depth for c in self.cells}
        return tuple(sorted(places, key=lambda p: places[p]))

    def of(self, concept: str) -> tuple[Interchange, ...]:
        """The cells of one concept."""
        return tuple(c for c in self.cells if c.concept == concept)

    def where(self, concept: str) -> tuple[Interchange, ...]:
        """The cells at which answers follow the concept, by depth."""
        return tuple(sorted((c for c in self.of(concept) if c.causal), key=lambda c: c.place.depth))

    def best(self, concept: str) -> Interchange | None:
        """The cell at which most answers follow; None where nothing was measured."""
        measured = [c for c in self.of(concept) if not math.isnan(c["share"])]
        return max(measured, key=lambda c: c["share"], default=None)

    def causal(self, concept: str) -> bool | None:
        """Whether answers follow the concept at some place (True), hardly at any (False), or it cannot be told."""
        measured = [c.causal for c in self.of(concept) if not c.reason]
        if any(measured):
            return True
        skipped = any(name == concept for name, _ in self.left_out)
        return False if measured and not skipped and all(c is False for c in measured) else None

    def grid(self, score: str = "share", position: str = "") -> Float[np.ndarray, "c p"]:
        """One score of each concept at each hook point; NaN where it was not measured.

        Args:
            position: default: where all were tried first.
        """
        out = np.full((len(self.concepts), len(self.points)), np.nan)
        for cell in self.cells:
            if cell.place.position == (position or self.cells[0].place.position):
                out[self.concepts.index(cell.concept), self.points.index(cell.place.hook_point)] = cell[score]
        return out

    def sentence(self, concept: str) -> str:
        """What may be said of one concept, in words."""
        places, best = self.where(concept), self.best(concept)
        if places:
            return f"{self.model}: answers follow {concept!r} at {_listed([str(c.place) for c in places])}."
        if best is None:
            return f"{self.model}: {self.of(concept)[0].sentence}"
        if self.causal(concept) is False:
            return f"{self.model}: answers do not follow {concept!r} anywhere it was swapped; most so: {best.sentence}"
        return f"{self.model}: whether answers follow {concept!r} stays open; most so: {best.sentence}"

    def measurements(self) -> list[Measurement]:
        """Every number, p-values adjusted (Benjamini-Hochberg) over the map."""
        p = np.array([c.p for c in self.cells])
        adjusted = np.full(len(p), math.nan)
        known = ~np.isnan(p)
        if known.any():
            adjusted[known] = benjamini_hochberg(p[known])
        return [m for c, q in zip(self.cells, adjusted, strict=True) for m in c.measurements(float(q))]

    def frame(self):
        """One row a number."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        words = "".join(f"<li>{html.escape(self.sentence(c))}</li>" for c in self.concepts)
        return f"<ul>{words}</ul>{self.frame().to_html(index=False, border=0)}"


def interchanges(
    rig: Rig,
    concepts: Sequence[str] | None = None,
    points: Sequence[str] | None = None,
    *,
    method: Method = "mean_difference",
    budget: int = BUDGET,
    limit: int = LIMIT,
    seed: int = 0,
    progress: bool = False,
) -> InterchangeMap:
    """Swap each concept at each hook point: all tokens together first, then single tokens where it can live.

    What the budget does not allow is left out evenly over the depth. Single tokens are tried where the concept can be
    told from the activations and where swapping all tokens made answers follow, or left it open; not in models so large
    that a GiB does not hold the activations of some hundred items at all of the hook points.

    Args:
        rig: the model on all items of the task: they are the table of counterfactuals.
        concepts: default: all that the task declares.
        points: default: `default_points`.
        budget: item passes, recording included; nothing is swapped that would go beyond.

    Raises:
        InputError: no concepts, unknown ones, fewer than two groups; a budget that is used up by recording.
        ModelError: unknown hook point.
    """
    concepts = tuple(declared(rig.task)) if concepts is None else tuple(concepts)
    points = default_points(rig.model) if points is None else tuple(points)
    if not concepts or not points:
        raise InputError(f"task {rig.task.name!r}: no concepts or no hook points to swap at; add concept_ columns")
    stage = Stage(rig, points, limit=limit, seed=seed)
    swaps = {concept: Swaps(stage, concept, seed) for concept in concepts}
    usable = [c for c in concepts if not swaps[c].reason]
    costs = {c: cell_cost(rig.task, c, len(swaps[c].pairs), method) for c in usable}
    left = budget - stage.cost
    if usable and left < min(costs.values()):
        raise InputError(
            f"a budget of {budget} item passes is used up by recording {stage.cost} items and one swap of "
            f"{min(costs.values())}; give more, or a lower limit"
        )
    before = rig.passes
    together = "all" if stage.aligned else "last"
    places = [stage.place(point, together) for point in _evenly(points)]
    cells = [swaps[c].at(places[0], method) for c in concepts if c not in usable]
    chosen, left_out = [], []
    for place in places:
        for concept in usable:
            fits = costs[concept] <= left
            left -= costs[concept] * fits
            (chosen if fits else left_out).append((concept, place))
    chosen.sort(key=lambda c: stage.in_order(c[1]))
    for concept, place in bar(chosen, progress=progress, desc=f"{rig.name}: interchange", unit="place"):
        cells.append(swaps[concept].at(place, method))
    # Where hook points are recorded one after the other, going back to them would cost a reading each time.
    for concept, place in _single(stage, swaps, cells, together) if stage.readings == 1 else ():
        if costs[concept] > left:
            break
        left -= costs[concept]
        cells.append(swaps[concept].at(place, method))
    return InterchangeMap(rig.name, method, tuple(cells), tuple(left_out), rig.passes - before)


def map_cost(
    task: Task, n_points: int, *, method: Method = "mean_difference", budget: int = BUDGET, limit: int = LIMIT
) -> int:
    """Most item passes that `interchanges` takes on so many hook points; single tokens take what the budget leaves."""
    tested = min(limit, len(task) // 2)
    every = n_points * sum(cell_cost(task, concept, tested, method) for concept in declared(task))
    return budget if task.inputs is None else min(budget, every + min((FIT + POOL) * limit, len(task)))


def default_points(model: HookedModel) -> tuple[str, ...]:
    """The layer points, less the logits of a plain module: what is put in their place is the answer itself.

    In models of few layers the points between attention and MLP, too.
    """
    points = set(model.layer_points)
    if model.input_kind == "array":
        points = points - {model.hook_points[-1]} or points
    elif len(points) <= _FEW:
        points |= {p for p in model.hook_points if p.endswith(".hook_resid_mid")}
    return tuple(p for p in model.hook_points if p in points)


def _evenly(points: tuple[str, ...]) -> list[str]:
    """Points in such an order that the first few lie evenly over the depth: the middle, the quarters, and so on."""
    order, step = [], len(points)
    while step >= 1:
        order += [i for i in range(step // 2, len(points), step) if i not in order]
        step //= 2
    return [points[i] for i in [*order, *(i for i in range(len(points)) if i not in order)]]


def _single(
    stage: Stage, swaps: dict[str, Swaps], cells: Sequence[Interchange], together: str
) -> list[tuple[str, Place]]:
    """Single tokens at which a concept can live: concept by concept in turn, where it stands most clearly first."""
    found: dict[str, list[tuple[float, Place]]] = {}
    for cell in cells:
        if cell.reason or cell.causal is False:
            continue
        for position in stage.positions():
            if position != together:
                place = stage.place(cell.place.hook_point, position)
                found.setdefault(cell.concept, []).append((swaps[cell.concept].repeats(place), place))
    order = []
    for concept, places in found.items():
        places.sort(key=lambda p: -p[0])
        order += [(turn, concept, place) for turn, (share, place) in enumerate(places) if share >= _LIVES]
    return [(concept, place) for _, concept, place in sorted(order, key=lambda o: o[0])]


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
