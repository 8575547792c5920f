"""Weight sweep: does each weight serve one concept, or all of them at once?"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure.dci import disentanglement

WEIGHT_MODULARITY = Metric(
    name="weight_modularity",
    family="fracture",
    title="weight modularity",
    measures="how far each weight serves one concept alone: 1 - entropy of its effects over concepts, weighted by "
    "importance",
    range="[0, 1]",
    direction="higher",
    invariances="scale of each concept's logit, order of weights, rescaling of neurons that leaves the function alone",
    null="the same topology with fresh weights; not 0, for concepts are asked on different items",
    assumes="effects of first order: a small relative change of a weight",
    source="arXiv:2505.11581 (there as pictures)",
)
WEIGHT_MODULARITY_EXCESS = dataclasses.replace(
    WEIGHT_MODULARITY,
    name="weight_modularity_excess",
    title="weight modularity above fresh weights",
    measures="weight modularity less its mean over networks of the same topology with shuffled weights",
    range="[-1, 1]",
    null="0",
)

Outputs = Callable[[Mapping[str, Tensor], np.ndarray], Tensor]
"""``outputs(parameters, rows) -> [b]``: of each item in ``rows`` [b], the logit that answers what it asks."""

_AT_ONCE = 8
"""Items whose gradients are taken in one backward pass: its cost grows with their square, the overhead is shared."""
_GRADIENTS = 2**26
"""Most numbers held as gradients of single items: a quarter of a gigabyte."""
_SUMS = 2**24
"""Most sums held, blocks x concepts x weights (128 MiB). Larger models average over a draw of weights."""


@dataclasses.dataclass(frozen=True, eq=False)
class WeightSweep:
    """Weight modularity beside its control.

    Attributes:
        modularity: with its jackknife replicates over blocks of items.
        fresh: [draws] modularity of the same topology with shuffled weights, on the same items.
        reason: why the modularity is NaN; empty where it is not.
    """

    modularity: Replicates
    fresh: Float[np.ndarray, " draws"]
    reason: str = ""

    @property
    def excess(self) -> Replicates:
        """Modularity less the control's mean; the control's spread is in ``z``, not in the replicates."""
        return self.modularity - float(self.fresh.mean())

    @property
    def z(self) -> float:
        """The excess in standard deviations of the control; NaN where its draws do not differ."""
        spread = float(self.fresh.std(ddof=1))
        same = spread <= 1e-12 * float(np.abs(self.fresh).max())
        return math.nan if same else self.excess.value / spread


def weight_effects(
    outputs: Outputs, parameters: Mapping[str, Tensor], asks: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "w k"]:
    """Effect of each weight on each concept: mean over the items that ask for it of |d logit / d w| |w|.

    The mean is of absolute values an item, for signed ones cancel. One backward pass for a few items, sums alone are
    kept. Weights run tensor by tensor in the order of ``parameters``, each flattened.

    Args:
        outputs: of each item the scalar that answers what it asks, as a function of the parameters.
        parameters: floating-point weights by name; those that ``outputs`` does not use have no effect.
        asks: [n] number of the concept that each item asks for, from 0; items at -1 are left out.

    Returns:
        effects in units of the logit, 0 or more; 0 for a weight that is 0.

    Raises:
        InputError: fewer than two concepts, a concept without items, an effect that is not finite.

    >>> w = {"w": torch.tensor([2.0, -3.0])}
    >>> weight_effects(lambda p, rows: p["w"][rows], w, np.array([0, 1]))
    array([[2., 0.],
           [0., 3.]])
    """
    sums, counts, _ = _sums(outputs, parameters, asks, np.zeros(len(asks), dtype=int), None)
    return (sums[0] / counts[0, :, None]).T


def weight_modularity(effects: Float[np.ndarray, "w k"]) -> float:
    """1 - H / ln k of each weight's effects over the k concepts, averaged over weights by importance; higher is tidier.

    The disentanglement of DCI with weights as units. Each concept's effects are divided by their sum first, so that the
    scale of its logit does not count; the importance of a weight is its share of all effects. 1: every weight serves
    one concept; 0: every weight serves all alike.

    Returns:
        in [0, 1]; NaN where no weight has an effect on some concept.

    Raises:
        InputError: fewer than two concepts, effects that are negative or not finite.

    >>> weight_modularity(np.eye(3)), round(weight_modularity(np.ones((5, 3))), 12)
    (1.0, 0.0)
    """
    effects = np.asarray(effects, dtype=np.float64)
    if effects.ndim != 2 or effects.shape[1] < 2 or not len(effects):
        raise InputError(f"effects have shape {effects.shape}, expected [weights, concepts] with two concepts or more")
    if not np.isfinite(effects).all() or (effects < 0).any():
        row, column = np.argwhere(~(effects >= 0) | ~np.isfinite(effects))[0]
        raise InputError(f"effect {effects[row, column]:g} of weight {row} on concept {column}: expected 0 or more")
    total = effects.sum(axis=0)
    if (total == 0).any():
        return math.nan
    return min(1.0, max(0.0, disentanglement(effects / total)))


def fresh_weights(
    parameters: Mapping[str, Tensor], seed: int, live: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The same topology with fresh weights: the live entries of each tensor shuffled among their places.

    The others stay as they are, and each tensor keeps its values, so neither sparsity nor heavy tails can pass for
    organisation.

    Args:
        live: True for entries that are part of the network, by name; default: those that are not 0.
    """
    generator = torch.Generator().manual_seed(seed)
    fresh = {}
    for name, tensor in parameters.items():
        flat = tensor.detach().flatten().clone()
        places = torch.nonzero(flat if live is None else live[name].flatten())[:, 0]
        order = torch.randperm(len(places), generator=generator).to(places.device)
        flat[places] = flat[places[order]]
        fresh[name] = flat.reshape(tensor.shape)
    return fresh


def weight_sweep(
    outputs: Outputs,
    parameters: Mapping[str, Tensor],
    asks: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " b"],
    n_groups: int | None = None,
    draws: int = 5,
    seed: int = 0,
) -> WeightSweep:
    """Weight modularity with its interval over items, beside the same topology with fresh weights.

    The topology is the weights that have an effect on some item; what has none (a missing connection, a gate that is
    shut for good, a token that does not occur) stays as it is in the control.
    Where there are more than 2^24 / (blocks x concepts) weights, as many are drawn at random to average over.

    Args:
        outputs, parameters, asks: as for ``weight_effects``.
        blocks: from ``stats.jackknife_blocks``; n_groups: independent groups among the items (each on its own if not
            given).
        draws: networks with fresh weights; each costs as much as the model itself.

    Raises:
        InputError: as ``weight_effects``; fewer than two draws.
    """
    if draws < 2:
        raise InputError(f"{draws} draws of fresh weights: expected at least 2, to know their spread")
    most = _SUMS // (len(np.unique(blocks)) * _concepts(asks, blocks))
    picked = _pick(sum(p.numel() for p in parameters.values()), most, seed)
    sums, counts, live = _sums(outputs, parameters, asks, blocks, picked)
    total, n = sums.sum(axis=0), counts.sum(axis=0)
    value = weight_modularity((total / n[:, None]).T)
    left = [
        weight_modularity(((total - s).clip(0.0) / (n - c)[:, None]).T) if (n > c).all() else math.nan
        for s, c in zip(sums, counts, strict=True)
    ]
    fresh = []
    for draw in range(draws):
        redrawn = fresh_weights(parameters, seed + 1 + draw, live)
        control, *_ = _sums(outputs, redrawn, asks, np.zeros(len(asks), dtype=int), picked)
        fresh.append(weight_modularity((control[0] / n[:, None]).T))
    found = Replicates(value, np.array(left), "jackknife", len(asks) if n_groups is None else n_groups)
    reason = "no weight has an effect on one of the concepts" if math.isnan(value) else ""
    return WeightSweep(found, np.array(fresh), reason)


def _pick(n_weights: int, most: int, seed: int) -> np.ndarray | None:
    """Which of all weights are averaged over; None for all."""
    if n_weights <= most:
        return None
    return np.sort(np.random.default_rng(seed).choice(n_weights, most, replace=False))


def _sums(
    outputs: Outputs,
    parameters: Mapping[str, Tensor],
    asks: Int[np.ndarray, " n"],
    blocks: Int[np.ndarray, " b"],
    picked: np.ndarray | None,
) -> tuple[Float[np.ndarray, "m k w"], Int[np.ndarray, "m k"], dict[str, Tensor]]:
    """Sums over items of |gradient| |weight| of the picked weights, numbers of items, by block and concept; and which
    of all weights have an effect at all."""
    k = _concepts(asks, blocks)
    leaves = {name: tensor.detach().requires_grad_(True) for name, tensor in parameters.items()}
    size = torch.cat([leaf.detach().flatten() for leaf in leaves.values()]).abs()
    some = slice(None) if picked is None else torch.as_tensor(picked, device=size.device)
    codes = np.unique(blocks, return_inverse=True)[1]
    counts = np.zeros((codes.max() + 1, k), dtype=int)
    np.add.at(counts, (codes[asks >= 0], asks[asks >= 0]), 1)
    cell = torch.as_tensor(codes * k + asks, device=size.device)
    sums = torch.zeros((counts.size, len(size[some])), dtype=torch.float64, device=size.device)
    live = torch.zeros(len(size), dtype=torch.bool, device=size.device)
    at_once = max(1, min(_AT_ONCE, _GRADIENTS // len(size)))
    items = np.flatnonzero(asks >= 0)
    for start in range(0, len(items), at_once):
        rows = items[start : start + at_once]
        gradients = _gradients(outputs(leaves, rows), leaves).abs_()
        live |= gradients.sum(dim=0) > 0
        sums.index_add_(0, cell[rows], gradients[:, some].double())
    effects = sums.mul_(size[some]).reshape(*counts.shape, -1).cpu().numpy()
    if not np.isfinite(effects).all():
        concept = int(np.argwhere(~np.isfinite(effects))[0][1])
        raise InputError(f"effects on concept {concept} are not finite: the model's outputs or gradients are not")
    masks = (live & (size > 0)).split([leaf.numel() for leaf in leaves.values()])
    return effects, counts, {name: mask.reshape(leaves[name].shape) for name, mask in zip(leaves, masks, strict=True)}


def _gradients(values: Tensor, leaves: Mapping[str, Tensor]) -> Tensor:
    """Gradient of each value with respect to all weights [b, w]."""
    if not values.requires_grad:
        raise InputError("the outputs do not depend on the parameters: use those that are passed in")
    if len(values) == 1:
        found = torch.autograd.grad(values[0], list(leaves.values()), materialize_grads=True, allow_unused=True)
    else:
        eye = torch.eye(len(values), dtype=values.dtype, device=values.device)
        found = torch.autograd.grad(values, list(leaves.values()), eye, is_grads_batched=True, allow_unused=True)
        found = [
            torch.zeros((len(values), *leaf.shape)).to(leaf) if g is None else g
            for g, leaf in zip(found, leaves.values(), strict=True)
        ]
    return torch.cat([g.reshape(len(values), -1) for g in found], dim=1)


def _concepts(asks: np.ndarray, blocks: np.ndarray) -> int:
    if asks.shape != blocks.shape:
        raise InputError(f"{len(blocks)} blocks for {len(asks)} items: expected one an item")
    k = int(asks.max(initial=-1)) + 1
    if k < 2:
        raise InputError(f"items ask for {k} concept{'s' * (k != 1)}: a weight sweep needs two or more")
    missing = np.setdiff1d(np.arange(k), asks)
    if len(missing):
        raise InputError(f"no item asks for concept {missing[0]}: number the concepts from 0 without gaps")
    return k
