import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.probes.selectivity import PROBE_SELECTIVITY, _control_labels, _dealt, selectivity
from mechdecouple.stats import jackknife_blocks


@pytest.fixture
def typed():
    """Eighty types of four rows each; the concept is a property of the type."""
    types = np.repeat(np.arange(80), 4)
    return types, (types % 2).astype(float), np.random.default_rng(0)


def test_a_probe_that_can_only_memorise_types_is_not_selective(typed):
    types, y, _ = typed
    found = selectivity(np.eye(80)[types], y, types)
    assert found.accuracy == 1.0
    assert found.control.min() == 1.0
    assert found.value == 0.0


def test_a_code_of_the_concept_alone_is_selective(typed):
    types, y, rng = typed
    found = selectivity(y[:, None] + 0.1 * rng.normal(size=(320, 3)), y, types)
    assert found.accuracy == 1.0
    # A control label agrees with a read-out of the concept on half the types, give or take.
    assert found.control.mean() == pytest.approx(0.5, abs=0.08)
    assert found.value == pytest.approx(0.5, abs=0.08)


def test_noise_reads_neither(typed):
    types, y, rng = typed
    found = selectivity(rng.normal(size=(320, 5)), y, types, draws=10)
    assert found.value == pytest.approx(0.0, abs=0.08)
    assert found.control.mean() == pytest.approx(0.5, abs=0.04)


def test_identity_beside_the_concept_lowers_selectivity_as_it_grows(typed):
    types, y, rng = typed
    noise, code = rng.normal(size=(320, 80)), np.eye(80)[types]
    values = [
        selectivity(np.column_stack([y + 0.1 * noise[:, 0], strength * code + 0.3 * noise]), y, types).value
        for strength in (0.0, 1.0, 6.0)
    ]
    assert values[0] > values[1] > values[2]


def test_control_labels_are_a_function_of_the_type_with_the_base_rate():
    types = np.repeat(np.arange(50), 3)
    labels = _control_labels(types, 0.2, 6, np.random.default_rng(0))
    assert all(len(np.unique(labels[types == t], axis=0)) == 1 for t in range(50))
    np.testing.assert_allclose(labels.mean(axis=0), 0.2)
    assert len(np.unique(labels, axis=1).T) == 6


def test_every_type_is_seen_before_it_is_scored():
    types = np.random.default_rng(1).integers(0, 40, 200)
    fold = _dealt(types, np.random.default_rng(0))
    for t in np.flatnonzero(np.bincount(types) > 1):
        assert len(np.unique(fold[types == t])) > 1
    assert np.ptp(np.bincount(fold)) <= 1


def test_types_that_occur_once_take_no_part(typed):
    types, y, rng = typed
    X = y[:, None] + rng.normal(size=(320, 4))
    once = np.concatenate([types, [900, 901]])
    more = selectivity(np.vstack([X, 1e3 + X[:2]]), np.concatenate([y, [0.0, 1.0]]), once)
    assert more.rows.tolist() == list(range(320))
    assert more.value == selectivity(X, y, types).value


def test_undefined_with_a_reason(typed):
    types, y, rng = typed
    X = rng.normal(size=(320, 4))
    for labels, names, reason in [
        (y, np.arange(320), "every type of item occurs once"),
        (np.ones(320), types, "both classes"),
        (np.full(320, np.nan), types, "label is known"),
        (y, types // 40, "2 types of item recur"),
    ]:
        found = selectivity(X, labels, names)
        assert np.isnan(found.value) and np.isnan(found.control).all()
        assert reason in found.reason
        estimate = found.estimate(jackknife_blocks(types), 80)
        assert np.isnan(estimate.value) and estimate.reason == found.reason


def test_interval_holds_items_and_draws(typed):
    types, y, rng = typed
    X = y[:, None] * 0.4 + rng.normal(size=(320, 6))
    found = selectivity(X, y, types, draws=6)
    estimate = found.estimate(jackknife_blocks(types), 80)
    assert estimate.low < found.value == estimate.value < estimate.high
    assert (estimate.n, estimate.null) == (80, 0.0)
    assert estimate.high - estimate.low > 2 * 1.96 * found.control.std(ddof=1) / np.sqrt(6)
    assert found() == pytest.approx(found.value)
    assert np.isnan(selectivity(X, y, types, draws=1).estimate(jackknife_blocks(types), 80).low)


def test_constant_columns_and_more_dimensions_than_rows(typed):
    types, y, rng = typed
    assert selectivity(np.full((320, 3), 2.0), y, types).accuracy == 0.5
    wide = selectivity(rng.normal(size=(80, 400)), y[:80], np.repeat(np.arange(40), 2))
    assert np.isfinite(wide.value)


def test_unusable_input_is_refused(typed):
    types, y, rng = typed
    X = rng.normal(size=(320, 4))
    for change, message in [
        ((np.where(X.max() == X, np.nan, X), y, types), "expected finite"),
        ((X, y * 3, types), "expected 0, 1 or NaN"),
        ((X, y[:-1], types), "labels have shape"),
        ((X, y, types[:-1]), "groups have shape"),
    ]:
        with pytest.raises(InputError, match=message):
            selectivity(*change)
    with pytest.raises(InputError, match="at least one control"):
        selectivity(X, y, types, draws=0)
    assert PROBE_SELECTIVITY.family == "controls"
