"""Latent scaling: how much of a latent is in a model's reconstruction, and in what the reconstruction leaves out.

The scale that fits a latent f with direction d best to a target x is β = ⟨d, Xᵀf⟩ / (‖f‖²·‖d‖²) (2504.02922). A latent
whose decoder in B is 0 may still be in B: the penalty shrank it away, and it lies in B's error; or other latents carry
it, and it lies in B's reconstruction. So B's targets are tested, with the direction that fits them best, since models
of different width or basis have no direction in common. A fitted direction fits by chance, too: its squared length is
summed over pairs of different blocks of rows, which leaves chance out. And all latents are first scaled by their own β:
else what the penalty shrank of those that fire together with f would count as f's.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from mechdecouple.sae.crosscoder.crosscoder import Crosscoder
from mechdecouple.sae.crosscoder.pairs import Pairs
from mechdecouple.stats import Replicates

_LEAST_NORM = 0.1


def latent_scale(f: Float[np.ndarray, " n"], X: Float[np.ndarray, "n d"], direction: Float[np.ndarray, " d"]) -> float:
    """β, the scale with which β·f·direction comes closest to X: 1 where it fits, 0 where X holds nothing of it.

    >>> f = np.array([0.0, 1.0, 2.0])
    >>> latent_scale(f, np.outer(f, [3.0, 0.0]), np.array([1.0, 0.0]))
    3.0
    """
    f, X, direction = (np.asarray(x, np.float64) for x in (f, X, direction))
    size = (f @ f) * (direction @ direction)
    return float((f @ X) @ direction / size) if size > 0 else np.nan


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Of every latent in one model, with replicates that leave out a block of groups each.

    Attributes:
        beta: ``[m]`` scale of the latent's own contribution that fits best what the other latents leave; 1 where the
            decoder is right, above 1 where it was shrunk; NaN where the model has less than a tenth of the
            latent's norm.
        left: ``[m]`` squared length of the latent's direction in what the others leave (its own contribution in it).
        rebuilt: ``[m]`` squared length of its direction in the reconstruction by all latents.

    Lengths are in scaled units a unit of the latent; they may be a little below 0 where nothing is there.
    """

    beta: Replicates
    left: Replicates
    rebuilt: Replicates


def latent_scalings(
    crosscoder: Crosscoder, pairs: Pairs, latents: csr_matrix, blocks: Int[np.ndarray, " n"], n_groups: int
) -> tuple[Scaling, Scaling]:
    """Scaling of every latent in model A and in model B; four passes over the rows."""
    members = [np.flatnonzero(blocks == b) for b in range(int(blocks.max()) + 1)]
    as_trained = _sides(crosscoder, pairs, latents, members)
    norm = crosscoder.relative_norm
    betas = [_known(side.beta(n_groups), share) for side, share in zip(as_trained, (norm, 1 - norm), strict=True)]
    scaled = _sides(_rescaled(crosscoder, betas), pairs, latents, members)
    of_a, of_b = (
        Scaling(beta, side.lengths(0, n_groups), side.lengths(1, n_groups))
        for side, beta in zip(scaled, betas, strict=True)
    )
    return of_a, of_b


def _sides(crosscoder: Crosscoder, pairs: Pairs, latents: csr_matrix, members: list[np.ndarray]) -> list[_Side]:
    moments = _Moments(crosscoder, pairs, latents, members)
    sides = [_Side(moments, side) for side in range(2)]
    for block, index in enumerate(members):
        products = _products(crosscoder, pairs, latents, index)
        for side, found in zip(sides, products, strict=True):
            side.add(block, *found)
    return sides


def _rescaled(crosscoder: Crosscoder, betas: list[Replicates]) -> Crosscoder:
    """The crosscoder with decoders scaled up as they fit best, at most by the median: what is shrunk in common.

    Far above the median is the β of a latent that stands for little, whose own noise would be scaled up.
    """
    factors = []
    for beta in betas:
        known = beta.value[np.isfinite(beta.value)]
        most = max(1.0, float(np.median(known))) if len(known) else 1.0
        factors.append(np.nan_to_num(np.clip(beta.value, 1.0, most), nan=1.0).astype(np.float32)[:, None])
    a, b = factors
    return dataclasses.replace(crosscoder, decoder_a=crosscoder.decoder_a * a, decoder_b=crosscoder.decoder_b * b)


def _known(beta: Replicates, share: np.ndarray) -> Replicates:
    """β where there is a direction to scale: a tenth of the norm in both models, or more."""
    known = share >= _LEAST_NORM
    value, replicates = np.where(known, beta.value, np.nan), np.where(known, beta.replicates, np.nan)
    return Replicates(value, replicates, "jackknife", beta.n)


def targets(
    crosscoder: Crosscoder, latents: csr_matrix, a: np.ndarray, b: np.ndarray
) -> list[tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]]:
    """Error and reconstruction of each model, scaled units, centred as its rows are."""
    found = []
    for x, decoded, mean, scale in (
        (a, crosscoder.decode_a(latents), crosscoder.mean_a, crosscoder.scale_a),
        (b, crosscoder.decode_b(latents), crosscoder.mean_b, crosscoder.scale_b),
    ):
        found.append(((x - decoded) * np.float32(scale), (decoded - mean) * np.float32(scale)))
    return found


def _products(
    crosscoder: Crosscoder, pairs: Pairs, latents: csr_matrix, index: np.ndarray
) -> list[list[Float[np.ndarray, "m d"]]]:
    """Latentsᵀ @ target over some rows, for the error and the reconstruction of each model; not centred."""
    found = [[np.zeros((crosscoder.width, d)) for _ in range(2)] for d in (crosscoder.d_a, crosscoder.d_b)]
    for part, a, b in pairs.batches(index):
        f = latents[part]
        for sums, both in zip(found, targets(crosscoder, f, a, b), strict=True):
            for total, target in zip(sums, both, strict=True):
                total += f.T @ target
    return found


class _Moments:
    """First pass: sums over each block, of latents, their squares and the targets, and the products over all rows."""

    def __init__(self, crosscoder: Crosscoder, pairs: Pairs, latents: csr_matrix, members: list[np.ndarray]) -> None:
        widths = (crosscoder.d_a, crosscoder.d_b)
        self.rows = np.array([len(index) for index in members], float)
        self.f = np.zeros((len(members), crosscoder.width))
        self.ff = np.zeros((len(members), crosscoder.width))
        self.x = [[np.zeros((len(members), d)) for _ in range(2)] for d in widths]
        self.fx = [[np.zeros((crosscoder.width, d)) for _ in range(2)] for d in widths]
        decoders = (crosscoder.decoder_a * crosscoder.scale_a, crosscoder.decoder_b * crosscoder.scale_b)
        self.decoders = [decoder.astype(np.float64) for decoder in decoders]
        for block, index in enumerate(members):
            for part, a, b in pairs.batches(index):
                f = latents[part]
                self.f[block] += np.asarray(f.sum(0, dtype=np.float64)).ravel()
                self.ff[block] += np.asarray(f.multiply(f).sum(0, dtype=np.float64)).ravel()
                for side, both in enumerate(targets(crosscoder, f, a, b)):
                    for which, target in enumerate(both):
                        self.x[side][which][block] += target.sum(0, dtype=np.float64)
                        self.fx[side][which] += f.T @ target
        self.mean_f = self.f.sum(0) / self.rows.sum()
        # of centred latents: Σ (f − f̄)² over a block, f̄ of all rows
        self.power = self.ff - 2 * self.mean_f * self.f + self.rows[:, None] * self.mean_f**2

    def centred(self, fx: np.ndarray, side: int, which: int, block: int | None) -> Float[np.ndarray, "m d"]:
        """Σ (f − f̄)(x − x̄)ᵀ from Σ f xᵀ, over a block or all rows."""
        sums = self.x[side][which]
        mean = sums.sum(0) / self.rows.sum()
        if block is None:
            return fx - np.outer(self.mean_f, sums.sum(0))
        x, f, rows = sums[block], self.f[block], self.rows[block]
        return fx - np.outer(self.mean_f, x) - np.outer(f, mean) + rows * np.outer(self.mean_f, mean)


class _Side:
    """Second pass, of one model: each block's products against those of all rows."""

    def __init__(self, moments: _Moments, side: int) -> None:
        self.moments, self.side, self.decoder = moments, side, moments.decoders[side]
        shape = moments.f.shape
        totals = [moments.centred(fx, side, which, None) for which, fx in enumerate(moments.fx[side])]
        totals[0] += moments.power.sum(0)[:, None] * self.decoder
        self.totals = totals
        self.fit = np.zeros(shape)
        self.cross = [np.zeros(shape) for _ in range(2)]
        self.own = [np.zeros(shape) for _ in range(2)]

    def add(self, block: int, *products: Float[np.ndarray, "m d"]) -> None:
        for which, fx in enumerate(products):
            c = self.moments.centred(fx, self.side, which, block)
            if which == 0:  # what the other latents leave: the error and the latent's own contribution
                c += self.moments.power[block][:, None] * self.decoder
                self.fit[block] = (c * self.decoder).sum(1)
            self.cross[which][block] = (c * self.totals[which]).sum(1)
            self.own[which][block] = np.square(c).sum(1)

    def beta(self, n_groups: int) -> Replicates:
        power, length = self.moments.power, np.square(self.decoder).sum(1)
        total, weight = self.fit.sum(0), power.sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = [total / weight / length]
            found += [(total - fit) / (weight - p) / length for fit, p in zip(self.fit, power, strict=True)]
        return _replicates(found, n_groups)

    def lengths(self, which: int, n_groups: int) -> Replicates:
        """Squared lengths from products of different blocks only: (‖Σc‖² − Σ‖c‖²) / ((Σp)² − Σp²)."""
        power, cross, own = self.moments.power, self.cross[which], self.own[which]
        total, square, squares = power.sum(0), np.square(self.totals[which]).sum(1), own.sum(0)
        weight = np.square(power).sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = [(square - squares) / (total**2 - weight)]
            for p, c, o in zip(power, cross, own, strict=True):
                found.append((square - 2 * c + o - (squares - o)) / ((total - p) ** 2 - (weight - p**2)))
        return _replicates(found, n_groups)


def _replicates(found: list[np.ndarray], n_groups: int) -> Replicates:
    return Replicates(found[0], np.array(found[1:]), "jackknife", n_groups)
