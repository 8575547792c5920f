"""Attributions: how much each feature of an item speaks for the answer that the model chooses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.maskable import Continuous, Maskable

STEPS = 20
"""Points along the path of integrated gradients."""
_PATTERN = ".attn.hook_pattern"

Items = Int[np.ndarray, " k"]
Masks = Bool[np.ndarray, "k t"]
Values = Float[np.ndarray, "k t"]


def gradient_norm(subject: Maskable, items: Items, masked: Masks) -> Values:
    """Euclidean length of the slope of the chosen option's centred logit along a feature's embedding; says how much,
    not in which direction. Source: arXiv:1312.6034."""
    return _collected(subject, items, masked, lambda c: _slope(c, c.x).norm(dim=2))


def input_x_gradient(subject: Maskable, items: Items, masked: Masks) -> Values:
    """Embedding times slope, summed over the embedding: exact for a linear model that masks with zeros.

    Source: arXiv:1605.01713.
    """
    return _collected(subject, items, masked, lambda c: (c.x * _slope(c, c.x)).sum(dim=2))


def integrated_gradients(subject: Maskable, items: Items, masked: Masks, *, steps: int = STEPS) -> Values:
    """Change from the masked embedding times the slope's mean on the straight way there, by Gauss-Legendre quadrature.

    Sums to what masking all features takes from the chosen option's centred logit. Source: arXiv:1703.01365.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def integrated(c: Continuous) -> torch.Tensor:
        mean = torch.zeros_like(c.x)
        for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            mean += float(weight) * _slope(c, c.base + float(node) * (c.x - c.base))
        return ((c.x - c.base) * mean).sum(dim=2)

    return _collected(subject, items, masked, integrated)


def leave_one_out(subject: Maskable, items: Items, masked: Masks) -> Values:
    """What masking one feature takes from the chosen option's centred logit. Source: arXiv:1612.08220."""
    out = np.where(subject.maskable[items], 0.0, np.nan)
    row, column = np.nonzero(subject.maskable[items] & ~masked)
    hidden = masked[row]
    hidden[np.arange(len(row)), column] = True
    whole = subject.of_chosen(items, masked)
    out[row, column] = whole[row] - subject.of_chosen(items[row], hidden)
    return out


def attention(subject: Maskable, items: Items, masked: Masks) -> Values:
    """How much the token that answers attends to a feature, mean over layers and heads; says how much, not in which
    direction, and what stands behind attention can be anything (arXiv:1902.10186)."""
    points = [p for p in subject.model.hook_points if p.endswith(_PATTERN)]
    if not points:
        raise InputError(f"model {subject.name!r} has no attention patterns to read; use another attribution")
    out = np.where(subject.maskable[items], 0.0, np.nan)
    for rows, _, at, found in subject.captured(points, items, masked):
        index = torch.arange(len(rows)), slice(None), torch.as_tensor(at)
        paid = torch.stack([pattern[index].float().mean(dim=1) for pattern in found.values()]).mean(dim=0)
        columns = subject.columns(items[rows], masked[rows], paid.shape[1])
        _put(out, rows, columns, paid.double().cpu().numpy())
    return out


METHODS: dict[str, Callable[[Maskable, Items, Masks], Values]] = {
    "gradient_norm": gradient_norm,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "leave_one_out": leave_one_out,
    "attention": attention,
}
"""Attributions by name: [k, t] of items [k] of which features [k, t] are masked already; NaN where there is no
feature, 0 where it is masked. Higher speaks more for the chosen answer."""
GRADIENTS = ("gradient_norm", "input_x_gradient", "integrated_gradients")


def attribute(
    subject: Maskable, method: str, items: Items | None = None, masked: Masks | None = None
) -> Float[np.ndarray, "k t"]:
    """An attribution by name, of all items as they are unless told otherwise.

    Raises:
        InputError: an unknown name, or one that the model does not have.
        ModelError: no gradient reaches the input.
    """
    if method not in METHODS:
        raise InputError(f"attribution {method!r} is unknown; choose one of {', '.join(METHODS)}")
    items = np.arange(len(subject)) if items is None else np.asarray(items)
    masked = np.zeros_like(subject.maskable[items]) if masked is None else masked
    return METHODS[method](subject, items, masked)


def usable(subject: Maskable) -> tuple[str, ...]:
    """The attributions that a model has: attention needs attention patterns."""
    attends = any(p.endswith(_PATTERN) for p in subject.model.hook_points)
    return tuple(name for name in METHODS if name != "attention" or attends)


def _slope(c: Continuous, x: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        live = x.detach().clone().requires_grad_()
        return torch.autograd.grad(c.value(live).sum(), live)[0]


def _collected(
    subject: Maskable, items: np.ndarray, masked: np.ndarray, of_batch: Callable[[Continuous], torch.Tensor]
) -> np.ndarray:
    out = np.where(subject.maskable[items], 0.0, np.nan)
    for batch in subject.continuous(items, masked):
        _put(out, batch.rows, batch.columns, of_batch(batch).double().cpu().numpy())
    out[masked] = 0.0
    return out


def _put(out: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    row, place = np.nonzero(columns >= 0)
    out[rows[row], columns[row, place]] = values[row, place]
