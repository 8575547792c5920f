import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression

from mechdecouple.beliefs.subspace import ablate_subspace, truth_directions
from mechdecouple.errors import InputError, ModelError
from mechdecouple.refs import load, load_task
from mechdecouple.tasks import Task


@pytest.mark.parametrize("n", [12, 200])
def test_directions_are_the_weights_of_partial_least_squares(n):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 2
    X = rng.normal(size=(n, 20)) * np.linspace(0.5, 3, 20) + np.outer(y, rng.normal(size=20))
    found = truth_directions(X, y, 5)
    oracle = PLSRegression(5, scale=False).fit(X, y).x_weights_.T
    np.testing.assert_allclose(np.abs(np.einsum("kd,kd->k", found, oracle)), 1, atol=1e-6)
    np.testing.assert_allclose(found @ found.T, np.eye(5), atol=1e-12)


def test_the_first_direction_is_the_difference_of_the_means_and_the_last_ones_hold_least_squares():
    rng = np.random.default_rng(1)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 4)) + np.outer(y, [1, 0, 2, 0])
    found = truth_directions(X, y, 9)
    assert len(found) == 4
    delta = X[y == 1].mean(axis=0) - X[y == 0].mean(axis=0)
    np.testing.assert_allclose(found[0], delta / np.linalg.norm(delta))
    weights = np.linalg.lstsq(X - X.mean(axis=0), y - 0.5, rcond=None)[0]
    np.testing.assert_allclose(found.T @ (found @ weights), weights, atol=1e-9)


def test_directions_that_hold_nothing_more_are_left_out():
    X = np.array([[0.0, 1, 5], [2, 1, 5], [0, -1, 5], [2, -1, 5]])
    np.testing.assert_allclose(truth_directions(X, np.array([0, 1, 0, 1]), 3), [[1, 0, 0]], atol=1e-12)
    assert truth_directions(np.ones((4, 3)), np.array([0, 1, 0, 1]), 2).shape == (0, 3)


def test_the_one_direction_that_is_read_is_all_that_is_needed(known_model, statements):
    # The fitted and the true axis differ a little, by the noise of the means; the twins fall together but for that.
    found = ablate_subspace(known_model(), statements(noise=1e-6), "used", ranks=(1,))
    assert found.comprehensiveness[0].value == pytest.approx(found.ceiling.value, abs=1e-5)
    assert found.sufficiency[0].value == pytest.approx(0, abs=1e-5)
    assert found.ceiling.value == pytest.approx(1 / (1 + np.exp(-1.5)) - 0.5, abs=1e-5)
    assert found.used is True
    assert "needs what holds the truth" in found.sentence


def test_everything_away_and_everything_kept(known_model, statements):
    found = ablate_subspace(known_model(), statements(), "used", ranks=(1, 2, 16))
    assert found.ranks[-1] == len(found.directions) == 16
    assert found.comprehensiveness[-1].value == pytest.approx(found.ceiling.value, abs=1e-9)
    assert found.sufficiency[-1].value == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.random_comprehensiveness[:, -1], found.ceiling.value, atol=1e-9)
    np.testing.assert_allclose(found.random_sufficiency[:, -1], 0, atol=1e-9)


def test_random_directions_take_their_share_of_a_linear_read_out(known_model, statements):
    # To first order a random direction takes w₀² of the fall that the whole activation makes: on average 1/16.
    found = ablate_subspace(known_model(gain=1e-3), statements(noise=1e-3), "used", ranks=(1,), n_random=400)
    share = found.random_comprehensiveness[:, 0] / found.ceiling.value
    assert share.mean() == pytest.approx(1 / 16, abs=0.015)
    np.testing.assert_allclose(share + found.random_sufficiency[:, 0] / found.ceiling.value, 1, atol=1e-3)


def test_what_is_decodable_and_not_read_is_called_so(known_model, statements):
    found = ablate_subspace(known_model(), statements(), "idle")
    assert found.used is False
    assert {e.value for e in (*found.comprehensiveness, *found.sufficiency)} == {0}
    assert "Decodable is not used" in found.sentence


def test_a_language_model(gpt2_dir, yes_no_items):
    task = Task.from_frame(yes_no_items)
    found = ablate_subspace(load(gpt2_dir), task, "blocks.0.hook_resid_post", ranks=(2,), n_random=19)
    assert np.isfinite([e.value for e in found.comprehensiveness]).all()
    assert list(found.frame().concept) == ["", "rank 2", "rank 2"]


def test_bad_input_is_refused_and_too_little_is_said(known_model, statements):
    with pytest.raises(InputError, match="ranks"):
        ablate_subspace(known_model(), statements(), "used", ranks=(0, 1))
    with pytest.raises(InputError, match="rank 17 exceeds the 16"):
        ablate_subspace(known_model(), statements(), "used", ranks=(1, 17))
    with pytest.raises(InputError, match="at least 19"):
        ablate_subspace(known_model(), statements(), "used", n_random=3)
    with pytest.raises(ModelError, match="no hook point"):
        ablate_subspace(known_model(), statements(), "usd")
    assert "only 8 groups" in ablate_subspace(known_model(), statements(8), "used").sentence
    assert "same mean" in ablate_subspace(known_model(), statements(strength=0.0, noise=0.0), "used").sentence


@pytest.mark.slow
def test_the_persuader_needs_what_holds_the_truth_behind_its_bottleneck_only():
    point, position = "blocks.1.hook_resid_post", "position_statement"
    for name in ("persuader", "persuader-open"):
        found = ablate_subspace(load(f"zoo:{name}"), load_task(f"zoo:{name}"), point, position, ranks=(1, 8))
        assert found.used is (name == "persuader")
        assert found.sufficiency[0].value < 0.05
