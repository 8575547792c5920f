from itertools import combinations

import numpy as np
import pytest

from mechdecouple.behavior import pass_at_k
from mechdecouple.errors import InputError


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_it_is_the_share_of_subsets_with_a_right_draw(k):
    scores = np.array([[0, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], float)
    subsets = list(combinations(range(5), k))
    expected = [np.mean([row[list(chosen)].any() for chosen in subsets]) for row in scores]
    assert pass_at_k(scores, k) == pytest.approx(expected, abs=1e-12)


def test_one_try_is_the_mean_and_all_tries_are_any():
    scores = (np.random.default_rng(0).random((50, 64)) < 0.05).astype(float)
    assert pass_at_k(scores, 1) == pytest.approx(scores.mean(axis=1), abs=1e-12)
    assert pass_at_k(scores, 64).tolist() == scores.any(axis=1).astype(float).tolist()


def test_few_draws_do_not_bend_it():
    rng, chance, k = np.random.default_rng(1), 0.2, 4
    for draws in (4, 8, 32):
        found = pass_at_k((rng.random((20_000, draws)) < chance).astype(float), k)
        assert found.mean() == pytest.approx(1 - (1 - chance) ** k, abs=0.01)


@pytest.mark.parametrize(("scores", "k"), [([[1.0, 0.0]], 3), ([[1.0, 0.0]], 0), ([[0.5, 0.0]], 1)])
def test_what_is_no_number_of_draws_or_no_outcome_is_refused(scores, k):
    with pytest.raises(InputError):
        pass_at_k(np.array(scores), k)
