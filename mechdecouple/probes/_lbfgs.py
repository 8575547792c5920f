"""Many L2-penalised logistic regressions on the same rows at once: preconditioned L-BFGS, batched."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_MEMORY = 10
_ITERATIONS = 500
_LINE_EVALUATIONS = 20


@dataclasses.dataclass(frozen=True, eq=False)
class Axes:
    """Principal axes of the rows and their mean squares: what the Hessian looks like at zero weights.

    They steer the search and leave its end where it is: rows without weight may have their say in them, and they need
    not be exact.

    Attributes:
        basis: [d, r] orthonormal columns; None where the columns of the rows are uncorrelated themselves.
        energy: [r] mean square of the rows along each axis.
    """

    basis: Float[Tensor, "d r"] | None
    energy: Float[Tensor, " r"]

    def solve(
        self, gradient: Float[Tensor, "d b"], curvature: Float[Tensor, " b"], penalty: Float[Tensor, " b"]
    ) -> Float[Tensor, "d b"]:
        """The gradient over the Hessian that has the same curvature at every row."""
        metric = 1 / (curvature * self.energy[:, None] + penalty)
        if self.basis is None:
            return gradient * metric
        inside = self.basis.T @ gradient
        if self.basis.shape[1] == len(gradient):
            return self.basis @ (inside * metric)
        return self.basis @ (inside * (metric - 1 / penalty)) + gradient / penalty


def principal_axes(Z: Float[Tensor, "n d"]) -> Axes:
    """The axes of centred rows, from the smaller Gram side; with many rows, of as many as tell them well."""
    Z = Z[:: max(1, len(Z) // (8 * Z.shape[1]))]
    n, d = Z.shape
    if d <= n:
        energy, basis = torch.linalg.eigh(Z.T @ Z / n)
        return Axes(basis, energy.clamp_min(0))
    energy, left = torch.linalg.eigh(Z @ Z.T / n)
    keep = energy > n * torch.finfo(Z.dtype).eps * energy[-1]
    energy = energy[keep]
    return Axes(Z.T @ left[:, keep] / (n * energy).sqrt(), energy)


def minimise(
    Z: Float[Tensor, "n d"],
    target: Float[Tensor, "n b"],
    weight: Float[Tensor, "n b"],
    penalty: Float[Tensor, " b"],
    axes: Axes,
    tolerance: float,
    shrink: Float[Tensor, "d b"] | None = None,
) -> tuple[Float[Tensor, "e b"], Float[Tensor, "n b"]]:
    """Minimises, for each problem b, the weighted mean log-loss of (Z · shrink_b) w_b + c_b, plus penalty_b/2 · ‖w_b‖².

    An iteration costs two matrix products for all problems together (scores along the step, gradient) and two smaller
    ones for the metric; problems that have converged leave the batch.

    Args:
        target: 0 or 1, anything where the weight is 0.
        weight: row weights of each problem (0 for held-out rows); both classes have some.
        tolerance: stop when what is left to gain is below tolerance² of what there was to gain at the start (or of 2
            nats); a scale of the gain itself would leave a strongly penalised problem at zero weights.
        shrink: factor of each column in each problem (1 / its standard deviation there); None for 1.

    Returns:
        weights and, as the last row, intercepts [d + 1, b]; scores of all rows [n, b].
    """
    weight = weight / weight.sum(dim=0)
    rate = (weight * target).sum(dim=0)
    theta = Z.new_zeros(Z.shape[1] + 1, len(penalty))
    theta[-1] = torch.log(rate / (1 - rate))
    state = _State(target, weight, penalty, shrink, theta, theta[-1].expand(len(Z), -1).clone(), [], [])
    found, found_score = theta.clone(), state.score.clone()
    place = torch.arange(len(penalty), device=Z.device)
    p = torch.sigmoid(state.score)
    gradient = state.gradient(Z, p)
    enough = Z.new_full((len(penalty),), torch.inf)
    for turn in range(_ITERATIONS):
        step = -state.two_loop(gradient, axes, p)
        slope = (gradient * step).sum(dim=0)
        if turn == 0:
            # Below a few units of rounding nothing more is to be had, nor where there was nothing to gain.
            eps = torch.finfo(Z.dtype).eps
            enough = max(tolerance, 30 * eps) ** 2 * (-slope).clamp(0, 1) + (4 * eps) ** 2
        moving = -slope > enough
        left = int(moving.sum())
        if left <= 0.75 * len(place):
            done = ~moving
            found[:, place[done]], found_score[:, place[done]] = state.theta[:, done], state.score[:, done]
            state, place = state.only(moving), place[moving]
            step, slope, gradient, enough = step[:, moving], slope[moving], gradient[:, moving], enough[moving]
            moving = moving[moving]
        if left == 0:
            return found, found_score
        # Problems that have converged but are still in the batch stand still.
        step = torch.where(moving, step, 0.0)
        p = state.search(Z, step, slope, moving)
        new = state.gradient(Z, p)
        state.changes.append(new - gradient)
        gradient = new
        del state.steps[:-_MEMORY], state.changes[:-_MEMORY]
    found[:, place], found_score[:, place] = state.theta, state.score
    return found, found_score


@dataclasses.dataclass(eq=False)
class _State:
    """The problems that are still in the batch; the last row of ``theta``, steps and changes is the intercept."""

    target: Tensor
    weight: Tensor
    penalty: Tensor
    shrink: Tensor | None
    theta: Tensor
    score: Tensor
    steps: list[Tensor]
    changes: list[Tensor]

    def only(self, kept: Bool[Tensor, " b"]) -> _State:
        return _State(
            self.target[:, kept],
            self.weight[:, kept],
            self.penalty[kept],
            None if self.shrink is None else self.shrink[:, kept],
            self.theta[:, kept],
            self.score[:, kept],
            [s[:, kept] for s in self.steps],
            [t[:, kept] for t in self.changes],
        )

    def gradient(self, Z: Tensor, p: Tensor) -> Tensor:
        residual = self.weight * (p - self.target)
        weights = Z.T @ residual
        if self.shrink is not None:
            weights *= self.shrink
        weights += self.penalty * self.theta[:-1]
        return torch.cat([weights, residual.sum(dim=0)[None]])

    def two_loop(self, gradient: Tensor, axes: Axes, p: Tensor) -> Tensor:
        """Inverse-Hessian times gradient, problem by problem (Nocedal & Wright, algorithm 7.4)."""
        q = gradient.clone()
        kept = []
        tiny = torch.finfo(q.dtype).tiny
        for s, t in zip(reversed(self.steps), reversed(self.changes), strict=True):
            bend = (s * t).sum(dim=0)
            # Steps that were not taken, or that changed nothing, say nothing about curvature.
            rho = torch.where(bend > tiny, 1 / bend, 0.0)
            alpha = rho * (s * q).sum(dim=0)
            q -= alpha * t
            kept.append((rho, alpha))
        curvature = (self.weight * p * (1 - p)).sum(dim=0).clamp_min(1e-6)
        q = torch.cat([axes.solve(q[:-1], curvature, self.penalty), (q[-1] / curvature)[None]])
        for s, t, (rho, alpha) in zip(self.steps, self.changes, reversed(kept), strict=True):
            q += s * (alpha - rho * (t * q).sum(dim=0))
        return q

    def search(self, Z: Tensor, step: Tensor, slope: Tensor, moving: Tensor) -> Tensor:
        """Moves along ``step`` to about the least loss (it is convex along a line); the probabilities there.

        Newton inside a bracket, until the slope is a tenth of what it was.
        """
        weights = step[:-1]
        along = Z @ (weights if self.shrink is None else weights * self.shrink) + step[-1]
        linear = self.penalty * (self.theta[:-1] * weights).sum(dim=0)
        quadratic = self.penalty * weights.square().sum(dim=0)
        length = torch.ones_like(slope)
        low, high = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
        weighted = self.weight * along
        score = self.score + along
        p = torch.sigmoid(score)
        for _ in range(_LINE_EVALUATIONS):
            here = (weighted * (p - self.target)).sum(dim=0) + linear + length * quadratic
            open_ = moving & (here.abs() > 0.1 * slope.abs())
            if not open_.any():
                break
            bend = (weighted * along * p * (1 - p)).sum(dim=0) + quadratic
            low, high = torch.where(here <= 0, length, low), torch.where(here > 0, length, high)
            newton = length - here / bend
            middle = torch.where(torch.isfinite(high), (low + high) / 2, 2 * length)
            length = torch.where(open_, torch.where((newton > low) & (newton < high), newton, middle), length)
            score = self.score + along * length
            p = torch.sigmoid(score)
        step = step * length
        self.score, self.theta = score, self.theta + step
        self.steps.append(step)
        return p


def minimise_logistic(
    Z: Float[np.ndarray, "n r"],
    y: Int[np.ndarray, " n"],
    weight: Float[np.ndarray, "n b"] | Float[np.ndarray, "n 1"],
    penalty: Float[np.ndarray, " b"],
    tolerance: float,
) -> tuple[Float[np.ndarray, "r b"], Float[np.ndarray, " b"]]:
    """``minimise`` in float64 for one target and inputs in a basis of uncorrelated columns.

    Returns:
        coefficients [r, b] and intercepts [b].
    """
    rows = torch.from_numpy(np.ascontiguousarray(Z))
    shape = (len(Z), len(penalty))
    theta, _ = minimise(
        rows,
        torch.from_numpy(y.astype(float))[:, None].expand(shape),
        torch.from_numpy(np.ascontiguousarray(weight)).expand(shape),
        torch.from_numpy(np.ascontiguousarray(penalty)),
        Axes(None, (rows**2).mean(dim=0)),
        tolerance,
    )
    return theta[:-1].numpy(), theta[-1].numpy()
