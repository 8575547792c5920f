import dataclasses

import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.crosscoder import evaluate_crosscoder


def test_a_perfect_crosscoder_explains_all_but_the_noise(readable, ideal):
    found = evaluate_crosscoder(ideal(readable), readable.a, readable.b)
    for name, x in (("a", readable.a), ("b", readable.b)):
        estimate = getattr(found, f"explained_{name}")
        noise = np.square((0.005, 0.005 * 7)[name == "b"]) * x.shape[1]
        expected = 1 - noise / np.square(x - x.mean(0)).sum(1).mean()
        assert estimate.value == pytest.approx(expected, abs=2e-3)
        assert estimate.low <= estimate.value <= estimate.high
    assert found.l0.value == pytest.approx((readable.codes > 0).sum(1).mean())
    np.testing.assert_allclose(found.frequency, (readable.codes > 0).mean(0))
    assert not found.shortcomings


def test_predicting_the_mean_explains_nothing_wherever_the_origin_lies(readable, ideal):
    crosscoder = ideal(readable)
    nothing = dataclasses.replace(
        crosscoder, decoder_a=0 * crosscoder.decoder_a, decoder_b=0 * crosscoder.decoder_b,
        b_dec_a=readable.a.mean(0) + 100, b_dec_b=readable.b.mean(0) + 100,
        mean_a=crosscoder.mean_a + 100, mean_b=crosscoder.mean_b + 100,
    )  # fmt: skip
    found = evaluate_crosscoder(nothing, readable.a + 100, readable.b + 100)
    assert found.explained_a.value == pytest.approx(0, abs=1e-4)
    assert found.explained_b.value == pytest.approx(0, abs=1e-4)
    assert "model A" in found.shortcomings and "model B" in found.shortcomings


def test_half_a_reconstruction_explains_three_quarters(readable, ideal):
    found = evaluate_crosscoder(
        ideal(readable, decoder_a=0.5 * readable.directions_a), readable.a - readable.a.mean(0), readable.b
    )
    codes = readable.codes
    left = readable.a - 0.5 * codes @ readable.directions_a
    centred = readable.a - readable.a.mean(0)
    assert found.explained_b.value > 0.99
    assert 0 < 1 - np.square(left).sum() / np.square(centred).sum() < 0.75  # the case is not trivial


def test_the_order_of_rows_does_not_matter(readable, ideal):
    crosscoder = ideal(readable)
    order = np.random.default_rng(0).permutation(1200)
    one = evaluate_crosscoder(crosscoder, readable.a, readable.b)
    two = evaluate_crosscoder(crosscoder, readable.a[order], readable.b[order])
    assert one.explained_a.value == pytest.approx(two.explained_a.value, abs=1e-9)
    assert one.l0.value == pytest.approx(two.l0.value, abs=1e-12)


def test_rows_of_an_item_are_one_group(readable, ideal):
    ids = [f"i{i // 100}" for i in range(1200)]
    a, b = (Activations.from_arrays({"h": x}, ids, "all") for x in (readable.a, readable.b))
    assert evaluate_crosscoder(ideal(readable), a, b).explained_a.n == 12
    assert evaluate_crosscoder(ideal(readable), readable.a, readable.b).explained_a.n == 1200


def test_constant_rows_have_no_variance_to_explain(readable, ideal):
    found = evaluate_crosscoder(ideal(readable), np.repeat(readable.a[:1], 30, 0), np.repeat(readable.b[:1], 30, 0))
    assert np.isnan(found.explained_a.value)
    assert "do not vary" in found.explained_a.reason
    assert found.shortcomings


def test_the_table_says_which_model(readable, ideal):
    frame = evaluate_crosscoder(ideal(readable), readable.a, readable.b).frame()
    assert frame.metric.tolist() == ["crosscoder_explained_variance"] * 2 + ["crosscoder_l0"]
    assert frame.model.tolist() == ["A", "B", "A"]


def test_bad_input_is_named(readable, ideal):
    crosscoder = ideal(readable)
    with pytest.raises(InputError, match="rows of model B have width 20, this crosscoder reads width 26"):
        evaluate_crosscoder(crosscoder, readable.a, readable.a)
    with pytest.raises(MismatchError, match="5 groups for 1200 rows"):
        evaluate_crosscoder(crosscoder, readable.a, readable.b, groups=np.arange(5))
    with pytest.raises(InputError, match="row 0 of model A holds NaN"):
        evaluate_crosscoder(crosscoder, np.full_like(readable.a, np.nan), readable.b)
