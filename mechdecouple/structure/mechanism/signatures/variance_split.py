"""Variance split: which concepts the logit of the right option varies with."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Measurement, Metric, frame
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures._additive import AdditiveFit
from mechdecouple.structure.mechanism.signatures.cyclic import cyclic
from mechdecouple.structure.mechanism.signatures.factors import Factors, declared, population, same_levels

VARIANCE_SHARE = Metric(
    name="answer_variance_share",
    family="mechanism",
    title="variance of the answer by concept",
    measures="share of the variance of the right option's centred logit that the levels of one concept explain",
    range="about [0, 1]; a ratio of unbiased terms, so it can stray",
    invariances="anything that leaves the logits alone; a constant added to all logits of an item; their scale",
    null="0: the logit does not depend on the concept",
    assumes="levels that two or more groups share",
    source="first-order index of Sobol 2001, doi:10.1016/S0378-4754(00)00270-6, from pairs of items",
)
VARIANCE_INTERACTION = dataclasses.replace(
    VARIANCE_SHARE,
    name="answer_variance_interaction",
    title="variance of the answer by interactions",
    measures="share of the variance of the right option's centred logit that two concepts explain together beyond what "
    "each does alone; below 0 where they tell the same",
    range="about [-1, 1]",
)
VARIANCE_REST = dataclasses.replace(
    VARIANCE_SHARE,
    name="answer_variance_rest",
    title="variance of the answer beyond main effects",
    measures="share of the variance of the right option's centred logit that no sum over the concepts explains: their "
    "interactions, and what none of them names",
    null="1: the concepts say nothing of the logit",
    assumes="more items than levels of all concepts together",
)

_FEW = 0.5
"""A share is undefined where less than this part of the items has a partner of the same level in another group."""


@dataclasses.dataclass(frozen=True, eq=False)
class VarianceSplit:
    """How the variance of the right option's centred logit splits over concepts.

    Attributes:
        concepts: [k] names. pairs: those pairs of which enough items share both levels.
        main: [k] share of each concept alone. interactions: [pairs] share beyond the two alone. rest: beyond all sums.
        variance: of the logit. reason: why a share is NaN.
    """

    concepts: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    main: Replicates
    interactions: Replicates
    rest: Replicates
    variance: float
    reason: str = ""

    def share(self, concept: str) -> Replicates:
        """The share of one concept."""
        if concept not in self.concepts:
            raise InputError(f"no concept {concept!r} in this split: it has {', '.join(self.concepts)}")
        return self.main[self.concepts.index(concept)]

    def measurements(self, model: str = "") -> list[Measurement]:
        rows = [(VARIANCE_SHARE, name, value) for name, value in zip(self.concepts, self.main, strict=True)]
        rows += [
            (VARIANCE_INTERACTION, " x ".join(pair), value)
            for pair, value in zip(self.pairs, self.interactions, strict=True)
        ]
        rows.append((VARIANCE_REST, "", self.rest))
        return [
            Measurement(
                metric=metric.name, family=metric.family, model=model, concept=concept,
                estimate=value.estimate(metric, reason=self.reason if math.isnan(value.value) else ""),
            )
            for metric, concept, value in rows
        ]  # fmt: skip

    def frame(self):
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return self.frame()[["metric", "concept", "value", "low", "high"]].to_html(index=False, border=0)


def variance_split(
    answer: Float[np.ndarray, " n"],
    factors: Factors,
    groups: Shaped[np.ndarray, " n"] | None = None,
    blocks: Int[np.ndarray, " n"] | None = None,
    population: float | int = math.inf,
) -> VarianceSplit:
    """Split the variance of the right option's centred logit over the levels of concepts.

    What a concept explains is the variance less that between items that share its level, both from pairs of items of
    different groups: what items of one level do not share adds to it no more than noise does. Concepts may depend on
    each other (a sum and its terms): each share is that of the concept alone.

    Args:
        answer: `OptionLogits.answer`.
        factors: name -> level of each item; at least one, with two levels or more.
        groups: the unit of resampling; each item on its own if not given.
        blocks: jackknife blocks; 20 by group if not given.
        population: how many items there are to draw from. A grid that is complete leaves nothing to chance, and its
            shares are those of its own means.

    Raises:
        InputError: no factors, a logit that is not finite.

    >>> a, b = np.divmod(np.arange(36), 6)
    >>> split = variance_split(np.cos(a - b), {"a": a, "a-b": a - b + 5})
    >>> round(split.share("a-b").value, 6)
    1.0
    """
    n = len(answer)
    if not factors:
        raise InputError("no concepts to split the variance over: declare concepts, or give a grid of inputs")
    if not np.isfinite(answer).all():
        raise InputError(f"the logit of item {int(np.flatnonzero(~np.isfinite(answer))[0])} is not finite")
    groups = np.arange(n) if groups is None else groups
    blocks = jackknife_blocks(groups) if blocks is None else blocks
    y = np.asarray(answer, np.float64) - answer.mean()
    names, group = tuple(factors), np.unique(groups, return_inverse=True)[1].ravel()
    cells = [np.unique(codes, return_inverse=True)[1].ravel() for codes in factors.values()]
    main = Shares(y, cells, group, population)
    joint = {(i, j): _joint(cells[i], cells[j]) for i, j in itertools.combinations(range(len(cells)), 2)}
    usable = [pair for pair, cell in joint.items() if _met(cell, group)[cell].mean() >= _FEW]
    both = Shares(y, [joint[pair] for pair in usable], group, population)
    additive = AdditiveFit(y[:, None], cells, population)

    def statistic(rows: np.ndarray) -> np.ndarray:
        alone, together = main(rows), both(rows)
        beyond = [t - alone[i] - alone[j] for t, (i, j) in zip(together, usable, strict=True)]
        return np.array([*alone, *beyond, 1 - additive(rows)])

    made = jackknife(statistic, blocks, int(group.max()) + 1)
    k = len(names)
    return VarianceSplit(
        names,
        tuple((names[i], names[j]) for i, j in usable),
        made[:k],
        made[k:-1],
        made[-1],
        float(y.var()),
        main.reason,
    )


def split_answer(rig: Rig, blocks: Int[np.ndarray, " n"] | None = None) -> VarianceSplit | str:
    """`variance_split` of a model over the concepts of its task, and on a cyclic one over the grid of its inputs.

    Costs the one reading of the clean answers. Where there are neither concepts nor a grid, the reason.
    """
    found, grid = declared(rig.task), cyclic(rig)
    for name, codes in grid.factors().items() if grid else ():
        if not any(same_levels(codes, other) for other in found.values()):
            found[name] = codes
    if not found:
        return "the task declares no concepts that vary, and its answers are no sum modulo their number"
    return variance_split(rig.clean.answer, found, rig.task.groups, blocks, population(rig))


class Shares:
    """Share of the variance of y that each of several partitions of the items explains, from pairs of other groups.

    Args:
        y: [n] or [n, d] (variance is summed over columns). cells: partitions, [n] each. group: [n] codes from 0.
        population: how many items there are to draw from.
    """

    reason = (
        "the share needs a logit that varies, and a level that at least half of the items have in common with an item "
        "of another group"
    )

    def __init__(
        self,
        y: Float[np.ndarray, " n *d"],
        cells: Sequence[Int[np.ndarray, " n"]],
        group: Int[np.ndarray, " n"],
        population: float | int = math.inf,
    ) -> None:
        self._y = y.reshape(len(y), -1)
        self._square = (self._y**2).sum(axis=1)
        self._cells, self._group, self._population = cells, group, population
        self._least = 1e-20 * max(float(self._square.sum()), 1.0)

    def __call__(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " k"]:
        return np.array([self._share(cell[rows], rows) for cell in self._cells])

    def _share(self, cell: np.ndarray, rows: np.ndarray) -> float:
        group = self._group[rows]
        filled = _met(cell, group)
        kept = filled[cell]
        if kept.sum() < _FEW * len(rows):
            return math.nan
        size = np.bincount(cell).astype(float)
        within = self._variance(cell, group, rows, len(rows))[filled]
        one = np.zeros(int(kept.sum()), np.int64)
        whole = self._variance(one, group[kept], rows[kept], len(rows))[0]
        if not whole > self._least:
            return math.nan
        return float(1 - (size[filled] * within).sum() / size[filled].sum() / whole)

    def _variance(self, cell: np.ndarray, group: np.ndarray, rows: np.ndarray, sample: int) -> np.ndarray:
        """Variance of the population in each cell: half the mean squared distance between two items drawn from it.

        Of items in different groups it is estimated without bias. In an endless population no two drawn items share a
        group; in a finite one, of which ``sample`` items were drawn, they do as often as its groups are large, and then
        lie as far apart as those seen.
        """
        span = int(group.max(initial=0)) + 1
        spread, pairs, size = self._all_pairs(cell, rows)
        entry, code = np.unique(cell * span + group, return_inverse=True)
        own_spread, own_pairs, _ = self._all_pairs(code.ravel(), rows)
        own_spread, own_pairs = (np.bincount(entry // span, v, minlength=len(size)) for v in (own_spread, own_pairs))
        with np.errstate(invalid="ignore", divide="ignore"):
            apart = (spread - own_spread) / (pairs - own_pairs)
            together = own_spread / own_pairs
            meet = np.minimum(own_pairs / size * sample / (self._population * size), 1.0)
        return (1 - meet) * apart + meet * together

    def _all_pairs(self, cell: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = np.bincount(cell).astype(float)
        total = sums(cell, self._y[rows], len(size))
        square = np.bincount(cell, self._square[rows])
        return size * square - (total**2).sum(axis=1), size**2, size


def sums(cell: Int[np.ndarray, " n"], values: Float[np.ndarray, "n d"], n_cells: int) -> Float[np.ndarray, "c d"]:
    """Sum of the rows of each cell."""
    if values.shape[1] == 1:
        return np.bincount(cell, values[:, 0], minlength=n_cells)[:, None]
    total = np.zeros((n_cells, values.shape[1]))
    np.add.at(total, cell, values)
    return total


def _met(cell: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Which cells hold two groups or more."""
    span = int(group.max(initial=0)) + 1
    return np.bincount(np.unique(cell * span + group) // span) >= 2


def _joint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.unique(x * (int(y.max()) + 1) + y, return_inverse=True)[1].ravel()
