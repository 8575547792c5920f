"""Effective components: on how many of its parts do a model's answers rest?"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Metric
from mechdecouple.structure.mechanism.profile import CausalProfile

EFFECTIVE_COMPONENTS = Metric(
    name="effective_components",
    family="mechanism",
    title="effective number of components",
    measures="participation number of the mean squared effects of attention and MLPs of each layer (named submodules "
    "of a plain module) on the right option's centred logit",
    range="[1, inf)",
    invariances="rotation of activations; order, scale and copies of units and heads within a component",
    null="none: two models are held against each other",
    assumes="components that can be taken out one at a time; what backs another up is not counted",
)
KINDS = ("attention", "mlp", "module")


def effective_components(effect: Float[np.ndarray, "c n"]) -> float:
    """(Σ w)² / Σ w² of w, the mean squared effect of each component over items: 1 … c; NaN where nothing has any.

    >>> effective_components(np.array([[1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]))
    2.0
    """
    weight = (np.asarray(effect, np.float64) ** 2).mean(axis=1)
    if not weight.sum() > 0:
        return math.nan
    return float(weight.sum() ** 2 / (weight**2).sum())


def like_components(profile: CausalProfile) -> list[int]:
    """Those that other models have too and that do not overlap, as far as they were ablated.

    Attention and MLP of each layer, or the submodules of a plain module.
    """
    parts = profile.components
    return [i for i, c in enumerate(parts) if c.kind in KINDS and not c.fine and not c.parts and profile.exact[i]]


def coarse_effects(profile: CausalProfile) -> Float[np.ndarray, "c n"]:
    """Per-item effect of each of `like_components`, under resampling where that was done."""
    column = profile.ablations.index("resample") if "resample" in profile.ablations else 0
    return profile.effect[like_components(profile), column]
