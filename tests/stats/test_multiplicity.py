"""Holm and Benjamini-Hochberg against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import benjamini_hochberg, holm


@pytest.mark.parametrize("m", [1, 2, 9])
def test_matches_statsmodels(m):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(m).random(m) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])
    np.testing.assert_allclose(benjamini_hochberg(p), multitest.multipletests(p, method="fdr_bh")[1])


def test_tests_that_were_not_made_do_not_count():
    out = holm(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(out, [0.02, np.nan, 0.04])
    np.testing.assert_allclose(benjamini_hochberg(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    for adjust in (holm, benjamini_hochberg):
        assert np.isnan(adjust(np.array([np.nan]))).all() and len(adjust(np.zeros(0))) == 0


def test_a_p_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"found 1\.5"):
        holm(np.array([0.1, 1.5]))
    with pytest.raises(InputError, match=r"found 1\.5"):
        benjamini_hochberg(np.array([0.1, 1.5]))
