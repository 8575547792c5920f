from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mechdecouple.errors import ModelError, TaskError
from mechdecouple.models import Encoded, batches, build, collate, encode, encode_texts, wrap


@pytest.fixture
def model(tokenizer):
    config = {
        "n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "n_ctx": 8, "act_fn": "relu",
        "normalization_type": None,
    }  # fmt: skip
    return wrap(build(config, tokenizer=tokenizer), "toy")


def task(prompts=None, tokens=None):
    n = len(prompts if prompts is not None else tokens)
    return SimpleNamespace(prompts=prompts, tokens=tokens, ids=np.array([f"id{i}" for i in range(n)]))


def test_tokens_are_the_tokenizers_and_last_skips_special_ones(hf_models, encoder_tokenizer):
    bert = wrap(hf_models["bert"], "bert", tokenizer=encoder_tokenizer)
    got = encode(bert, task(["the cat runs .", "[MASK]"]))
    assert [t.tolist() for t in got.tokens] == [[3, 6, 7, 16, 15, 4], [3, 5, 4]]
    assert [s.tolist() for s in got.special] == [[1, 0, 0, 0, 0, 1], [1, 0, 1]]
    assert got.last().tolist() == [4, 1]


def test_bos_typed_by_the_user_is_special_too(model):
    got = encode(model, task(["[BOS] the cat", "the [BOS]"]))
    assert got.last().tolist() == [2, 0]


def test_tokens_given_as_such_are_taken_as_they_are(model):
    got = encode(model, task(tokens=[np.array([2, 6, 7]), np.array([7])]))
    assert [t.tolist() for t in got.tokens] == [[2, 6, 7], [7]]
    assert got.last().tolist() == [2, 0]


def test_places_by_index_and_by_text(model):
    got = encode(model, task(["the cat is the dog", "in city of Paris ."]))
    assert got.at([1, -1]).tolist() == [1, 4]
    assert got.at(["the", "city of"]).tolist() == [3, 2]
    assert got.at(["cat is", "Par"]).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (5, "expected an integer in [-5, 4]"),
        (1.5, "not a token index"),
        (float("nan"), "not a token index"),
        ("Rome", "'Rome' does not occur in the prompt"),
        ("", "'' does not occur"),
    ],
)
def test_bad_places_name_row_and_column(model, place, message):
    got = encode(model, task(["the cat is the dog"]))
    with pytest.raises(TaskError) as caught:
        got.at([place], column="position_city")
    assert "row 1 (id 'id0'), column 'position_city'" in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (task(["the cat", ""]), "row 2 (id 'id1'): the item is empty"),
        (task(["[BOS]"]), "row 1 (id 'id0'): the item is empty"),
        (
            task(["the cat", "Rom ist gross"]),
            "row 2 (id 'id1'): the tokenizer of model 'toy' knows no word of this prompt",
        ),
        (task(["the " * 9]), "9 tokens; model 'toy' takes at most 8"),
        (task(tokens=[np.array([6, 99])]), "token id 99 is outside the vocabulary"),
        (task(tokens=[np.array([-1, 6])]), "token id -1 is outside the vocabulary"),
    ],
)
def test_unusable_items_name_the_row(model, items, message):
    with pytest.raises(TaskError) as caught:
        encode(model, items)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_missing_tokenizer_and_missing_template(model):
    bare = wrap(
        build({"n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "n_ctx": 8, "act_fn": "relu", "d_vocab": 9})
    )
    with pytest.raises(ModelError, match="has no tokenizer"):
        encode(bare, task(["the cat"]))
    with pytest.raises(ModelError, match="no chat template"):
        encode(model, task(["the cat"]), chat=True)
    with pytest.raises(ModelError, match="takes tensors"):
        encode(wrap(torch.nn.Linear(2, 2)), task(["the cat"]))


def test_chat_template(model, tokenizer):
    import copy

    chatty = copy.deepcopy(tokenizer)
    chatty.chat_template = (
        "{% for m in messages %}[BOS] {{ m.content }} {% endfor %}{% if add_generation_prompt %}[SEP] is{% endif %}"
    )
    model.tokenizer = chatty
    got = encode(model, task(["the cat"]), chat=True)
    assert got.texts == ["[BOS] the cat [SEP] is"]
    assert got.tokens[0].tolist() == [2, 6, 7, 4, 9]
    assert got.at(["cat"]).tolist() == [2]


def test_plan_holds_every_item_once_longest_first_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 40, 200)
    items = Encoded([""] * 200, [np.ones(n, int) for n in lengths], [np.zeros(n, bool) for n in lengths])
    plan = batches(items, batch_tokens=100)
    assert sorted(np.concatenate(plan)) == list(range(200))
    assert all(len(p) * lengths[p].max() <= 100 or len(p) == 1 for p in plan)
    flat = lengths[np.concatenate(plan)]
    assert (np.diff(flat) <= 0).all()
    assert all((a == b).all() for a, b in zip(plan, batches(items, batch_tokens=100), strict=True))
    assert max(map(len, batches(items, batch_tokens=10**6, batch_size=7))) == 7
    assert [p.tolist() for p in batches(5, batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_collate_pads_right(model):
    got = encode_texts(model, ["the cat is", "dog"])
    batch = collate(got, [1, 0], model=model)
    assert batch.tokens.tolist() == [[8, 0, 0], [6, 7, 9]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    array = collate(np.arange(12).reshape(3, 4), [2, 0])
    assert array.array.dtype == torch.float32 and array.array.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
