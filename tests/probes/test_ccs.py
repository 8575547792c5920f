import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError
from mechdecouple.probes.ccs import CcsFitter, CcsProbe, ccs_loss, minimise_ccs


def test_loss_in_closed_form():
    p = torch.tensor([[0.9, 0.5, 1.0], [0.2, 0.5, 1.0]], dtype=torch.float64)
    q = torch.tensor([[0.1, 0.5, 1.0], [0.7, 0.5, 1.0]], dtype=torch.float64)
    expected = [((0.0 + 0.1**2) + (0.1**2 + 0.2**2)) / 2, 0.25, 2.0]
    np.testing.assert_allclose(ccs_loss(p, q), expected, atol=1e-12)


def test_a_batch_of_starts_ends_where_single_runs_of_the_published_loop_do(contrast_pairs):
    c = contrast_pairs(n=50, d=4)
    pos, neg = (torch.from_numpy(X - X.mean(axis=0)) for X in (c.pos, c.neg))
    start = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = minimise_ccs(pos, neg, start, steps=60, learning_rate=1e-2, weight_decay=1e-2)
    for i in range(3):
        probe = torch.nn.Linear(4, 1).double()
        with torch.no_grad():
            probe.weight[:], probe.bias[:] = start[:-1, i], start[-1, i]
        optimiser = torch.optim.AdamW(probe.parameters(), lr=1e-2, weight_decay=1e-2)
        for _ in range(60):
            p, q = torch.sigmoid(probe(pos)), torch.sigmoid(probe(neg))
            loss = ((p - (1 - q)) ** 2).mean() + (torch.min(p, q) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        np.testing.assert_allclose(found[:-1, i], probe.weight[0].detach(), atol=1e-9)
        np.testing.assert_allclose(found[-1, i], probe.bias[0].detach(), atol=1e-9)


def test_the_restart_of_the_smallest_loss_is_taken_and_its_loss_is_that_of_the_probe(contrast_pairs):
    c = contrast_pairs(n=200, truth=1.0, distractor=1.2)
    labelled = np.arange(200) < 40
    probe = CcsFitter(steps=150, weight_decay=0.0).fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    p, q = (torch.sigmoid(torch.from_numpy(s)) for s in probe.members(c.pos[~labelled], c.neg[~labelled]))
    # The probe may have been turned round by its labels.
    losses = [float(ccs_loss(a[:, None], b[:, None])) for a, b in ((p, q), (1 - p, 1 - q))]
    assert np.ptp(probe.losses) > 1e-4
    assert np.abs(np.array(losses) - probe.losses.min()).min() < 1e-9


def test_only_the_fitted_pairs_decide_the_normalisation(contrast_pairs):
    c = contrast_pairs(n=100)
    labelled = np.arange(100) < 20
    moved = [np.where(labelled[:, None], 3 * X + 40, X) for X in (c.pos, c.neg)]
    one = CcsFitter(steps=50).fit(c.pos, c.neg, c.y, c.groups, labelled=labelled)
    other = CcsFitter(steps=50).fit(*moved, c.y, c.groups, labelled=labelled)
    np.testing.assert_array_equal(np.abs(one.weights), np.abs(other.weights))
    np.testing.assert_array_equal(one.losses, other.losses)


def test_scale_and_place_of_the_columns_do_not_matter(contrast_pairs):
    c = contrast_pairs(n=100)
    scale, shift = np.array([1e-3, 1, 5, 1e3, 2, 3, 4, 5]), np.arange(8) * 100.0
    one = CcsFitter(steps=100).fit(c.pos, c.neg, c.y, c.groups)
    other = CcsFitter(steps=100).fit(c.pos * scale + shift, c.neg * scale - shift, c.y, c.groups)
    np.testing.assert_allclose(
        other.decision_function(c.pos * scale + shift, c.neg * scale - shift),
        one.decision_function(c.pos, c.neg), atol=1e-6,
    )  # fmt: skip


def test_credence_is_the_published_one_and_on_the_side_of_the_decision(contrast_pairs):
    c = contrast_pairs(n=100, truth=0.5)
    probe = CcsFitter(steps=100).fit(c.pos, c.neg, c.y, c.groups)
    pos, neg = probe.members(c.pos, c.neg)
    p, q = 1 / (1 + np.exp(-pos)), 1 / (1 + np.exp(-neg))
    credence = probe.credence(c.pos, c.neg)
    np.testing.assert_allclose(credence, (p + (1 - q)) / 2)
    np.testing.assert_array_equal(credence > 0.5, probe.decision_function(c.pos, c.neg) > 0)


def test_same_seed_same_probe_and_the_global_generator_is_left_alone(contrast_pairs):
    c = contrast_pairs(n=60)
    before = torch.get_rng_state()
    one, other = (CcsFitter(steps=20, seed=3).fit(c.pos, c.neg, c.y, c.groups) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(one, CcsProbe)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert len(one.losses) == 10


def test_too_few_restarts_or_steps_are_refused(contrast_pairs):
    c = contrast_pairs(n=20)
    with pytest.raises(InputError, match="restarts is 3: expected 10"):
        CcsFitter(restarts=3).fit(c.pos, c.neg, c.y)
    with pytest.raises(InputError, match="steps is 0"):
        CcsFitter(steps=0).fit(c.pos, c.neg, c.y)
    with pytest.raises(InputError, match="device 'nowhere'"):
        CcsFitter(device="nowhere").fit(c.pos, c.neg, c.y)
