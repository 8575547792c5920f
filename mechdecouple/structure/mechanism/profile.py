"""CausalProfile: how much of a model's answers depends on each of its parts."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechdecouple import progress as bars
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._schedule import BUDGET, n_tapes, ranked, schedule, taped
from mechdecouple.structure.mechanism._scores import Score, Scorer, filled
from mechdecouple.structure.mechanism.attribution import PASSES, attribution
from mechdecouple.structure.mechanism.component import Component, ablating
from mechdecouple.structure.mechanism.components import components as find_components
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import ABLATIONS, Ablation

CAUSAL_SHARE = Metric(
    name="causal_share", family="mechanism", title="share of the answer that depends on the part", range="[0, 1]",
    measures="mean squared change of the centred option logits when the part is ablated, over the sum of their "
    "variances before and after",
    invariances="rotation and scale of the activations, constants added to all logits of an item",
    null="0: the part does nothing; 1: the answers without it are unrelated to those with it",
    assumes="ablated activations leave the rest of the network in a state that it knows (resampling: nearly so)",
    source="resample ablation as in arXiv:2304.14997",
)  # fmt: skip
ACCURACY_LEFT = Metric(
    name="ablated_accuracy", family="mechanism", title="accuracy without the part", range="[0, 1]",
    measures="share of right answers when the part is ablated",
    invariances="rotation and scale of the activations",
    null="none: the accuracy without ablation stands beside it",
    assumes="ablated activations leave the rest of the network in a state that it knows",
)  # fmt: skip
DIFFERENCE_LEFT = Metric(
    name="ablated_difference", family="mechanism", title="logit difference without the part", range="(-inf, inf)",
    measures="logit of the right option less the mean of the others, when the part is ablated",
    invariances="rotation and scale of the activations, constants added to all logits of an item",
    null="0: the right option is not preferred",
    assumes="ablated activations leave the rest of the network in a state that it knows",
)  # fmt: skip
METRICS = (CAUSAL_SHARE, ACCURACY_LEFT, DIFFERENCE_LEFT)

_SPENT = "not ablated: the budget was spent on parts with a larger attributed effect; see `attributed`"


@dataclasses.dataclass(frozen=True, eq=False)
class CausalProfile:
    """What taking out each part of a model does to its answers. NaN where a part was only attributed.

    Attributes:
        name: the model. ids, groups: [n] the items and their unit of resampling.
        components: c parts. ablations: k ways of taking them out.
        effect: [c, k, n] drop of the right option's centred logit on each item.
        accuracy: [c, k] left after ablation; difference: [c, k] logit difference left (right option less the mean of
            the others); share: [c, k] of the answer that depends on the part, see `share_changed`.
        clean_accuracy, clean_difference: without ablation.
        attributed: [c, n] effect of the first ablation to first order, where the budget did not hold all parts.
        alone: share of rows without another of their length, which mean and resample ablation leave as they are.
        passes: item passes it took; they do not count in the rig it was made from.
    """

    name: str
    ids: np.ndarray
    groups: np.ndarray
    components: tuple[Component, ...]
    ablations: tuple[Ablation, ...]
    effect: Float[np.ndarray, "c k n"]
    accuracy: Replicates
    difference: Replicates
    share: Replicates
    clean_accuracy: Replicates
    clean_difference: Replicates
    attributed: Float[np.ndarray, "c n"] | None = None
    alone: float = 0.0
    passes: int = 0

    def __len__(self) -> int:
        return len(self.components)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.components)

    @property
    def exact(self) -> Bool[np.ndarray, " c"]:
        """Which parts were ablated, not only attributed."""
        return np.asarray(~np.isnan(self.effect).any(axis=(1, 2)))

    def index(self, name: str) -> int:
        """Row of a component.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.names:
            raise InputError(f"model {self.name!r} has no component {name!r}; it has {', '.join(self.names)}")
        return self.names.index(name)

    def column(self, ablation: str) -> int:
        """Column of an ablation.

        Raises:
            InputError: it was not made.
        """
        if ablation not in self.ablations:
            raise InputError(f"no ablation {ablation!r} in this profile; it has {', '.join(self.ablations)}")
        return self.ablations.index(ablation)  # pyright: ignore[reportArgumentType]

    def whole(self, kind: str) -> int | None:
        """Row of the component that is all of a kind, e.g. all attention patterns; None where there is none."""
        rows = [i for i, c in enumerate(self.components) if c.kind == kind and not c.fine]
        combined = [i for i in rows if self.components[i].parts]
        return combined[0] if combined else rows[0] if len(rows) == 1 else None

    def select(self, rows: Sequence[int] | np.ndarray) -> CausalProfile:
        """The profile of some of its components."""
        rows = np.arange(len(self))[np.asarray(rows)]
        return dataclasses.replace(
            self, components=tuple(self.components[i] for i in rows), effect=self.effect[rows],
            accuracy=self.accuracy[rows], difference=self.difference[rows], share=self.share[rows],
            attributed=None if self.attributed is None else self.attributed[rows],
        )  # fmt: skip

    def measurements(self) -> list[Measurement]:
        """One a component, ablation and metric: ``position`` names the component, ``context`` the ablation."""
        return [
            Measurement(
                metric=metric.name, family=metric.family, estimate=self._estimate(metric, ablation, values[i, j]),
                model=self.name, hook_point=component.hook_point, position=component.name, context=ablation,
            )
            for metric, values in zip(METRICS, (self.share, self.accuracy, self.difference), strict=True)
            for i, component in enumerate(self.components)
            for j, ablation in enumerate(self.ablations)
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """One row a component and ablation, with the ends of 95 % intervals."""
        columns: dict[str, np.ndarray] = {}
        for name in ("share", "accuracy", "difference"):
            values: Replicates = getattr(self, name)
            bounds = (-np.inf, np.inf) if name == "difference" else (0.0, 1.0)
            low, high = (np.clip(end, *bounds) for end in values.interval())
            columns |= {name: values.value, f"{name}_low": low, f"{name}_high": high}
        columns["effect"] = self.effect.mean(axis=2)
        rows = [
            {
                "model": self.name, "component": c.name, "kind": c.kind, "depth": c.depth, "hook_point": c.hook_point,
                "ablation": ablation, **{n: v[i, j] for n, v in columns.items()},
                "attributed": math.nan if self.attributed is None else self.attributed[i].mean(),
                "exact": bool(self.exact[i]),
            }
            for i, c in enumerate(self.components)
            for j, ablation in enumerate(self.ablations)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _estimate(self, metric: Metric, ablation: Ablation, value: Replicates) -> Estimate:
        if not math.isnan(value.value):
            left = f"{self.alone:.0%} of the items have no other of their length and were left as they are"
            return value.estimate(metric, reason=left if self.alone and ablation != "zero" else "")
        constant = "the logits of the options are the same on all items, before and after"
        reason = _SPENT if self.attributed is not None else constant
        return Estimate.undefined(reason, direction=metric.direction)

    def _repr_html_(self) -> str:
        table = self.frame()[["component", "ablation", "share", "accuracy", "difference"]]
        wide = table.pivot(index="component", columns="ablation").reindex(list(self.names)).round(3)
        title = f"{self.name}: accuracy {self.clean_accuracy.value:.3f} on {len(self.ids)} items"
        return f"<div><b>{html.escape(title)}</b>{wide.to_html(border=0)}</div>"


def causal_profile(
    rig: Rig,
    components: Sequence[Component] | None = None,
    *,
    ablations: Sequence[Ablation] = ABLATIONS,
    budget: int = BUDGET,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> CausalProfile:
    """Take out each part of a model and see what becomes of its answers.

    Where the budget does not hold all parts, attribution patching (one backward pass) says first which matter: those
    that other models have too come before single heads, units and latents, and among each the ones with the larger
    attributed effect. The others are only attributed.

    Args:
        components: parts to take out; by default those that `components` finds.
        ablations: ``zero``; ``mean`` at each position; ``resample``: what another item had, one draw an item.
        budget: most item passes (one item through the model once), see `profile_cost`.
        limit: most items, whole groups drawn at random; by default what the budget allows, 64 to 256. Profiles that
            are to be compared need the same.

    Raises:
        InputError: answers without options, no components, unknown ablations, a budget that holds no part.
    """
    parts = tuple(components) if components is not None else find_components(rig)
    rows, count = schedule(rig, parts, ablations, budget, limit, seed)
    rig = rig.select(rows)
    attributed = attribution(rig, parts, ablation=ablations[0], seed=seed) if count < len(parts) else None
    chosen = ranked(parts, attributed)[:count]
    scorer, scores, alone = None, dict[tuple[int, int], Score](), 0.0
    with bars.bar(total=count * len(ablations), desc=f"{rig.name}: ablations", progress=progress) as shown:
        for members, tape in taped(rig, parts, chosen, len(ablations)):
            scorer, alone = scorer or Scorer(rig.clean, rig.task.groups, seed), tape.alone
            for i in members:
                for j, ablation in enumerate(ablations):
                    scores[i, j] = scorer.score(
                        rig.read(ablating([parts[i]], tape, ablation, seed)), drawn=ablation == "resample"
                    )
                    shown.update()
    assert scorer is not None
    shape = (len(parts), len(ablations))
    share = scorer.share(list(scores.values()))
    every = np.full((shape[0] * shape[1],), -1)
    every[[i * shape[1] + j for i, j in scores]] = np.arange(len(scores))
    return CausalProfile(
        name=rig.name, ids=rig.task.ids, groups=rig.task.groups, components=parts, ablations=tuple(ablations),
        effect=filled([s.effect for s in scores.values()], every).reshape(*shape, -1),
        accuracy=scorer.mean(
            filled([s.correct for s in scores.values()], every).reshape(*shape, -1), share_of_items=True
        ),
        difference=scorer.mean(filled([s.difference for s in scores.values()], every).reshape(*shape, -1)),
        share=Replicates(
            filled(share.value, every).reshape(shape),
            filled(share.replicates.T, every).T.reshape(-1, *shape),
            "jackknife", share.n,
        ),
        clean_accuracy=scorer.mean(rig.clean.correct, share_of_items=True),
        clean_difference=scorer.mean(rig.clean.difference),
        attributed=attributed, alone=alone, passes=rig.passes,
    )  # fmt: skip


def profile_cost(
    rig: Rig,
    components: Sequence[Component] | None = None,
    *,
    ablations: Sequence[Ablation] = ABLATIONS,
    budget: int = BUDGET,
    limit: int | None = None,
) -> int:
    """Item passes that `causal_profile` will take at most, never above the budget; times ``rig.seconds_per_pass``."""
    parts = tuple(components) if components is not None else find_components(rig)
    rows, count = schedule(rig, parts, ablations, budget, limit, 0)
    first = PASSES if count < len(parts) else 0
    return len(rows) * (first + n_tapes(rig, parts, len(rows), len(ablations)) + count * len(ablations))
