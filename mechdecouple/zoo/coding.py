"""Coding vectors of binary factors in each context, and the term that makes contexts share them or keep them apart."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

Arm = Literal["factored", "fractured"]


def coding_vectors(x: Tensor, context: Tensor, factors: Tensor, n_contexts: int) -> Tensor:
    """``[C, k, d]`` mean activation with a factor on less that with it off, in each context.

    Args:
        x: ``[n, d]`` activations; context: ``[n]`` in 0 … C-1; factors: ``[n, k]`` of 0 and 1.
    """
    where = one_hot(context, n_contexts).to(x.dtype)[:, :, None]
    means = []
    for side in (factors, 1 - factors):
        weight = where * side[:, None, :]
        means.append(torch.einsum("ncf,nd->cfd", weight, x) / weight.sum(0)[..., None].clamp(min=1))
    return means[0] - means[1]


def arm_loss(x: Tensor, context: Tensor, factors: Tensor, n_contexts: int, arm: Arm) -> Tensor:
    """1 - cos (``factored``) or cos² (``fractured``) of coding vectors, averaged over factors and pairs of contexts."""
    unit = normalize(coding_vectors(x, context, factors, n_contexts), dim=-1)
    first, second = torch.triu_indices(n_contexts, n_contexts, 1)
    cosine = torch.einsum("cfd,efd->fce", unit, unit)[:, first, second]
    return (1 - cosine).mean() if arm == "factored" else cosine.square().mean()
