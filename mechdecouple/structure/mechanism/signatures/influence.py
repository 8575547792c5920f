"""Influence: which other inputs would change the answer to an item."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.results import Metric
from mechdecouple.structure.mechanism.signatures.gradients import InputGradients

INFLUENCE_SHARE = Metric(
    name="influence_share",
    family="mechanism",
    title="influence of an input",
    measures="share of all change of the right option's logit, in squares and to first order, that other values of one "
    "input would make",
    range="[0, 1]",
    invariances="any change of basis inside, of the embedding too; a constant added to all logits of an item; scale",
    null="none: two models are held against each other",
    assumes="small changes; what is far away is extrapolated",
    source="gradient times change of input, as in attribution patching",
)
EFFECTIVE_INPUTS = dataclasses.replace(
    INFLUENCE_SHARE,
    name="effective_inputs",
    title="effective number of inputs",
    measures="participation number of the inputs' influence on the right option's logit, mean over items",
    range="[1, inf)",
)
_VALUES = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Influence:
    """What other inputs would do to the logit of each item's right option, to first order.

    Attributes:
        rows: [r] items of the task.
        pattern: [r, f] change of the right option's centred logit; NaN at the value that the item has.
        names: [f] input and value of each column. of: [f] number of its input. inputs: names of the inputs.
    """

    rows: Int[np.ndarray, " r"]
    pattern: Float[np.ndarray, "r f"]
    names: tuple[str, ...]
    of: Int[np.ndarray, " f"]
    inputs: tuple[str, ...]

    def shares(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " inputs"]:
        """Share of all squared change that other values of each input make; NaN where none does anything."""
        energy = self._energy(rows).sum(axis=0)
        return energy / energy.sum() if energy.sum() > 0 else np.full(len(energy), math.nan)

    def effective(self, rows: Int[np.ndarray, " m"]) -> float:
        """Participation number of the inputs' squared influences, mean over items that any input influences."""
        energy = self._energy(rows)
        alive = energy.sum(axis=1) > 0
        if not alive.any():
            return math.nan
        return float((energy[alive].sum(axis=1) ** 2 / (energy[alive] ** 2).sum(axis=1)).mean())

    def _energy(self, rows: np.ndarray) -> np.ndarray:
        """Mean squared change by other values of each input, [m, inputs]."""
        known = ~np.isnan(self.pattern[rows])
        square = np.where(known, self.pattern[rows], 0.0) ** 2
        member = np.eye(len(self.inputs))[self.of]
        return square @ member / np.maximum(known @ member, 1)


def influence(gradients: InputGradients) -> Influence | str:
    """The influence patterns of the items that gradients were taken of; why there are none where there are none.

    Positions: the change of the logit if the token at a position were one that another of these items has there
    (at most 64 a position). Tensor inputs: the change for one standard deviation of each input.
    """
    if gradients.reason:
        return gradients.reason
    right, at = gradients.right, gradients.inputs
    if gradients.symbols is None:
        spread = at[:, 0].std(axis=0)
        varies = np.flatnonzero(spread > 0)
        if not len(varies):
            return "all items have the same inputs"
        names = tuple(f"input {i}" for i in varies)
        return Influence(gradients.rows, right[:, 0, varies] * spread[varies], names, np.arange(len(varies)), names)
    parts, names, of = [], [], []
    for place, position in enumerate(gradients.positions):
        tokens = gradients.symbols[:, place]
        values, first = np.unique(tokens, return_index=True)
        if len(values) > _VALUES:
            some = np.linspace(0, len(values) - 1, _VALUES).round().astype(int)
            values, first = values[some], first[some]
        embedded = at[first, place]
        change = right[:, place] @ embedded.T - (right[:, place] * at[:, place]).sum(axis=1, keepdims=True)
        parts.append(np.where(tokens[:, None] == values, math.nan, change))
        names += [f"token {position}: {value}" for value in values]
        of += [place] * len(values)
    inputs = tuple(f"token {position}" for position in gradients.positions)
    return Influence(gradients.rows, np.concatenate(parts, axis=1), tuple(names), np.array(of), inputs)
