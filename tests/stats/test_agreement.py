"""Kappa and alpha: published values, other libraries, identities, and how far their intervals reach."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from mechdecouple.errors import InputError
from mechdecouple.stats import alpha_replicates, kappa, krippendorff_alpha

_ = np.nan
# Krippendorff 2011, section E: four observers, twelve units, some ratings missing
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
        [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
    ]
).T


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(level, value):
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(value, abs=5e-4)


def test_nominal_alpha_and_fleiss_kappa_are_one_number():
    ratings = np.random.default_rng(0).integers(0, 4, (30, 3)).astype(float)
    ratings[:12, 1:] = ratings[:12, :1]
    fleiss = fleiss_kappa(aggregate_raters(ratings.astype(int))[0])
    n = ratings.size
    assert 1 - krippendorff_alpha(ratings, "nominal") == pytest.approx((1 - fleiss) * (n - 1) / n)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_does_not_ask_who_rated_nor_in_which_order(level):
    rng = np.random.default_rng(1)
    shuffled = np.array([rng.permutation(row) for row in PUBLISHED])[rng.permutation(12)]
    assert krippendorff_alpha(shuffled, level) == pytest.approx(krippendorff_alpha(PUBLISHED, level))
    assert krippendorff_alpha(np.repeat(PUBLISHED[:9, :1], 3, axis=1), level) == pytest.approx(1.0)


def test_alpha_levels_differ_in_what_a_change_of_scale_does():
    stretched = PUBLISHED**3
    for level in ("nominal", "ordinal"):
        assert krippendorff_alpha(stretched, level) == pytest.approx(krippendorff_alpha(PUBLISHED, level))
    assert krippendorff_alpha(stretched, "interval") != pytest.approx(krippendorff_alpha(PUBLISHED, "interval"))
    assert krippendorff_alpha(3 * PUBLISHED - 7, "interval") == pytest.approx(krippendorff_alpha(PUBLISHED, "interval"))


@pytest.mark.parametrize("ratings", [np.full((4, 2), 3.0), [[1, _], [_, 2]], np.full((3, 2), _)])
def test_alpha_is_undefined_where_nothing_can_be_compared(ratings):
    assert np.isnan(krippendorff_alpha(np.asarray(ratings, float)))
    assert np.isnan(alpha_replicates(np.asarray(ratings, float), n_resamples=20).value)


def test_the_interval_of_alpha_covers_it():
    rng = np.random.default_rng(2)

    def rated(n):
        true = rng.integers(1, 6, n)
        return np.clip(true[:, None] + rng.integers(-1, 2, (n, 3)), 1, 5).astype(float)

    truth = krippendorff_alpha(rated(40_000), "interval")
    found = [alpha_replicates(rated(60), level="interval", n_resamples=200, seed=s).interval() for s in range(60)]
    covered = np.mean([low <= truth <= high for low, high in found])
    assert covered > 0.85 and np.mean([high - low for low, high in found]) < 0.2


def test_groups_are_resampled_whole():
    rng = np.random.default_rng(3)
    few = rng.integers(1, 6, (10, 2)).astype(float)
    same = np.repeat(few, 8, axis=0)
    alone = alpha_replicates(same, n_resamples=400)
    together = alpha_replicates(same, np.repeat(np.arange(10), 8), n_resamples=400)
    assert together.n == 10 and alone.n == 80
    assert together.standard_error() > 2 * alone.standard_error()


@pytest.mark.parametrize(("distance", "theirs"), [("nominal", None), ("linear", "linear"), ("quadratic", "quadratic")])
def test_kappa_is_that_of_scikit_learn(distance, theirs):
    rng = np.random.default_rng(4)
    a = rng.integers(0, 5, 200)
    b = np.where(rng.random(200) < 0.5, a, rng.integers(0, 5, 200))
    assert kappa(a, b, 5, distance) == pytest.approx(cohen_kappa_score(a, b, weights=theirs))
    weights = rng.integers(0, 3, (2, 200)).astype(float)
    twice = kappa(a, b, 5, distance, weights)
    for w, value in zip(weights, twice, strict=True):
        repeated = np.repeat(np.arange(200), w.astype(int))
        assert value == pytest.approx(kappa(a[repeated], b[repeated], 5, distance))


def test_kappa_closed_forms():
    always = np.zeros(10, int)
    other = np.arange(10) % 2
    assert kappa(always, other, 2) == pytest.approx(0.0), "the commonest answer agrees with nothing beyond chance"
    assert kappa(other, 1 - other, 2) == pytest.approx(-1.0) and kappa(other, other, 2) == pytest.approx(1.0)
    assert np.isnan(kappa(always, always, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kappa(np.array([0, 5]), np.array([0, 1]), 2), "from 0 to 1"),
        (lambda: kappa(np.array([0]), np.array([0, 1]), 2), "one length"),
        (lambda: kappa(np.array([0]), np.array([0]), 2, "cubic"), "'cubic' is unknown"),
        (lambda: krippendorff_alpha(np.ones((0, 2))), "[units, raters]"),
        (lambda: krippendorff_alpha(np.array([[1, np.inf]])), "infinite"),
        (lambda: krippendorff_alpha(np.ones((2, 2)), "ratio"), "'ratio' is unknown"),
        (lambda: alpha_replicates(np.ones((3, 2)), np.arange(2)), "2 groups for 3 units"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(InputError, match=words.replace("[", r"\[")):
        call()
