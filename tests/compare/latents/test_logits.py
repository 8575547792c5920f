import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import zoo
from mechdecouple.compare.config import make_config
from mechdecouple.compare.latents.logits import LogitDifference, no_difference
from mechdecouple.compare.subject import make_subject
from mechdecouple.extract import extract
from mechdecouple.interventions import steer
from mechdecouple.models import wrap
from mechdecouple.refs import load
from mechdecouple.tasks import Task

POINT = "blocks.0.hook_resid_post"


def subject_of(model, task, position="last", point=None):
    acts = extract(model, task, [point or model.layer_points[-2]], position, progress=False)
    return make_subject(model, task, np.arange(len(task)), acts, make_config({"position": position}), "token")


@pytest.fixture(scope="module")
def uneven(yes_no_items):
    """Options of one and of several tokens, two or three of them an item."""
    items = yes_no_items.drop(columns="truth").copy()
    items["choices"] = ["yes|no", "yes w1 w2|no w3|w4", "yes w1|yes w2"] * 20
    items["answer"] = [c.split("|")[i % 2] for i, c in enumerate(items["choices"])]
    return Task.from_frame(items, name="uneven")


def said(answers, right):
    """The difference, from the log-probabilities of the answers."""
    logp = np.where(np.isfinite(answers.logp), answers.logp, np.nan)
    own = logp[np.arange(len(right)), right]
    return own - (np.nansum(logp, axis=1) - own) / (np.isfinite(logp).sum(axis=1) - 1)


def test_it_is_what_the_answers_say(gpt2_dir, llama_dir, yes_no_csv, uneven, gaussian_task):
    classes = pd.DataFrame({"prompt": ["w1 w2", "w3 w4 w5", "w6"] * 5, "answer": np.arange(15)})
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
    for model, task in (
        (load(gpt2_dir), Task.from_file(yes_no_csv)),
        (load(llama_dir), uneven),
        (load(gpt2_dir), Task.from_frame(classes, performance="class")),
        (wrap(plain, "plain"), gaussian_task),
    ):
        subject = subject_of(model, task)
        found = LogitDifference(subject, subject.acts.hook_points[0])
        np.testing.assert_allclose(found.clean, said(subject.baseline, found._right), atol=5e-5)


def test_what_is_added_is_added_where_the_activations_were_read(gpt2_dir, uneven):
    model = load(gpt2_dir)
    subject = subject_of(model, uneven, point=POINT)
    found = LogitDifference(subject, POINT)
    vector = np.random.default_rng(0).normal(size=16)
    items = np.arange(60)
    steered = subject.answers(POINT, lambda _, at: steer(torch.tensor(vector, dtype=torch.float32), 1.0, at))
    moved = found.moved(items, items, items, np.tile(vector, (60, 1)))
    np.testing.assert_allclose(moved, said(steered, found._right), atol=5e-5)
    assert np.abs(moved - found.clean).max() > 0.05
    # items may repeat, come in any order, and stay as they are
    some = found.moved(np.array([7, 3, 7]), np.array([2, 0]), np.array([7, 7]), np.stack([vector, -vector]))
    opposite = found.moved(np.array([7]), np.array([0]), np.array([7]), -vector[None])
    np.testing.assert_allclose(some, [opposite[0], found.clean[3], moved[7]], atol=1e-5)


@pytest.mark.parametrize("position", ["last", "mean", "all"])
def test_slopes_agree_with_finite_differences(gpt2_dir, yes_no_csv, position):
    subject = subject_of(load(gpt2_dir), Task.from_file(yes_no_csv), position, POINT)
    found = LogitDifference(subject, POINT)
    slopes = found.gradient(np.arange(60))
    assert slopes.shape == (len(subject.acts), 16)
    rng, step = np.random.default_rng(0), 5e-4
    vectors = rng.normal(size=(len(subject.acts), 16))
    ends = [
        found.moved(np.arange(60), found.places.item, np.arange(len(found.places.item)), s * vectors[found.places.row])
        for s in (step, -step)
    ]
    expected = np.zeros(60)
    row_item = np.zeros(len(subject.acts), int)
    row_item[found.places.row] = found.places.item
    np.add.at(expected, row_item, (slopes * vectors).sum(axis=1))
    measured = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(measured, expected, atol=0.05 * np.abs(expected).max())
    assert np.abs(expected).max() > 0.01
    other = found.gradient(np.array([5, 2]))
    mine = np.isin(row_item, [5, 2])
    np.testing.assert_allclose(other[mine], slopes[mine], atol=1e-6)
    assert not other[~mine].any()


def test_places_leave_out_special_tokens_and_padding(gpt2_dir, yes_no_csv):
    task = Task.from_file(yes_no_csv)
    lengths = np.array([len(prompt.split()) for prompt in task.prompts])
    for position in ("mean", "all"):
        places = LogitDifference(subject_of(load(gpt2_dir), task, position, POINT), POINT).places
        np.testing.assert_array_equal(np.bincount(places.item), lengths)
        assert (places.token < lengths[places.item]).all()
        hooked = subject_of(load("zoo:factored"), zoo.task("factored", 12), position, POINT)
        assert LogitDifference(hooked, POINT).places.token.min() == 1  # its first token is special


def test_answers_that_are_no_options_have_no_difference(gpt2_dir):
    model, task = load(gpt2_dir), Task.from_frame(pd.DataFrame({"prompt": ["w1 w2 w3", "w4 w5 w6"]}))
    assert "'loss' are not among options" in no_difference(subject_of(model, task), "")
    assert no_difference(None, "why") == "why"
    assert no_difference(subject_of(load("zoo:factored"), zoo.task("factored", 20)), "") == ""
