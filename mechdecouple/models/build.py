"""Fresh TransformerLens models from a config, for the zoo."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from mechdecouple.errors import ModelError

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer, HookedTransformerConfig


def build(config: dict[str, Any] | HookedTransformerConfig, seed: int = 0, tokenizer: Any = None) -> HookedTransformer:
    """A new HookedTransformer with seeded weights; the tokenizer, if any, is attached as it is.

    Args:
        config: a ``HookedTransformerConfig`` or its fields.
        seed: of the weight initialisation; the global random state is left as it was.
        tokenizer: a Hugging Face tokenizer kept on the model (not altered, unlike TransformerLens's own constructor).

    Raises:
        ModelError: a config field is unknown or missing.
    """
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    if isinstance(config, dict):
        dtype = config.get("dtype", torch.float32)
        fields = {"device": "cpu", **config, "seed": None}
        fields["dtype"] = getattr(torch, dtype) if isinstance(dtype, str) else dtype
        try:
            config = HookedTransformerConfig.from_dict(fields)
        except (TypeError, ValueError, AssertionError) as error:
            raise ModelError(f"not a HookedTransformer config: {str(error).splitlines()[0]}") from error
    if config.d_vocab == -1:
        if tokenizer is None:
            raise ModelError("the config has no d_vocab: give it, or a tokenizer")
        config.d_vocab = config.d_vocab_out = len(tokenizer)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="HookedTransformer is deprecated")
        torch.manual_seed(seed)
        model = HookedTransformer(config)
    model.tokenizer = tokenizer
    return model.eval()
