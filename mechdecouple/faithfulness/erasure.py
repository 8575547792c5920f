"""Comprehensiveness and sufficiency: what the answer loses without the features of a rationale, and with them alone."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Metric

BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Shares of the features that make a rationale, as in arXiv:1911.03429; each holds one feature at least."""
COMPREHENSIVENESS = Metric(
    name="rationale_comprehensiveness", family="faithfulness", range="[-1, 1]",
    title="comprehensiveness of a rationale",
    measures="what the probability of the chosen option loses when the features that an explanation ranks first are "
    "masked",
    direction="higher",
    null="what it loses when as many features are masked at random",
    assumes="masked items stay as the model knows them; see masf_rate",
    source="arXiv:1911.03429",
)  # fmt: skip
SUFFICIENCY = dataclasses.replace(
    COMPREHENSIVENESS,
    name="rationale_sufficiency",
    title="sufficiency of a rationale",
    direction="lower",
    measures="what the probability of the chosen option loses when all features are masked but those that an "
    "explanation ranks first",
    null="what it loses when as many features are kept at random",
)
AOPC_COMPREHENSIVENESS = dataclasses.replace(
    COMPREHENSIVENESS,
    name="aopc_comprehensiveness",
    title="comprehensiveness over sizes",
    measures="mean comprehensiveness over rationales of 1, 5, 10, 20 and 50 % of the features",
    null="the same for rationales drawn at random",
    margin=0.05,
)
AOPC_SUFFICIENCY = dataclasses.replace(
    SUFFICIENCY,
    name="aopc_sufficiency",
    title="sufficiency over sizes",
    measures="mean sufficiency over rationales of 1, 5, 10, 20 and 50 % of the features",
    null="the same for rationales drawn at random",
    margin=0.05,
)


def drop(whole: Float[np.ndarray, " n"], changed: Float[np.ndarray, "*b n"]) -> Float[np.ndarray, "*b n"]:
    """What the probability of the chosen option loses on each item: without a rationale this is comprehensiveness, with
    the rationale alone sufficiency."""
    return whole - changed


def aopc(drops: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " n"]:
    """Area over the perturbation curve: mean of the drops over sizes of rationales."""
    return drops.mean(axis=0)
