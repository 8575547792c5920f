"""Sums over blocks of rows: every statistic of a reconstruction, and its jackknife, from one pass over the rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from mechdecouple.stats import Replicates

_COLUMNS = ("rows", "active", "error", "square", "dot", "rebuilt", "cosine", "null_cosine", "norm_ratio")


class Reconstructions:
    """Sums of rows x and reconstructions x̂ by block, around a fixed centre, in float64.

    Args:
        n_blocks: jackknife blocks; one block gives no interval.
        n_groups: independent groups among the rows.
        centre: [d] about the mean row, for precision; only ``null_cosine`` depends on it.

    Attributes:
        fired: [m] rows on which each latent fired.
    """

    def __init__(self, n_blocks: int, n_groups: int, centre: Float[np.ndarray, " d"]) -> None:
        self._groups, self._centre = n_groups, centre
        self._sums = np.zeros((n_blocks, len(_COLUMNS)))
        self._x, self._rebuilt = np.zeros((2, n_blocks, len(centre)))
        self.fired: np.ndarray = np.zeros(0, np.int64)

    def add(
        self,
        blocks: Int[np.ndarray, " b"],
        x: Float[np.ndarray, "b d"],
        rebuilt: Float[np.ndarray, "b d"],
        firing: Bool[np.ndarray, "b m"],
    ) -> None:
        """Take in some rows, their reconstructions and which latents fired."""
        x, rebuilt = x.astype(np.float64), rebuilt.astype(np.float64)
        lengths, rebuilt_lengths = np.linalg.norm(x, axis=1), np.linalg.norm(rebuilt, axis=1)
        cosine = _ratio((x * rebuilt).sum(1), lengths * rebuilt_lengths)
        null_cosine = _ratio(x @ self._centre, lengths * np.linalg.norm(self._centre))
        norm_ratio = _ratio(rebuilt_lengths, lengths)
        x, rebuilt = x - self._centre, rebuilt - self._centre
        error, square = np.square(x - rebuilt).sum(1), np.square(x).sum(1)
        dot, size = (x * rebuilt).sum(1), np.square(rebuilt).sum(1)
        one = np.ones(len(x))
        member = (blocks == np.arange(len(self._sums))[:, None]).astype(np.float64)
        columns = (one, firing.sum(1), error, square, dot, size, cosine, null_cosine, norm_ratio)
        self._sums += member @ np.column_stack(columns)
        self._x += member @ x
        self._rebuilt += member @ rebuilt
        fired = firing.sum(0, dtype=np.int64)
        self.fired = self.fired + fired if len(self.fired) else fired

    def mean(self, column: str) -> Replicates:
        """Mean over rows of active (latents), error ‖x−x̂‖², cosine, null_cosine (with the centre) or norm_ratio."""
        return self._replicates(lambda s, *_: s[column] / s["rows"])

    def explained_variance(self) -> Replicates:
        """1 − Σ‖x−x̂‖²/Σ‖x−x̄‖²; NaN where the rows do not vary."""
        return self._replicates(_explained_variance)

    def shrinkage(self) -> Replicates:
        """Σ‖x̂−x̄‖²/Σ⟨x̂−x̄, x−x̄⟩; NaN where the reconstructions do not follow the rows at all."""
        return self._replicates(_shrinkage)

    def variance(self) -> float:
        """Σ‖x−x̄‖²/n."""
        return float(self._replicates(lambda s, x, _: _variance(s, x) / s["rows"]).value)

    def _replicates(self, statistic: Callable[[dict[str, float], np.ndarray, np.ndarray], float]) -> Replicates:
        def of(keep: slice | np.ndarray) -> float:
            sums: dict[str, float] = dict(zip(_COLUMNS, self._sums[keep].sum(0), strict=True))
            return float(statistic(sums, self._x[keep].sum(0), self._rebuilt[keep].sum(0)))

        n = len(self._sums)
        left_out = [of(np.arange(n) != b) for b in range(n)] if n > 1 else []
        return Replicates(of(slice(None)), np.array(left_out, float), "jackknife", self._groups)


def _variance(s: dict[str, float], x: np.ndarray) -> float:
    return s["square"] - float(x @ x) / s["rows"]


def _explained_variance(s: dict[str, float], x: np.ndarray, _: np.ndarray) -> float:
    variance = _variance(s, x)
    return 1 - s["error"] / variance if variance > 1e-12 * s["square"] else np.nan


def _shrinkage(s: dict[str, float], x: np.ndarray, rebuilt: np.ndarray) -> float:
    shift = x / s["rows"]
    size = s["rebuilt"] - 2 * float(shift @ rebuilt) + float(shift @ x)
    dot = s["dot"] - float(shift @ rebuilt)
    return size / dot if dot > 1e-12 * s["square"] else np.nan


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.divide(over, under, out=np.zeros(len(over)), where=under > 0)
