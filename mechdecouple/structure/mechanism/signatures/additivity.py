"""Additivity: are the answers a sum of what each input says alone?"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int

from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures._additive import AdditiveFit
from mechdecouple.structure.mechanism.signatures.factors import inputs, population
from mechdecouple.structure.mechanism.signatures.shared import shared_options

ADDITIVITY = Metric(
    name="input_additivity",
    family="mechanism",
    title="additivity of inputs",
    measures="share of the variance of the centred option logits that a sum of terms of one input each explains; the "
    "rest are interactions between inputs",
    range="about [0, 1]; a ratio of unbiased terms, so it can stray",
    invariances="anything that leaves the logits alone; a constant added to all logits of an item; their scale",
    null="0: each input alone says nothing of the answers",
    assumes="more items than values of all inputs together; where items choose among different options, the logit of "
    "the right one stands for all",
    source="analysis of variance; main effects against all others, Sobol 2001, doi:10.1016/S0378-4754(00)00270-6",
)


def additivity(rig: Rig, blocks: Int[np.ndarray, " n"] | None = None) -> tuple[Replicates, str]:
    """Share of the option logits that inputs add up to, and why it is NaN where it is.

    Inputs are the tokens at each position that varies, or the declared concepts of tensor inputs. Adjusted for the
    number of values, so that inputs which do nothing explain nothing. Costs the one reading of the clean answers.
    """
    found, reason = inputs(rig)
    blocks = jackknife_blocks(rig.task.groups) if blocks is None else blocks
    n_groups = len(set(rig.task.groups.tolist()))
    values = sum(int(codes.max()) for codes in found.values())
    if not reason and values + 2 > len(rig) * (1 - 1 / len(np.unique(blocks))):
        reason = (
            f"the inputs have {values + len(found)} values, and there are {len(rig)} items to tell their effects by"
        )
    if not reason and len(found) < 2:
        reason = "only one input varies: there is nothing to interact with"
    if reason:
        nothing = np.full(len(np.unique(blocks)), math.nan)
        return Replicates(math.nan, nothing, "jackknife", n_groups), reason
    options = shared_options(rig)
    logits = rig.clean.answer[:, None] if options is None else options.of(rig.clean)
    fit = AdditiveFit(logits - logits.mean(axis=0), list(found.values()), population(rig))
    made = jackknife(fit, blocks, n_groups)
    return made, "the logits do not differ between items" if np.isnan(made.value) else ""
