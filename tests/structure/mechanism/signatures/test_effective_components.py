import numpy as np
import pytest

from mechdecouple.structure.mechanism.signatures.effective_components import effective_components


def test_it_counts_components_of_equal_effect():
    rng = np.random.default_rng(0)
    one = rng.normal(size=50)
    for m in (1, 3, 6):
        effect = np.zeros((8, 50))
        effect[:m] = [rng.permutation(one) * rng.choice([-1, 1], 50) for _ in range(m)]
        assert effective_components(effect) == pytest.approx(m)
        assert effective_components(7 * effect[::-1]) == pytest.approx(m)


def test_small_effects_count_by_their_squares():
    assert effective_components(np.array([[2.0, -2.0], [1.0, 1.0]])) == pytest.approx(25 / 17)


def test_without_any_effect_there_is_no_number():
    assert np.isnan(effective_components(np.zeros((3, 10))))
