"""Sparse logistic regression: an answer as the weighted sum of a few features, as a stand-in for a model's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from mechdecouple.errors import InputError

_STEPS, _PATH, _SHORTEST, _STILL = 40, 14, 1e-2, 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class SparseLogistic:
    """Fitted weights: score of each label = X @ weights + bias.

    Attributes:
        weights: [d, labels], zero in all but a few rows; bias: [labels].
    """

    weights: Float[np.ndarray, "d k"]
    bias: Float[np.ndarray, " k"]

    def predict(self, X: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Labels [n]."""
        return (X @ self.weights + self.bias).argmax(axis=1)

    @property
    def size(self) -> int:
        """Features in use."""
        return int(self.weights.any(axis=1).sum())

    def rules(self, features: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
        """One sentence a feature, the weightiest first: what one more of it adds to the log-odds of each label."""
        used = np.flatnonzero(self.weights.any(axis=1))
        strength = np.ptp(self.weights[used], axis=1)
        said = []
        for j in used[np.argsort(-strength, kind="stable")]:
            found = self.weights[j]
            if len(labels) == 2:
                said.append(f"{features[j]}: {found[1] - found[0]:+.3g} for {labels[1]} against {labels[0]}")
            else:
                shifts = ", ".join(f"{label} {w - found.mean():+.3g}" for label, w in zip(labels, found, strict=True))
                said.append(f"{features[j]}: {shifts}")
        return tuple(said) or (f"always: {labels[int(self.bias.argmax())]}",)


@dataclasses.dataclass(frozen=True)
class SparseLogisticFitter:
    """Chooses features by a penalty on the length of each one's weights over all labels (group lasso), then fits their
    weights anew.

    The penalty falls from where no feature is left until more than ``features`` are in use; the last choice before is
    fitted with a light L2 penalty, on standardised columns.

    Attributes:
        features: most features in use.
        ridge: L2 penalty of the weights of those chosen, in mean log-loss + ridge/2 · ‖w‖².
    """

    features: int = 5
    ridge: float = 1e-3

    @property
    def name(self) -> str:
        return f"logistic of {self.features} feature{'s' * (self.features != 1)}"

    def fit(self, X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_labels: int) -> SparseLogistic:
        """X [n, d] finite, y [n] labels 0 … n_labels - 1 → weights.

        Raises:
            InputError: no items, no feature allowed, or a penalty that is not above zero.
        """
        if len(X) == 0 or self.features < 1 or self.ridge <= 0:
            raise InputError(
                f"{len(X)} items, {self.features} features, ridge {self.ridge}: expected at least 1, 1 and above zero"
            )
        centre, spread = X.mean(axis=0), X.std(axis=0)
        scale = np.where(spread > 1e-12 * np.maximum(np.abs(centre), 1e-300), spread, np.inf)
        Z, hot = (X - centre) / scale, np.eye(n_labels)[y]
        chosen = support(Z, hot, self.features)
        fitted, bias = _refit(Z[:, chosen], hot, self.ridge)
        weights = np.zeros((X.shape[1], n_labels))
        weights[chosen] = fitted / scale[chosen, None]
        return SparseLogistic(weights, bias - centre @ weights)


def support(Z: Float[np.ndarray, "n d"], hot: Float[np.ndarray, "n k"], most: int) -> Int[np.ndarray, " s"]:
    """At most ``most`` features along the path of the group lasso, in ascending order; constant ones are never chosen.

    Every point of the path takes accelerated proximal steps from the one before (Beck & Teboulle 2009,
    doi:10.1137/080716542). Where no more than ``most`` features vary, all that do are chosen.
    """
    n = len(Z)
    share = hot.mean(axis=0)
    pull = np.linalg.norm(Z.T @ (hot - share) / n, axis=1)
    strongest = float(pull.max(initial=0.0))
    if strongest < 1e-12:
        return np.zeros(0, dtype=np.int64)
    varied = np.flatnonzero(Z.any(axis=0))
    if len(varied) <= most:
        return varied
    # the softmax's curvature is at most a half
    step = 1 / (0.5 * (np.linalg.norm(Z, 2) ** 2 / n) + 1e-12)
    bias = np.log(np.maximum(share, 1e-6))
    weights, chosen = np.zeros((Z.shape[1], hot.shape[1])), np.zeros(0, dtype=np.int64)
    for penalty in strongest * np.geomspace(0.95, _SHORTEST, _PATH):
        ahead, ahead_bias, momentum = weights, bias, 1.0
        for _ in range(_STEPS):
            error = (softmax(Z @ ahead + ahead_bias, axis=1) - hot) / n
            moved = ahead - step * (Z.T @ error)
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            moved = moved * np.maximum(0, 1 - step * penalty / np.maximum(length, 1e-300))
            shifted = ahead_bias - 2 * error.sum(axis=0)
            following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            lead = (momentum - 1) / following
            ahead, ahead_bias = moved + lead * (moved - weights), shifted + lead * (shifted - bias)
            still = np.abs(moved - weights).max() < _STILL and np.abs(shifted - bias).max() < _STILL
            weights, bias, momentum = moved, shifted, following
            if still:
                break
        now = np.flatnonzero(weights.any(axis=1))
        if len(now) > most:
            # the first step of the path can let in many at once: then the strongest of them
            return chosen if len(chosen) else np.sort(np.argsort(-pull, kind="stable")[:most])
        chosen = now
    return chosen


def _refit(Z: np.ndarray, hot: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    (n, d), k = Z.shape, hot.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = flat[: d * k].reshape(d, k), flat[d * k :]
        score = Z @ weights + bias
        error = (softmax(score, axis=1) - hot) / n
        value = -(log_softmax(score, axis=1) * hot).sum() / n + ridge / 2 * (weights**2).sum()
        return float(value), np.concatenate([(Z.T @ error + ridge * weights).ravel(), error.sum(axis=0)])

    # labels that never occur have no finite bias: they start, and stay, far below
    start = np.concatenate([np.zeros(d * k), np.log(np.maximum(hot.mean(axis=0), 1e-6))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found[: d * k].reshape(d, k), found[d * k :]
