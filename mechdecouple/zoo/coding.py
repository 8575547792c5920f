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


def transfer_loss(x: Tensor, context: Tensor, factors: Tensor, n_contexts: int) -> Tensor:
    """How far apart a factor's two values lie, in each context, along the readout that the other contexts fit.

    Mean over contexts and factors of log(1 + d'^2), with the closed-form readout Σ⁻¹δ of the others (Σ shrunk by 5 %).
    Orthogonal coding vectors are not enough for a readout to fail elsewhere: where codes hardly vary, a cosine of .01
    is as good as one of 1.
    """
    vectors, terms = coding_vectors(x, context, factors, n_contexts), []
    for c in range(n_contexts):
        here = context == c
        centred = x[~here] - x[~here].mean(0)
        sigma = centred.T @ centred / len(centred)
        sigma = sigma + 0.05 * sigma.diagonal().mean() * torch.eye(len(sigma))
        delta = torch.cat([vectors[:c], vectors[c + 1 :]]).mean(0)  # [k, d]
        score, on = x[here] @ torch.linalg.solve(sigma, delta.T), factors[here]  # [m, k]
        means, spreads = [], []
        for side in (on, 1 - on):
            total = side.sum(0).clamp(min=1)
            mean = (score * side).sum(0) / total
            means.append(mean)
            spreads.append(((score - mean).square() * side).sum(0) / total)
        terms.append(torch.log1p((means[0] - means[1]).square() / ((spreads[0] + spreads[1]) / 2 + 1e-6)).mean())
    return torch.stack(terms).mean()
