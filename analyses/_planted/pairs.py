"""False positives: two planted models of one plan, on the same items with other noise, differ in nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import binom

from analyses._study import Criterion, column, where
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks
from mechdecouple.structure import (
    ADDITIVE_SHARE,
    CCGP,
    CODING_OVERLAP,
    ERASURE_RESIDUAL,
    PARALLELISM,
    PARTICIPATION_RATIO,
    AdditiveShare,
    Ccgp,
    ErasureResidual,
    Parallelism,
    coding_overlap,
    participation_ratio_jackknife,
)
from mechdecouple.zoo.planting import Plan, Sample, plant

ALPHA = 0.05
N_ITEMS = 480
PLAN = Plan(n_factors=2, n_contexts=4, dims=16, cosine=0.3, fracture=0.5, noise=0.6, noise_inside=0.6)
_QUANTILE = 0.99


def _ccgp(s: Sample, blocks: np.ndarray) -> Replicates:
    whole = Ccgp(s.X, s.labels, s.context)
    return jackknife(lambda rows: np.mean(whole(rows)), blocks)


def _parallelism(s: Sample, blocks: np.ndarray) -> Replicates:
    whole = Parallelism(s.X, s.labels, s.context)
    return jackknife(lambda rows: np.mean(whole(rows)), blocks)


def _additive(s: Sample, blocks: np.ndarray) -> Replicates:
    return jackknife(AdditiveShare(s.X, s.labels, s.context), blocks)


def _erasure(s: Sample, blocks: np.ndarray) -> Replicates:
    whole = ErasureResidual(s.X, s.labels, s.context)
    return jackknife(lambda rows: np.mean(whole(rows)[0]), blocks)


def _overlap(s: Sample, blocks: np.ndarray) -> Replicates:
    return jackknife(lambda rows: coding_overlap(s.X[rows], s.labels[rows]), blocks)


def _ratio(s: Sample, blocks: np.ndarray) -> Replicates:
    return participation_ratio_jackknife(s.X, blocks)


JUDGED: dict[str, tuple[Metric, Callable[[Sample, np.ndarray], Replicates]]] = {
    metric.name: (metric, of)
    for metric, of in (
        (CCGP, _ccgp),
        (PARALLELISM, _parallelism),
        (ADDITIVE_SHARE, _additive),
        (ERASURE_RESIDUAL, _erasure),
        (CODING_OVERLAP, _overlap),
        (PARTICIPATION_RATIO, _ratio),
    )
}


def compare_pairs(n_pairs: int, tick: Callable[[], object] = lambda: None, judged=JUDGED) -> pd.DataFrame:
    """One row a pair and metric: the paired difference on the metric's scale, its 95 % interval, and whether that
    leaves out 0 (``differs``) and the metric's margin (``flagged``)."""
    rows = []
    for seed in range(n_pairs):
        a, b = (plant(PLAN, N_ITEMS, seed, noise_seed=i) for i in (0, 1))
        blocks = jackknife_blocks(np.arange(N_ITEMS), 20, seed)
        for name, (metric, of) in judged.items():
            difference = of(a, blocks).contrast(of(b, blocks), metric.scale)
            low, high = difference.interval(1 - ALPHA)
            margin = metric.margin if metric.margin > 0 else 0.0
            rows.append((seed, name, difference.value, low, high, low > 0 or high < 0, low > margin or high < -margin))
        tick()
    return pd.DataFrame(rows, columns=["pair", "metric", "difference", "low", "high", "differs", "flagged"])


def most_allowed(n_pairs: int) -> int:
    """The most false positives that a test of size alpha gives in 99 of 100 runs of this many pairs."""
    return int(binom.ppf(_QUANTILE, n_pairs, ALPHA))


def pair_criteria(pairs: pd.DataFrame) -> list[Criterion]:
    """The share of intervals without 0, by metric."""
    found = []
    for name in dict.fromkeys(pairs["metric"]):
        own = where(pairs, metric=name)
        n, undefined = len(own), np.isnan(column(own, "low")).any()
        found.append(
            Criterion(
                group="false positives", name=f"{JUDGED[name][0].title}, {n} pairs",
                value=float("nan") if undefined else float(column(own, "differs").mean()),
                expected=ALPHA, tolerance=most_allowed(n) / n - ALPHA, side="at most",
                how=f"share of 95 % intervals without 0; at most {most_allowed(n)} of {n}, the binomial 99 % point",
            )
        )  # fmt: skip
    return found
