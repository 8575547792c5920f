"""TransformerBridge models: every hook point of TransformerLens on a Hugging Face model, at the cost of speed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.models.base import Head, HookedModel, Processing
from mechdecouple.models.batch import Batch
from mechdecouple.models.components import adapter_architecture
from mechdecouple.models.hashing import hash_state
from mechdecouple.models.quiet import quiet
from mechdecouple.models.recorder import Recorder

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class BridgeModel(HookedModel):
    """A TransformerBridge, run through the Bridge itself; hook points are its own that fire in a plain forward pass.

    Where several names mean one hook point, TransformerLens's classic one (``blocks.0.hook_resid_post``) stands for it.
    """

    input_kind = "tokens"

    def __init__(
        self,
        bridge: TransformerBridge,
        *,
        name: str,
        tokenizer: Any = None,
        ref: str = "",
        head: Head = "lm",
        processing: Processing = "none",
        weight_hash: str = "",
    ) -> None:
        self._bridge = bridge.eval()
        self.name, self.ref, self.head, self.processing = name, ref, head, processing
        self.architecture = bridge.cfg.architecture or type(bridge.original_model).__name__
        self.tokenizer = tokenizer if tokenizer is not None else bridge.tokenizer
        self.max_length, self.vocab_size = bridge.cfg.n_ctx, bridge.cfg.d_vocab
        if weight_hash:
            self.weight_hash = weight_hash
        self._widths = self._trace()
        self.hook_points = tuple(self._widths)
        post = [f"blocks.{i}.hook_resid_post" for i in range(bridge.cfg.n_layers)]
        self.layer_points = tuple(p for p in ("blocks.0.hook_resid_pre", *post) if p in self._widths)

    @property
    def module(self) -> nn.Module:
        return self._bridge.original_model

    def logits_with(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        if self.processing != "none":
            raise ModelError(
                f"folded weights of {self.architecture} cannot be replaced: TransformerBridge keeps copies of them; "
                "load the model with processing 'none'"
            )
        return super().logits_with(parameters, batch)

    def _width(self, hook_point: str) -> int:
        return self._widths[hook_point]

    def _run(self, batch: Batch, recorder: Recorder, logits: bool) -> Tensor | None:
        return self._call(batch, [(_only(n), _hook(n, recorder)) for n in recorder.names], logits)

    def _call(self, batch: Batch, hooks: list[Any], logits: bool) -> Tensor | None:
        assert batch.mask is not None
        mask = batch.mask.to(torch.long) if batch.padded else None
        with self._bridge.hooks(fwd_hooks=hooks):
            out = self._bridge(batch.tokens, return_type="logits", attention_mask=mask)
        return out if logits else None

    def _trace(self) -> dict[str, int]:
        """Width of every hook point that fires, in forward order, from a pass over one token."""
        names: dict[int, list[str]] = {}
        for name, point in self._bridge.hook_dict.items():
            names.setdefault(id(point), []).append(name)
        preferred = {min(group, key=_plainness): group for group in names.values()}
        widths: dict[str, int] = {}

        def look(name: str) -> Any:
            def hook(tensor: Any, hook: Any) -> None:
                if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim >= 3:
                    widths.setdefault(name, tensor.shape[2:].numel())

            return hook

        usable = [n for n in preferred if self._bridge._gated_hook_reason(n) is None]
        tokens = torch.zeros((1, 1), dtype=torch.long, device=self.device)
        with torch.no_grad(), quiet():
            self._call(Batch(tokens=tokens), [(_only(n), look(n)) for n in usable], logits=True)
        return {n: w for n, w in widths.items() if not n.startswith(("unembed.", "hook_unembed"))}


def wrap_bridge(
    bridge: TransformerBridge, *, name: str, tokenizer: Any = None, processing: Processing = "none", ref: str = ""
) -> BridgeModel:
    """Wrap a Bridge as it is; its weights are processed by the caller's own choice, so only 'none' can be asked."""
    if processing != "none":
        raise ModelError(
            "a TransformerBridge is taken as it is: load the Hugging Face model to have its weights processed"
        )
    folded: Processing = "fold_ln" if getattr(bridge, "_weights_processed", False) else "none"
    return BridgeModel(bridge, name=name, tokenizer=tokenizer, ref=ref, processing=folded)


def build_bridge(model: Any, *, name: str, tokenizer: Any, head: Head, ref: str, processing: Processing) -> BridgeModel:
    """A Bridge around a copy of a Hugging Face model, which stays untouched.

    Raises:
        ModelError: the normalisation of this architecture cannot be folded.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    architecture = adapter_architecture(model)
    with quiet():
        twin = _with_head(copy.deepcopy(model), architecture).eval()
        twin.set_attn_implementation("eager")
        bridge = build_bridge_from_module(twin, architecture, hf_config=twin.config, model_name=name)
        if processing == "fold_ln":
            if not getattr(bridge.adapter, "supports_fold_ln", True):
                raise ModelError(
                    f"the normalisation of {architecture} stands behind each layer and cannot be folded: "
                    "use processing 'none'"
                )
            bridge.process_weights(
                fold_ln=True, center_writing_weights=False, center_unembed=False, fold_value_biases=False
            )
    return BridgeModel(
        bridge,
        name=name,
        tokenizer=tokenizer,
        ref=ref,
        head=head,
        processing=processing,
        weight_hash=hash_state(model) if processing != "none" else "",
    )


def _with_head(model: Any, architecture: str) -> Any:
    """A bare body put under its usual head, whose random weights nobody reads; anything else as it is."""
    import transformers

    if type(model).__name__ == architecture:
        return model
    full = getattr(transformers, architecture)(copy.deepcopy(model.config)).to(model.device, model.dtype)
    setattr(full, full.base_model_prefix, model)
    return full


def _plainness(name: str) -> tuple[bool, int, str]:
    return name.endswith((".hook_in", ".hook_out")), len(name), name


def _only(wanted: str) -> Any:
    return lambda name: name == wanted


def _hook(name: str, recorder: Recorder) -> Any:
    return lambda tensor, hook: recorder(name, tensor)
