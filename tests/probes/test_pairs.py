import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import MassMeanFitter
from mechdecouple.probes.ccs import CcsFitter
from mechdecouple.probes.crc import CrcFitter
from mechdecouple.probes.lat import LatFitter
from mechdecouple.probes.pairs import PairProbe, Pairs, principal_axis
from mechdecouple.probes.probe import platt
from mechdecouple.probes.vinc import VincFitter
from mechdecouple.stats import weighted_auroc

FITTERS = [CcsFitter(steps=300), CrcFitter(), LatFitter()]
names = pytest.mark.parametrize("fitter", FITTERS, ids=lambda f: type(f).__name__)


@names
def test_truth_is_found_and_told_of_new_pairs(contrast_pairs, fitter):
    a, b = contrast_pairs(n=800, side=0.5), contrast_pairs(n=800, side=0.5)
    held = np.arange(800) >= 600
    probe = fitter.fit(a.pos[~held], a.neg[~held], a.y[~held], a.groups[~held])
    assert probe.direction @ a.truth > 0.95
    assert weighted_auroc(probe.decision_function(b.pos[held], b.neg[held]), b.y[held]) > 0.99
    p = probe.predict_proba(b.pos[held], b.neg[held])
    assert abs(p.mean() - b.y[held].mean()) < 0.05
    assert np.mean((p > 0.5) == b.y[held]) > 0.97


@names
def test_labels_outside_the_declared_fold_change_nothing(contrast_pairs, fitter):
    c = contrast_pairs(n=200)
    labelled = np.arange(200) < 40
    told = np.where(labelled, c.y, np.nan)
    one = fitter.fit(c.pos, c.neg, told, c.groups, labelled=labelled)
    other = fitter.fit(c.pos, c.neg, np.where(labelled, c.y, 1 - c.y), c.groups, labelled=labelled)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert (one.slope, one.offset, one.sign_auroc, one.labelled) == (
        other.slope, other.offset, other.sign_auroc, 40,
    )  # fmt: skip


@names
def test_the_sign_is_that_of_the_labelled_fold_whatever_the_others_say(contrast_pairs, fitter):
    c = contrast_pairs(n=200, side=0.5)
    labelled = np.arange(200) < 40
    right = fitter.fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    wrong = fitter.fit(c.pos, c.neg, np.where(labelled, 1 - c.y, c.y), c.groups, labelled=labelled)
    np.testing.assert_allclose(wrong.weights, -right.weights)
    # A sign taken from wrong labels is kept: such a probe scores below one half.
    assert weighted_auroc(wrong.decision_function(c.pos[~labelled], c.neg[~labelled]), c.y[~labelled]) < 0.05


@names
def test_swapping_the_members_of_all_pairs_turns_the_answer_round(contrast_pairs, fitter):
    c = contrast_pairs(n=200, side=0.5)
    labelled = np.arange(200) < 60
    one = fitter.fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    other = fitter.fit(c.neg, c.pos, 1 - c.y, c.groups, labelled=labelled)
    np.testing.assert_allclose(
        other.decision_function(c.neg, c.pos),
        -one.decision_function(c.pos, c.neg),
        atol=0.02 * np.abs(one.weights).max(),
    )


@names
@pytest.mark.parametrize("d", [4, 120])
def test_constant_columns_duplicates_and_few_pairs(contrast_pairs, fitter, d):
    c = contrast_pairs(n=40, d=d, truth=6.0, side=0.5)
    pos, neg = (np.column_stack([np.repeat(X[::2], 2, axis=0), np.full(40, 7.0)]) for X in (c.pos, c.neg))
    probe = fitter.fit(pos, neg, np.repeat(c.y[::2], 2), c.groups)
    assert np.isfinite(probe.weights).all()
    assert abs(probe.weights[-1]) < 1e-6 * np.abs(probe.weights).max()
    assert probe.sign_auroc > 0.9


@names
def test_pairs_of_equal_members_say_nothing(contrast_pairs, fitter):
    c = contrast_pairs(n=60)
    probe = fitter.fit(c.pos, c.pos, c.y, c.groups)
    assert np.ptp(probe.predict_proba(c.pos, c.pos)) == 0
    assert probe.sign_auroc == 0.5
    assert not probe.direction.any()


def test_pairs_that_all_differ_alike_say_nothing(contrast_pairs):
    c = contrast_pairs(n=60)
    neg = c.pos + np.linspace(10, 11, 8)
    for fitter in (*FITTERS, VincFitter()):
        probe = fitter.fit(c.pos, neg, c.y, c.groups)
        assert not probe.weights.any()
        assert probe.predict_proba(c.pos, neg) == pytest.approx(0.5, abs=0.1)


def test_a_pair_consistent_distractor_captures_the_unsupervised_probes_and_no_supervised_one(contrast_pairs):
    c = contrast_pairs(n=600, truth=1.5, distractor=4.0)
    for fitter in FITTERS:
        probe = fitter.fit(c.pos, c.neg, c.y, c.groups)
        score = probe.decision_function(c.pos, c.neg)
        assert abs(probe.direction @ c.distractor) > 0.8
        assert abs(weighted_auroc(score, c.y) - 0.5) < 0.1
        assert abs(weighted_auroc(score, c.other) - 0.5) > 0.45
        assert 0.5 <= probe.sign_auroc < 0.75
    supervised = MassMeanFitter("pinv").fit(c.pos - c.neg, c.y, c.groups)
    assert weighted_auroc(supervised.decision_function(c.pos - c.neg), c.y) > 0.95


def test_members_and_calibration_are_what_they_say():
    probe = PairProbe(np.array([1.0, -1.0]), np.array([2.0, -4.0]), slope=3.0, offset=-1.0, sign_auroc=1.0, labelled=9)
    pos, neg = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    assert [float(s[0]) for s in probe.members(pos, neg)] == [3.0, -6.0]
    assert probe.decision_function(pos, neg)[0] == 4.5
    assert probe.predict_proba(pos, neg)[0] == pytest.approx(1 / (1 + np.exp(-(3 * 4.5 - 1))))
    with pytest.raises(InputError, match="fitted on 2"):
        probe.members(np.ones((1, 3)), np.ones((1, 3)))


def test_orientation_calibrates_on_the_labelled_fold(contrast_pairs):
    c = contrast_pairs(n=100, truth=0.7)
    pairs = Pairs.of(c.pos, c.neg, c.y, c.groups, np.arange(100) < 50, 0.2, 0)
    weights, bias, slope, offset, auroc, n = pairs.oriented(-c.truth, np.array([0.5, 0.0]))
    score = ((c.pos - c.neg)[:50] @ c.truth - 0.5) / 2
    np.testing.assert_allclose(weights, c.truth)
    np.testing.assert_allclose(bias, [-0.5, 0.0])
    assert (slope, offset) == pytest.approx(platt(score, c.y[:50]))
    assert (auroc, n) == (pytest.approx(weighted_auroc(score, c.y[:50])), 50)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (6, 50)])
def test_principal_axis_is_that_of_the_singular_value_decomposition(n, d):
    rows = np.random.default_rng(0).normal(size=(n, d)) * np.linspace(1, 3, d)
    _, s, v = np.linalg.svd(rows, full_matrices=False)
    axis, energy = principal_axis(rows)
    assert abs(axis @ v[0]) == pytest.approx(1)
    np.testing.assert_allclose(energy[:6], s**2 / n, rtol=1e-9)


def test_unusable_pairs_are_refused(contrast_pairs):
    c = contrast_pairs(n=40)
    fit = CrcFitter().fit
    with pytest.raises(MismatchError, match="row i of each is pair i"):
        fit(c.pos, c.neg[:-1], c.y)
    with pytest.raises(MismatchError, match="shape"):
        fit(c.pos, c.neg[:, :-1], c.y)
    with pytest.raises(InputError, match="row 3, dimension 0"):
        fit(np.where(np.arange(40)[:, None] == 3, np.nan, c.pos), c.neg, c.y)
    with pytest.raises(InputError, match=r"shape \(0, 8\)"):
        fit(c.pos[:0], c.neg[:0], c.y[:0])
    with pytest.raises(InputError, match="label 2 at row 5"):
        fit(c.pos, c.neg, np.where(np.arange(40) == 5, 2, c.y))
    with pytest.raises(InputError, match="swap the members"):
        fit(c.pos, c.neg, np.ones(40))
    with pytest.raises(InputError, match="label of pair 7 is unknown: name"):
        fit(c.pos, c.neg, np.where(np.arange(40) == 7, np.nan, c.y))
    with pytest.raises(InputError, match=r"expected \(40,\)"):
        fit(c.pos, c.neg, c.y[:-1])


def test_unusable_labelled_folds_are_refused(contrast_pairs):
    c = contrast_pairs(n=40)

    def fit(labelled, y=c.y, groups=c.groups):
        return CrcFitter().fit(c.pos, c.neg, y, groups, labelled=labelled)

    first = np.arange(40) < 20
    with pytest.raises(InputError, match="pair 4 is unknown, yet"):
        fit(first, y=np.where(np.arange(40) == 4, np.nan, c.y))
    with pytest.raises(InputError, match="not both classes"):
        fit(first & (c.y == 1), groups=None)
    with pytest.raises(InputError, match="group g9 lies both"):
        fit(np.arange(40) < 19)
    with pytest.raises(InputError, match="0 pairs are left"):
        fit(np.ones(40, dtype=bool))
    with pytest.raises(InputError, match="of True and False"):
        fit(first[:30])
