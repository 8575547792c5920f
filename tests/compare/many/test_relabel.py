import math

import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.compare.many.relabel import DRAWS, n_relabellings, relabellings, runs_needed, smallest_p
from mechdecouple.errors import InputError


@pytest.mark.parametrize("sizes", [(3, 3), (2, 4), (1, 5), (2, 2, 2), (1, 2, 3), (4, 4)])
def test_every_dealing_is_there_once_and_the_declared_one_first(sizes):
    deals = relabellings(sizes)
    rows = {tuple(row) for row in deals.all}
    assert len(rows) == len(deals.all) == n_relabellings(sizes)
    assert all(np.bincount(row, minlength=len(sizes)).tolist() == list(sizes) for row in deals.all)
    assert deals.all[0].tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()


def test_smallest_p_in_closed_form():
    assert smallest_p([3, 3]) == pytest.approx(0.1)
    assert smallest_p([4, 4]) == pytest.approx(2 / 70)
    assert smallest_p([2, 4]) == pytest.approx(1 / 15)
    assert smallest_p([2, 2, 2]) == pytest.approx(6 / 90)
    assert smallest_p([1, 1]) == 1.0


def test_runs_needed_for_a_level():
    assert runs_needed(2, 0.05) == 4
    assert runs_needed(2, 0.05 / 6) == 5
    assert runs_needed(3, 0.05) == 3


def test_many_runs_are_dealt_at_random():
    deals = relabellings([11, 11], seed=1)
    assert not deals.exact and len(deals.others) == DRAWS and deals.smallest_p == pytest.approx(1 / (DRAWS + 1))
    assert (deals.others.sum(axis=1) == 11).all()
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(11), rng.standard_normal(11) + 0.8])
    difference = np.abs([x[row == 0].mean() - x[row == 1].mean() for row in deals.all])
    oracle = sps.permutation_test(
        (x[:11], x[11:]), lambda a, b: abs(a.mean() - b.mean()), alternative="greater", n_resamples=20_000, rng=0
    )
    assert deals.p(difference) == pytest.approx(oracle.pvalue, abs=4 * math.sqrt(oracle.pvalue / DRAWS))


@pytest.mark.parametrize("sizes", [(3,), (3, 0), ()])
def test_arms_that_cannot_be_compared(sizes):
    with pytest.raises(InputError, match="two arms or more"):
        relabellings(sizes)
