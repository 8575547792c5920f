"""How much of a transformer its answers need: nodes that are kept while all others stay at their mean.

A simple form of the pruning of 2511.13653: nodes are single channels of what each part reads and writes, queries, keys,
values and neurons; what is left out is put at its mean over items; the size of a circuit is the number of weights
other than zero between nodes that are kept. There masks are learned; here nodes go by their estimated effect, in
rounds, the estimate made anew in each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses._glass_boxes.readers import spoken_tokens, weights
from analyses._glass_boxes.world import AT_ANSWER

AGREES = 0.95
"""Share of the model's own answers that a circuit must give."""
_ROUND, _GRID = 0.08, 0.8


@dataclasses.dataclass(frozen=True)
class Circuit:
    """What is left.

    Attributes:
        nodes, edges: how many; agreement: share of the model's answers that it gives; on_fresh: to other items than
            those that it was found on.
        of_nodes, of_edges: how many there were, weights of zero left out.
    """

    nodes: int
    edges: int
    agreement: float
    on_fresh: float
    of_nodes: int
    of_edges: int


def circuit(model: Any, tokens: Tensor, fresh: Tensor, agrees: float = AGREES) -> Circuit:
    """The smallest circuit found that gives the share ``agrees`` of the model's answers to these items [n, t], judged
    on ``fresh`` ones [m, t] too."""
    base = _activations(model, tokens)
    means = {name: x.detach().mean(dim=0) for name, x in base.items()}
    every = {name: torch.ones(x.shape[2:]) for name, x in base.items()}
    own, kept, agreement = _choices(model, tokens, every, means), every, 1.0
    share = _ROUND
    while share > 1e-3 and _count(kept):
        fewer = _without(kept, _effects(model, tokens, kept, means), share)
        now = float((_choices(model, tokens, fewer, means) == own).float().mean())
        if now >= agrees and _count(fewer) < _count(kept):
            kept, agreement = fewer, now
        else:
            share /= 2
    same = _choices(model, fresh, kept, means) == _choices(model, fresh, every, means)
    sizes = _count(every), edges(model, every)
    return Circuit(_count(kept), edges(model, kept), agreement, float(same.float().mean()), *sizes)


def edges(model: Any, kept: Mapping[str, Tensor]) -> int:
    """Weights other than zero whose two ends are kept; of the output, those to the two answers."""
    return sum(int(((weight != 0) & (both > 0)).sum()) for weight, both in _ends(model, kept))


def _ends(model: Any, kept: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each weight matrix, and which of its weights have both ends kept."""

    def every(weight: Tensor) -> Tensor:
        return torch.ones(weight.shape[0], 1)

    yield model.W_E, every(model.W_E) * kept["hook_embed"]
    yield model.W_pos, every(model.W_pos) * kept["hook_pos_embed"]
    for i, block in enumerate(model.blocks):
        inner = {site.removeprefix(f"blocks.{i}."): mask for site, mask in kept.items()}
        read = inner["ln1.hook_normalized"][None, :, None]
        for kind in "QKV":
            yield getattr(block.attn, f"W_{kind}"), read * inner[f"attn.hook_{kind.lower()}"][:, None]
        yield block.attn.W_O, inner["attn.hook_z"][..., None] * inner["hook_attn_out"]
        neurons = inner["mlp.hook_post"]
        yield block.mlp.W_in, inner["ln2.hook_normalized"][:, None] * neurons
        yield block.mlp.W_out, neurons[:, None] * inner["hook_mlp_out"]
    spoken = torch.zeros(model.W_U.shape[1])
    spoken[spoken_tokens()] = 1
    yield model.W_U, kept["ln_final.hook_normalized"][:, None] * spoken


def weights_needed(model: Any, tokens: Tensor, agrees: float = AGREES) -> int:
    """Fewest weights, the largest of each matrix, that give the share ``agrees`` of the model's answers; in place of
    training sparsely, weights are taken away afterwards (the model is left as it was)."""
    matrices = dict(weights(model))
    before = {name: weight.detach().clone() for name, weight in matrices.items()}
    least = sum(int(weight.count_nonzero()) for weight in before.values())
    with torch.no_grad():
        own, share = _answers(model(tokens)), _GRID
        try:
            while share > 1e-3:
                for name, weight in matrices.items():
                    count = max(1, round(share * int(before[name].count_nonzero())))
                    edge = before[name].abs().flatten().kthvalue(weight.numel() - count + 1).values
                    weight.copy_(before[name] * (before[name].abs() >= edge))
                if float((_answers(model(tokens)) == own).float().mean()) < agrees:
                    break
                least = sum(int(weight.count_nonzero()) for weight in matrices.values())
                share *= _GRID
        finally:
            for name, weight in matrices.items():
                weight.copy_(before[name])
    return least


def _sites(model: Any) -> list[str]:
    """Hook points whose channels are nodes."""
    parts = ("ln1.hook_normalized", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z", "hook_attn_out",
             "ln2.hook_normalized", "mlp.hook_post", "hook_mlp_out")  # fmt: skip
    inner = [f"blocks.{i}.{part}" for i in range(model.cfg.n_layers) for part in parts]
    return ["hook_embed", "hook_pos_embed", *inner, "ln_final.hook_normalized"]


def _activations(model: Any, tokens: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=[(site, _keep(found, site)) for site in _sites(model)])
    return found


def _keep(found: dict[str, Tensor], site: str) -> Any:
    def hook(x: Tensor, hook: Any) -> None:
        found[site] = x

    return hook


def _masked(
    model: Any, tokens: Tensor, kept: Mapping[str, Tensor], means: Mapping[str, Tensor], found: dict[str, Tensor] | None
) -> Tensor:
    """Logits with all nodes that are not kept at their means; what they would have been otherwise goes to ``found``."""

    def hook_at(site: str) -> Any:
        def hook(x: Tensor, hook: Any) -> Tensor:
            if found is not None:
                found[site] = x if x.requires_grad else x.requires_grad_()
                x.retain_grad()
            return means[site] + kept[site] * (x - means[site])

        return hook

    return model.run_with_hooks(tokens, fwd_hooks=[(site, hook_at(site)) for site in kept])


def _effects(model: Any, tokens: Tensor, kept: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """First-order estimate of how far a node at its mean moves the log-odds of the answer: mean size over items."""
    found: dict[str, Tensor] = {}
    with torch.enable_grad():
        logits = _masked(model, tokens, kept, means, found)[:, AT_ANSWER]
        no, yes = spoken_tokens().tolist()
        (logits[:, yes] - logits[:, no]).sum().backward()
    model.zero_grad()
    effects = {}
    for site, x in found.items():
        assert x.grad is not None
        # by item, summed over its positions
        effects[site] = (x.grad * (x.detach() - means[site])).sum(dim=1).abs().mean(dim=0)
    return effects


def _without(kept: Mapping[str, Tensor], effects: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The nodes kept but for the share of them with the least effects; at least one goes."""
    left = torch.cat([effects[site][mask > 0].flatten() for site, mask in kept.items()])
    edge = left.kthvalue(max(1, min(len(left), round(share * len(left))))).values
    return {site: mask * (effects[site] > edge) for site, mask in kept.items()}


def _choices(model: Any, tokens: Tensor, kept: Mapping[str, Tensor], means: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return _answers(_masked(model, tokens, kept, means, None))


def _answers(logits: Tensor) -> Tensor:
    """Index of the likelier answer [n]."""
    return logits[:, AT_ANSWER][:, spoken_tokens()].argmax(dim=1)


def _count(kept: Mapping[str, Tensor]) -> int:
    return int(np.sum([int(mask.sum()) for mask in kept.values()]))
