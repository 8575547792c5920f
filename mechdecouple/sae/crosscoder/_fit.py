"""The weights of a crosscoder in training: its losses, their gradients in closed form, and steps of the optimiser."""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechdecouple.sae.training._sparse import largest_of_table, pools_for, starts_of, weighted_sums

_Found: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]

_AUXILIARY = 1 / 32
_SPARSE = 32  # from so many latents for each active one on, dense products cost more than they save
_MAX_NORM = 1.0


class Fitter:
    """A crosscoder over rows of both models side by side, scaled; the first ``d_a`` columns are A's, the rest B's.

    Args:
        allowed: which entries of the decoder (and, transposed, of the encoder) may differ from 0.
        k: mean number of latents a row; None for the L1 penalty.
        l1: weight of the penalty, which rises to its full value over the first tenth of the steps.
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
        self.allowed, self.d_a, self.k, self.l1 = allowed, d_a, k, l1
        self.steps, self.patience, self.learning_rate = steps, patience, learning_rate
        self.decoder = rows / rows.norm(dim=1, keepdim=True)
        # kept transposed in memory, as both its product and its gradient want it
        self.encoder = self.decoder.clone().t()
        self.bias = torch.zeros(m, device=device)
        self.centre = torch.zeros(d, device=device)
        self.parameters = [self.decoder, self.encoder, self.bias, self.centre]
        self.step_number = 0
        self.loss, self.active = torch.tensor(0.0), 0
        self.error = torch.zeros(0, d)
        self._whole = bool(allowed.all())
        self._adam = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)
        self._silent = torch.zeros(m, dtype=torch.int32, device=device)

    def norms(self) -> Float[Tensor, " m"]:
        """Sum of a latent's decoder norms in both models: what a unit of it costs."""
        return self.decoder[:, : self.d_a].norm(dim=1) + self.decoder[:, self.d_a :].norm(dim=1)

    def positive(self, rows: Float[Tensor, "b d"]) -> Float[Tensor, "b m"]:
        """Latents before any selection, at least 0."""
        return torch.addmm(self.bias, rows - self.centre, self.encoder).relu_()

    @torch.no_grad()
    def step(self, rows: Float[Tensor, "b d"]) -> None:
        """One step of Adam; leaves the batch's ``loss``, ``error`` (rebuilt less given) and ``active`` latents."""
        done = self.step_number / self.steps
        for group in self._adam.param_groups:
            group["lr"] = self.learning_rate * min(1.0, (done + 1e-3) / 0.05, (1 - done) / 0.33)
        for parameter, gradient in zip(self.parameters, self.gradients(rows), strict=True):
            parameter.grad = gradient
        torch.nn.utils.clip_grad_norm_(self.parameters, _MAX_NORM)
        self._adam.step()
        self.step_number += 1

    @torch.no_grad()
    def gradients(self, rows: Float[Tensor, "b d"]) -> list[Tensor]:
        """Of the loss on the rows, for each of ``parameters``: squared error, and the penalty or the dead's loss."""
        centred, norms, dead = rows - self.centre, self.norms(), self._silent > self.patience
        codes = self.positive(rows)
        if self.k is None:
            found = self._dense(centred, codes, norms, self.l1 * min(1.0, 10 * self.step_number / self.steps))
        elif codes.is_cpu and codes.shape[1] >= _SPARSE * self.k:
            found = self._sparse(centred, codes, norms)
        else:
            found = self._dense(centred, codes * _largest(codes * norms, self.k), norms, 0.0)
        decoder, encoder, bias, fired = found
        centre = self.error.sum(0) * (2 / len(rows)) - self.encoder @ bias
        self._silent = torch.where(fired, 0, self._silent + 1)
        if self.k is not None and dead.any():
            self._help(dead.nonzero()[:, 0], centred, codes, norms, (decoder, encoder, bias))
        if not self._whole:
            decoder, encoder = decoder * self.allowed, encoder * self.allowed
        return [decoder, encoder.t(), bias, centre]

    def _dense(self, centred: Tensor, latents: Tensor, norms: Tensor, l1: float) -> _Found:
        self.error = latents @ self.decoder - centred
        slopes, weight = self.error * (2 / len(centred)), l1 / len(centred)
        positive, total = latents > 0, latents.sum(0)
        pull = torch.addmm(weight * norms[None], slopes, self.decoder.t()) * positive
        decoder = latents.t() @ slopes
        if weight:
            for columns in (slice(None, self.d_a), slice(self.d_a, None)):
                side = self.decoder[:, columns]
                unit = side / side.norm(dim=1, keepdim=True).clamp_min(1e-30)
                decoder[:, columns] += weight * total[:, None] * unit
        self.loss = self.error.square().sum() / len(centred) + weight * (total @ norms)
        self.active = int(positive.sum())
        return decoder, pull.t() @ centred, pull.sum(0), positive.any(0)

    def _sparse(self, centred: Tensor, codes: Tensor, norms: Tensor) -> _Found:
        """The same without a penalty, where only the largest latents of the batch are computed with."""
        assert self.k is not None
        b, m = codes.shape
        flat = largest_of_table(codes * norms, min(self.k * b, b * m), _pools(m, self.k))
        flat = flat[codes.view(-1)[flat] > 0]
        rows, latents, heights = flat // m, flat % m, codes.view(-1)[flat]
        with torch.enable_grad():
            weights = heights.clone().requires_grad_()
            rebuilt = weighted_sums(self.decoder, latents, starts_of(rows, b), weights)
        self.error = rebuilt.detach() - centred
        slopes = self.error * (2 / b)
        pull = torch.autograd.grad(rebuilt, weights, slopes)[0]
        latents, order = latents.sort(stable=True)
        rows, starts = rows[order], starts_of(latents, m)
        decoder = weighted_sums(slopes, rows, starts, heights[order])
        encoder = weighted_sums(centred, rows, starts, pull[order])
        bias = torch.zeros(m).index_add_(0, latents, pull[order])
        self.loss, self.active = self.error.square().sum() / b, len(flat)
        return decoder, encoder, bias, torch.bincount(latents, minlength=m) > 0

    def _help(self, dead: Tensor, centred: Tensor, codes: Tensor, norms: Tensor, gradients: tuple[Tensor, ...]) -> None:
        """Dead latents are asked to rebuild what the living leave, so that they come back to life (2406.04093, A.2)."""
        k = max(1, min(len(dead), centred.shape[1] // 2))
        latents, directions = codes[:, dead], self.decoder[dead]
        scores = latents * norms[dead]
        latents = latents * (scores >= scores.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True))
        share = _AUXILIARY * min(1.0, 2 * len(dead) / centred.shape[1])
        left = latents @ directions + self.error
        slopes = left * (2 * share / len(centred))
        pull = (slopes @ directions.t()) * (latents > 0)
        self.loss = self.loss + share * left.square().sum() / len(centred)
        for total, part in zip(gradients, (latents.t() @ slopes, pull.t() @ centred, pull.sum(0)), strict=True):
            total.index_add_(0, dead, part)


def _largest(scores: Float[Tensor, "b m"], k: int) -> Bool[Tensor, "b m"]:
    """The k·b largest positive scores of the batch."""
    flat = scores.flatten()
    keep = min(k * len(scores), flat.numel())
    return (scores >= flat.kthvalue(flat.numel() - keep + 1).values) & (scores > 0)


def _pools(m: int, k: int) -> int:
    """The number of layers in which the selection is made: a power of two that divides m."""
    pools = pools_for(m, k)
    while m % pools:
        pools //= 2
    return pools
