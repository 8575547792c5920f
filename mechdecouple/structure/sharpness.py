"""Relative sharpness: the steepest curvature of the loss when every filter is measured in units of its own size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.results import Metric
from mechdecouple.structure.weight_noise import Loss

RELATIVE_SHARPNESS = Metric(
    name="relative_sharpness",
    family="robustness",
    title="relative sharpness",
    measures="largest eigenvalue of the Hessian of the mean loss, each filter in units of its own norm",
    range="(-inf, inf)",
    direction="lower",
    invariances="rescaling of whole layers that leaves the function alone",
    null="no honest null: compare models of equal loss and of one architecture",
    assumes="the loss is smooth in the weights; the sample's largest eigenvalue lies above that of all items",
    source="the need for relative coordinates: arXiv:1703.04933; of this kind: arXiv:2102.11600, arXiv:2001.00939",
)

_DIRECTIONS = 4
"""Leading directions in whose span the jackknife looks: the first alone would take a turn of it for a loss."""


class RelativeSharpness:
    """Largest eigenvalue of S H S, H the Hessian of the mean loss and S the scale of each weight's filter.

    Found by Lanczos iteration on Hessian-vector products: one backward pass each. In these coordinates noise of unit
    size has one meaning in every layer (``weight_noise``), and rescaling a layer whose successor undoes it changes
    nothing, where the plain Hessian takes any value.

    On kept rows (for ``stats.jackknife``) it is the largest eigenvalue of their Hessian within the span of the few
    leading directions of all rows, which needs no further pass.

    Args:
        loss: loss of each item [n], as a function of the parameters; twice differentiable.
        parameters: weights by name; scales: from ``filter_scales``, the tensors that may move.
        tolerance: relative accuracy of the eigenvalue; most: restarts of the solver.

    Attributes:
        value: the largest eigenvalue (negative at a maximum of the loss); NaN for the ``reason``.
        directions: [r, weights] the leading directions, orthonormal, in relative coordinates: the tensors of ``scales``
            one after the other.
        curvature: [n, r, r] Hessian of each item's loss within them.
        reason: why the value is NaN; empty where it is not.

    Raises:
        InputError: a loss that is not one number an item, or does not depend on the parameters.

    >>> w = {"w": torch.tensor([[1.0, 2.0]], dtype=torch.float64)}
    >>> scale = {"w": torch.tensor([[1.0, 2.0]], dtype=torch.float64)}
    >>> round(RelativeSharpness(lambda p: p["w"][0] ** 2, w, scale).value, 6)
    4.0
    """

    def __init__(
        self,
        loss: Loss,
        parameters: Mapping[str, Tensor],
        scales: Mapping[str, Tensor],
        tolerance: float = 1e-4,
        most: int = 50,
        seed: int = 0,
    ) -> None:
        products = _Products(loss, parameters, scales)
        self.directions = np.zeros((0, products.size))
        self.curvature = np.full((products.n, 0, 0), np.nan)
        self.value, self.reason = math.nan, ""
        if products.once:
            self.reason = "an operation of the model can be differentiated only once"
            return
        start = np.random.default_rng(seed).standard_normal(products.size)
        found = _leading(products, start, tolerance, most)
        if isinstance(found, str):
            self.reason = found
            return
        self.directions = found
        self.curvature = _curvature(loss, parameters, scales, [products.unpack(v) for v in found])
        if not np.isfinite(self.curvature).all():
            self.reason = "the curvature of the loss is not finite"
            return
        self.value = self(np.arange(products.n))

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float:
        """The largest eigenvalue on the kept rows."""
        if self.reason or rows is None:
            return self.value
        if len(rows) == 0:
            return math.nan
        return float(np.linalg.eigvalsh(self.curvature[rows].mean(axis=0))[-1])


class _Products:
    """v -> S H S v, the gradient's graph kept between products."""

    def __init__(self, loss: Loss, parameters: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> None:
        self._leaves = {name: parameters[name].detach().requires_grad_(True) for name in scales}
        self._scales = scales
        self.size = sum(leaf.numel() for leaf in self._leaves.values())
        losses = loss({**parameters, **self._leaves})
        if losses.ndim != 1 or not losses.requires_grad:
            raise InputError(
                f"losses of shape {tuple(losses.shape)}: expected one an item, that depends on the parameters passed in"
            )
        self.n = len(losses)
        self._gradient = torch.autograd.grad(
            losses.mean(), list(self._leaves.values()), create_graph=True, allow_unused=True, materialize_grads=True
        )

        self.once = _has_errors(self._gradient)

    def unpack(self, vector: np.ndarray) -> dict[str, Tensor]:
        parts, start = {}, 0
        for name, leaf in self._leaves.items():
            part = torch.as_tensor(vector[start : start + leaf.numel()])
            parts[name] = part.to(leaf).reshape(leaf.shape)
            start += leaf.numel()
        return parts

    def __call__(self, vector: np.ndarray) -> Float[np.ndarray, " p"]:
        moved = self.unpack(np.ravel(vector))
        along = sum(
            (g * self._scales[name] * moved[name]).sum() for g, name in zip(self._gradient, self._leaves, strict=True)
        )
        if not isinstance(along, Tensor) or not along.requires_grad:
            return np.zeros(self.size)
        found = torch.autograd.grad(
            along, list(self._leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return np.concatenate(
            [(h * self._scales[name]).double().flatten().cpu().numpy() for h, name in zip(found, moved, strict=True)]
        )


def _has_errors(gradients: Sequence[Tensor]) -> bool:
    """Whether a gradient ends at torch's mark of an operation without second derivative. The mark raises only where a
    path leads through it; a second derivative that goes round it is wrong without a word."""
    todo, seen = [g.grad_fn for g in gradients], set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            return True
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
    return False


def _leading(products: _Products, start: np.ndarray, tolerance: float, most: int) -> Float[np.ndarray, "r p"] | str:
    """The leading eigenvectors, orthonormal, or why there are none."""
    first = products(start)
    if not np.isfinite(first).all():
        return "the curvature of the loss is not finite"
    if products.size == 1 or not first.any():
        return start[None] / np.linalg.norm(start)
    size = products.size
    operator = LinearOperator((size, size), matvec=products, dtype=np.float64)  # pyright: ignore
    try:
        k = min(_DIRECTIONS, size - 1)
        _, vectors = eigsh(operator, k, which="LA", v0=start, tol=tolerance, maxiter=most)  # pyright: ignore
    except ArpackNoConvergence:
        return f"the largest eigenvalue of the Hessian did not converge in {most} restarts"
    except ArpackError as error:
        return f"the largest eigenvalue of the Hessian was not found: {error}"
    return vectors.T


def _curvature(
    loss: Loss, parameters: Mapping[str, Tensor], scales: Mapping[str, Tensor], directions: list[dict[str, Tensor]]
) -> Float[np.ndarray, "n r r"]:
    """Second derivatives of each item's loss along w + sum t_i S v_i, at t = 0.

    Differentiating by t gives sums over items that are linear in a weight of each; so the derivative by these weights
    parts them into items.
    """
    some, r = next(iter(directions[0].values())), len(directions)
    t = torch.zeros(r, dtype=some.dtype, device=some.device, requires_grad=True)
    moved = {
        name: parameters[name].detach() + scale * sum(t[i] * v[name] for i, v in enumerate(directions))
        for name, scale in scales.items()
    }
    losses = loss({**parameters, **moved})
    weights = torch.ones_like(losses, requires_grad=True)
    found = torch.zeros((len(losses), r, r), dtype=torch.float64)
    (first,) = torch.autograd.grad((weights * losses).sum(), t, create_graph=True)
    for i in range(r if first.requires_grad else 0):
        (second,) = torch.autograd.grad(first[i], t, create_graph=True, materialize_grads=True)
        for j in range(i + 1 if second.requires_grad else 0):
            (each,) = torch.autograd.grad(second[j], weights, retain_graph=True, materialize_grads=True)
            found[:, i, j] = found[:, j, i] = each.detach().double().cpu()
    return found.numpy()
