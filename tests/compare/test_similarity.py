from types import SimpleNamespace

from mechdecouple.compare.pairing import Site
from mechdecouple.compare.similarity import similarity_verdict
from mechdecouple.results import Estimate, Measurement

PAIR = SimpleNamespace(sites=(Site("x", "x", 0.0), Site("y", "y", 1.0)))


def row(point, value, p):
    estimate = Estimate(value=value, low=value - 0.001, high=value + 0.001, p=p)
    return Measurement(
        metric="cka", family="similarity", estimate=estimate, model="a", model_b="b", hook_point=point,
        hook_point_b=point,
    )  # fmt: skip


def test_similarity_at_zero_is_told_by_p_and_not_by_its_interval():
    verdict = similarity_verdict(PAIR, [row("x", 0.8, 0.005), row("y", -0.002, 1.0)])
    assert "lowest at y (-0.002, p = 1)" in verdict.sentence
    assert "At 1 of 2 it is not told apart from unrelated representations" in verdict.sentence


def test_similarity_above_its_null_is_told_with_its_interval():
    verdict = similarity_verdict(PAIR, [row("x", 0.8, 0.005), row("y", 0.3, 0.005)])
    assert "lowest at y (0.300 [0.299, 0.301])" in verdict.sentence
    assert "unrelated" not in verdict.sentence
    assert verdict.flagged is False
