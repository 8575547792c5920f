"""Subsampling against the closed form of a mean."""

import math

import numpy as np
import pytest

from mechdecouple.structure._subsampling import subsampled


@pytest.mark.parametrize("size", [1, 3])
def test_standard_error_of_a_mean(size):
    """Over all draws the spread of a mean of m of n values is their standard deviation · √(1/m - 1/n)."""
    values = np.random.default_rng(0).normal(size=600 // size)
    rows, groups = np.repeat(values, size), np.repeat(np.arange(len(values)), size)
    found = subsampled(lambda kept: rows[kept].mean(), groups, 2000, seed=0)
    assert found.value == pytest.approx(values.mean())
    assert found.standard_error() == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)), rel=0.05)
    assert found.replicates.mean() == pytest.approx(found.value)
    assert found.n == len(values)
