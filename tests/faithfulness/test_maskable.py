import numpy as np
import pandas as pd
import pytest
import torch

import mechdecouple as md
from mechdecouple.behavior import read
from mechdecouple.errors import InputError, ModelError
from mechdecouple.faithfulness import Maskable
from mechdecouple.faithfulness.maskable import probabilities
from mechdecouple.tasks import Task

MASK = 1


@pytest.fixture(scope="module")
def text(gpt2_dir, yes_no_items):
    frame = pd.DataFrame(yes_no_items)
    frame.loc[::3, "choices"] = "yes|no|w1"
    return md.load(str(gpt2_dir)), Task.from_frame(frame, name="words")


def everything(subject):
    return np.arange(len(subject)), subject.nothing


def test_whole_items_are_read_as_answers_are(text):
    model, task = text
    subject, answers = Maskable(model, task), read(model, task)
    logp = np.where(np.isfinite(answers.logp), answers.logp, np.nan)
    np.testing.assert_allclose(subject.clean, logp - np.nanmean(logp, axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_array_equal(subject.chosen, answers.choice)
    np.testing.assert_array_equal(np.isnan(subject.clean), ~subject.offered)
    np.testing.assert_allclose(np.nanmax(probabilities(subject.clean), axis=1), answers.confidence, atol=1e-5)


def test_a_mask_gives_what_the_changed_prompt_gives(text):
    """Oracle: the same words written into the prompts."""
    model, task = text
    subject = Maskable(model, task, mask=5)
    rng = np.random.default_rng(0)
    masked = subject.maskable & (rng.random(subject.maskable.shape) < 0.5)
    words = model.tokenizer.convert_ids_to_tokens(5)
    prompts = [
        " ".join(words if hidden else word for word, hidden in zip(prompt.split(), row, strict=False))
        for prompt, row in zip(task.prompts, masked, strict=True)
    ]
    changed = read(model, Task.from_frame(task.frame.assign(prompt=prompts), name="changed", affirm=task.affirm))
    found = subject.read(np.arange(len(task)), masked)
    np.testing.assert_allclose(np.nan_to_num(probabilities(found)), changed.prob, atol=1e-5)


def test_tokens_can_be_taken_out(text):
    model, task = text
    subject = Maskable(model, task, mask="remove")
    rng = np.random.default_rng(0)
    masked = subject.maskable & (rng.random(subject.maskable.shape) < 0.5)
    prompts = [
        " ".join(word for word, hidden in zip(prompt.split(), row, strict=False) if not hidden)
        for prompt, row in zip(task.prompts, masked, strict=True)
    ]
    changed = read(model, Task.from_frame(task.frame.assign(prompt=prompts), name="changed", affirm=task.affirm))
    found = subject.read(np.arange(len(task)), masked)
    np.testing.assert_allclose(np.nan_to_num(probabilities(found)), changed.prob, atol=1e-5)
    # the word that answers stays
    assert not subject.maskable[np.arange(len(task)), subject.encoded.last()].any()
    assert np.isfinite(np.nansum(subject.read(np.arange(len(task)), subject.maskable)))


def test_resampling_takes_the_words_of_another_group(words):
    model, task, _ = words
    subject = Maskable(model, task)
    assert subject.stand_ins.kind == "resample"
    given = [tuple(t) for t in task.tokens]
    donor = np.array([given.index(tuple(row)) for row in subject.stand_ins.values])
    assert (task.groups[donor] != task.groups).all()
    assert sorted(donor) == list(range(len(task)))
    # all masked: the other item's answer, by the same model
    whole = subject.read(np.arange(len(task)), np.ones_like(subject.maskable))
    np.testing.assert_allclose(whole, subject.clean[donor], atol=1e-5)


def test_a_mask_is_read_once(words):
    model, task, _ = words
    subject = Maskable(model, task)
    items, masked = everything(subject)
    masked[:, 0] = True
    first = subject.read(items, masked)
    passes = subject.passes
    assert passes == len(task)
    assert (subject.read(np.r_[items, items], np.r_[masked, masked]) == np.r_[first, first]).all()
    assert subject.passes == passes


def test_classes_are_those_right_for_some_item(linear):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    model, task = linear([1.0, 0.0, 0.0], x)
    subject = Maskable(model, task)
    assert subject.stand_ins.kind == "mean"
    np.testing.assert_allclose(subject.clean, np.stack([x[:, 0], -x[:, 0]], axis=1), atol=1e-6)
    mean = subject.read(np.arange(20), subject.maskable)
    np.testing.assert_allclose(mean[:, 0], x[:, 0].mean(), atol=1e-6)


def test_values_and_slopes_of_embeddings(words):
    model, task, _ = words
    subject = Maskable(model, task, mask=MASK)
    for batch in subject.continuous(*everything(subject)):
        np.testing.assert_allclose(
            batch.value(batch.x).detach(), np.nanmax(subject.clean[batch.rows], axis=1), atol=1e-5
        )
        masked = subject.of_chosen(batch.rows, subject.maskable[batch.rows])
        np.testing.assert_allclose(batch.value(batch.base).detach(), masked, atol=1e-5)


def test_features_can_be_limited(words):
    model, task, used = words
    subject = Maskable(model, task, among=used)
    np.testing.assert_array_equal(subject.maskable, np.array(used))


def test_tokens_behind_the_one_that_answers_are_no_features(gpt2_dir):
    model = md.load(str(gpt2_dir))
    frame = pd.DataFrame({"prompt": ["w1 w2 <eos>", "w3 <eos>"], "choices": ["yes|no"] * 2, "answer": ["yes", "no"]})
    subject = Maskable(model, Task.from_frame(frame, name="ends"))
    assert subject.maskable.sum(axis=1).tolist() == [2, 1]


def test_a_masked_language_model_keeps_the_mask_that_it_answers_at(bert):
    prompts = ["w1 w2 [MASK] w3", "w4 [MASK]"]
    frame = pd.DataFrame({"prompt": prompts, "choices": ["yes|no"] * 2, "answer": ["yes", "no"]})
    task = Task.from_frame(frame, name="masks")
    subject = Maskable(bert, task)
    assert subject.stand_ins.kind == "token"
    assert subject.maskable.tolist() == [[True, True, False, True], [True, False, False, False]]
    answers = read(bert, task)
    np.testing.assert_array_equal(subject.chosen, answers.choice)
    removed = Maskable(bert, task, mask="remove")
    alone = Task.from_frame(frame.assign(prompt=["w2 [MASK]", "w4 [MASK]"]), name="fewer")
    masked = np.array([[True, False, False, True], [False] * 4])
    np.testing.assert_allclose(probabilities(removed.read(np.arange(2), masked)), read(bert, alone).prob, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "token"}, "has no mask token"),
        ({"mask": 999}, "mask token 999 is outside the vocabulary"),
        ({"mask": "mean"}, "'mean' does not fit tokens"),
        ({"among": [np.ones(2, bool)] * 80}, r"words, row 1 .*among has 2 values; expected a bool for each of its 7"),
        ({"among": [np.zeros(7, bool)] * 80}, "nothing of it can be masked"),
    ],
)
def test_what_does_not_fit_tokens_is_refused(words, options, message):
    with pytest.raises(InputError, match=message):
        Maskable(*words[:2], **options)


def test_what_cannot_be_explained_is_refused(linear, text, words):
    x = np.zeros((4, 2), np.float32)
    model, task = linear([1.0, 1.0], x)
    with pytest.raises(InputError, match="'token' does not fit tensor inputs"):
        Maskable(model, task, mask="token")
    one = Task.from_frame(pd.DataFrame({"answer": [1, 1]}), inputs=x[:2], performance="class", name="one")
    with pytest.raises(InputError, match="all items of task 'one' have one class"):
        Maskable(model, one)
    far = Task.from_frame(pd.DataFrame({"answer": [0, 7]}), inputs=x[:2], performance="class", name="far")
    with pytest.raises(InputError, match="gives 2 logits, and the task has an answer 7"):
        _ = Maskable(model, far).clean
    gpt, _ = text
    free = Task.from_frame(pd.DataFrame({"prompt": ["w1", "w2"], "answer": ["w3", "w4"]}), name="free")
    with pytest.raises(InputError, match="is read as 'generation'"):
        Maskable(gpt, free)
    alike = pd.DataFrame({"prompt": ["w1", "w2"], "choices": ["yes w1|yes w2"] * 2, "answer": ["yes w1", "yes w2"]})
    with pytest.raises(InputError, match="two options begin with the same token"):
        Maskable(gpt, Task.from_frame(alike, name="alike"))


def test_logits_that_are_not_finite_are_refused(linear):
    model, task = linear([1.0, 1.0], np.ones((4, 2), np.float32))
    with torch.no_grad():
        model.module[0].weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match="NaN or infinite"):
        _ = Maskable(model, task).clean
