"""Portrait: what is measured of one model before it is held against another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mechdecouple.models import HookedModel
from mechdecouple.stats import wilson
from mechdecouple.structure.mechanism._schedule import profile_items
from mechdecouple.structure.mechanism._scores import sampled
from mechdecouple.structure.mechanism.component import Component
from mechdecouple.structure.mechanism.components import components
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.profile import CausalProfile, causal_profile, profile_cost
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.signature import Signature, signature, signature_cost
from mechdecouple.structure.mechanism.tape import ABLATIONS, Ablation
from mechdecouple.tasks import Task

LIMIT = 256
BUDGET = 10_000
ITEMS = 1024
"""Most items that the answers are compared on."""
HELD: Ablation = "resample"
"""The ablation that routes are compared by: what it puts in is what the rest of the network knows."""


@dataclasses.dataclass(frozen=True, eq=False)
class Portrait:
    """One model on the items that it is compared on.

    Attributes:
        task: all items, which interchange looks counterfactual answers up in. rig: the model on those that it is
            compared on; clean: its answers to them.
        profile: what depends on which part; of seeds, of the parts that other models have too alone.
        signature: what is told without looking inside.
        passes: item passes it took.
    """

    task: Task
    rig: Rig
    clean: OptionLogits
    profile: CausalProfile
    signature: Signature
    passes: int

    @property
    def name(self) -> str:
        return self.rig.name

    @property
    def at_chance(self) -> str:
        """Why its answers say nothing of a mechanism; empty where it is right more often than by guessing."""
        correct, offered = self.clean.correct, self.clean.offered.sum(axis=1)
        low, _ = wilson(int(correct.sum()), len(correct))
        chance = float((1 / offered).mean())
        if low > chance:
            return ""
        return f"model {self.name!r} is right on {correct.mean():.2f} of the items, no more than by guessing"


def portray(
    model: HookedModel,
    task: Task,
    *,
    limit: int = LIMIT,
    budget: int = BUDGET,
    seed: int = 0,
    whole: bool = True,
    progress: bool = False,
) -> Portrait:
    """Measure one model, on the same items for every model with the same limit and seed.

    Args:
        limit: most items of the causal profile and of gradients; budget: most item passes of the profile.
        whole: heads and all ablations, too: what a report shows beyond what the verdict needs.

    Raises:
        InputError: answers without options, or a budget that holds no causal profile.
    """
    rig = compared_on(Rig(model, task), seed)
    parts, ablations = _asked(rig, whole)
    before = rig.passes
    profile = causal_profile(rig, parts, ablations=ablations, budget=budget, limit=limit, seed=seed, progress=progress)
    told = signature(rig, profile, limit=limit, seed=seed)
    return Portrait(task, rig, rig.clean, profile, told, rig.passes - before + profile.passes)


def common_limit(
    models: Sequence[HookedModel], task: Task, *, limit: int = LIMIT, budget: int = BUDGET, seed: int = 0
) -> int:
    """Most items of the profiles of several models, so that the budget of each holds every part that others have too:
    what was only attributed is no evidence."""
    asked = (_asked(compared_on(Rig(model, task), seed), True) for model in models)
    return min(limit, *(profile_items(parts, ablations, budget) for parts, ablations in asked))


def portrait_cost(rig: Rig, *, limit: int = LIMIT, budget: int = BUDGET, whole: bool = True) -> int:
    """Item passes that `portray` takes at most, on the items of the rig."""
    parts, ablations = _asked(rig, whole)
    profile = profile_cost(rig, parts, ablations=ablations, budget=budget, limit=limit)
    return profile + signature_cost(len(rig), limit=limit)


def compared_on(rig: Rig, seed: int = 0) -> Rig:
    """The items that answers are compared on: all of them, or whole groups drawn at random up to ``ITEMS``."""
    rows = sampled(rig.task.groups, ITEMS, seed)
    return rig.select(rows) if len(rows) < len(rig) else rig


def _asked(rig: Rig, whole: bool) -> tuple[tuple[Component, ...], tuple[Ablation, ...]]:
    parts = components(rig, heads=whole)
    return (parts, ABLATIONS) if whole else (tuple(c for c in parts if not c.fine), (HELD,))
