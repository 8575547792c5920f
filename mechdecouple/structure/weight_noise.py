"""Weight noise: how fast the loss rises when every filter is disturbed in proportion to its own size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.results import Metric

WEIGHT_NOISE_SLOPE = Metric(
    name="weight_noise_slope",
    family="robustness",
    title="slope of the loss under weight noise",
    measures="rise of the loss per unit of weight noise, each filter disturbed in proportion to its own norm",
    range="(-inf, inf)",
    direction="lower",
    invariances="rescaling of whole layers that leaves the function alone",
    null="no honest null: compare models of equal loss and of one architecture",
    assumes="one grid of noise sizes: the rise is quadratic where noise is small, so the slope grows with the sizes",
    source="filters as in arXiv:1712.09913",
)
NOISE_SIZES = np.array([0.1, 0.2, 0.3, 0.4])
"""Sizes of the noise, relative to each filter's norm, over which the slope is taken. Trained networks hardly feel less,
and what they feel of it hangs on the draw."""

Loss = Callable[[Mapping[str, Tensor]], Tensor]
"""``loss(parameters) -> [n]``: the loss of each item."""


def filter_scales(
    parameters: Mapping[str, Tensor], axes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Tensor]:
    """Root mean square of the filter that each weight belongs to; 0 for weights that are 0.

    A filter holds the weights into one output unit: a row of a matrix [out, in]; for embeddings [tokens, d] the vector
    of one token. Weights of exactly 0 are missing connections (pruning, masks), not small ones: they do not count
    among their filter and stay 0. Tensors of one dimension (biases, gains of normalisations) are no filters: they are
    left out, which keeps the scales equivariant under rescaling of layers.

    Args:
        parameters: weights by name.
        axes: the axes of each tensor that number its filters; tensors without an entry are left out. Default: the
            first axis of every tensor of two dimensions or more.

    Returns:
        scales by name, of the tensors that take part alone.

    Raises:
        InputError: no tensor takes part, or an axis that a tensor does not have.

    >>> filter_scales({"w": torch.tensor([[3.0, -3.0, 0.0], [1.0, 7.0, 0.0]]), "b": torch.ones(2)})["w"]
    tensor([[3., 3., 0.],
            [5., 5., 0.]])
    """
    if axes is None:
        axes = {name: (0,) for name, tensor in parameters.items() if tensor.ndim >= 2}
    scales = {}
    for name, tensor in parameters.items():
        if name not in axes:
            continue
        if any(not -tensor.ndim <= axis < tensor.ndim for axis in axes[name]):
            raise InputError(f"filters of {name!r} run along axes {tuple(axes[name])}, but it has {tensor.ndim}")
        kept = {axis % tensor.ndim for axis in axes[name]}
        over = [axis for axis in range(tensor.ndim) if axis not in kept]
        there = tensor.detach() != 0
        squares = tensor.detach().double().square()
        if over:
            squares = squares.sum(dim=over, keepdim=True) / there.sum(dim=over, keepdim=True).clamp(min=1)
        scales[name] = (squares.sqrt() * there).to(tensor.dtype)
    if not scales:
        raise InputError("no parameter has filters: expected at least one tensor of two dimensions")
    return scales


@torch.no_grad()
def noisy_losses(
    loss: Loss,
    parameters: Mapping[str, Tensor],
    scales: Mapping[str, Tensor],
    sizes: Num[np.ndarray, " s"] = NOISE_SIZES,
    draws: int = 6,
    seed: int = 0,
) -> Float[np.ndarray, "r s n"]:
    """Loss of each item with weights w + s * scale * N(0, 1).

    Every draw is used with both signs, so that what is linear in the noise cancels, and at every size, so that curves
    are smooth.

    Args:
        loss: loss of each item [n], as a function of the parameters.
        parameters: weights by name; scales: from ``filter_scales``, those of other tensors stay as they are.
        sizes: [s] of the noise; draws: r.

    Returns:
        means over both signs, by draw, size and item; infinite or NaN where the model breaks.

    Raises:
        InputError: no draws.
    """
    if draws < 1:
        raise InputError(f"{draws} draws of noise: expected at least one")
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(draws):
        noise = {
            name: torch.randn(parameters[name].shape, generator=generator).to(scale) * scale
            for name, scale in scales.items()
        }
        found.append([])
        for size in sizes:
            both = [
                loss({**parameters, **{name: parameters[name] + sign * float(size) * e for name, e in noise.items()}})
                for sign in (1, -1)
            ]
            found[-1].append((both[0].double() + both[1].double()).cpu().numpy() / 2)
    return np.array(found, dtype=np.float64)


def weight_noise_slope(sizes: Num[np.ndarray, " s"], rise: Num[np.ndarray, " r"]) -> float:
    """Slope of the rise of the loss over the size of the noise, through the origin; lower is tidier.

    Least squares: sum s rise / sum s^2. Small noise raises the loss by c s^2 with c half the trace of the Hessian in
    coordinates relative to the filters; the slope is then c sum s^3 / sum s^2, so it belongs to its grid: compare over
    one grid alone.

    Args:
        sizes: [s] of the noise, positive and increasing; rise: [s] mean loss less the loss without noise.

    Returns:
        in units of the loss; negative where noise lowers the loss; NaN where a rise is not finite.

    Raises:
        InputError: sizes that are not positive and increasing, lengths that differ.

    >>> weight_noise_slope(np.array([0.25, 0.5]), np.array([0.5, 1.0]))
    2.0
    """
    sizes, rise = np.asarray(sizes, dtype=float), np.asarray(rise, dtype=float)
    if sizes.shape != rise.shape or not len(sizes):
        raise InputError(f"{len(sizes)} noise sizes and {len(rise)} losses: expected equal numbers, at least one")
    if not np.isfinite(sizes).all() or sizes[0] <= 0 or (np.diff(sizes) <= 0).any():
        raise InputError(f"noise sizes {sizes.tolist()}: expected positive and increasing")
    slope = float(sizes @ rise / (sizes @ sizes))
    return slope if np.isfinite(slope) else float("nan")


class WeightNoise:
    """Weight-noise slope as a function of the kept rows, for ``stats.jackknife``.

    Args:
        sizes: [s] of the noise.
        losses: [r, s, n] from ``noisy_losses``.
        clean: [n] losses without noise.

    Attributes:
        draws: r; reason: why a value is NaN.

    Raises:
        InputError: no draws, or numbers of sizes or items that differ.
    """

    reason = "the loss under weight noise is not finite"

    def __init__(
        self, sizes: Num[np.ndarray, " s"], losses: Float[np.ndarray, "r t n"], clean: Float[np.ndarray, " m"]
    ) -> None:
        if losses.shape[1:] != (len(sizes), len(clean)) or not len(losses):
            raise InputError(
                f"losses have shape {losses.shape}, expected [draws, {len(sizes)}, {len(clean)}], by size and item, "
                "with one draw at least"
            )
        with np.errstate(invalid="ignore"):
            self._sizes, self._rise = sizes, losses - clean
        self.draws = len(losses)

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        kept = self._rise if rows is None else self._rise[:, :, rows]
        if kept.shape[2] == 0:
            return float("nan")
        return weight_noise_slope(self._sizes, kept.mean(axis=(0, 2)))

    def draw_error(self) -> float:
        """Standard error of the slope from the few draws of noise; NaN with one draw."""
        slopes = [weight_noise_slope(self._sizes, rise) for rise in self._rise.mean(axis=2)]
        return float(np.std(slopes, ddof=1) / np.sqrt(len(slopes))) if len(slopes) > 1 else float("nan")
