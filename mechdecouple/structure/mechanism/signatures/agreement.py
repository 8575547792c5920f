"""Agreement: do the same things change the answers of two models, item by item?"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.stats import rankdata

from mechdecouple.errors import MismatchError
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, permutation_p
from mechdecouple.structure.mechanism.signatures._replicates import on_rows

INFLUENCE_AGREEMENT = Metric(
    name="influence_agreement",
    family="mechanism",
    title="agreement on influences",
    measures="rank correlation of what other inputs would do to the right option's logit in two models, item by item",
    range="[-1, 1]",
    invariances="any change of basis inside, of the embedding too; a constant added to all logits of an item; scale",
    null="mean over permutations of whole items: what inputs do in all items alike",
    assumes="small changes; what is far away is extrapolated",
)
COMPONENT_AGREEMENT = dataclasses.replace(
    INFLUENCE_AGREEMENT,
    name="component_agreement",
    title="agreement on components",
    measures="rank correlation of what taking out each like component does to the right option's logit in two models, "
    "item by item",
    invariances="any change of basis inside; a constant added to all logits of an item; their scale",
    null="mean over permutations of whole items: which components matter in all items alike",
    assumes="models made of like components",
)


@dataclasses.dataclass(frozen=True, eq=False)
class Agreement:
    """How far two models agree item by item.

    Attributes:
        metric: what it is of.
        value: mean rank correlation over items. null: [permutations] the same with the items of B permuted.
        reason: why it is NaN.
    """

    metric: Metric
    value: Replicates
    null: Float[np.ndarray, " permutations"]
    reason: str = ""

    @property
    def p(self) -> float:
        """Add-one p-value of no more agreement than items drawn at random have."""
        known = len(self.null) and not np.isnan(self.value.value)
        return float(permutation_p(self.value.value, self.null)) if known else math.nan

    def estimate(self) -> Estimate:
        null = float(self.null.mean()) if len(self.null) else math.nan
        return self.value.estimate(self.metric, null=null, p=self.p, reason=self.reason)


def pattern_agreement(
    a: Float[np.ndarray, "r f"],
    b: Float[np.ndarray, "s g"],
    groups: Shaped[np.ndarray, " r"],
    rows: Int[np.ndarray, " r"],
    blocks: Int[np.ndarray, " n"],
    n_groups: int,
    *,
    metric: Metric = INFLUENCE_AGREEMENT,
    permutations: int = 199,
    seed: int = 0,
) -> Agreement:
    """Rank correlation of two patterns over their columns in each item, mean over items.

    Args:
        a, b: patterns of the same items over the same columns, NaN where a column does not count.
        groups: unit of permutation. rows: the items' places in the task; blocks: of its items, for the jackknife.

    Raises:
        MismatchError: patterns of other shapes.
    """
    if a.shape != b.shape:
        raise MismatchError(f"patterns have shapes {a.shape} and {b.shape}: both must be of the same items and inputs")
    x, y = _ranks(a), _ranks(b)
    each = (x * y).sum(axis=1)
    each = np.where((x != 0).any(axis=1) & (y != 0).any(axis=1), each, math.nan)

    def mean(kept: np.ndarray) -> float:
        known = each[kept][~np.isnan(each[kept])]
        return float(known.mean()) if len(known) else math.nan

    made = on_rows(mean, rows, blocks, n_groups)
    if np.isnan(made.value):
        return Agreement(metric, made, np.zeros(0), "in no item do two columns or more differ in both models")
    rng = np.random.default_rng(seed)
    code = np.unique(groups, return_inverse=True)[1].ravel()
    null = np.empty(permutations)
    for i in range(permutations):
        one, other = (np.argsort(rng.permutation(int(code.max()) + 1)[code], kind="stable") for _ in range(2))
        null[i] = float((x[one] * y[other]).sum(axis=1).mean())
    return Agreement(metric, made, null)


def _ranks(pattern: np.ndarray) -> np.ndarray:
    """Ranks within each item, centred and of length 1; 0 at NaN, and where all are the same."""
    rounded = np.round(pattern / np.maximum(np.nanmax(np.abs(pattern), axis=1, keepdims=True, initial=0), 1e-300), 9)
    ranks = rankdata(rounded, axis=1, nan_policy="omit")
    with np.errstate(invalid="ignore"):
        centred = np.nan_to_num(ranks - np.nanmean(ranks, axis=1, keepdims=True))
        length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-9)
