import copy

import numpy as np
import pytest
import torch

from mechdecouple.sae import ARCHITECTURES
from mechdecouple.sae.architectures import training_sae
from mechdecouple.sae.training._dense import DenseStep


@pytest.mark.parametrize("step", [0, 7, 100])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_losses_and_gradients_are_those_of_saelens_own_forward_pass(architecture, step):
    from sae_lens.saes.sae import TrainStepInput

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = training_sae(architecture, d=16, width=48, k=5, l1=0.7, steps=200)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
        x = 2 * torch.randn(30, 16) + 1
    dead = torch.from_numpy(np.random.default_rng(0).random(48) < 0.3)
    theirs = copy.deepcopy(sae)
    penalties = {"jumprelu": ("l0", 1.0), "standard": ("l1", 0.7), "gated": ("l1", 0.7)}
    name, weight = penalties.get(architecture, ("none", 0.0))
    given = TrainStepInput(
        sae_in=x,
        coefficients={name: weight * min(1, step / 20)},  # full weight after a tenth of the training
        dead_neuron_mask=dead,
        n_training_steps=step,
        is_logging_step=False,
    )
    out = theirs.training_forward_pass(given)
    out.loss.backward()
    found = DenseStep(sae)(x, dead, step)

    torch.testing.assert_close(found.loss, out.loss.detach(), rtol=1e-5, atol=0)
    torch.testing.assert_close(x + found.error, out.sae_out.detach(), atol=1e-4, rtol=1e-5)
    assert found.active == int((out.feature_acts > 0).sum())
    assert torch.equal(found.fired, (out.feature_acts > 0).any(0))
    for (name, own), (_, their) in zip(sae.named_parameters(), theirs.named_parameters(), strict=True):
        size = float(their.grad.abs().max())
        assert size > 0, name
        assert float((own.grad - their.grad).abs().max()) <= 1e-5 * size, name
