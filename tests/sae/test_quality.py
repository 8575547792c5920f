import dataclasses

import numpy as np
import pytest

from mechdecouple.results import Estimate
from mechdecouple.sae import evaluate
from mechdecouple.sae.quality import judge
from mechdecouple.sae.spliced import Spliced


class Halves:
    """Eight rectified coordinates: each row fires four of twelve latents, four of which never fire."""

    def __init__(self, scale=1.0, keep=4):
        self.scale, self.keep = scale, keep

    def encode(self, X):
        halves = np.concatenate([X[:, : self.keep].clip(0), (-X[:, : self.keep]).clip(0)], 1)
        return np.concatenate([halves, np.zeros((len(X), 4))], 1)

    def decode(self, z):
        out = np.zeros((len(z), 6))
        out[:, : self.keep] = self.scale * (z[:, : self.keep] - z[:, self.keep : 2 * self.keep])
        return out


@pytest.fixture(scope="module")
def X():
    X = np.random.default_rng(0).normal(size=(600, 6)) * [3, 3, 3, 3, 1, 1]
    return X - X.mean(0)


def failed(quality):
    return {check.name for check in quality.checks if not check.passed}


def spliced(loss, accuracy=1.0):
    recovered = {
        name: {"zero": Estimate(value=0.99), "mean": Estimate(value=value, low=value - 0.1, high=value + 0.1)}
        for name, value in (("loss", loss), ("accuracy", accuracy))
    }
    return Spliced({}, recovered, 1, "m", "h", "all")


def test_a_good_dictionary_passes_with_its_cautions(X):
    quality = judge(evaluate(Halves(), X))
    assert quality.good_enough and not quality.shortcomings
    assert failed(quality) == {"dense latents"}  # a rectified coordinate fires on every second row
    assert "100% of its live latents" in quality.cautions
    assert list(quality.frame().columns) == ["name", "value", "bound", "passed", "required", "finding"]
    assert "good enough" in quality._repr_html_()


def test_each_shortcoming_is_named(X):
    poor = judge(evaluate(Halves(keep=2), X))
    assert failed(poor) >= {"explained variance"} and "held-out explained variance 0.4" in poor.shortcomings
    dead = evaluate(Halves(), X)
    dead = dataclasses.replace(dead, dead=Estimate(value=0.6))
    assert judge(dead).shortcomings == "60% of its latents are dead, more than 50%"
    assert dead.shortcomings == judge(dead).shortcomings and not dead.good_enough
    full = evaluate(Halves(keep=6), X)
    assert judge(full).shortcomings == "6 latents fire on a row of 6 dimensions, which any basis could do"


def test_shrinkage_and_few_rows_are_cautions(X):
    shrunk = judge(evaluate(Halves(scale=0.7), X))
    assert shrunk.good_enough and "0.70 times the scale" in shrunk.cautions
    few = judge(evaluate(Halves(), X[:12]))
    assert few.good_enough and "fewer than 10 of the 12 rows" in few.cautions


def test_what_the_model_loses_counts(X):
    found = evaluate(Halves(), X)
    assert judge(found, spliced(0.9)).good_enough
    assert "recovers 0.500 [0.400, 0.600] of its loss, less than 0.7" in judge(found, spliced(0.5)).shortcomings
    assert "of its accuracy" in judge(found, spliced(0.9, 0.2)).shortcomings
    unread = judge(found, unmoved())
    assert unread.good_enough and not any("recovered" in check.name for check in unread.checks)


def unmoved():
    nothing = {"zero": Estimate.undefined("no cost"), "mean": Estimate.undefined("no cost")}
    return Spliced({}, {"loss": nothing}, 1, "m", "h", "all")


def test_what_is_undefined_is_not_good_enough():
    constant = judge(evaluate(Halves(), np.ones((30, 6))))
    assert not constant.good_enough
    assert "undefined (the evaluated rows do not vary)" in constant.shortcomings
    assert "shrinkage" not in failed(constant)
