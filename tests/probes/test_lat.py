import numpy as np
import pytest
from sklearn.decomposition import PCA

from mechdecouple.probes.lat import LatFitter


def test_it_is_the_mean_over_shufflings_of_the_published_axis(contrast_pairs):
    c = contrast_pairs(n=200, side=1.0)
    labelled = np.arange(200) < 40
    difference = (c.pos - c.neg)[~labelled]
    rng = np.random.default_rng(0)
    covariance = np.zeros((8, 8))
    for _ in range(2000):
        covariance += np.cov(difference * rng.choice([-1, 1], size=(160, 1)), rowvar=False) / 2000
    probe = LatFitter().fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    axis = np.linalg.eigh(covariance)[1][:, -1]
    assert abs(probe.direction @ axis) == pytest.approx(1, abs=1e-4)


def test_balanced_pairs_give_the_principal_component(contrast_pairs):
    c = contrast_pairs(n=200, side=0.0)
    labelled = np.arange(200) < 40
    half = np.repeat([1, -1], 80)[:, None]
    difference = np.tile((c.pos - c.neg)[40:120], (2, 1)) * half
    pos, neg = (np.concatenate([X[:40], s * difference / 2]) for X, s in ((c.pos, 1), (c.neg, -1)))
    probe = LatFitter().fit(pos, neg, c.y, c.groups, labelled=labelled)
    assert abs(probe.direction @ PCA(1).fit(difference).components_[0]) == pytest.approx(1)


def test_what_the_sides_share_captures_it(contrast_pairs):
    c = contrast_pairs(truth=1.0, side=8.0)
    probe = LatFitter().fit(c.pos, c.neg, c.y, c.groups)
    assert abs(probe.direction @ c.side) > 0.95
