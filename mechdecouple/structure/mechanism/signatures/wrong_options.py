"""Wrong options: which wrong answers are nearly right, and whether two models agree on it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import MismatchError
from mechdecouple.results import Measurement, Metric, frame
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks, permutation_p
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.signatures._pairs import MeanProducts

WRONG_OPTIONS = Metric(
    name="wrong_option_agreement",
    family="mechanism",
    title="agreement on wrong options",
    measures="correlation of two models' logits of the wrong options, centred over those of each item, over items and "
    "options",
    range="[-1, 1]",
    invariances="anything that leaves the logits alone; a constant added to all logits of an item; the scale of each "
    "model's logits; the logit of the right option",
    null="mean over permutations of whole items: what a liking for some options does alone",
    assumes="three options or more",
)
WRONG_OPTIONS_CLASS = dataclasses.replace(
    WRONG_OPTIONS,
    name="wrong_option_class_agreement",
    title="agreement on wrong options by class",
    measures="correlation of two models' mean profiles of wrong options for each right option, corrected for how far "
    "the items of each model differ from their means",
    range="about [-1, 1]; a ratio of unbiased terms, so it can stray",
    null="0: mean profiles that have nothing to do with each other",
    assumes="three options or more, the same for all items; several groups with one right option; profiles that depend "
    "on the right option",
)
WRONG_OPTIONS_WITHIN = dataclasses.replace(
    WRONG_OPTIONS,
    name="wrong_option_consistency",
    title="consistency of wrong options",
    measures="share of the variance of one model's logits of wrong options that the right option alone determines",
    range="about [0, 1]; a ratio of unbiased terms, so it can stray",
    null="0: items of one right option have no more in common than others",
    assumes="three options or more, the same for all items; several groups with one right option",
)

TWO = "every item has two options: there is one wrong answer and no profile of several"
FLAT = "the logits of the wrong options do not differ"
OTHERS = "items choose among different options: no two have a profile in common"
UNSHARED = "fewer than half of the items share their right option with an item of another group"
NOISE = "the profiles of the items do not depend on the right option beyond noise"

_NULL_ROWS = 512
_FEW = 0.5


@dataclasses.dataclass(frozen=True, eq=False)
class WrongOptions:
    """How far two models agree on which wrong answers are nearly right.

    Attributes:
        model_a, model_b: names.
        agreement: correlation over items and wrong options, item by item.
        by_class: the same of the mean profiles for each right option, corrected for the items of each model.
        within_a, within_b: share of each model's profiles that the right option determines.
        null: [permutations] agreement with the items of B permuted.
        reasons: metric name -> why it is NaN.
    """

    model_a: str
    model_b: str
    agreement: Replicates
    by_class: Replicates
    within_a: Replicates
    within_b: Replicates
    null: Float[np.ndarray, " permutations"]
    reasons: dict[str, str]

    @property
    def p(self) -> float:
        """Add-one p-value of no more agreement than items drawn at random have."""
        known = len(self.null) and not np.isnan(self.agreement.value)
        return float(permutation_p(self.agreement.value, self.null)) if known else math.nan

    def measurements(self) -> list[Measurement]:
        null = float(self.null.mean()) if len(self.null) else math.nan
        rows = (
            (WRONG_OPTIONS, self.agreement, self.model_a, self.model_b, null, self.p),
            (WRONG_OPTIONS_CLASS, self.by_class, self.model_a, self.model_b, 0.0, math.nan),
            (WRONG_OPTIONS_WITHIN, self.within_a, self.model_a, "", 0.0, math.nan),
            (WRONG_OPTIONS_WITHIN, self.within_b, self.model_b, "", 0.0, math.nan),
        )
        return [
            Measurement(
                metric=metric.name, family=metric.family, model=a, model_b=b,
                estimate=value.estimate(metric, null=null, p=p, reason=self.reasons.get(metric.name, "")),
            )
            for metric, value, a, b, null, p in rows
        ]  # fmt: skip

    def frame(self):
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return self.frame()[["metric", "model", "model_b", "value", "low", "high", "null", "p"]].to_html(index=False)


def wrong_options(
    a: OptionLogits,
    b: OptionLogits,
    groups: Shaped[np.ndarray, " n"] | None = None,
    blocks: Int[np.ndarray, " n"] | None = None,
    *,
    shared: bool = True,
    names: tuple[str, str] = ("a", "b"),
    permutations: int = 199,
    seed: int = 0,
) -> WrongOptions:
    """Agreement of two models on the same items about which wrong answers are nearly right.

    Two models that hold the same variables mostly err towards the same options; being right says nothing of that.

    Args:
        groups: the unit of resampling and of permutation; each item on its own if not given.
        blocks: jackknife blocks; 20 by group if not given.
        shared: a column is the same option in every item (`SharedOptions.of`): then there are means by class.
        permutations: draws of the null, on at most 512 items.

    Raises:
        MismatchError: other items, options or right answers.

    >>> values = np.array([[3.0, 1.0, -1.0, -3.0], [1.0, 3.0, -3.0, -1.0], [-1.0, 0.0, 3.0, -2.0]])
    >>> one = OptionLogits(values, np.array([0, 1, 2]))
    >>> round(wrong_options(one, one, shared=False).agreement.value, 6)
    1.0
    """
    if a.values.shape != b.values.shape or not np.array_equal(a.right, b.right):
        raise MismatchError(
            f"models {names[0]!r} and {names[1]!r} have logits {a.values.shape} and {b.values.shape}, or other right "
            "options: read both on the same task"
        )
    n = len(a)
    groups = np.arange(n) if groups is None else groups
    blocks = jackknife_blocks(groups) if blocks is None else blocks
    group = np.unique(groups, return_inverse=True)[1].ravel()
    x, y = np.nan_to_num(a.wrong), np.nan_to_num(b.wrong)
    profiles = _Profiles(x, y, a.right, group, _reason(a, b, x, y), shared)
    made = jackknife(profiles, blocks, int(group.max()) + 1)
    null = np.zeros(0)
    if not np.isnan(made.value[0]):
        null = _null(a, b, group, permutations, np.random.default_rng(seed))
    return WrongOptions(*names, made[0], made[1], made[2], made[3], null, profiles.reasons(made.value))


def consistency(
    logits: OptionLogits,
    groups: Shaped[np.ndarray, " n"],
    blocks: Int[np.ndarray, " n"],
    *,
    shared: bool,
) -> tuple[Replicates, str]:
    """Share of one model's profiles of wrong options that the right option determines, and why it is NaN."""
    group = np.unique(groups, return_inverse=True)[1].ravel()
    x = np.nan_to_num(logits.wrong)
    profiles = _Profiles(x, x, logits.right, group, _reason(logits, logits, x, x), shared)
    made = jackknife(profiles, blocks, int(group.max()) + 1)
    return made[2], profiles.reasons(made.value).get(WRONG_OPTIONS_WITHIN.name, "")


def _reason(a: OptionLogits, b: OptionLogits, x: np.ndarray, y: np.ndarray) -> str:
    if int((a.offered & b.offered).sum(axis=1).max()) < 3:
        return TWO
    flat = [np.abs(w).max() <= 1e-9 * max(float(np.nanmax(np.abs(o.values))), 1e-300) for o, w in ((a, x), (b, y))]
    return FLAT if any(flat) else ""


class _Profiles:
    """Agreement, agreement by class, and consistency of either model, as a function of the kept items."""

    def __init__(
        self, x: np.ndarray, y: np.ndarray, right: np.ndarray, group: np.ndarray, reason: str, shared: bool
    ) -> None:
        self._reason, self._shared = reason, shared
        self._dots = [np.einsum("nm,nm->n", u, v) for u, v in ((x, y), (x, x), (y, y))]
        if not reason and shared:
            self._cross = MeanProducts(x, y, right, group)
            self._own = MeanProducts(x, x, right, group), MeanProducts(y, y, right, group)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        if self._reason:
            return np.full(4, np.nan)
        xy, xx, yy = (float(d[rows].sum()) for d in self._dots)
        agreement = xy / math.sqrt(xx * yy)
        if not self._shared:
            return np.array([agreement, *[np.nan] * 3])
        covered, cross = self._cross(rows)
        if covered < _FEW:
            return np.array([agreement, *[np.nan] * 3])
        own = [products(rows)[1] for products in self._own]
        within = [o / (total / len(rows)) for o, total in zip(own, (xx, yy), strict=True)]
        signal = math.sqrt(own[0] * own[1]) if min(own) > 0 and min(within) > 1e-3 else math.nan
        return np.array([agreement, cross / signal, *within])

    def reasons(self, value: np.ndarray) -> dict[str, str]:
        """Why each of the values is NaN."""
        why = self._reason or ("" if self._shared else OTHERS) or (UNSHARED if np.isnan(value[2]) else "")
        out = {}
        for metric, i in ((WRONG_OPTIONS, 0), (WRONG_OPTIONS_CLASS, 1), (WRONG_OPTIONS_WITHIN, 2)):
            if np.isnan(value[i]):
                out[metric.name] = why or NOISE
        return out


def _null(a: OptionLogits, b: OptionLogits, group: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Agreement with the items of B permuted by whole groups, over the options that are wrong in both."""
    some = np.sort(np.argsort(rng.permutation(int(group.max()) + 1)[group], kind="stable")[:_NULL_ROWS])
    x, y, code = a.wrong[some], b.wrong[some], group[some]
    known = ~np.isnan(x)
    out = np.empty(draws)
    for i in range(draws):
        one, other = (np.argsort(rng.permutation(int(code.max()) + 1)[code], kind="stable") for _ in range(2))
        both = known[one] & known[other]
        u, v = np.where(both, x[one], 0.0), np.where(both, y[other], 0.0)
        size = math.sqrt(float(np.vdot(u, u)) * float(np.vdot(v, v)))
        out[i] = float(np.vdot(u, v)) / size if size > 0 else 0.0
    return out
