"""Shapes in signatures are checked at test time; the pure-array modules are instrumented before they are imported."""

import os

# The models of the tests are small: threads that wait for each other cost more than they save. Set before torch loads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from jaxtyping import install_import_hook

install_import_hook(
    [f"mechdecouple.{name}" for name in ("structure", "probes", "stats", "usefulness")],
    "beartype.beartype",
)

WORDS = ["<unk>", "<eos>", "yes", "no", *(f"w{i}" for i in range(30))]


def _tokenizer(words: list[str]):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", eos_token="<eos>", bos_token="<eos>", pad_token="<eos>"
    )


@pytest.fixture(scope="session")
def gpt2_dir(tmp_path_factory):
    """A random GPT-2 of two layers with a word tokenizer, as Hugging Face writes it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=len(WORDS), n_positions=16, bos_token_id=1, eos_token_id=1
    )
    target = tmp_path_factory.mktemp("models") / "tiny-gpt2"
    GPT2LMHeadModel(config).save_pretrained(target)
    _tokenizer(WORDS).save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory):
    """A random Llama of two layers and another width, with the same tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=len(WORDS), max_position_embeddings=16, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    target = tmp_path_factory.mktemp("models") / "tiny-llama"
    LlamaForCausalLM(config).save_pretrained(target)
    _tokenizer(WORDS).save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def yes_no_items():
    """Sixty yes-or-no items as a table of text, two a group."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        words = rng.integers(0, 30, rng.integers(3, 7))
        truth = int(words[0] % 2)
        rows.append(
            {
                "id": f"i{i}", "prompt": " ".join(f"w{w}" for w in words), "choices": "yes|no",
                "answer": "yes" if truth else "no", "truth": str(truth), "group": f"g{i // 2}",
                "context": f"c{words[1] % 2}", "concept_second": str(int(words[1] > 14)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def yes_no_csv(yes_no_items, tmp_path_factory):
    path = tmp_path_factory.mktemp("tasks") / "items.csv"
    yes_no_items.to_csv(path, index=False)
    return path
