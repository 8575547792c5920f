import dataclasses

import numpy as np
import pytest

from mechdecouple import stats
from mechdecouple.beliefs._curves import auroc_replicates, believed
from mechdecouple.beliefs.trajectory import Trajectories, trajectories, trajectory
from mechdecouple.errors import InputError, MismatchError, ModelError
from mechdecouple.models import untrained
from mechdecouple.probes import grouped_folds
from mechdecouple.refs import load, load_task
from mechdecouple.tasks import Task


@pytest.fixture(scope="module")
def task(yes_no_items):
    return Task.from_frame(yes_no_items)


@pytest.fixture(scope="module")
def fractured():
    """A model that says what it represents when asked honestly, and under pressure something else."""
    whole = load_task("zoo:demo-fractured")
    groups = np.unique(whole.groups)[::3]
    model = load("zoo:demo-fractured")
    return trajectory(
        model, whole.select(np.flatnonzero(np.isin(whole.groups, groups))), ("position_statement", "last")
    )


def test_the_truth_travels_to_the_answer_when_asked_honestly_and_stops_under_pressure(fractured):
    assert fractured.conditions == ("honest", "pressured")
    bar = fractured.represented["position_statement", "pressured"].value
    assert bar[0] == 0.5
    assert bar.max() > 0.95
    honest, pressed = fractured.expressed["honest"].value, fractured.expressed["pressured"].value
    assert honest[0] == pressed[0] == 0.5
    assert honest[-1] > 0.95
    assert 0.4 < pressed[-1] < 0.6
    assert fractured.gap("honest").value[-1] < 0.05
    assert fractured.gap("pressured").value[-1] > 0.3
    told = fractured.sentence.split("demo-fractured, ")
    assert "said from" in told[1]
    assert "not said" in told[2]


def test_reading_is_the_same_in_all_conditions_before_the_condition_is_read(fractured):
    honest, pressed = (fractured.represented["position_statement", c] for c in fractured.conditions)
    np.testing.assert_allclose(honest.value, pressed.value, atol=1e-6)


def test_beliefs_come_from_honest_rows_of_other_groups_alone():
    rng = np.random.default_rng(0)
    n, truth = 160, np.arange(160) % 2
    X, group, honest = rng.normal(size=(n, 120)), np.arange(n) // 4, np.arange(n) % 4 < 2
    fold = grouped_folds(truth, group, 5, 0)
    score = believed(X, truth, group, honest, fold, 0)
    # noise, as many columns as rows: a probe that had seen the rows would tell them apart
    assert 0.3 < stats.weighted_auroc(score, truth) < 0.7
    pressed = np.where(honest[:, None], X, 9 * X[::-1])
    np.testing.assert_array_equal(believed(pressed, truth, group, honest, fold, 0)[honest], score[honest])


def test_replicates_are_those_of_the_jackknife():
    rng = np.random.default_rng(0)
    truth, group = rng.integers(2, size=200), np.arange(200) // 2
    scores, rows = rng.normal(size=(3, 200)) + truth, np.arange(200) % 5 > 0
    blocks = stats.jackknife_blocks(group, 10)
    found = auroc_replicates(scores, truth, blocks, rows, group)
    for layer, one in enumerate(scores):
        s, t = one[rows], truth[rows]
        oracle = stats.jackknife(lambda r, s=s, t=t: stats.weighted_auroc(s[r], t[r]), blocks[rows])
        np.testing.assert_allclose(found[layer].value, oracle.value)
        np.testing.assert_allclose(found[layer].replicates, oracle.replicates)


def test_a_model_less_itself_is_zero_and_other_depths_do_not_pair(fractured):
    pair = Trajectories(fractured, fractured)
    difference = pair.difference("pressured")
    np.testing.assert_array_equal(difference.value, 0)
    np.testing.assert_array_equal(difference.standard_error(), 0)
    short = dataclasses.replace(fractured, hook_points=fractured.hook_points[1:])
    with pytest.raises(MismatchError, match="none to pair"):
        Trajectories(fractured, short).difference()
    assert len(pair.frame()) == 2 * len(fractured.frame()) == 2 * 4 * 6


def test_gaps_are_measurements_and_pair_by_layer(fractured):
    rows = Trajectories(fractured, fractured).measurements()
    assert len(rows) == 3 * 4 * 4
    paired = [row for row in rows if row.model_b]
    assert {row.estimate.value for row in paired} == {0.0}
    own = {(row.position, row.context, row.hook_point): row.estimate.value for row in rows if not row.model_b}
    last = fractured.hook_points[-1]
    assert own["last", "pressured", last] == fractured.gap("pressured", "last").value[-1]


def test_two_language_models_of_any_kind(gpt2_dir, llama_dir, task):
    both = trajectories(load(gpt2_dir), untrained(load(llama_dir)), task, ("mean",))
    assert both.a.conditions == ("",)
    assert np.isfinite(both.frame().value).all()
    assert both.difference().shape == (3,)


def test_models_that_express_nothing_still_have_what_they_represent(known_model, statements):
    model = known_model()
    found = trajectory(model, statements(), hook_points=("used",))
    assert found.expressed == {}
    assert "nothing is expressed" in found.sentence
    np.testing.assert_array_equal(found.represented["last", ""].value, 1)
    assert found.measurements() == []
    with pytest.raises(InputError, match="no gap by layer"):
        found.gap()


def test_bad_input_is_refused(gpt2_dir, known_model, statements, task, fractured):
    with pytest.raises(InputError, match="such as 'last'"):
        trajectory(load(gpt2_dir), task, ("all",))
    with pytest.raises(InputError, match="only 9 groups"):
        trajectory(known_model(), statements(9), hook_points=("used",))
    with pytest.raises(InputError, match="only 0 groups"):
        trajectory(known_model(), statements(truth=np.nan), hook_points=("used",))
    with pytest.raises(ModelError, match="no hook point"):
        trajectory(load(gpt2_dir), task, hook_points=("blocks.9.hook_resid_post",))
    with pytest.raises(InputError, match="nothing was read at mean"):
        fractured.gap(position="mean")
