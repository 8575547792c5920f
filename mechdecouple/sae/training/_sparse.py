"""One training step of a TopK dictionary and its kin that computes decoder and gradients for active latents only.

Of m latents only k fire on a row, yet automatic differentiation multiplies dense tables of rows by latents four times.
Here the encoder's product is the only dense one. What follows uses that with decoder norms n the activations h·n are
divided by n again before decoding: the norms steer the selection, and their own gradients cancel.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag


class Pass(NamedTuple):
    """What one step computed beside the gradients, which it left at the parameters."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, "b d"]  # rebuilt less given
    fired: Bool[Tensor, " m"]
    active: int


def largest_of_rows(table: Float[Tensor, "b m"], k: int, pools: int = 1) -> Int[Tensor, " n"]:
    """Flat positions of the k largest values of each row, row after row, in no order within it.

    The columns are seen as ``pools`` layers (a divisor of m); a column's pool is what lies above it in all layers. The
    k largest values can only lie in the k pools of largest maximum, so all others are left unread.
    """
    b, m = table.shape
    n = m // pools
    best = _last(table.view(b, pools, n).amax(1), k)
    if pools > 1:
        spread = best[:, None, :] + torch.arange(0, m, n)[:, None]
        columns = spread.view(b, pools * k)
        best = columns.gather(1, _last(table.gather(1, columns), k))
    return (best + torch.arange(0, b * m, m)[:, None]).view(-1)


def largest_of_table(table: Float[Tensor, "b m"], count: int, pools: int = 1) -> Int[Tensor, " n"]:
    """Flat positions of the ``count`` largest values of the whole table, ascending; ``pools`` as in largest_of_rows."""
    b, m = table.shape
    n = m // pools
    best = _last(table.view(b, pools, n).amax(1).view(1, -1), count)[0]
    if pools > 1:
        flat = (best // n * m + best % n + torch.arange(0, m, n)[:, None]).view(-1)
        best = flat[_last(table.view(-1)[flat][None], count)[0]]
    return torch.from_numpy(np.sort(best.numpy()))


def pools_for(m: int, k: int) -> int:
    """Layers for which both stages of the selection read about the same number of values; a power of two."""
    return 2 ** round(math.log2(max(1.0, math.sqrt(m / k))))


class SparseStep:
    """Losses and gradients of SAELens' topk, batchtopk and matryoshka training classes, equal to its own to rounding.

    Keeps W_enc column after column in memory, which both its product and its gradient want. On the CPU only.
    """

    def __init__(self, sae: Any) -> None:
        self.sae = sae
        self.k = int(sae.cfg.k)
        self.levels = list(getattr(sae.cfg, "matryoshka_widths", [])) or [int(sae.cfg.d_sae)]
        self.by_row = sae.cfg.architecture() == "topk"
        self.pools = pools_for(self.levels[-1], self.k)
        sae.W_enc.data = sae.W_enc.data.t().contiguous().t()
        self._widths = torch.tensor(self.levels)
        self._encoder = torch.empty(self.levels[-1], sae.cfg.d_in + 1)
        self._codes = torch.empty(0, 0)

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "b d"], dead: Bool[Tensor, " m"]) -> Pass:
        """Gradients of the mean over rows of the squared error (of each level) and of the dead latents' own loss."""
        sae, b, m = self.sae, len(x), self.levels[-1]
        norms = sae.W_dec.norm(dim=1)
        centred = x - sae.b_dec
        codes = self._encoded(centred, norms)

        rows, bags, latents, values = self._selected(codes)
        nested = len(self.levels) > 1
        heights = values / norms[latents]
        if not self.by_row:
            sae.update_topk_threshold(values)

        with torch.enable_grad():
            weights = heights.clone().requires_grad_()
            sums = weighted_sums(sae.W_dec.detach(), latents, starts_of(bags, len(self.levels) * b), weights)
        rebuilt = sums.detach().view(-1, b, x.shape[1])
        error = (rebuilt.cumsum(0) if nested else rebuilt) - centred
        loss = error.square().sum() / b
        slopes = error * (2 / b)
        outer = (slopes.flip(0).cumsum(0).flip(0) if nested else slopes).view(-1, x.shape[1])
        pull = torch.autograd.grad(sums, weights, outer)[0]

        latents, order = latents.sort(stable=True)
        starts = starts_of(latents, m)
        decoder = weighted_sums(outer, bags[order], starts, heights[order])
        encoder = weighted_sums(centred, rows[order], starts, pull[order])
        bias = torch.zeros(m).index_add_(0, latents, pull[order])
        fired = torch.zeros(m, dtype=torch.bool)
        fired[latents] = True

        if dead.any():
            chosen = dead.nonzero()[:, 0]
            found = _dead_latents(codes[:, chosen], norms[chosen], sae.W_dec[chosen], error[-1], centred)
            loss = loss + sae.cfg.aux_loss_coefficient * found[0]
            for total, part in zip((decoder, encoder, bias), found[1:], strict=True):
                total.index_add_(0, chosen, part, alpha=sae.cfg.aux_loss_coefficient)

        sae.W_dec.grad, sae.W_enc.grad, sae.b_enc.grad = decoder, encoder.t(), bias
        sae.b_dec.grad = slopes.sum((0, 1)) - sae.W_enc @ bias
        return Pass(loss, error[-1], fired, len(values))

    def _encoded(self, centred: Tensor, norms: Tensor) -> Float[Tensor, "b columns"]:
        """Pre-activations times decoder norms; columns beyond the latents are −∞ and fill up the pools."""
        b, m = len(centred), self.levels[-1]
        if len(self._codes) != b:
            self._codes = torch.full((b, -(-m // self.pools) * self.pools), -math.inf)
        torch.mul(self.sae.W_enc.t(), norms[:, None], out=self._encoder[:, :-1])
        torch.mul(self.sae.b_enc, norms, out=self._encoder[:, -1])
        rows = torch.cat([centred, torch.ones(b, 1)], 1)
        torch.mm(rows, self._encoder.t(), out=self._codes[:, :m])
        return self._codes

    def _selected(self, codes: Float[Tensor, "b columns"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row, bag, latent and value of each entry that fires, sorted by bag.

        Level l of row i is bag l·b + i: an entry adds to the narrowest level that has its latent, and by the running
        sum over levels to the wider ones.
        """
        b, columns = codes.shape
        flat = (
            largest_of_rows(codes, self.k, self.pools)
            if self.by_row
            else largest_of_table(codes, self.k * b, self.pools)
        )
        values = codes.view(-1)[flat]
        positive = values > 0
        if not positive.all():
            flat, values = flat[positive], values[positive]
        rows, latents = flat // columns, flat % columns
        if len(self.levels) == 1:
            return rows, rows, latents, values
        bags, order = (rows + b * torch.bucketize(latents, self._widths, right=True)).sort(stable=True)
        return rows[order], bags, latents[order], values[order]


def _dead_latents(
    codes: Float[Tensor, "b n"],
    norms: Float[Tensor, " n"],
    directions: Float[Tensor, "n d"],
    error: Float[Tensor, "b d"],
    centred: Float[Tensor, "b d"],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss by which dead latents learn to rebuild what the others leave (2406.04093 A.2), and its three gradients."""
    b, d = error.shape
    n, wanted = len(norms), max(1, d // 2)
    share = min(n / wanted, 1.0)
    kept = torch.ones(1, 1)
    if n > wanted:
        least = torch.from_numpy(np.partition(codes.numpy(), n - wanted, axis=1)[:, n - wanted])
        kept = (codes >= least[:, None]).float()
    heights = codes / norms * kept
    left = heights @ directions + error
    slopes = left * (2 * share / b)
    pull = (slopes @ directions.t()).mul_(kept)
    return share * left.square().sum() / b, heights.t() @ slopes, pull.t() @ centred, pull.sum(0)


def weighted_sums(
    table: Float[Tensor, "t d"], index: Int[Tensor, " n"], starts: Int[Tensor, " s"], weights: Float[Tensor, " n"]
) -> Float[Tensor, "s d"]:
    """For each stretch of entries the sum of weight times row of the table; differentiable in the weights."""
    return embedding_bag(index, table, starts, mode="sum", per_sample_weights=weights)


def starts_of(sorted_index: Int[Tensor, " n"], size: int) -> Int[Tensor, " size"]:
    """Where each value of 0 ... size − 1 begins among sorted values."""
    counts = torch.bincount(sorted_index, minlength=size)
    return counts.cumsum(0) - counts


def _last(values: Float[Tensor, "b n"], k: int) -> Int[Tensor, "b k"]:
    """Columns of the k largest of each row. numpy's partition is several times as fast as torch's topk."""
    n = values.shape[1]
    return torch.from_numpy(np.argpartition(values.numpy(), n - k, axis=1)[:, n - k :])
