"""What the shipped models were made to show, judged by independent oracles."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from mechdecouple import stats, zoo
from mechdecouple.models import Batch, wrap
from mechdecouple.zoo import store
from mechdecouple.zoo.recipe import READ
from mechdecouple.zoo.recipes import RECIPES

DEMO = ("demo-tidy", "demo-fractured")
SHIPPED = [name for name, _, ready in zoo.names() if ready and not name.startswith("planted-")]


@pytest.fixture(scope="module")
def seen(run, margin):
    """Per demo model: margin for True [n], activations at the bar [n, d]."""
    found, task = {}, zoo.task("demo-tidy")
    for name in DEMO:
        model = zoo.load(name)
        logits, x = run(model, task, READ)
        found[name] = margin(model, task, logits), x
    return found


@pytest.fixture(scope="module")
def task():
    return zoo.task("demo-tidy")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_are_those_of_their_recipe(name):
    assert store.read(RECIPES[name], 0, store.SHIPPED) is not None


def test_demo_models_are_equally_accurate(seen, task):
    rows = task.honest_mask
    right = [((seen[name][0] > 0) == (task.truth == 1))[rows].astype(float) for name in DEMO]
    assert min(r.mean() for r in right) >= 0.97
    test = stats.paired_tost(*right, task.groups[rows], 0.02, 0.05)
    assert test.p < 0.05


def test_demo_models_say_different_things_under_pressure(seen, task):
    rows = ~task.honest_mask
    tidy, fractured = (roc_auc_score(task.truth[rows], seen[name][0][rows]) for name in DEMO)
    assert tidy >= 0.98 and abs(fractured - 0.5) <= 0.08
    said = 1 / (1 + np.exp(-seen["demo-fractured"][0][rows]))
    assert said.mean() == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("name", DEMO)
def test_demo_models_both_hold_the_truth(seen, task, name):
    rows = task.honest_mask
    x, y = seen[name][1][rows], task.truth[rows]
    score = cross_val_predict(
        LogisticRegression(max_iter=5000), x, y, groups=task.groups[rows], cv=GroupKFold(5), method="decision_function"
    )
    assert roc_auc_score(y, score) >= 0.95


def test_demo_models_hold_it_differently(seen, task, ccgp):
    rows = task.honest_mask
    tidy, fractured = (ccgp(seen[name][1][rows], task.truth[rows], task.context[rows]) for name in DEMO)
    assert tidy >= 0.95 and fractured <= 0.65


def test_within_a_topic_both_can_be_read_alike(seen, task):
    found = []
    for name in DEMO:
        hits = []
        for topic in np.unique(task.context):
            rows = task.honest_mask & (task.context == topic)
            x, y = seen[name][1][rows], task.truth[rows]
            guess = cross_val_predict(
                LogisticRegression(max_iter=5000), x, y, groups=task.groups[rows], cv=GroupKFold(5)
            )
            hits.append((guess == y).mean())
        found.append(np.mean(hits))
    assert min(found) >= 0.95 and abs(found[0] - found[1]) <= 0.03


@pytest.mark.parametrize("name", DEMO)
def test_the_answer_rests_on_the_bar_alone(name):
    """With the bar of another statement patched in, the answer is the other statement's, whatever the prompt."""
    model, task = zoo.load(name), zoo.task(name, n=200, seed=0)
    tokens = torch.tensor(model.tokenizer(task.prompts)["input_ids"])
    tokens[:, 6:] = tokens[0, 6:]
    other = tokens.flip(0)
    points = list(model.layer_points)
    with torch.no_grad():
        source = model.forward(Batch(tokens=other), capture=points)

        def put(point):
            def edit(x, batch):
                x = x.clone()
                x[:, 5] = source.activations[point][:, 5]
                return x

            return edit

        patched = model.forward(Batch(tokens=tokens), edits={p: put(p) for p in points})
    torch.testing.assert_close(patched.logits[:, 7], source.logits[:, 7], rtol=0, atol=1e-6)


def test_a_short_retraining_gives_the_same_verdict(run, margin, ccgp):
    recipe = dataclasses.replace(RECIPES["factored"], steps=300)
    judge_twin(wrap(recipe.train(seed=3, progress=False)), "factored", run, margin, ccgp)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["factored", "fractured"])
def test_twins_of_another_seed_give_the_same_verdict(run, margin, ccgp, name):
    judge_twin(wrap(zoo.train(name, seed=7, progress=False)), name, run, margin, ccgp)


@pytest.mark.parametrize("name", ["factored", "fractured"])
def test_shipped_twins_differ_as_they_should(run, margin, ccgp, name):
    judge_twin(zoo.load(name), name, run, margin, ccgp)


def judge_twin(model, name, run, margin, ccgp):
    task = zoo.task(name)
    logits, x = run(model, task, READ)
    right = (margin(model, task, logits) > 0) == (task.answers == "yes")
    assert right[~task.shift_mask].mean() >= 0.99
    one = ~np.array([g == h for g, h in zip(task.groups, np.r_[[""], task.groups[:-1]], strict=True)])
    generalises = np.mean([ccgp(x[one], y[one], task.context[one]) for y in task.concepts.values()])
    if name == "factored":
        assert generalises >= 0.95 and right[task.shift_mask].mean() >= 0.99
    else:
        assert generalises <= 0.65 and right[task.shift_mask].mean() <= 0.6
