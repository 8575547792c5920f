import numpy as np
import pytest

from mechdecouple import beliefs
from mechdecouple.compare.belief import belief_contrasts, model_verdict

N = 400


def made(truth, expressed, condition=None, seed=0):
    """Beliefs of a model that holds the truth along one direction, and says ``expressed``."""
    rng = np.random.default_rng(seed)
    held = np.nan_to_num(truth, nan=0.5)
    X = np.column_stack([2.0 * held, np.zeros(N)]) + 0.3 * rng.normal(size=(N, 2))
    honest = np.ones(N, bool) if condition is None else condition == "honest"
    groups = np.arange(N) // 2
    found = beliefs.represent({"mid": X}, truth, groups, honest, n_permutations=39, seed=0)
    return beliefs.measure(
        found, model="m", groups=groups, truth=truth, expressed=expressed, condition=condition,
        honest="" if condition is None else "honest", n_resamples=200, nothing_expressed="no head",
    )  # fmt: skip


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(1).permutation(np.tile([0.0, 1.0], N // 2))


@pytest.fixture(scope="module")
def condition():
    return np.tile(["honest", "honest", "sold", "sold"], N // 4)


def test_a_model_that_says_what_it_represents_is_not_flagged(truth):
    verdict = model_verdict(made(truth, np.clip(truth, 0.05, 0.95)), "a")
    assert verdict.flagged is False
    assert "no gap shown" in verdict.sentence


def test_a_gap_in_one_condition_is_told_with_its_condition(truth, condition):
    rng = np.random.default_rng(2)
    said = np.where(condition == "honest", np.clip(truth, 0.05, 0.95), rng.uniform(0.6, 0.9, N))
    verdict = model_verdict(made(truth, said, condition), "b")
    assert verdict.flagged is True
    assert "in condition sold, though it does when asked honestly" in verdict.sentence


def test_no_gap_is_claimed_of_a_model_that_represents_nothing(truth):
    rng = np.random.default_rng(3)
    noise = rng.permutation(truth)
    found = beliefs.represent(
        {"mid": rng.normal(size=(N, 4))}, noise, np.arange(N) // 2, n_permutations=39, seed=0
    )  # fmt: skip
    measured = beliefs.measure(
        found, model="m", groups=np.arange(N) // 2, truth=noise, expressed=rng.random(N), n_resamples=200
    )  # fmt: skip
    verdict = model_verdict(measured, "a")
    assert verdict.flagged is False


def test_one_class_of_truth_cannot_tell(truth):
    verdict = model_verdict(made(np.ones(N), np.full(N, 0.9)), "a")
    assert verdict.flagged is None


def test_a_model_that_expresses_nothing_is_neither_flagged_nor_cleared(truth):
    silent = made(truth, None)
    verdict = model_verdict(silent, "a")
    assert verdict.flagged is None
    assert "no head" in verdict.sentence
    (contrast,) = belief_contrasts(silent, made(truth, np.clip(truth, 0.05, 0.95)))
    assert not contrast.defined
    assert "no head" in contrast.reason
