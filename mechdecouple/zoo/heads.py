"""Auxiliary read-outs: one linear read-out of each factor a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ContextHeads(nn.Module):
    """Logits ``[n, k]`` of the factors from ``[n, d]``, by the read-outs of each row's context ``[n]``."""

    def __init__(self, n_contexts: int, n_factors: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.05 * torch.randn(n_contexts, n_factors, width))
        self.bias = nn.Parameter(torch.zeros(n_contexts, n_factors))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return torch.einsum("nkd,nd->nk", self.weight[context], x) + self.bias[context]
