"""TransformerLens HookedTransformer models."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import HookedModel, Processing
from mechdecouple.models.batch import Batch
from mechdecouple.models.recorder import Recorder

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer


class HookedTransformerModel(HookedModel):
    """A HookedTransformer, causal or not; hook points are its own that run in a plain forward pass."""

    input_kind = "tokens"

    def __init__(
        self,
        model: HookedTransformer,
        *,
        name: str,
        tokenizer: Any = None,
        ref: str = "",
        processing: Processing = "none",
    ) -> None:
        self._module = model.eval()
        self.name, self.ref = name, ref
        self.architecture = model.cfg.original_architecture or "HookedTransformer"
        self.processing = processing
        self.tokenizer = tokenizer if tokenizer is not None else model.tokenizer
        self.max_length = model.cfg.n_ctx
        self.vocab_size = model.cfg.d_vocab
        self.head = "lm"
        self._causal = model.cfg.attention_dir == "causal"
        self._widths = self._trace()
        self.hook_points = tuple(self._widths)
        post = [f"blocks.{i}.hook_resid_post" for i in range(model.cfg.n_layers)]
        self.layer_points = tuple(p for p in ("blocks.0.hook_resid_pre", *post) if p in self._widths)

    @property
    def module(self) -> nn.Module:
        return self._module

    def _width(self, hook_point: str) -> int:
        return self._widths[hook_point]

    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        hooks = [(name, _hook(name, recorder)) for name in recorder.names]
        return self._call(batch, hooks, logits)

    def _call(self, batch: Batch, hooks: list[Any], logits: bool) -> Tensor | None:
        model, tokens, mask = self._module, batch.tokens, batch.mask
        assert tokens is not None and mask is not None
        # TransformerLens guesses a mask from the tokens when its tokenizer pads on the left, so it is given then too.
        explicit = batch.padded or getattr(model.tokenizer, "padding_side", "right") == "left"
        covers = self._cover(mask) if batch.padded and not self._causal else []
        try:
            with model.hooks(fwd_hooks=hooks) if hooks else contextlib.nullcontext():
                return model(
                    tokens,
                    return_type="logits" if logits else None,
                    attention_mask=mask.to(tokens.dtype) if explicit else None,
                )
        finally:
            for handle in covers:
                handle.remove()

    def _cover(self, mask: Tensor) -> list[Any]:
        """Hide padding from attention, before any other hook: without a causal mask TransformerLens would show it."""
        hidden = ~mask[:, None, None, :]
        return [
            block.attn.hook_attn_scores.register_forward_hook(
                lambda _module, _args, scores: scores.masked_fill(hidden, -torch.inf), prepend=True
            )
            for block in self._module.blocks
        ]

    def _trace(self) -> dict[str, int]:
        """Width of every hook point that fires once a pass, in forward order, from a pass over one token.

        TransformerLens runs ``ln1`` once each for queries, keys and values: its points have no single value.
        """
        widths: dict[str, int] = {}
        calls: dict[str, int] = {}

        def look(tensor: Tensor, hook: Any) -> None:
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                widths.setdefault(hook.name, tensor.shape[2:].numel())
                calls[hook.name] = calls.get(hook.name, 0) + 1

        tokens = torch.zeros((1, 1), dtype=torch.long, device=self.device)
        usable = [n for n in self._module.hook_dict if _usable(self._module, n)]
        with torch.no_grad():
            self._call(Batch(tokens=tokens), [(n, look) for n in usable], logits=True)
        return {n: w for n, w in widths.items() if calls[n] == 1 and not n.startswith("unembed.")}


def _usable(model: HookedTransformer, name: str) -> bool:
    try:
        model.check_hooks_to_add(model.hook_dict[name], name, hook=None)  # pyright: ignore
    except AssertionError:
        return False
    return True


def _hook(name: str, recorder: Recorder) -> Any:
    return lambda tensor, hook: recorder(name, tensor)


def fold(model: HookedTransformer) -> HookedTransformer:
    """A copy with each normalisation's gain and bias folded into the weights that read it; the function is unchanged.

    Raises:
        ModelError: the normalisation cannot be folded.
    """
    import copy

    if model.cfg.normalization_type not in ("LN", "RMS"):
        raise ModelError(f"normalisation {model.cfg.normalization_type!r} cannot be folded; expected LN or RMS")
    if model.cfg.positional_embedding_type == "shortformer":
        raise ModelError(
            "LayerNorm cannot be folded where positions are added inside attention (shortformer): leave out fold_ln"
        )
    folded = copy.deepcopy(model)
    folded.process_weights_(fold_ln=True, center_writing_weights=False, center_unembed=False)
    return folded


def wrap_hooked(
    model: HookedTransformer, *, name: str, tokenizer: Any = None, processing: Processing = "none", ref: str = ""
) -> HookedTransformerModel:
    """Wrap with the asked weight processing; models without normalisation are the same under both."""
    folded = model.cfg.normalization_type in ("LNPre", "RMSPre")
    if folded and processing == "none":
        processing = "fold_ln"
    elif processing == "fold_ln" and model.cfg.normalization_type in ("LN", "RMS"):
        model = fold(model)
    return HookedTransformerModel(model, name=name, tokenizer=tokenizer, ref=ref, processing=processing)
