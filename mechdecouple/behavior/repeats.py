"""Aptitude and unreliability: how well a model does at its best, and how far it falls, over repeated runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from jaxtyping import Float

from mechdecouple.behavior.sensitivity import Groups, checked_scores, mean_estimate
from mechdecouple.results import Estimate, Metric

APTITUDE = Metric(
    name="aptitude", family="behavior", title="aptitude", range="[0, 1]", direction="higher",
    measures="90th percentile of an item's scores over repeated runs, mean over items: performance at its best",
    null="chance of the task", assumes="scores in [0, 1]; models compared on equally many runs an item",
    source="arXiv:2505.06120",
)  # fmt: skip
UNRELIABILITY = Metric(
    name="unreliability", family="behavior", title="unreliability", range="[0, 1]", direction="lower",
    measures="90th less 10th percentile of an item's scores over repeated runs, mean over items",
    null="0: every run scores alike",
    assumes="scores in [0, 1]; models compared on equally many runs an item (fewer runs show less spread)",
    invariances="a shift of all scores of an item", source="arXiv:2505.06120",
)  # fmt: skip
MEAN_SCORE = Metric(
    name="mean_score", family="behavior", title="mean score over runs", range="[0, 1]", direction="higher",
    measures="mean score over runs and items", null="chance of the task", source="arXiv:2505.06120",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Repeats:
    """What repeated runs show.

    Attributes:
        mean, aptitude, unreliability: Estimates over items, with jackknife intervals over groups.
        of_item: one row an item with its mean, aptitude and unreliability.
        n_runs: runs an item.
    """

    mean: Estimate
    aptitude: Estimate
    unreliability: Estimate
    of_item: pd.DataFrame
    n_runs: int

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an estimate."""
        named = {"mean": self.mean, "aptitude": self.aptitude, "unreliability": self.unreliability}
        return pd.DataFrame([{"metric": name, **dataclasses.asdict(made)} for name, made in named.items()])

    def _repr_html_(self) -> str:
        return self.frame()[["metric", "value", "low", "high", "n"]].to_html(index=False, border=0)


def aptitude(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """90th percentile (linear interpolation) of each item's k scores, in [0, 1]; higher is better."""
    return np.percentile(checked_scores(scores, "runs"), 90, axis=1)


def unreliability(scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    """90th less 10th percentile of each item's k scores, in [0, 1]; lower is better.

    >>> unreliability(np.array([[0.0] * 5 + [1.0] * 5, [0.7] * 10])).tolist()
    [1.0, 0.0]
    """
    high, low = np.percentile(checked_scores(scores, "runs"), [90, 10], axis=1)
    return high - low


def repeats(scores: Float[np.ndarray, "n k"], groups: Groups | None = None) -> Repeats:
    """Mean, aptitude and unreliability of items [n] scored in k repeated runs each (ten, as in the source).

    Raises:
        InputError: fewer than two runs, no items, scores outside [0, 1], not one group an item.
    """
    y = checked_scores(scores, "runs")
    of_item = pd.DataFrame({"mean": y.mean(axis=1), "aptitude": aptitude(y), "unreliability": unreliability(y)})
    columns = {name: of_item[name].to_numpy() for name in of_item}
    return Repeats(
        mean=mean_estimate(columns["mean"], MEAN_SCORE, groups),
        aptitude=mean_estimate(columns["aptitude"], APTITUDE, groups),
        unreliability=mean_estimate(columns["unreliability"], UNRELIABILITY, groups, null=0.0),
        of_item=of_item, n_runs=y.shape[1],
    )  # fmt: skip
