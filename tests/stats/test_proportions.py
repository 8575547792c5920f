"""Wilson and McNemar against statsmodels."""

from __future__ import annotations

import math

import pytest

from mechdecouple.errors import InputError
from mechdecouple.stats import exact_mcnemar, wilson


@pytest.mark.parametrize("successes, n", [(0, 10), (10, 10), (3, 10), (1, 1), (487, 512), (2.5, 7.5)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson_matches_statsmodels(successes, n, level):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    expected = proportion.proportion_confint(successes, n, alpha=1 - level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_nothing_is_nan():
    assert all(math.isnan(x) for x in wilson(0, 0))


@pytest.mark.parametrize("b, c", [(0, 0), (5, 5), (1, 9), (9, 1), (40, 20), (3, 0)])
def test_mcnemar_matches_statsmodels(b, c):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    assert exact_mcnemar(b, c) == pytest.approx(tables.mcnemar([[7, b], [c, 7]], exact=True).pvalue)


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="successes of 3"):
        wilson(4, 3)
    with pytest.raises(InputError, match="not negative"):
        exact_mcnemar(-1, 3)
