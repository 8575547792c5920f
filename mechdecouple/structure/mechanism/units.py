"""Census of units: which are never active, dead, or stand in for others."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Shaped

from mechdecouple import progress as bars
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import wilson
from mechdecouple.structure.mechanism._scores import sampled
from mechdecouple.structure.mechanism.component import Component, ablating, hook_points
from mechdecouple.structure.mechanism.components import units as single_units
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import PATTERNS, Ablation, Chunk, Tape

State = Literal["never active", "dead", "redundant", "working", "untested"]
COUNTED: tuple[State, ...] = ("never active", "dead", "redundant")
_FACTS = {
    "never active": "units that give one value on all items and positions",
    "dead": "units without an effect on the answers, alone or with half of the others removed",
    "redundant": "units whose effect on the answers more than doubles when half of the others are removed",
}
UNIT_SHARES = {
    state: Metric(
        name=f"{state.replace(' ', '_')}_units", family="mechanism", title=f"{state} units", range="[0, 1]",
        measures=f"share of {what}", invariances="order and scale of the units",
        null="none: a count; how many are to be expected depends on the recipe",
        assumes="the items are what the units are for; units are the parts that matter",
        source="redundant: back-up heads of arXiv:2211.00593, arXiv:2307.15771",
    )
    for state, what in _FACTS.items()
}  # fmt: skip
FLOOR = 0.01
"""Effects (squared changes of the logits) below this part of an equal share of the answer are none."""
RISE = 4.0
"""A redundant unit's squared effect rises by this factor at least."""
BUDGET = 6_000
"""Item passes that a census may take."""
ITEMS = 32
"""A census is made on so many items by default."""


@dataclasses.dataclass(frozen=True, eq=False)
class Census:
    """What becomes of the answers when single units are taken out, with all others there and with half of them gone.

    Attributes:
        name: the model. components: u units. ablation: how they were taken out. n_items: on so many items.
        state: [u] ``never active`` (one value throughout), ``dead`` (no effect with or without others), ``redundant``
            (the effect rises when others are removed), ``working``, or ``untested`` where the budget was spent.
        alone: [u] mean squared change of the centred logits over their variance, when the unit is ablated.
        without: [u] the most it changes them when half of the others are ablated, too. NaN where untested.
        passes: item passes it took; they do not count in the rig it was made from.
    """

    name: str
    components: tuple[Component, ...]
    ablation: Ablation
    n_items: int
    state: Shaped[np.ndarray, " u"]
    alone: Float[np.ndarray, " u"]
    without: Float[np.ndarray, " u"]
    passes: int = 0

    def __len__(self) -> int:
        return len(self.components)

    @property
    def counts(self) -> dict[str, int]:
        """Units by state, among all of them or, where some are untested, as far as was found."""
        return {state: int((self.state == state).sum()) for state in (*COUNTED, "working", "untested")}

    def share(self, state: State) -> Estimate:
        """Share of the units in a state; an interval where only a random sample of them was tested.

        Raises:
            InputError: not a state that is counted.
        """
        if state not in COUNTED:
            raise InputError(f"no state {state!r} of units is counted; expected one of {', '.join(COUNTED)}")
        found, tested = self.counts[state], int((self.state != "untested").sum())
        if state == "never active" or tested == len(self):
            reason = "all units were looked at: a count, without an interval over units"
            return Estimate(value=found / len(self), n=len(self), unit="units", reason=reason)
        silent = self.counts["never active"] / len(self)
        asked = tested - self.counts["never active"]
        low, high = wilson(found, asked)
        return Estimate(
            value=(1 - silent) * found / asked, low=(1 - silent) * low, high=(1 - silent) * high,
            method=f"Wilson, {asked} active units drawn at random", n=asked, unit="units",
        )  # fmt: skip

    def measurements(self) -> list[Measurement]:
        """The shares of never active, dead and redundant units."""
        points = ", ".join(dict.fromkeys(c.hook_point for c in self.components))
        return [
            Measurement(
                metric=UNIT_SHARES[s].name, family=UNIT_SHARES[s].family, estimate=self.share(s), model=self.name,
                hook_point=points, context=self.ablation,
            )
            for s in COUNTED
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """One row a unit."""
        return pd.DataFrame(
            {
                "model": self.name, "unit": [c.name for c in self.components],
                "hook_point": [c.hook_point for c in self.components], "state": self.state, "alone": self.alone,
                "without_others": self.without,
            }
        )  # fmt: skip

    def _repr_html_(self) -> str:
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        return f"<div><b>{html.escape(self.name)}</b>: {len(self)} units, {counts}</div>"


def census(
    rig: Rig,
    components: Sequence[Component] | None = None,
    *,
    ablation: Ablation = "zero",
    splits: int = 3,
    floor: float = FLOOR,
    rise: float = RISE,
    budget: int = BUDGET,
    limit: int = ITEMS,
    seed: int = 0,
    progress: bool = False,
) -> Census:
    """Count units that are never active, dead, or redundant.

    Every unit is ablated alone, and once in each random split of the units in halves, with the other half ablated, too.
    A unit that one other stands in for is found with probability 1 - 2^-splits. Effects are squared changes of the
    logits over the variance that these have without ablation, so that they are the same before and after others are
    removed where parts add up. Where the budget does not hold all units, a random sample of the active ones is tested.

    Args:
        components: the units, no two of the same entries; by default each unit behind an activation function (each
            MLP's hidden layer). Heads, groups of units and latents do as well.
        floor: squared effects below this part of an equal share of the answer (1 / units) are none.
        rise: a redundant unit's squared effect rises by this factor at least.
        limit: most items, whole groups drawn at random. budget: most item passes, see `census_cost`.

    Raises:
        InputError: no units, logits that do not vary over items, a budget that holds no unit.
    """
    parts = list(components) if components is not None else hidden_units(rig)
    if not parts or splits < 1:
        raise InputError(f"{len(parts)} units in {splits} splits: expected at least one of each")
    rows = sampled(rig.task.groups, limit, seed)
    rig = rig.select(rows)
    rng = np.random.default_rng(seed)
    tape = rig.tape(hook_points(parts))
    active = np.array([_varies(part, tape) for part in parts])
    holds = _holds(budget, len(rows), splits)
    if holds < 1:
        raise InputError(
            f"a budget of {budget} item passes holds no unit on {len(rows)} items: give "
            f"{(2 + 3 * splits) * len(rows)} or more"
        )
    tested = np.flatnonzero(active)
    tested = np.sort(rng.choice(tested, holds, replace=False)) if len(tested) > holds else tested
    scale = _spread(rig)
    alone, without = np.full(len(parts), np.nan), np.full(len(parts), np.nan)
    with bars.bar(total=len(tested) * (1 + splits), desc=f"{rig.name}: units", progress=progress) as shown:
        for u in tested:
            alone[u] = _changed(rig.clean, rig.read(ablating([parts[u]], tape, ablation, seed))) / scale
            shown.update()
        for _ in range(splits):
            half = rng.permutation(len(parts)) < len(parts) / 2
            for gone in (half, ~half):
                removed = [part for part, out in zip(parts, gone, strict=True) if out]
                least = rig.read(ablating(removed, tape, ablation, seed)) if removed else rig.clean
                for u in tested[~gone[tested]]:
                    edited = rig.read(ablating([*removed, parts[u]], tape, ablation, seed))
                    without[u] = np.fmax(without[u], _changed(least, edited) / scale)
                    shown.update()
    state = states(active, alone, without, floor / len(parts), rise)
    return Census(rig.name, tuple(parts), ablation, len(rows), state, alone, without, rig.passes)


def census_cost(
    rig: Rig,
    components: Sequence[Component] | None = None,
    *,
    splits: int = 3,
    budget: int = BUDGET,
    limit: int = ITEMS,
) -> int:
    """Item passes that `census` takes if every unit is active, never above the budget."""
    parts = list(components) if components is not None else hidden_units(rig)
    n = len(sampled(rig.task.groups, limit))
    return n * (1 + 2 * splits + (1 + splits) * min(len(parts), max(_holds(budget, n, splits), 0)))


def hidden_units(rig: Rig) -> list[Component]:
    """Each unit behind an activation function: of every MLP's hidden layer, or of a plain module's activations.

    Raises:
        InputError: there are none that can be read.
    """
    model = rig.model
    if model.input_kind == "array":
        points = [p for p in model.hook_points if _is_activation(model.module.get_submodule(p))]
    else:
        points = [p for p in model.hook_points if p.endswith("mlp.hook_post")]
    if not points:
        raise InputError(f"model {model.name!r} has no hook points behind activation functions: give the units")
    return [unit for point in points for unit in single_units(rig, point)]


def states(
    active: Bool[np.ndarray, " u"],
    alone: Float[np.ndarray, " u"],
    without: Float[np.ndarray, " u"],
    floor: float,
    rise: float,
) -> Shaped[np.ndarray, " u"]:
    """The state of each unit from its squared effects; NaN effects are untested."""
    tested = ~np.isnan(alone)
    none = np.fmax(alone, without) < floor
    redundant = (without >= floor) & (without >= rise * np.maximum(alone, 0.0))
    kinds = [~active, ~tested, none, redundant]
    return np.select(kinds, ["never active", "untested", "dead", "redundant"], default="working")


def _holds(budget: int, n: int, splits: int) -> int:
    return (budget // n - 1 - 2 * splits) // (1 + splits)


def _varies(part: Component, tape: Tape) -> bool:
    """Whether an entry of a part has more than one value over items and positions; patterns of tokens always do."""
    for leaf in part.leaves:
        point = leaf.source or leaf.hook_point
        if point.endswith(PATTERNS):
            return True
        values = torch.cat([_of(leaf, tape.clean(point, chunk.number), chunk) for chunk in tape.chunks])
        if not torch.allclose(values, values[:1].expand_as(values), rtol=1e-6, atol=1e-9):
            return True
    return False


def _of(leaf: Component, x: torch.Tensor, chunk: Chunk) -> torch.Tensor:
    """A part's own entries at the real positions of a batch."""
    if chunk.batch.tokens is not None:
        lengths = torch.as_tensor(chunk.lengths, device=x.device)
        x = x[torch.arange(x.shape[1], device=x.device) < lengths[:, None]]
    if leaf.basis is not None:
        return x @ torch.as_tensor(leaf.basis, device=x.device, dtype=x.dtype).T
    if leaf.index is None:
        return x
    return x.index_select(x.ndim + leaf.axis, torch.as_tensor(leaf.index, device=x.device))


def _spread(rig: Rig) -> float:
    values = np.nan_to_num(rig.clean.values)
    offered = np.maximum(rig.clean.offered.sum(axis=0), 1)
    spread = float((values**2).sum() - (values.sum(axis=0) ** 2 / offered).sum()) / len(values)
    if spread <= 1e-12 * float((values**2).mean()):
        raise InputError(f"the answers of model {rig.name!r} do not vary over the items: no unit can be told to matter")
    return spread


def _changed(before: OptionLogits, after: OptionLogits) -> float:
    return float(np.nansum((before.values - after.values) ** 2)) / len(before)


def _is_activation(module: torch.nn.Module) -> bool:
    return type(module).__module__ == torch.nn.modules.activation.__name__
