"""Inputs of whole comparisons: directories of two families that differ in width, depth and tokenizer, and arrays."""

import numpy as np
import pandas as pd
import pytest

from mechdecouple.tasks import Task


@pytest.fixture(scope="session")
def quick():
    """Options under which a comparison takes seconds: few resamples, the rest as it comes."""
    return {"progress": False, "permutations": 19, "bootstrap": 200, "blocks": 10, "probe_items": 128}


@pytest.fixture(scope="session")
def deep_llama_dir(gpt2_dir, tmp_path_factory):
    """A random Llama of four layers, wider than the GPT-2, with the same tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(2)
    tokenizer = AutoTokenizer.from_pretrained(gpt2_dir)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=len(tokenizer), max_position_embeddings=16, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    target = tmp_path_factory.mktemp("models") / "deep-llama"
    LlamaForCausalLM(config).save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def renumbered_dir(gpt2_dir, tmp_path_factory):
    """The tiny GPT-2 with its words numbered the other way round, weights and tokenizer alike: the same function of
    text under another tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoTokenizer, GPT2LMHeadModel, PreTrainedTokenizerFast

    words = AutoTokenizer.from_pretrained(gpt2_dir).get_vocab()
    model = GPT2LMHeadModel.from_pretrained(gpt2_dir)
    with torch.no_grad():
        model.transformer.wte.weight.copy_(model.transformer.wte.weight.flip(0))
    last = len(words) - 1
    raw = Tokenizer(models.WordLevel({word: last - i for word, i in words.items()}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.config.bos_token_id = model.config.eos_token_id = last - 1
    model.generation_config.bos_token_id = model.generation_config.eos_token_id = last - 1
    target = tmp_path_factory.mktemp("models") / "renumbered-gpt2"
    model.save_pretrained(target)
    PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", eos_token="<eos>", bos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(target)
    return target


@pytest.fixture(scope="session")
def gaussian_task():
    """Standard normal inputs [240, 16]; the class is the sign of the first value."""
    X = np.random.default_rng(0).standard_normal((240, 16)).astype(np.float32)
    table = pd.DataFrame({"id": [f"x{i}" for i in range(240)], "answer": (X[:, 0] > 0).astype(int)})
    return Task.from_frame(table, inputs=X, name="signs")
