"""Disentanglement and completeness of units: does a unit serve one concept, and does a concept use one unit?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import xlogy

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.structure._rows import finite

_SOURCE = "Eastwood & Williams, ICLR 2018 (openreview By-7dz-AZ), on effects instead of regressors' importances"
_NULL = "not zero: the level of the same answers after a random rotation of the units (Dci.rotated)"

DCI_DISENTANGLEMENT = Metric(
    name="dci_disentanglement",
    family="entanglement",
    title="DCI disentanglement",
    measures="how exclusively a unit's ablation bears on one concept, mean over units weighted by their effect",
    range="[0, 1]",
    direction="higher",
    invariances="permutation, sign, translation and scale of units; not rotation",
    null=_NULL,
    assumes="effects on the concepts' answers are on one scale",
    source=_SOURCE,
)
DCI_COMPLETENESS = Metric(
    name="dci_completeness",
    family="fracture",
    title="DCI completeness",
    measures="how few units bear a concept, mean over concepts weighted by their effect",
    range="[0, 1]",
    direction="higher",
    invariances="permutation, sign, translation and scale of units; not rotation",
    null=_NULL,
    assumes="the units are those that the model computes with",
    source=_SOURCE,
)


def readout_effects(X: Float[np.ndarray, "n d"], readout: Float[np.ndarray, "e k"]) -> Float[np.ndarray, "d k"]:
    """Mean-ablation effect of each unit on each linear logit X · readout: mean over rows of |(x_ij - mean_j) W_jf|.

    >>> readout_effects(np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([[3.0], [5.0]])).tolist()
    [[3.0], [0.0]]
    """
    X = finite(X)
    if len(readout) != X.shape[1]:
        raise InputError(f"the read-out has {len(readout)} rows, the activations {X.shape[1]} dimensions")
    return _moves(X, X.mean(axis=0)).mean(axis=0)[:, None] * np.abs(finite(readout))


def unit_effects(
    X: Float[np.ndarray, "n d"], gradients: Float[np.ndarray, "m e"], asks: Int[np.ndarray, " a"]
) -> Float[np.ndarray, "d k"]:
    """Mean-ablation effect of each unit on the answers about each concept, to first order in a network.

    The mean over the items that ask about concept f of |g_ij (x_ij - mean_j)|, the mean taken over all items; exact
    where the answer is linear in the activations.

    Args:
        X: activations; gradients: [n, d] of each item's answer (a logit, or the margin between the answers) with
        respect to them; asks: [n] concept that each item is about, 0 ... k-1; -1 for none of them.

    Raises:
        InputError: values that are not finite, shapes that differ, a concept below the largest that nothing asks about.
    """
    return Dci(X, gradients, asks).effects()


def disentanglement(effects: Float[np.ndarray, "d k"]) -> float:
    """1 - H/ln k of each unit's effects over the k concepts, weighted by the units' total effects.

    1 where every unit serves one concept, 0 where each serves all alike; higher is tidier. Units without effect weigh
    nothing. NaN with fewer than two concepts or no effects. Effects without relation to the units are not at 0: a
    random rotation of six concepts gives about .13 (``Dci.rotated``).

    Raises:
        InputError: effects that are negative or not finite.

    >>> disentanglement(np.array([[1.0, 0.0], [0.0, 2.0]])), disentanglement(np.ones((3, 2)))
    (1.0, 0.0)
    """
    return _concentration(_checked(effects))


def completeness(effects: Float[np.ndarray, "d k"]) -> float:
    """1 - H/ln d of each concept's effects over the d units, weighted by the concepts' total effects.

    1 where each concept uses one unit, 1 - ln m / ln d for m equal ones, 0 for all alike; higher is tidier. Units
    without effect count in d. NaN with fewer than two units or no effects. Effects without relation to the units are
    not at 0: a random rotation of 128 units gives about .06 (``Dci.rotated``).

    Raises:
        InputError: effects that are negative or not finite.

    >>> completeness(np.repeat(np.eye(2), 2, axis=0))
    0.5
    """
    return _concentration(_checked(effects).T)


class Dci:
    """Disentanglement and completeness of ``unit_effects`` as a function of the kept rows, for ``stats.jackknife``.

    Nothing is fitted, so nothing needs to be held out. Args and errors as for ``unit_effects``.

    Attributes:
        reason: why a value is NaN.
    """

    reason = "DCI needs two or more concepts that items ask about, two or more units, and units with an effect"

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        gradients: Float[np.ndarray, "m e"],
        asks: Int[np.ndarray, " a"],
    ) -> None:
        self._X, self._gradients, self._asks = finite(X), finite(gradients), asks
        if self._gradients.shape != self._X.shape or asks.shape != (len(X),):
            raise InputError(
                f"activations {self._X.shape}, gradients {self._gradients.shape} and asks {asks.shape}: expected one "
                "gradient an activation and one concept a row"
            )
        self._k = int(asks.max()) + 1
        missing = np.setdiff1d(np.arange(self._k), asks)
        if self._k == 0 or len(missing):
            raise InputError(f"no item asks about concept {missing[0] if len(missing) else 0}: its effects are unknown")

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, " 2"]:
        """Disentanglement, then completeness; NaN for the ``reason``."""
        return _both(self.effects(rows))

    def effects(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "d k"]:
        """Effect of each unit on each concept, [d, k]; NaN for a concept that no kept row asks about."""
        if rows is not None and len(rows) == 0:
            return np.full((self._X.shape[1], self._k), np.nan)
        kept = slice(None) if rows is None else rows
        return self._effects(self._X[kept], self._gradients[kept], self._asks[kept])

    def rotated(self, n_draws: int = 20, seed: int = 0) -> Float[np.ndarray, "draws 2"]:
        """Both values of the same answers held in randomly rotated units: the level without a privileged basis."""
        rng = np.random.default_rng(seed)
        draws = []
        for _ in range(n_draws):
            turn, triangle = np.linalg.qr(rng.normal(size=(self._X.shape[1], self._X.shape[1])))
            turn = turn * np.sign(np.diagonal(triangle))
            draws.append(_both(self._effects(self._X @ turn, self._gradients @ turn, self._asks)))
        return np.stack(draws)

    def _effects(self, X: np.ndarray, gradients: np.ndarray, asks: np.ndarray) -> np.ndarray:
        effect = _moves(X, X.mean(axis=0)) * np.abs(gradients)
        asked = [asks == f for f in range(self._k)]
        return np.stack([effect[a].mean(axis=0) if a.any() else np.full(X.shape[1], np.nan) for a in asked], axis=1)


def _both(effects: Float[np.ndarray, "d k"]) -> Float[np.ndarray, " 2"]:
    if np.isnan(effects).any():
        return np.full(2, np.nan)
    return np.array([disentanglement(effects), completeness(effects)])


def _moves(X: Float[np.ndarray, "n d"], mean: Float[np.ndarray, " d"]) -> Float[np.ndarray, "n d"]:
    """|x - mean|, without what rounding makes of constant units."""
    moved = np.abs(X - mean)
    return np.where(moved > 1e-12 * np.abs(mean), moved, 0.0)


def _concentration(effects: Float[np.ndarray, "a b"]) -> float:
    """1 - H/ln b of the shares in each row, weighted by the rows' totals."""
    total, size = effects.sum(axis=1), effects.shape[1]
    if size < 2 or not total.any():
        return np.nan
    share = effects[total > 0] / total[total > 0, None]
    entropy = -xlogy(share, share).sum(axis=1)
    return float(1 - entropy @ total[total > 0] / (total.sum() * np.log(size)))


def _checked(effects: Float[np.ndarray, "d k"]) -> Float[np.ndarray, "d k"]:
    effects = finite(effects)
    if (effects < 0).any():
        unit, concept = np.argwhere(effects < 0)[0]
        raise InputError(f"effect {effects[unit, concept]:g} of unit {unit} on concept {concept}: expected no sign")
    return effects
