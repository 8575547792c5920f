import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.racu import acu, racu

RATIOS = np.linspace(0, 1, 11)


def test_closed_forms():
    random = 1 - RATIOS
    # all that there is goes with the first mask: a line down to 0 over one step, then nothing
    best = np.where(RATIOS == 0, 1.0, 0.0)
    assert acu(RATIOS, best, random) == pytest.approx(0.5 - 0.05)
    assert racu(RATIOS, best, random) == pytest.approx((0.5 - 0.05) / 0.5)
    assert racu(RATIOS, random, random) == pytest.approx(0)
    # the mirror image of the parabola below the line
    assert racu(RATIOS, random**2, random) == pytest.approx(-racu(RATIOS, 2 * random - random**2, random))
    fine = np.linspace(0, 1, 2001)
    assert racu(fine, (1 - fine) ** 2, 1 - fine) == pytest.approx((1 / 2 - 1 / 3) / (1 / 2), abs=1e-5)


def test_steps_need_not_be_equal():
    ratios = np.array([0.0, 0.5, 0.6, 1.0])
    random, own = np.array([1.0, 0.5, 0.4, 0.0]), np.array([1.0, 0.0, 0.0, 0.0])
    assert acu(ratios, own, random) == pytest.approx(0.25 * 0.5 + 0.45 * 0.1 + 0.2 * 0.4)


def test_scale_and_offset_of_the_score_do_not_matter():
    rng = np.random.default_rng(0)
    own, random = np.sort(rng.random(11))[::-1], np.sort(rng.random(11))[::-1]
    assert racu(RATIOS, 3 * own + 7, 3 * random + 7) == pytest.approx(racu(RATIOS, own, random))


def test_where_masking_takes_nothing_there_is_no_share():
    flat = np.full(11, 0.5)
    assert np.isnan(racu(RATIOS, flat - 0.1, flat))
    both = racu(RATIOS, np.stack([flat, 1 - RATIOS]), np.stack([flat, 1 - RATIOS]))
    assert np.isnan(both[0]) and both[1] == pytest.approx(0)


def test_curves_of_unequal_length_are_refused():
    with pytest.raises(InputError, match="3 and 11 scores at 11 ratios"):
        acu(RATIOS, np.zeros(3), np.zeros(11))
