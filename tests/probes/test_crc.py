import numpy as np
import pytest
import torch
from concept_erasure import LeaceFitter as Oracle
from sklearn.decomposition import PCA

from mechdecouple.probes.crc import CrcFitter, before_erasing, side_eraser


def test_direction_is_the_top_principal_component_of_erased_differences(contrast_pairs):
    c = contrast_pairs()
    labelled = np.arange(400) < 100
    pos, neg = (torch.from_numpy(X[~labelled]) for X in (c.pos, c.neg))
    side = torch.cat([torch.ones(300), torch.zeros(300)]).double()
    eraser = Oracle.fit(torch.cat([pos, neg]), side, constrain_cov_trace=False).eraser
    difference = (eraser(pos) - eraser(neg)).numpy()
    pca = PCA().fit(difference)
    probe = CrcFitter().fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    expected = difference @ pca.components_[0]
    found = 2 * probe.decision_function(c.pos[~labelled], c.neg[~labelled])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(probe.eigenvalues, pca.explained_variance_ * 299 / 300, rtol=1e-6, atol=1e-9)


def test_what_tells_the_sides_apart_is_not_read(contrast_pairs):
    c = contrast_pairs(side=50.0)
    labelled = np.arange(400) < 100
    probe = CrcFitter().fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    fitted = c.pos[~labelled] - c.neg[~labelled]
    assert abs(probe.weights @ fitted.mean(axis=0)) < 1e-8
    assert probe.direction @ c.truth > 0.95


def test_weights_before_erasing_score_as_the_axis_does_after(contrast_pairs):
    c = contrast_pairs(n=60)
    eraser = side_eraser(c.pos, c.neg)
    axis = np.random.default_rng(1).normal(size=8)
    weights, bias = before_erasing(axis, eraser)
    np.testing.assert_allclose(c.pos @ weights + bias[0], (eraser(c.pos) - eraser.mean) @ axis, atol=1e-9)
    assert (c.pos @ weights + bias[0]).mean() == pytest.approx((c.neg @ weights + bias[1]).mean(), abs=1e-9)


def test_templates_are_erased_with_the_side(contrast_pairs):
    c = contrast_pairs(n=60)
    template = np.arange(60) % 3
    shift = np.random.default_rng(1).normal(size=(3, 8))[template] * 10
    eraser = side_eraser(c.pos + shift, c.neg - shift, template)
    means = [eraser(X)[template == t].mean(axis=0) for X in (c.pos + shift, c.neg - shift) for t in range(3)]
    np.testing.assert_allclose(means - means[0], 0, atol=1e-6)
