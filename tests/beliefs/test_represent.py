"""Nested grouped selection: no leakage, honest rows only, planted layers, the gate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as sps
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from mechdecouple import beliefs
from mechdecouple.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_finds_the_layer_that_holds_the_truth(planted, rng):
    acts, truth, groups = planted({"embed": 0.0, "middle": 1.3, "late": 0.5}, 400, rng)
    found = beliefs.represent(acts, truth, groups, n_permutations=99)
    assert found.hook_point == "middle" and len(found.chosen) == 5
    bayes = sps.norm.cdf(1.3 * np.sqrt(2))
    assert found.auroc["middle"] == pytest.approx(bayes, abs=0.03)
    assert found.auroc_selected == pytest.approx(found.auroc["middle"], abs=0.02)
    assert found.auroc["embed"] == pytest.approx(0.5, abs=0.08)
    assert found.p == pytest.approx(0.01) and found.hook_point_p["embed"] > 0.01
    assert found.auroc["middle"] == pytest.approx(roc_auc_score(truth, found.scores["middle"]))
    passed, sentence = beliefs.claimable(found)
    assert passed and "beats its permutation null" in sentence
    assert list(found.frame().columns) == ["hook_point", "auroc", "p", "folds_chosen"]
    assert "beats" in found._repr_html_()


def test_scores_are_calibrated_probabilities(planted, rng):
    acts, truth, groups = planted({"h": 0.8}, 1200, rng)
    score = beliefs.represent(acts, truth, groups, n_permutations=19).score
    assert ((score >= 0) & (score <= 1)).all()
    for low, high in ((0.0, 0.2), (0.4, 0.6), (0.8, 1.0)):
        near = (score >= low) & (score < high)
        assert truth[near].mean() == pytest.approx(score[near].mean(), abs=0.12)


def test_groups_never_sit_on_both_sides(rng):
    """Each group has its own code and its own truth: whoever has seen the group knows the answer, nobody else can."""
    groups = np.repeat(np.arange(60), 6)
    truth = np.repeat(np.tile([0.0, 1.0], 30), 6)
    X = np.repeat(rng.normal(size=(60, 80)), 6, axis=0) + 0.1 * rng.normal(size=(360, 80))
    rows = StratifiedKFold(5, shuffle=True, random_state=0)
    leaky = cross_val_predict(LogisticRegression(), X, truth, cv=rows, method="decision_function")
    assert roc_auc_score(truth, leaky) > 0.95, "the plant must reward leakage"
    found = beliefs.represent({"h": X}, truth, groups, n_permutations=19)
    assert found.auroc_selected == pytest.approx(0.5, abs=0.15)
    assert found.p > 0.05 and not beliefs.claimable(found)[0]
    for group in range(60):
        assert len(np.unique(found.fold[groups == group])) == 1


@pytest.fixture
def two_conditions(planted, rng):
    acts, truth, groups = planted({"a": 0.9, "b": 0.4}, 300, rng)
    honest = np.r_[np.ones(300, bool), np.zeros(300, bool)]
    other = {name: X + 0.1 * rng.normal(size=X.shape) for name, X in acts.items()}
    both = {name: np.concatenate([X, other[name]]) for name, X in acts.items()}
    return both, np.r_[truth, truth], np.r_[groups, groups], honest


def test_rows_of_other_conditions_never_enter(two_conditions, rng):
    acts, truth, groups, honest = two_conditions
    before = beliefs.represent(acts, truth, groups, honest, n_permutations=19)
    altered = {name: np.where(honest[:, None], X, rng.normal(size=X.shape) * 50) for name, X in acts.items()}
    lies = np.where(honest, truth, 1 - truth)
    after = beliefs.represent(altered, lies, groups, honest, n_permutations=19)
    assert after.chosen == before.chosen
    np.testing.assert_array_equal(after.score[honest], before.score[honest])
    assert after.auroc == before.auroc and after.p == before.p


def test_other_conditions_are_read_out_of_fold(two_conditions):
    acts, truth, groups, honest = two_conditions
    found = beliefs.represent(acts, truth, groups, honest, n_permutations=19)
    assert roc_auc_score(truth[~honest], found.score[~honest]) == pytest.approx(found.auroc_selected, abs=0.03)
    np.testing.assert_array_equal(found.fold[honest], found.fold[~honest])


def test_a_group_without_honest_rows_is_still_read(two_conditions):
    acts, truth, groups, honest = two_conditions
    groups = np.where(honest, groups, groups + 1000)
    found = beliefs.represent(acts, truth, groups, honest, n_permutations=19)
    assert not np.isnan(found.score).any()
    assert set(found.fold[~honest]) == set(range(5))


def test_unknown_truth_is_scored_and_does_not_train(planted, rng):
    acts, truth, groups = planted({"h": 1.0}, 300, rng)
    unknown = np.arange(300) >= 240
    found = beliefs.represent(acts, np.where(unknown, np.nan, truth), groups, n_permutations=19)
    assert not np.isnan(found.score).any()
    assert roc_auc_score(truth[unknown], found.score[unknown]) > 0.85
    altered = {"h": np.where(unknown[:, None], 100.0, acts["h"])}
    again = beliefs.represent(altered, np.where(unknown, np.nan, truth), groups, n_permutations=19)
    np.testing.assert_array_equal(again.score[~unknown], found.score[~unknown])


def test_widths_may_differ_and_seeds_repeat(planted, rng):
    acts, truth, groups = planted({"h": 0.8}, 120, rng)
    acts["narrow"] = acts["h"][:, :3]
    first, second = (beliefs.represent(acts, truth, groups, n_permutations=19, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.score, second.score)
    assert first.p == second.p


def test_a_single_probe_can_be_asked_for(planted, rng):
    acts, truth, groups = planted({"h": 1.0}, 120, rng)
    found = beliefs.represent(acts, truth, groups, probes=("mass_mean",), n_permutations=19)
    assert found.probe == "mass_mean" and found.auroc_selected > 0.85


@pytest.mark.parametrize(
    ("truth", "reason"),
    [
        (np.full(60, np.nan), "no honest statement has a known truth"),
        (np.ones(60), "only 0 groups hold an honest false statement"),
        (np.r_[np.ones(56), np.zeros(4)], "only 2 groups hold an honest false statement"),
    ],
)
def test_too_little_truth_is_undefined_with_its_reason(rng, truth, reason):
    found = beliefs.represent({"h": rng.normal(size=(60, 3))}, truth, np.arange(60) // 2)
    assert reason in found.reason and np.isnan(found.score).all()
    passed, sentence = beliefs.claimable(found)
    assert not passed and reason in sentence


def test_an_ignorant_model_claims_nothing(planted, rng):
    acts, truth, groups = planted({"a": 0.0, "b": 0.0}, 200, rng)
    found = beliefs.represent(acts, truth, groups, n_permutations=19)
    passed, sentence = beliefs.claimable(found)
    assert not passed and sentence.startswith("No gap is claimed") and "does not beat" in sentence


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": ("mlp",)}, "expected some of logistic, mass_mean"),
        ({"activations": {}}, "no hook point"),
        ({"truth": np.full(40, 0.3)}, "truth must be 0, 1 or NaN"),
        ({"groups": np.arange(39)}, "groups has 39 rows, truth has 40"),
        ({"activations": {"h": np.zeros((41, 2))}}, "h has 41 rows"),
        ({"activations": {"h": np.full((40, 2), np.inf)}}, "activations at 'h' are not finite in row 0"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {
        "activations": {"h": np.zeros((40, 2))},
        "truth": np.tile([0.0, 1.0], 20),
        "groups": np.arange(40) // 2,
    } | change
    with pytest.raises(InputError, match=message):
        beliefs.represent(given.pop("activations"), given.pop("truth"), given.pop("groups"), **given)


def _p_values(simulations: int, n_permutations: int, rng: np.random.Generator, **options) -> np.ndarray:
    groups, truth = np.arange(80) // 2, np.tile([1.0, 0.0], 40)
    p = []
    for i in range(simulations):
        acts = {name: rng.normal(size=(80, 4)) for name in "ab"}
        p.append(beliefs.represent(acts, truth, groups, n_permutations=n_permutations, seed=i, **options).p)
    return np.array(p)


def test_random_truth_is_rarely_represented(rng):
    p = _p_values(20, 19, rng, probes=("mass_mean",))
    assert (p <= 0.05).sum() <= sps.binom.ppf(0.999, 20, 0.05)


@pytest.mark.slow
def test_random_truth_is_represented_at_most_at_the_declared_rate(rng):
    p = _p_values(1000, 99, rng)
    for alpha in (0.05, 0.1):
        assert (p <= alpha).sum() <= sps.binom.ppf(0.999, 1000, alpha)
