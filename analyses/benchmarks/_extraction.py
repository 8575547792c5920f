"""What `extraction.py` runs side by side: one model, its items, and each way to get activations out of it."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mechdecouple.activations import Activations
from mechdecouple.extract import Plan, extract, plan
from mechdecouple.models import collate, wrap
from mechdecouple.tasks import Task

VOCABULARY, LAYERS, WIDTH, LENGTH = 8000, 6, 256, 128
BATCH_TOKENS = 8192


def raw_model(layers: int = LAYERS, width: int = WIDTH) -> GPT2LMHeadModel:
    """A GPT-2 with random weights, the same in every process."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=width, n_layer=layers, n_head=4, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def random_task(items: int, *, even: bool = False) -> Task:
    """Random token ids, 16 to 128 an item; ``even``: 128 in each."""
    rng = np.random.default_rng(0)
    lengths = np.full(items, LENGTH) if even else rng.integers(16, LENGTH + 1, size=items)
    tokens = [rng.integers(1, VOCABULARY, size=length).tolist() for length in lengths]
    return Task.from_frame(pd.DataFrame({"tokens": tokens}), name="random tokens")


@dataclasses.dataclass(frozen=True)
class Work:
    """What is extracted.

    Attributes:
        layers: after which the residual stream is kept; position: ``last`` or ``all`` tokens.
        even: items of one length, which the peer that writes to disk needs.
        folder: for those who write.
    """

    layers: tuple[int, ...]
    position: str
    items: int
    folder: Path
    even: bool = False

    @property
    def names(self) -> list[str]:
        return [f"blocks.{layer}.hook_resid_post" for layer in self.layers]

    @cached_property
    def raw(self) -> GPT2LMHeadModel:
        return raw_model()

    @cached_property
    def task(self) -> Task:
        return random_task(self.items, even=self.even)

    @cached_property
    def plan(self) -> Plan:
        return plan(wrap(self.raw, name="gpt2-6x256"), self.task, self.names, self.position, batch_tokens=BATCH_TOKENS)

    @cached_property
    def batches(self) -> list[Any]:
        return [collate(self.plan.items, numbers, model=self.plan.model) for numbers in self.plan.batches]

    @cached_property
    def fresh(self) -> Callable[[], Path]:
        numbers = itertools.count()
        return lambda: self.folder / f"{len(self.layers)} {self.position} {next(numbers)}"

    def in_item_order(self, values: list[torch.Tensor]) -> list[np.ndarray]:
        """Rows that came batch by batch, as a store has them."""
        order = np.concatenate(self.plan.batches)
        if self.position == "all":
            sizes = self.plan.rows_per_item
            starts = np.cumsum(sizes) - sizes
            order = np.concatenate([np.arange(starts[i], starts[i] + sizes[i]) for i in order])
        found = [np.empty(v.shape, np.float32) for v in values]
        for array, rows in zip(found, values, strict=True):
            array[order] = rows.float().numpy()
        return found


class Way(Protocol):
    """A way to get activations: called, it does all of the work; `rows` reads what it gave, to compare."""

    def __call__(self) -> Any: ...
    def rows(self, found: Any) -> list[np.ndarray]: ...


class Ours:
    """A whole call of `mechdecouple.extract`."""

    def __init__(self, work: Work, *, disk: bool) -> None:
        self.work, self.disk, self.model = work, disk, work.plan.model
        _ = self.model.weight_hash

    def __call__(self) -> Activations:
        work, out = self.work, self.work.fresh() if self.disk else None
        return extract(
            self.model, work.task, work.names, work.position, out=out, batch_tokens=BATCH_TOKENS, progress=False
        )

    def rows(self, found: Activations) -> list[np.ndarray]:
        return [found[name] for name in self.work.names]


class _Stop(Exception):
    pass


class Bare:
    """Plain hooks on the raw model; the deepest one ends the pass."""

    def __init__(self, work: Work) -> None:
        self.work, self.model = work, work.raw.transformer
        self.batches = [(b.tokens, b.mask, b.mask.sum(dim=1) - 1, b.padded) for b in work.batches]

    def __call__(self) -> list[torch.Tensor]:
        layers, every = self.work.layers, self.work.position == "all"
        kept: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
        picked: Any = None

        def hook(layer: int) -> Callable:
            def take(_module, _args, output) -> None:
                values = output if isinstance(output, torch.Tensor) else output[0]
                kept[layer].append(values[picked])
                if layer == max(layers):
                    raise _Stop

            return take

        handles = [self.model.h[layer].register_forward_hook(hook(layer)) for layer in layers]
        with torch.inference_mode():
            for tokens, mask, last, padded in self.batches:
                picked = mask if every else (torch.arange(len(mask)), last)
                try:
                    self.model(input_ids=tokens, attention_mask=mask.long() if padded else None, use_cache=False)
                except _Stop:
                    continue
            joined = [torch.cat(kept[layer]) for layer in layers]
        for handle in handles:
            handle.remove()
        return joined

    def rows(self, found: list[torch.Tensor]) -> list[np.ndarray]:
        return self.work.in_item_order(found)


class Cached:
    """`run_with_cache` of a TransformerLens model, told which names to keep and where to stop; then rows are picked."""

    def __init__(self, work: Work, model: Any) -> None:
        self.work, self.model = work, model
        self.batches = [(b.tokens, b.mask, b.mask.sum(dim=1) - 1, b.padded) for b in work.batches]

    def __call__(self) -> list[torch.Tensor]:
        names, every = self.work.names, self.work.position == "all"
        kept: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        with torch.inference_mode():
            for tokens, mask, last, padded in self.batches:
                picked = mask if every else (torch.arange(len(mask)), last)
                _, cache = self.model.run_with_cache(
                    tokens, attention_mask=mask.long() if padded else None, names_filter=names,
                    stop_at_layer=max(self.work.layers) + 1, return_type=None,
                )  # fmt: skip
                for name in names:
                    kept[name].append(cache[name][picked])
            return [torch.cat(kept[name]) for name in names]

    def rows(self, found: list[torch.Tensor]) -> list[np.ndarray]:
        return self.work.in_item_order(found)


class SAELens:
    """SAELens' `CacheActivationsRunner` over a local data set of token ids; it writes Arrow files."""

    def __init__(self, work: Work) -> None:
        from datasets import Dataset

        self.work, self.model = work, hooked(work.raw)
        self.data = Dataset.from_dict({"input_ids": [list(tokens) for tokens in work.task.tokens]})

    def __call__(self) -> Any:
        import sae_lens.cache_activations_runner as runner
        from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

        tokens, value = self.work.items * LENGTH, 4 * WIDTH
        config = CacheActivationsRunnerConfig(
            dataset_path="", model_name="", hook_name=self.work.names[0], d_in=WIDTH, context_size=LENGTH,
            model_batch_size=BATCH_TOKENS // LENGTH, training_tokens=tokens, shuffle=False, prepend_bos=False,
            new_cached_activations_path=str(self.work.fresh()), device="cpu",
            # Parts of 32 MiB, as ours are; by itself it holds 2 GB.
            buffer_size_gb=1.0001 * min(tokens * value, 32 * 2**20) / 1e9,
        )  # fmt: skip
        # It knows models by their names on the hub only, and its bar would stand in the table.
        with patch.object(runner, "load_model", lambda **_: self.model), patch.object(runner, "tqdm", lambda x, **_: x):
            return CacheActivationsRunner(config, override_dataset=self.data).run()

    def rows(self, found: Any) -> list[np.ndarray]:
        found.set_format("numpy")
        return [np.concatenate([np.asarray(x) for x in found[name]]) for name in self.work.names]


def hooked(raw: GPT2LMHeadModel) -> Any:
    """The raw model as a HookedTransformer, its weights as they are."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    config = HookedTransformerConfig(
        n_layers=LAYERS, d_model=WIDTH, n_ctx=LENGTH, d_head=WIDTH // 4, n_heads=4, d_vocab=VOCABULARY,
        act_fn="gelu_new", normalization_type="LN", eps=raw.config.layer_norm_epsilon, device="cpu",
        original_architecture="GPT2LMHeadModel",
    )  # fmt: skip
    model = HookedTransformer(config)
    model.load_and_process_state_dict(
        convert_gpt2_weights(raw, config), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )  # fmt: skip
    return model.eval()


def bridged(raw: GPT2LMHeadModel) -> Any:
    """The raw model behind a TransformerBridge, its weights as they are."""
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    twin: Any = copy.deepcopy(raw)
    twin.set_attn_implementation("eager")
    return build_bridge_from_module(twin, "GPT2LMHeadModel", hf_config=twin.config, model_name="gpt2-6x256").eval()


WAYS: dict[str, Callable[[Work], Way]] = {
    "ours, to memory": lambda work: Ours(work, disk=False),
    "ours, to disk": lambda work: Ours(work, disk=True),
    "bare forward": Bare,
    "HookedTransformer.run_with_cache": lambda work: Cached(work, hooked(work.raw)),
    "TransformerBridge.run_with_cache": lambda work: Cached(work, bridged(work.raw)),
    "SAELens CacheActivationsRunner": SAELens,
}
