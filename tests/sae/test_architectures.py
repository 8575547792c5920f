import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError
from mechdecouple.sae import ARCHITECTURES
from mechdecouple.sae.architectures import inference_sae, training_sae

SHAPE = {"d": 16, "width": 48, "k": 3, "l1": 0.7, "steps": 200}
OWN_NAME = {"matryoshka": "matryoshka_batchtopk"}
THRESHOLD = 0.1
IN_USE = {"batchtopk": "jumprelu", "matryoshka": "jumprelu"}


def made(architecture):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = training_sae(architecture, **SHAPE)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter += 0.1 * torch.rand_like(parameter)
        return sae, torch.randn(20, 16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_name_is_saelens_architecture_of_that_name(architecture):
    sae, _ = made(architecture)
    assert sae.cfg.architecture() == OWN_NAME.get(architecture, architecture)
    assert (sae.cfg.d_in, sae.cfg.d_sae) == (16, 48)


def test_the_settings_reach_saelens():
    for architecture in ("topk", "batchtopk", "matryoshka"):
        assert made(architecture)[0].cfg.k == 3
    assert made("matryoshka")[0].cfg.matryoshka_widths == [6, 12, 24, 48]
    jumprelu = made("jumprelu")[0].cfg
    assert (jumprelu.target_l0, jumprelu.l0_warm_up_steps, jumprelu.jumprelu_sparsity_loss_mode) == (3, 20, "quadratic")
    for architecture in ("standard", "gated"):
        config = made(architecture)[0].cfg
        assert (config.l1_coefficient, config.l1_warm_up_steps) == (0.7, 20)


@pytest.mark.parametrize("width", [2, 3, 9])
def test_a_small_matryoshka_has_levels_that_grow(width):
    sae = training_sae("matryoshka", d=4, width=width, k=1, l1=0, steps=10)
    assert sae.cfg.matryoshka_widths[-1] == width
    assert (np.diff(sae.cfg.matryoshka_widths) > 0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_inference_class_computes_what_was_trained(architecture):
    sae, x = made(architecture)
    if architecture in IN_USE:
        sae.topk_threshold.fill_(THRESHOLD)
    with torch.no_grad():
        if architecture in IN_USE:  # a fixed threshold takes the place of the choice among a batch
            codes = (sae.process_sae_in(x) @ sae.W_enc + sae.b_enc) * sae.W_dec.norm(dim=1)
            codes = codes * (codes > THRESHOLD)
        else:
            codes = sae.encode(x)
            if architecture != "topk":  # whose training class counts decoder norms in already
                codes = codes * sae.W_dec.norm(dim=1)
        rebuilt = (codes / sae.W_dec.norm(dim=1)) @ sae.W_dec + sae.b_dec
        found = inference_sae(sae, {"hook_name": "blocks.0"})
        assert (codes > 0).any()
        torch.testing.assert_close(found.encode(x), codes, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.decode(found.encode(x)), rebuilt, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(found.W_dec.norm(dim=1), torch.ones(48))
    assert found.cfg.architecture() == IN_USE.get(architecture, architecture)
    assert found.cfg.metadata.hook_name == "blocks.0"


def test_taking_the_weights_draws_nothing():
    sae, _ = made("topk")
    before = torch.random.get_rng_state()
    inference_sae(sae, {})
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="unknown SAE architecture 'dense'; expected one of topk, batchtopk"):
        training_sae("dense", **SHAPE)
