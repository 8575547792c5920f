"""The checks work on every kind of model: masked, of TransformerLens, headless, with answers of several tokens."""

import warnings

import numpy as np
import pytest
import torch

from mechdecouple.beliefs.erasing import erase
from mechdecouple.beliefs.reading import Reader
from mechdecouple.beliefs.steering import steer
from mechdecouple.beliefs.trajectory import trajectory
from mechdecouple.extract import extract
from mechdecouple.models import build, wrap
from mechdecouple.refs import load
from mechdecouple.tasks import Task


def _masked(gpt2_dir):
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(gpt2_dir)
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=32)  # fmt: skip
    return wrap(BertForMaskedLM(config).eval(), name="masked", tokenizer=tokenizer)


def _hooked(gpt2_dir):
    config = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "d_mlp": 32, "n_ctx": 16, "act_fn": "relu"}
    return wrap(build(config, seed=1, tokenizer=load(gpt2_dir).tokenizer), name="hooked")


def _bridge(gpt2_dir):
    from transformer_lens.model_bridge import TransformerBridge

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bridge = TransformerBridge.boot_transformers(str(gpt2_dir))
    return wrap(bridge, name="bridge")


@pytest.fixture(scope="module", params=[_masked, _hooked, _bridge])
def model(request, gpt2_dir):
    return request.param(gpt2_dir)


@pytest.fixture(scope="module")
def task(model, yes_no_items):
    ending = " [MASK]" if model.head == "mlm" else ""
    return Task.from_frame(yes_no_items.assign(prompt=yes_no_items.prompt + ending, position_first=0))


def test_activations_are_those_of_extract_and_changes_reach_the_answer(model, task):
    points = model.layer_points
    for position in ("last", "position_first"):
        reader = Reader.of(model, task, position)
        expected = extract(model, task, points, position, progress=False)
        for point, found in reader.activations(points).items():
            np.testing.assert_allclose(found, expected[point], atol=1e-5)
        np.testing.assert_allclose(reader.affirmed({points[1]: lambda x, _: x}), reader.clean, atol=1e-6)
        assert np.abs(reader.affirmed({points[1]: lambda x, _: x + 3 * torch.randn_like(x)}) - reader.clean).max() > 0


def test_steering_erasing_and_trajectories_run(model, task):
    assert np.isfinite(erase(model, task, n_random=1).drop.value)
    found = steer(model, task, model.layer_points[1], n_random=19)
    assert np.isfinite(found.nie.value) or "asserted alike" in found.nie.reason
    layers = trajectory(model, task)
    assert np.isfinite(layers.gap().value).all()


def test_answers_of_several_tokens(gpt2_dir, yes_no_items):
    long = yes_no_items.assign(choices="yes w1 w2|no w3", answer=yes_no_items.answer.map(
        {"yes": "yes w1 w2", "no": "no w3"}))  # fmt: skip
    reader = Reader.of(load(gpt2_dir), Task.from_frame(long))
    expected = extract(reader.model, reader.task, reader.model.layer_points, progress=False)
    for point, found in reader.activations(reader.model.layer_points).items():
        np.testing.assert_allclose(found, expected[point], atol=1e-5)


def test_headless_encoders_express_nothing_and_say_so(gpt2_dir, yes_no_items):
    model, task = load(gpt2_dir), Task.from_frame(yes_no_items)
    model.head = None
    for found in (steer(model, task, model.layer_points[1]).sentence, erase(model, task).sentence):
        assert "expresses nothing" in found
    layers = trajectory(model, task)
    assert "nothing is expressed" in layers.sentence
    assert np.isfinite(layers.frame().value).all()
