"""Risk and coverage: what a user gains who takes only the answers that the model is surest of."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.usefulness._found import Cell, Found, checked_groups, least_error

AURC = Metric(
    name="aurc", family="use", title="risk over coverages", range="[0, 1]", direction="lower",
    measures="mean share of errors among the k answers that the model is surest of, over all k",
    null="the error rate: confidence says nothing of which answers are wrong",
    assumes="ties are broken at random", invariances="any increasing change of confidence",
    source="arXiv:1705.08500; called AURC in arXiv:1805.08206",
)  # fmt: skip
EXCESS_AURC = Metric(
    name="excess_aurc", family="use", title="risk over coverages beyond the best order", range="[0, 1]",
    direction="lower",
    measures="area under risk and coverage less that of an order with all right answers first",
    null="error rate less the best order's area: confidence says nothing; 0: it could not be better",
    invariances="any increasing change of confidence", source="arXiv:1805.08206",
)  # fmt: skip
AURC_GAIN = Metric(
    name="aurc_gain", family="use", title="errors that confidence spares", range="[-1, 1]", direction="higher",
    measures="error rate less the area under risk and coverage: mean share of errors that a user is spared by taking "
    "the surest answers instead of any",
    null="0: confidence says nothing of which answers are wrong",
    invariances="any increasing change of confidence", source="arXiv:1705.08500",
)  # fmt: skip
SELECTIVE_ACCURACY = Metric(
    name="selective_accuracy", family="use", title="accuracy of the surest answers", range="[0, 1]",
    direction="higher", measures="share right among the answers that the model is surest of, at a given coverage",
    null="the accuracy on all items: confidence says nothing", assumes="ties are broken at random",
    invariances="any increasing change of confidence", source="arXiv:1705.08500",
)  # fmt: skip

COVERAGE = 0.8
"""Share of the items that a user takes, where nothing else is said."""
CURVE = tuple(round(0.05 * i, 2) for i in range(1, 21))

Confidence = Float[np.ndarray, " n"]
Correct = Float[np.ndarray, " m"] | Bool[np.ndarray, " m"] | Int[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class RiskCoverage(Found):
    """What confidence buys, with intervals over groups.

    Attributes:
        curve: one row a coverage: ``coverage``, ``accuracy``, ``low``, ``high``, and ``best``, the accuracy there of
            an order that puts all right answers first.
    """

    curve: pd.DataFrame


def risks(confidence: Confidence, correct: Correct) -> Float[np.ndarray, " n"]:
    """Share of errors among the k items of highest confidence, for k = 1 … n; ties in the mean over their orders.

    Raises:
        InputError: no items, unequal lengths, confidence that is not finite, correctness other than 0 and 1.

    >>> risks(np.array([0.9, 0.5, 0.5]), np.array([1, 0, 1])).round(3).tolist()
    [0.0, 0.25, 0.333]
    """
    c, wrong = _checked(confidence, correct)
    return _errors(c, wrong) / np.arange(1, len(c) + 1)


def aurc(confidence: Confidence, correct: Correct) -> float:
    """Mean of the `risks`: area under the risk-coverage curve, in [0, 1]; lower is better."""
    return float(risks(confidence, correct).mean())


def best_aurc(n_wrong: int, n: int) -> float:
    """Area of the best order: all n - n_wrong right answers first. Near e + (1 - e) ln(1 - e) for many items with
    error rate e (arXiv:1805.08206)."""
    if not 0 <= n_wrong <= n or n < 1:
        raise InputError(f"{n_wrong} errors among {n} items: expected at least one item, and 0 to all of them wrong")
    taken = np.arange(1, n + 1)
    return float((np.maximum(0, taken - (n - n_wrong)) / taken).mean())


def accuracy_at(confidence: Confidence, correct: Correct, coverage: float = COVERAGE) -> float:
    """Accuracy of the share ``coverage`` of items with the highest confidence; between two numbers of items their
    errors are interpolated."""
    if not 0 < coverage <= 1:
        raise InputError(f"coverage {coverage} is outside (0, 1]: it is the share of items whose answers are taken")
    c, wrong = _checked(confidence, correct)
    return float(_accuracies(c, wrong, np.array([coverage]))[0])


def risk_coverage(
    confidence: Confidence,
    correct: Correct,
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    coverage: float = COVERAGE,
    name: str = "model",
    n_blocks: int = 20,
    seed: int = 0,
) -> RiskCoverage:
    """Risk and coverage of a model's answers, by the jackknife over groups.

    Two models on the same items pair: ``differences(a, b, names)``.

    Args:
        confidence: [n] higher is surer, on any scale; correct: [n] 0 or 1; groups: [n], each item by itself without.
        coverage: at which the accuracy is told.

    Raises:
        InputError: as for `risks`; a coverage outside (0, 1]; fewer than two groups.
    """
    if not 0 < coverage <= 1:
        raise InputError(f"coverage {coverage} is outside (0, 1]: it is the share of items whose answers are taken")
    c, wrong = _checked(confidence, correct)
    groups = checked_groups(len(c), groups)
    at = np.array([coverage, *CURVE])

    def numbers(rows: np.ndarray) -> np.ndarray:
        area = float((_errors(c[rows], wrong[rows]) / np.arange(1, len(rows) + 1)).mean())
        best = best_aurc(int(wrong[rows].sum()), len(rows))
        return np.array([area, area - best, wrong[rows].mean() - area, *_accuracies(c[rows], wrong[rows], at)])

    found = stats.jackknife(numbers, stats.jackknife_blocks(groups, n_blocks, seed), len(np.unique(groups)))
    least = np.full(found.shape, least_error(groups))
    if 0 < wrong.sum() < len(wrong):
        least[:3] = 0.0  # areas vary with every error; only where there is none do they not vary at all
    found = dataclasses.replace(found, resolution=least)
    rate, best = float(wrong.mean()), best_aurc(int(wrong.sum()), len(wrong))
    low, high = found[4:].interval()
    curve = pd.DataFrame({"coverage": CURVE, "accuracy": found[4:].value})
    curve["low"], curve["high"] = np.clip(low, 0, 1), np.clip(high, 0, 1)
    curve["best"] = np.minimum(1.0, (1 - rate) / curve["coverage"])
    nulls = {AURC: rate, EXCESS_AURC: rate - best, AURC_GAIN: 0.0}
    cells = [Cell(metric=metric, replicates=found[i], null=null) for i, (metric, null) in enumerate(nulls.items())]
    told = Cell(metric=SELECTIVE_ACCURACY, replicates=found[3], null=1 - rate, context=f"coverage {coverage:g}")
    return RiskCoverage(name=name, cells=(*cells, told), curve=curve)


def _errors(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Errors expected among the k surest [n], k = 1 … n: within a tie they are spread evenly."""
    order = np.argsort(-confidence, kind="stable")
    c, total = confidence[order], np.concatenate([[0.0], np.cumsum(wrong[order])])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(c)) + 1, [len(c)]])
    return np.interp(np.arange(1, len(c) + 1), starts, total[starts])


def _accuracies(confidence: np.ndarray, wrong: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    taken = coverage * len(confidence)
    errors = np.interp(taken, np.arange(len(confidence) + 1), np.concatenate([[0.0], _errors(confidence, wrong)]))
    return 1 - errors / taken


def _checked(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, y = np.asarray(confidence, float), np.asarray(correct, float)
    if c.ndim != 1 or c.shape != y.shape or len(c) == 0:
        raise InputError(f"confidence {c.shape} and correctness {y.shape} must be two lists of one length, at least 1")
    if not np.isfinite(c).all():
        bad = int(np.argmin(np.isfinite(c)))
        raise InputError(f"confidence of item {bad + 1} is {c[bad]}; leave out items without an answer")
    if not np.isin(y, (0.0, 1.0)).all():
        bad = int(np.argmin(np.isin(y, (0.0, 1.0))))
        raise InputError(f"correctness {y[bad]} of item {bad + 1} must be 0 or 1")
    return c, 1 - y
