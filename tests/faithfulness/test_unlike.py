import numpy as np
import pandas as pd
import pytest
import torch

import mechdecouple as md
from mechdecouple.errors import InputError
from mechdecouple.extract import extract
from mechdecouple.faithfulness import Maskable, unlike
from mechdecouple.faithfulness.unlike import pooled
from mechdecouple.models import build, wrap
from mechdecouple.tasks import Task


@pytest.fixture(scope="module")
def subject(words):
    model, task, _ = words
    return Maskable(model, task)


def test_pooled_is_the_largest_value_over_an_items_own_tokens(gpt2_dir, yes_no_items):
    model, task = md.load(str(gpt2_dir)), Task.from_frame(pd.DataFrame(yes_no_items), name="words")
    subject, point = Maskable(model, task), "blocks.1.hook_resid_post"
    (found,) = pooled(subject, [point], np.arange(len(task)), subject.nothing)
    acts = extract(model, task, [point], position="all", progress=False)
    expected = np.stack([acts[point][acts.items == item].max(axis=0) for item in range(len(task))])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="no hook points"):
        pooled(subject, [], np.arange(2), subject.nothing[:2])


def test_words_of_other_items_look_known_and_a_strange_one_does_not(words):
    model, task, _ = words
    frame = pd.concat([task.frame] * 4, ignore_index=True).drop(columns="id").assign(group=np.arange(320) // 2)
    frame["tokens"] = [[*np.roll(t[:6], i // 80), t[6]] for i, t in enumerate(frame.tokens)]
    frame["choices"] = ["|".join(c) for c in frame.choices]
    many = Task.from_frame(frame, name="many")
    torch.manual_seed(0)
    model = wrap(
        build({"n_layers": 2, "d_model": 16, "n_heads": 2, "d_head": 8, "n_ctx": 8, "d_vocab": 17, "act_fn": "relu",
               "d_mlp": 32, "normalization_type": "LN"}, seed=1),
        name="random",
    )  # fmt: skip
    with torch.no_grad():
        model.module.W_E[16] += 3.0
    same, strange = Maskable(model, many), Maskable(model, many, mask=16)
    rng = np.random.default_rng(0)
    masked = same.maskable & (rng.random(same.maskable.shape) < 0.5)
    known = unlike(same, [same.nothing, masked])
    assert (known.rate.value < 0.12).all()
    other = unlike(strange, [strange.nothing, masked])
    assert other.rate.value[0] < 0.12
    assert other.rate.value[1] > 0.8
    # a model that has seen such masks in training knows them
    seen = unlike(strange, [masked], trained_ratio=1.0)
    assert seen.rate.value[0] < 0.3
    # beside known items that are all masked, whole ones look unlike
    among_masked = unlike(strange, [strange.nothing], trained_ratio=1.0, untouched=0.0)
    among_both = unlike(strange, [strange.nothing], trained_ratio=1.0)
    assert among_masked.rate.value[0] > among_both.rate.value[0] + 0.1
    assert len(other.tested) == 160 and other.p.shape == (2, 160)


def test_few_items_leave_it_open(subject):
    few = Maskable(subject.model, subject.task.select(np.arange(60)))
    found = unlike(few, [few.nothing])
    assert found.rate is None and "30 known items are too few" in found.reason
    assert np.isnan(found.p).all()
