import copy

import numpy as np
import pytest
import torch

from mechdecouple.sae.architectures import training_sae
from mechdecouple.sae.training._sparse import SparseStep, largest_of_rows, largest_of_table, pools_for


def made(architecture, d, m, k, b):
    """A SAELens SAE away from its symmetric initial weights, and rows for it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = training_sae(architecture, d=d, width=m, k=k, l1=0, steps=10)
        with torch.no_grad():
            sae.W_dec += 0.05 * torch.randn_like(sae.W_dec)
            sae.b_enc += 0.1 * torch.randn_like(sae.b_enc)
            sae.b_dec += torch.randn_like(sae.b_dec)
        return sae, 3 * torch.randn(b, d) + 1


def by_autograd(sae, x, dead):
    from sae_lens.saes.sae import TrainStepInput

    given = TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=dead, n_training_steps=0, is_logging_step=False)
    out = sae.training_forward_pass(given)
    out.loss.backward()
    return out


@pytest.mark.parametrize("dead_share", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize(
    ("d", "m", "k", "b"),
    [(24, 300, 5, 40), (7, 5, 5, 3), (16, 37, 1, 9), (2, 8, 2, 4)],
    ids=["common", "all fire", "one fires", "tiny"],
)
@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_losses_and_gradients_are_those_of_saelens_own_forward_pass(architecture, d, m, k, b, dead_share):
    sae, x = made(architecture, d, m, k, b)
    dead = torch.from_numpy(np.random.default_rng(0).random(m) < dead_share)
    theirs = copy.deepcopy(sae)
    out = by_autograd(theirs, x, dead)
    found = SparseStep(sae)(x, dead)

    assert float(found.loss) == pytest.approx(float(out.loss.detach()), rel=1e-5)
    torch.testing.assert_close(x + found.error, out.sae_out.detach(), atol=1e-4, rtol=1e-5)
    assert found.active == int((out.feature_acts > 0).sum())
    assert torch.equal(found.fired, (out.feature_acts > 0).any(0))
    for (name, own), (_, their) in zip(sae.named_parameters(), theirs.named_parameters(), strict=True):
        size = float(their.grad.abs().max())
        assert size > 0, name
        assert float((own.grad - their.grad).abs().max()) <= 1e-5 * size, name
    if architecture != "topk":
        assert float(sae.topk_threshold) == pytest.approx(float(theirs.topk_threshold), rel=1e-6, abs=1e-8)


def test_the_bias_of_the_decoder_has_its_share_from_the_encoder():
    """The gradient through the centring is no rounding matter: a hundred times what the comparison above allows."""
    sae, x = made("topk", 24, 300, 5, 40)
    theirs = copy.deepcopy(sae)
    by_autograd(theirs, x, torch.zeros(300, dtype=torch.bool))
    through_decoder = 2 * SparseStep(sae)(x, torch.zeros(300, dtype=torch.bool)).error.mean(0)
    assert float((through_decoder - theirs.b_dec.grad).norm()) > 1e-3 * float(theirs.b_dec.grad.norm())


def test_batches_of_another_length_are_taken():
    sae, x = made("batchtopk", 16, 37, 3, 20)
    step, none = SparseStep(sae), torch.zeros(37, dtype=torch.bool)
    first = step(x, none).loss
    assert step(x[:7], none).active == 21
    assert step(x, none).loss == first


def test_rows_on_which_nothing_fires_leave_the_decoder_bias():
    sae, x = made("topk", 16, 37, 3, 5)
    sae.b_enc.data -= 1e6
    found = SparseStep(sae)(x, torch.zeros(37, dtype=torch.bool))
    assert found.active == 0
    assert not found.fired.any()
    torch.testing.assert_close(x + found.error, sae.b_dec.detach().expand(5, -1))
    torch.testing.assert_close(sae.b_dec.grad, 2 * found.error.mean(0))
    assert not sae.W_dec.grad.any() and not sae.W_enc.grad.any()


@pytest.mark.parametrize(("b", "m", "k"), [(6, 64, 1), (6, 64, 4), (5, 32, 32), (1, 128, 3)])
def test_selection_through_pools_is_the_sorted_one(b, m, k):
    table = torch.from_numpy(np.random.default_rng(m + k).normal(size=(b, m)).astype(np.float32))
    expected = torch.sort(table, dim=1).indices[:, m - k :] + torch.arange(0, b * m, m)[:, None]
    of_all = torch.sort(table.flatten()).indices[b * m - b * k :]
    for pools in (p for p in (1, 2, 4, 8, 16) if m // p >= k):
        assert torch.equal(largest_of_rows(table, k, pools).view(b, k).sort(1).values, expected.sort(1).values)
        assert torch.equal(largest_of_table(table, b * k, pools), of_all.sort().values)


def test_selection_prefers_no_pool_when_the_largest_share_one():
    """All of a row's largest values above one another in one pool, and equal values everywhere else."""
    table = torch.zeros(2, 64)
    table[:, [5, 21, 37, 53]] = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert sorted(largest_of_rows(table, 4, 4).tolist()) == [5, 21, 37, 53, 69, 85, 101, 117]
    assert largest_of_table(table, 8, 4).tolist() == [5, 21, 37, 53, 69, 85, 101, 117]


@pytest.mark.parametrize(("m", "k"), [(4096, 32), (100, 4), (5, 5), (64, 33), (16384, 1)])
def test_there_are_at_least_k_pools(m, k):
    pools = pools_for(m, k)
    assert -(-m // pools) >= k
    assert -(-m // pools) * pools - m < -(-m // pools)  # no pool is padding alone
