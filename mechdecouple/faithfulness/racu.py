"""RACU: the area between masking at random and masking what an explanation calls important."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

RACU = Metric(
    name="racu", family="faithfulness", title="relative area between masking curves", range="(-inf, inf)",
    measures="area between the score when features are masked at random and when they are masked in the order of an "
    "explanation, as a share of the area that an explanation would cover which takes all there is with the first mask",
    direction="higher",
    invariances="scale and offset of the score",
    null="0: features are masked in an order that says nothing",
    assumes="masked items stay as the model knows them; see masf_rate",
    source="arXiv:2310.07819, arXiv:2110.08412",
    margin=0.1,
)  # fmt: skip
FLAT = 0.01
"""Random masking must take so much of the score on average, or there is nothing to compare with."""


def acu(
    ratios: Float[np.ndarray, " r"], explainer: Float[np.ndarray, "*#s r"], random: Float[np.ndarray, "*#s r"]
) -> Float[np.ndarray, ...]:
    """Area between two masking curves by the trapezoidal rule, in units of the score.

    Raises:
        InputError: the curves differ in length.
    """
    if not len(ratios) == explainer.shape[-1] == random.shape[-1]:
        raise InputError(
            f"masking curves of {explainer.shape[-1]} and {random.shape[-1]} scores at {len(ratios)} ratios; give a "
            "score at each ratio"
        )
    return np.trapezoid(random - explainer, ratios, axis=-1)


def racu(
    ratios: Float[np.ndarray, " r"], explainer: Float[np.ndarray, "*#s r"], random: Float[np.ndarray, "*#s r"]
) -> Float[np.ndarray, ...]:
    """The area between two masking curves over the area between the random one and its end; at most 1 where the score
    never falls below that end, below 0 where the explanation is worse than chance. NaN where masking takes nothing."""
    most = acu(ratios, np.broadcast_to(random[..., -1:], random.shape), random)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(most) > FLAT, acu(ratios, explainer, random) / most, np.nan)
