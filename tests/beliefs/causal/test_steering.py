import dataclasses

import numpy as np
import pytest

from mechdecouple.beliefs.steering import INERT_NIE, steer
from mechdecouple.errors import InputError, ModelError
from mechdecouple.refs import load, load_task
from mechdecouple.results import Estimate


def test_moving_by_the_whole_difference_makes_false_statements_true_ones(known_model, statements):
    # Each false statement plus the mean difference is its true twin: the effect is one whatever the nonlinearity.
    found = steer(known_model(), statements(), "used")
    assert found.nie.value == pytest.approx(1, abs=1e-9)
    assert found.mirror.value == pytest.approx(1, abs=1e-9)
    assert found.used is True
    assert found.length == pytest.approx(2)
    assert "follows the represented truth" in found.sentence


def test_a_slanting_direction_moves_by_the_square_of_its_cosine(known_model, statements):
    # (θ·Δμ)θ has the share cos² of Δμ along Δμ, and all of the rest is off what a nearly linear read-out sees.
    found = steer(known_model(gain=0.15), statements(), "used", probe="logistic")
    assert 0.1 < found.length / 2 < 0.99
    assert found.nie.value == pytest.approx((found.length / 2) ** 2, abs=0.01)


def test_what_is_decodable_and_not_read_is_called_so(known_model, statements):
    found = steer(known_model(), statements(), "idle")
    assert found.decodable.value == 1
    assert found.nie.value == 0
    assert found.mirror.value == 0
    assert found.used is False
    assert "Decodable is not used" in found.sentence


def test_only_the_part_along_what_is_read_counts(known_model, statements):
    # The truth lies along two axes of which one is read: taking the move along both still moves that one all the way,
    # while a model that reads a third axis is not moved.
    task = statements(axes=(0, 1))
    assert steer(known_model((0,)), task, "used").nie.value == pytest.approx(1, abs=1e-9)
    other = statements(axes=(0,))
    assert "asserted alike" in steer(known_model((2,)), other, "used").nie.reason


def test_random_moves_of_equal_length_have_the_effect_that_their_share_of_the_axis_gives(known_model, statements):
    # Nearly linear read-out: the effect of a unit vector w is w[0], with mean 0 and variance 1/16 over directions.
    found = steer(known_model(gain=0.15), statements(), "used", n_random=200)
    assert found.random.mean() == pytest.approx(0, abs=4 / np.sqrt(16 * 200))
    assert found.random.std() == pytest.approx(0.25, abs=0.05)
    np.testing.assert_allclose(found.random, found.random_mirror, atol=0.01)
    assert found.nie.null == pytest.approx(found.random.mean())
    assert found.nie.p == pytest.approx(1 / 201)


def test_shares_of_next_to_nothing_are_not_taken(known_model, statements):
    assert "asserted alike" in steer(known_model(gain=0.05), statements(), "used").nie.reason


def test_a_hint_of_the_truth_is_not_called_decodable(known_model, statements):
    found = steer(known_model(), statements(), "idle")
    hint = dataclasses.replace(found, decodable=Estimate(value=0.53, low=0.51, high=0.55))
    assert "hardly be read" in hint.sentence


def test_one_minus_the_probability_leaves_the_effect_as_it_is(known_model, statements):
    task = statements(seed=3)
    assert steer(known_model(gain=-1.5), task, "used").nie.value == pytest.approx(1, abs=1e-9)


def test_activations_of_any_shape(known_model, statements):
    found = steer(known_model(shape=(2, 2, 4)), statements(), "used")
    assert found.nie.value == pytest.approx(1, abs=1e-9)


def test_bad_input_is_refused(known_model, statements):
    with pytest.raises(InputError, match="at least 19"):
        steer(known_model(), statements(), "used", n_random=5)
    with pytest.raises(InputError, match="probe 'ccs'"):
        steer(known_model(), statements(), "used", probe="ccs")
    with pytest.raises(ModelError, match="no hook point 'usd'"):
        steer(known_model(), statements(), "usd")
    assert "says nothing" in steer(known_model(), statements(8), "used").sentence


def test_the_table_has_a_row_a_number(known_model, statements):
    rows = steer(known_model(), statements(), "used").frame()
    assert list(rows.metric) == ["steering_nie", "steering_nie_mirror", "decodable_auroc"]
    assert set(rows.hook_point) == {"used"}


@pytest.mark.slow
def test_the_persuader_uses_what_it_represents_only_behind_its_bottleneck():
    for name, low, high in (("persuader", 0.8, 1.2), ("persuader-open", -INERT_NIE, INERT_NIE)):
        found = steer(load(f"zoo:{name}"), load_task(f"zoo:{name}"), "blocks.1.hook_resid_post", "position_statement")
        assert low <= found.nie.value <= high
        assert low <= found.mirror.value <= high
        assert found.used is (name == "persuader")
