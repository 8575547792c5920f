"""Pooled probe: one score an item from the activations of all its tokens, by their mean, their maximum or attention."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from scipy.special import expit
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.probe import calibration_fold, platt

POOLINGS = ("mean", "max", "attention")
_STEPS, _RATE, _RESTARTS = 300, 0.05, 4


@dataclasses.dataclass(frozen=True, eq=False)
class PooledProbe:
    """A frozen read-out of a binary concept from all tokens of an item.

    Attributes:
        pooling: how the tokens' scores w·x become one: their mean, their largest, or their mean weighted by attention,
            softmax over the item's tokens of q·x.
        weights: [d] w; bias: added to the pooled score; query: [d] q, zeros unless there is attention.
        slope, offset: Platt's map from score to log-odds, fitted on groups that the weights never saw.
    """

    pooling: str
    weights: Float[np.ndarray, " d"]
    bias: float
    query: Float[np.ndarray, " d"]
    slope: float
    offset: float

    def decision_function(self, X: Float[np.ndarray, "r d"], items: Int[np.ndarray, " r"]) -> Float[np.ndarray, " n"]:
        """Score of each item, 0 … n − 1 in order; above zero means class 1."""
        X, items, n = _tokens(X, items)
        self._check(X)
        scores = torch.from_numpy(X @ self.weights)[:, None]
        logits = torch.from_numpy(X @ self.query)[:, None]
        pooled = _pooled(scores, logits, torch.from_numpy(items), n, self.pooling)
        return pooled[:, 0].numpy() + self.bias

    def predict_proba(self, X: Float[np.ndarray, "r d"], items: Int[np.ndarray, " r"]) -> Float[np.ndarray, " n"]:
        """Calibrated probability of class 1 of each item, in [0, 1]."""
        return expit(self.slope * self.decision_function(X, items) + self.offset)

    def attention(self, X: Float[np.ndarray, "r d"], items: Int[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
        """Weight of each token in its item's score; they sum to 1 over an item."""
        X, items, n = _tokens(X, items)
        self._check(X)
        index = torch.from_numpy(items)
        if self.pooling == "max":
            scores = torch.from_numpy(X @ self.weights)[:, None]
            chosen = (scores == _largest(scores, index, n)[index]).double()
            return (chosen / _sums(chosen, index, n)[index])[:, 0].numpy()
        return _softmax(torch.from_numpy(X @ self.query)[:, None], index, n)[:, 0].numpy()

    def _check(self, X: np.ndarray) -> None:
        if X.shape[1] != len(self.weights):
            raise InputError(f"activations have {X.shape[1]} dimensions, the probe was fitted on {len(self.weights)}")


@dataclasses.dataclass
class PooledFitter:
    """Fits w, b (and q) to the mean log-loss of items + penalty/2 · (‖w‖² + ‖q‖²) on standardised tokens, in float64.

    Mean scores are a linear probe of the mean activation. The maximum and attention find a concept that stands at one
    token, which the mean drowns among the others (attention probes: arXiv 2506.10805). Their loss has several minima:
    a few starts run together, and the one of least training loss is kept.

    Attributes:
        pooling: "mean", "max" or "attention".
        penalty: L2.
        calibration_share: share of the groups kept aside for Platt's calibration.
        seed: of the starts and of which groups calibrate.
        device: where it is fitted: "cpu", "cuda" or "auto".
    """

    pooling: str = "attention"
    penalty: float = 1e-2
    calibration_share: float = 0.2
    seed: int = 0
    device: str = "cpu"

    def fit(
        self,
        X: Float[np.ndarray, "r d"],
        items: Int[np.ndarray, " r"],
        y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
        groups: Shaped[np.ndarray, " n"] | None = None,
    ) -> PooledProbe:
        """Tokens X, the item 0 … n − 1 of each, and labels and groups of the items → frozen probe.

        Raises:
            InputError: an unknown pooling, a penalty that is not above zero, items without tokens, values that are not
                finite, one class, too few groups to calibrate, a device that does not exist.

        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(200) % 2
        >>> X, items = rng.normal(size=(1600, 6)), np.repeat(np.arange(200), 8)
        >>> said = 8 * np.arange(200) + rng.integers(8, size=200)   # one token of eight carries the label
        >>> X[said, 0], X[said, 1] = 6.0, 4 * y - 2
        >>> attends, mean = (PooledFitter(p).fit(X, items, y) for p in ("attention", "mean"))
        >>> bool(((attends.decision_function(X, items) > 0) == y).mean() > .95)
        True
        """
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling {self.pooling!r} is unknown; expected one of {', '.join(POOLINGS)}")
        if not self.penalty > 0:
            raise InputError(f"penalty {self.penalty}: expected a number above zero")
        X, items, n = _tokens(X, items)
        y, groups = _checks.labels(y, n), _checks.group_codes(groups, n)
        aside = calibration_fold(y, groups, self.calibration_share, self.seed)
        kept = ~aside[items]
        number = np.cumsum(~aside) - 1
        weights, bias, query = self._fit(X[kept], number[items[kept]], y[~aside])
        found = PooledProbe(self.pooling, weights, bias, query, 1.0, 0.0)
        number = np.cumsum(aside) - 1
        slope, offset = platt(found.decision_function(X[~kept], number[items[~kept]]), y[aside])
        return dataclasses.replace(found, slope=slope, offset=offset)

    def _fit(self, X: np.ndarray, items: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        centre, scale = X.mean(axis=0), X.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), scale, np.inf)
        device = _checks.device(self.device)
        Z, index, target = (torch.from_numpy(part).to(device) for part in ((X - centre) / scale, items, y[:, None]))
        d, starts = Z.shape[1], 1 if self.pooling == "mean" else _RESTARTS
        generator = torch.Generator().manual_seed(self.seed)
        start = torch.randn(2, d, starts, generator=generator, dtype=torch.float64) / d**0.5
        start[1] *= self.pooling == "attention"
        both = start.to(device).requires_grad_()
        bias = torch.zeros(starts, dtype=torch.float64, device=device, requires_grad=True)
        adam = torch.optim.Adam([both, bias], lr=_RATE)
        course = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
        losses = torch.zeros(starts, dtype=torch.float64, device=device)
        for _ in range(_STEPS):
            score = _pooled(Z @ both[0], Z @ both[1], index, len(y), self.pooling) + bias
            fit = (torch.nn.functional.softplus(score) - target * score).mean(0)
            losses = fit + self.penalty / 2 * both.square().sum((0, 1))
            adam.zero_grad()
            losses.sum().backward()
            if self.pooling != "attention":
                both.grad[1] = 0  # pyright: ignore[reportOptionalSubscript]
            adam.step()
            course.step()
        best = int(losses.detach().argmin())
        weights, query = (part[:, best].detach().cpu().numpy() / scale for part in both)
        return weights, float(bias[best].detach()) - float(weights @ centre), query


def _tokens(X: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, " r"], int]:
    X, items = _checks.activations(X), np.asarray(items)
    if items.shape != (len(X),) or items.dtype.kind not in "iu":
        raise InputError(
            f"items have shape {items.shape} ({items.dtype}), expected a whole number for {len(X)} rows each"
        )
    n = int(items.max()) + 1
    count = np.bincount(items, minlength=n) if items.min() >= 0 else np.zeros(1)
    if not count.all():
        raise InputError(f"item {int(np.argmin(count))} has no token; number the items 0 … {n - 1} without a gap")
    return X, items.astype(np.int64), n


def _pooled(
    scores: Float[Tensor, "r b"], logits: Float[Tensor, "r b"], index: Int[Tensor, " r"], n: int, pooling: str
) -> Float[Tensor, "n b"]:
    if pooling == "max":
        return _largest(scores, index, n)
    return _sums(_softmax(logits, index, n) * scores, index, n)


def _softmax(logits: Float[Tensor, "r b"], index: Int[Tensor, " r"], n: int) -> Float[Tensor, "r b"]:
    """Over the tokens of each item; equal weights where logits are all 0."""
    raised = (logits - _largest(logits.detach(), index, n)[index]).exp()
    return raised / _sums(raised, index, n)[index]


def _sums(values: Float[Tensor, "r b"], index: Int[Tensor, " r"], n: int) -> Float[Tensor, "n b"]:
    return values.new_zeros(n, values.shape[1]).index_add(0, index, values)


def _largest(values: Float[Tensor, "r b"], index: Int[Tensor, " r"], n: int) -> Float[Tensor, "n b"]:
    least = values.new_full((n, values.shape[1]), -torch.inf)
    return least.scatter_reduce(0, index[:, None].expand_as(values), values, "amax")
