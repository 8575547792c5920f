import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.errors import InputError
from mechdecouple.faithfulness.masf import fisher, masf, ranks, simes, two_sided


def layers(rng, n, d, n_layers=3):
    """Correlated units of several layers."""
    z = rng.normal(size=(n, d))
    mixes = np.random.default_rng(99).normal(size=(n_layers, d, d)) / d**0.5
    return [z @ mix for mix in mixes]


@pytest.mark.parametrize(("n", "d"), [(60, 120), (200, 16)])
def test_rows_of_the_same_kind_get_uniform_p(n, d):
    rng = np.random.default_rng(n)
    p = []
    for _ in range(20):
        x = layers(rng, n + 50, d)
        p.append(masf([own[:n] for own in x], [own[n:] for own in x]))
    p = np.concatenate(p)
    assert sps.kstest(p, "uniform").statistic < 0.06
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025)


@pytest.mark.parametrize("n", [80, 300])
def test_tied_values_keep_p_valid(n):
    """Sums of coin flips, at two units of which each says what the other does: few values, each of many rows."""
    rng = np.random.default_rng(n)
    p = []
    for _ in range(12):
        flips = rng.choice([-1.0, 1.0], (n + 100, 12)).sum(axis=1)
        x = np.stack([flips, -flips], axis=1)
        p.append(masf([x[:n]], [x[n:]]))
    p = np.concatenate(p)
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert sps.kstest(p, "uniform").statistic < 0.06


@pytest.mark.parametrize("change", [lambda x: x + 1, lambda x: 2.5 * x])
def test_other_rows_are_found(change):
    x = layers(np.random.default_rng(0), 400, 60)
    p = masf([own[:200] for own in x], [change(own[200:]) for own in x])
    assert (p < 0.05).mean() > 0.6


def test_with_many_rows_it_is_the_rule_as_published():
    """Empirical distributions that hold the row itself, and logarithms kept finite by a small number."""
    x = layers(np.random.default_rng(3), 3200, 4)
    known, rows = [own[:3000] for own in x], [own[3000:] for own in x]

    def share_below(a, b):
        return np.stack([(a[:, [j]] < b[:, j]).mean(axis=0) for j in range(a.shape[1])], axis=1)

    def chain(b):
        of_layers = [simes(two_sided(share_below(a, own))) for a, own in zip(known, b, strict=True)]
        return np.stack(of_layers, axis=1)

    second = chain(known)
    third, new = (-2 * np.log(two_sided(share_below(second, s)) + 1e-8).sum(axis=1) for s in (second, chain(rows)))
    published = 1 - (third[:, None] < new).mean(axis=0)
    assert np.abs(published - masf(known, rows)).max() < 0.03


def test_parts_by_hand():
    known, rows = np.array([[1.0], [3.0], [2.0], [4.0]]), np.array([[0.0], [2.5], [9.0]])
    own, other = ranks(known, rows, np.random.default_rng(0))
    assert own[:, 0].tolist() == [0.5 / 4, 2.5 / 4, 1.5 / 4, 3.5 / 4]
    # among the first three
    assert other[:, 0].tolist() == [0.5 / 4, 2.5 / 4, 3.5 / 4]
    own, other = ranks(np.ones((5000, 1)), np.ones((5000, 1)), np.random.default_rng(0))
    assert sps.kstest(own[:, 0], "uniform").statistic < 0.001 and sps.kstest(other[:, 0], "uniform").statistic < 0.05
    assert two_sided(np.array([0.1, 0.9, 0.5])) == pytest.approx([0.1, 0.1, 0.5])
    assert simes(np.array([[0.3, 0.01, 0.5], [0.2, 0.2, 0.2]])) == pytest.approx([0.03, 0.2])
    assert fisher(np.array([[np.exp(-1), np.exp(-2)]])) == pytest.approx([6.0])


def test_increasing_functions_of_a_unit_change_nothing():
    x = layers(np.random.default_rng(0), 90, 5)
    known, rows = [own[:60] for own in x], [own[60:] for own in x]
    assert masf([np.exp(a) for a in known], [np.exp(b) for b in rows]) == pytest.approx(masf(known, rows))


def test_what_is_refused():
    one = np.zeros((4, 2))
    with pytest.raises(InputError, match="differ in number or width"):
        masf([one], [one, one])
    with pytest.raises(InputError, match="differ in number or width"):
        masf([one], [np.zeros((4, 3))])
    with pytest.raises(InputError, match="at least two known rows"):
        masf([one[:1]], [one])
