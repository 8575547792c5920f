"""SimilarityMatrix: how alike every layer of one model is to every layer of another, by one measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates

if TYPE_CHECKING:
    import pandas as pd

_NOT_BEYOND_NULL = "not told apart from unrelated representations; the interval is unreliable there: go by p"


@dataclasses.dataclass(frozen=True, eq=False)
class SimilarityMatrix:
    """One measure for every layer of A (rows) with every layer of B (columns).

    Attributes:
        metric: what was measured; its title says whether it is a similarity or a distance.
        value: ``[a, b]`` with resampled values. NaN for the ``reason``.
        null: the value expected of unrelated representations ``[a, b]``.
        p: p-value of each pair that nothing is shared. NaN where no test was made.
        p_adjusted: the same adjusted over all pairs, which holds the family-wise error.
        n_permutations: shared permutations drawn; n_null: groups they were drawn on.
        reason: why a value is NaN.
    """

    metric: Metric
    value: Replicates
    null: Float[np.ndarray, "a b"]
    p: Float[np.ndarray, "a b"]
    p_adjusted: Float[np.ndarray, "a b"]
    n_permutations: int
    n_null: int
    reason: str

    def estimate(self, i: int, j: int) -> Estimate:
        """The Estimate of layer i of A with layer j of B; its p is the one adjusted over all pairs."""
        value, p = float(self.value.value[i, j]), float(self.p_adjusted[i, j])
        reason = self.reason if np.isnan(value) else _NOT_BEYOND_NULL if p > 0.05 else ""
        return self.value[i, j].estimate(self.metric, null=float(self.null[i, j]), p=p, reason=reason)

    def measurements(
        self,
        model: str = "A",
        model_b: str = "B",
        hook_points: Sequence[str] | None = None,
        hook_points_b: Sequence[str] | None = None,
        position: str = "",
    ) -> list[Measurement]:
        """One Measurement a pair, layers named by their hook points (by their numbers if not given)."""
        rows, columns = self.value.shape
        return [
            Measurement(
                metric=self.metric.name, family=self.metric.family, estimate=self.estimate(i, j),
                model=model, model_b=model_b, hook_point=a, hook_point_b=b, position=position,
            )
            for i, a in enumerate(map(str, range(rows)) if hook_points is None else hook_points)
            for j, b in enumerate(map(str, range(columns)) if hook_points_b is None else hook_points_b)
        ]  # fmt: skip

    def frame(self) -> pd.DataFrame:
        """The matrix as a tidy table, one row a pair of layers."""
        return frame(self.measurements())
