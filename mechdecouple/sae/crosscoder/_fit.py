"""The weights of a crosscoder in training: its forward pass, its losses, and one step of the optimiser."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_AUXILIARY = 1 / 32
_MAX_NORM = 1.0


class Fitter:
    """A crosscoder over rows of both models side by side, scaled; ``d`` of them are A's, the rest B's.

    Args:
        allowed: which entries of the decoder (and, transposed, of the encoder) may differ from 0.
        k: mean number of latents a row; None for the L1 penalty.
        l1: weight of the penalty; its share of the weight rises over the first tenth of the steps.
        patience: steps without firing after which a latent is dead and is helped (with k only).
    """

    def __init__(
        self,
        allowed: Bool[Tensor, "m d"],
        *,
        d_a: int,
        k: int | None,
        l1: float,
        learning_rate: float,
        steps: int,
        patience: int,
        generator: torch.Generator,
    ) -> None:
        device = allowed.device
        m, d = allowed.shape
        rows = torch.randn(m, d, generator=generator).to(device) * allowed
        decoder = rows / rows.norm(dim=1, keepdim=True)
        self.allowed, self.d_a, self.k, self.l1 = allowed, d_a, k, l1
        self.steps, self.patience, self.learning_rate = steps, patience, learning_rate
        self.decoder = torch.nn.Parameter(decoder)
        self.encoder = torch.nn.Parameter(decoder.T.clone())
        self.bias = torch.nn.Parameter(torch.zeros(m, device=device))
        self.centre = torch.nn.Parameter(torch.zeros(d, device=device))
        self.parameters = [self.decoder, self.encoder, self.bias, self.centre]
        self._adam = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)
        self._silent = torch.zeros(m, device=device)
        self.step_number = 0

    def norms(self) -> Float[Tensor, " m"]:
        """Sum of a latent's decoder norms in both models: what a unit of it costs."""
        return self.decoder[:, : self.d_a].norm(dim=1) + self.decoder[:, self.d_a :].norm(dim=1)

    def positive(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """Latents before any selection, at least 0."""
        return torch.relu((rows - self.centre) @ self.encoder + self.bias)

    def step(self, rows: Float[Tensor, "b d"]) -> dict[str, float]:
        """One step of Adam; returns loss, l0 and fvu of the batch before it."""
        done = self.step_number / self.steps
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate * min(1.0, (done + 1e-3) / 0.05, (1 - done) / 0.33)
        latents = self.positive(rows)
        if self.k is not None:
            latents = latents * _largest(latents.detach() * self.norms().detach(), self.k)
        error = latents @ self.decoder + self.centre - rows
        loss = error.square().sum(1).mean()
        if self.k is None:
            loss = loss + self.l1 * min(1.0, 10 * done) * (latents.sum(0) @ self.norms()) / len(rows)
        else:
            loss = loss + self._help_the_dead(rows, error.detach())
        self._adam.zero_grad()
        loss.backward()
        for parameter, allowed in ((self.decoder, self.allowed), (self.encoder, self.allowed.T)):
            assert parameter.grad is not None
            parameter.grad *= allowed
        torch.nn.utils.clip_grad_norm_(self.parameters, _MAX_NORM)
        self._adam.step()
        firing = latents.detach() > 0
        self._silent += 1
        self._silent[firing.any(0)] = 0
        self.step_number += 1
        return {"loss": float(loss.detach()), "l0": float(firing.sum()) / len(rows), "fvu": _fvu(rows, error.detach())}

    def _help_the_dead(self, rows: Tensor, error: Tensor) -> Tensor:
        """Dead latents are asked to rebuild what the living left, so that they come back to life (2406.04093)."""
        dead = torch.nonzero(self._silent > self.patience).squeeze(1)
        if not len(dead):
            return torch.zeros((), device=rows.device)
        latents = torch.relu((rows - self.centre.detach()) @ self.encoder[:, dead] + self.bias[dead])
        k = min(len(dead), rows.shape[1] // 2)
        latents = latents * _largest_each(latents.detach() * self.norms()[dead].detach(), k)
        left = (latents @ self.decoder[dead] + error).square().sum() / error.square().sum()
        return _AUXILIARY * error.square().sum(1).mean() * left.nan_to_num() * min(1.0, len(dead) / k)


def _largest(scores: Float[Tensor, "b m"], k: int) -> Bool[Tensor, "b m"]:
    """The k·b largest positive scores of the batch."""
    flat = scores.flatten()
    keep = min(k * len(scores), flat.numel())
    least = flat.kthvalue(flat.numel() - keep + 1).values
    return (scores >= least) & (scores > 0)


def _largest_each(scores: Float[Tensor, "b m"], k: int) -> Bool[Tensor, "b m"]:
    """The k largest positive scores of each row."""
    least = scores.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    return (scores >= least) & (scores > 0)


def _fvu(rows: Tensor, error: Tensor) -> float:
    variance = (rows - rows.mean(0)).square().sum()
    return float(error.square().sum() / variance) if float(variance) > 0 else math.nan
