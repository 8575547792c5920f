"""Each measure at a hook point is made on the unit of resampling, and with the null that belongs to it."""

import numpy as np
import pytest

from mechdecouple import stats, structure
from mechdecouple.compare.labels import Labels
from mechdecouple.compare.structural import measure


@pytest.fixture(scope="module")
def measured():
    """Forty groups of five rows that are nearly one; two concepts in two contexts."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 20)), 5, axis=0) + 0.05 * rng.normal(size=(200, 20))
    groups, row = np.repeat(np.arange(40), 5), np.arange(200)
    concepts = {"a": (row % 2).astype(float), "b": (row // 5 % 2).astype(float)}
    labels = Labels(concepts, row // 10 % 2, groups, stats.jackknife_blocks(groups, 10))
    return X, labels, {(m.metric.name, m.concept): m for m in measure(X, labels)}


def test_rows_of_one_group_do_not_narrow_the_participation_ratio(measured):
    X, labels, found = measured
    value = found["participation_ratio", ""].replicates.value
    assert value == pytest.approx(structure.participation_ratio(X, labels.groups), rel=1e-6)
    assert abs(value - 20) < 3 < 20 - structure.participation_ratio(X)


def test_nulls_are_those_of_the_design(measured):
    _, _, found = measured
    # eight conditions in two contexts, two concepts
    assert found["additive_share", ""].null == pytest.approx(2 / 6)
    assert found["coding_overlap", ""].null == pytest.approx(np.sqrt(2 / (np.pi * 20)), rel=0.02)
    assert found["ccgp", "a"].null == 0.5 and found["parallelism", "a"].null == 0.0
