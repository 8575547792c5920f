import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.probes.crc import CrcFitter
from mechdecouple.probes.vinc import VincFitter, vinc_axis
from mechdecouple.stats import weighted_auroc


def published(pos, neg, cluster, alpha, beta, gamma):
    """The matrix term by term as it is printed, with population covariances."""

    def cov(a, b):
        return (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)) / len(a)

    names = np.unique(cluster)
    p, q = (np.stack([X[cluster == c].mean(axis=0) for c in names]) for X in (pos, neg))
    within = sum(cov(X[cluster == c], X[cluster == c]) for X in (pos, neg) for c in names) / len(names)
    return alpha * (cov(p, p) + cov(q, q)) - beta * within - gamma * (cov(p, q) + cov(q, p))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 0.5, 0.0), (0.0, 2.0, 1.0), (0.3, 0.0, 0.7)])
@pytest.mark.parametrize(("n", "d"), [(90, 6), (12, 80)])
def test_axis_is_the_top_eigenvector_of_the_published_matrix(n, d, weights):
    rng = np.random.default_rng(0)
    shared = 2 * rng.normal(size=(n // 3 + 1, d))[np.arange(n) // 3]
    pos, neg = (s * shared + rng.normal(size=(n, d)) * np.linspace(1, 2, d) + 3 for s in (1, -1))
    cluster = np.minimum(np.arange(n) // 3, n // 3 - 2)
    values, vectors = np.linalg.eigh(published(pos, neg, cluster, *weights))
    axis, found = vinc_axis(pos, neg, cluster, *weights)
    assert abs(axis @ vectors[:, -1]) == pytest.approx(1)
    assert found[0] == pytest.approx(values[-1])
    np.testing.assert_allclose(found[found > 1e-9], values[values > 1e-9][::-1])
    np.testing.assert_allclose(found[found < -1e-9], values[values < -1e-9][::-1])


def test_without_paraphrases_it_is_crc(contrast_pairs):
    c = contrast_pairs(n=200)
    labelled = np.arange(200) < 40
    vinc = VincFitter(variance=0.5, negation=0.5).fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    crc = CrcFitter().fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    np.testing.assert_allclose(vinc.weights, crc.weights, atol=1e-8)
    assert vinc.eigenvalues[0] == pytest.approx(crc.eigenvalues[0] / 2)


def paraphrased(contrast_pairs, wording=4.0, d=8):
    """Four paraphrases a statement; a pair-consistent feature of the wording is stronger than truth."""
    c = contrast_pairs(n=400, d=d)
    rng = np.random.default_rng(5)
    of = np.repeat(np.arange(100), 4)
    y = (np.arange(100) % 2)[of]
    shift = 2 * np.outer(2 * y - 1, c.truth) + wording * np.outer(rng.normal(size=400), c.distractor)
    pos, neg = (s * (shift + 3 * c.side) + rng.normal(size=(400, d)) for s in (1, -1))
    return pos, neg, y, of, np.tile(np.arange(4), 100), c


def test_invariance_to_paraphrase_frees_the_probe_from_the_wording(contrast_pairs):
    pos, neg, y, of, _, c = paraphrased(contrast_pairs)
    free = VincFitter().fit(pos, neg, y, clusters=of)
    bound = CrcFitter().fit(pos, neg, y, of)
    assert free.direction @ c.truth > 0.9
    assert abs(bound.direction @ c.distractor) > 0.9
    score = free.decision_function(pos, neg)
    assert weighted_auroc(np.bincount(of, score) / 4, y[::4]) > 0.99


def test_templates_leave_no_trace_in_the_scores(contrast_pairs):
    pos, neg, y, of, template, _ = paraphrased(contrast_pairs, wording=0.0, d=24)
    shift = 20 * np.random.default_rng(2).normal(size=(4, 24))[template]
    pos, neg = pos + shift, neg - shift
    labelled = of < 20
    probe = VincFitter(invariance=0.0).fit(pos, neg, y, clusters=of, templates=template, labelled=labelled)
    score = probe.decision_function(pos, neg)[~labelled]
    means = [score[template[~labelled] == t].mean() for t in range(4)]
    np.testing.assert_allclose(means, means[0], atol=1e-6)
    assert weighted_auroc(score, y[~labelled]) > 0.95


def test_where_invariance_outweighs_all_the_probe_finds_nothing(contrast_pairs):
    pos, neg, y, of, _, _ = paraphrased(contrast_pairs)
    probe = VincFitter(invariance=1e4).fit(pos, neg, y, clusters=of)
    assert not probe.weights.any()
    assert probe.eigenvalues[0] < 1e-6
    assert np.ptp(probe.predict_proba(pos, neg)) == 0


def test_constant_columns_and_few_pairs(contrast_pairs):
    c = contrast_pairs(n=24, d=60, truth=8.0, side=0.5)
    pos, neg = (np.column_stack([X, np.full(24, 2.0)]) for X in (c.pos, c.neg))
    probe = VincFitter().fit(pos, neg, np.repeat(c.y[::2], 2), clusters=c.groups)
    assert np.isfinite(probe.weights).all()
    assert abs(probe.weights[-1]) < 1e-6


def test_unusable_weights_and_clusters_are_refused(contrast_pairs):
    c = contrast_pairs(n=40)
    with pytest.raises(InputError, match=r"\(-1.0, 1.0, 1.0\): expected 0 or more"):
        VincFitter(variance=-1.0).fit(c.pos, c.neg, c.y)
    with pytest.raises(InputError, match="first or last above 0"):
        VincFitter(variance=0.0, negation=0.0).fit(c.pos, c.neg, c.y)
    with pytest.raises(InputError, match="cluster s0 lies in several groups"):
        VincFitter().fit(c.pos, c.neg, c.y, c.groups, clusters=np.array([f"s{i // 4}" for i in range(40)]))
    with pytest.raises(InputError, match="group 2 lies both in and outside the labelled fold"):
        VincFitter().fit(c.pos, c.neg, c.y, clusters=np.arange(40) // 5, labelled=np.arange(40) < 12)
    with pytest.raises(InputError, match=r"expected \(40,\)"):
        VincFitter().fit(c.pos, c.neg, c.y, c.groups, clusters=np.arange(39))
