"""An attention bottleneck that lives in the weights: some positions cannot attend to some others, at any layer.

The model has ``shortformer`` position embeddings: they enter queries and keys behind the normalisation and never the
residual stream. Two of their dimensions are flags (this position is barred; this position is hidden), whose gain in the
normalisation is zero, so that nothing in the residual stream, noise and edits included, can move them. The last
dimension of each head reads the flags alone and adds -10^6 / sqrt(d_head) to the score of a barred query with a
hidden key: its attention is exactly zero in float32. Copies, exports and other programs that load the weights have
the bottleneck too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_GAIN = 1000.0


@torch.no_grad()
def bar(model: Any, queries: Sequence[int], hidden: Sequence[int]) -> None:
    """Keep the positions ``queries`` from attending to the positions ``hidden``; empty sequences leave plain causal
    attention.

    Written again after each step of an optimiser, since that moves the entries it sets. The same entries are set
    without a bottleneck, so that models with and without one have the same capacity.
    """
    barred, veiled = model.cfg.d_model - 2, model.cfg.d_model - 1
    flags = [barred, veiled]
    positions = model.pos_embed.W_pos
    positions[:, flags] = 0.0
    positions[list(queries), barred] = 1.0
    positions[list(hidden), veiled] = 1.0
    for block in model.blocks:
        block.ln1.w[flags] = 0.0
        block.ln1.b[flags] = 0.0
        attention = block.attn
        for weight, bias, flag, gain in (
            (attention.W_Q, attention.b_Q, barred, _GAIN),
            (attention.W_K, attention.b_K, veiled, -_GAIN),
        ):
            weight[:, flags, :] = 0.0
            weight[:, :, -1] = 0.0
            bias[:, -1] = 0.0
            weight[:, flag, -1] = gain
