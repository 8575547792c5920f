"""The SAELens architectures by name, with the settings that fit activations scaled to norm √d."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mechdecouple.errors import InputError
from mechdecouple.sae._saelens import saelens

if TYPE_CHECKING:
    from sae_lens import SAE, TrainingSAE

ARCHITECTURES = ("topk", "batchtopk", "matryoshka", "jumprelu", "standard", "gated")


def training_sae(architecture: str, *, d: int, width: int, k: int, l1: float, steps: int) -> TrainingSAE:
    """SAELens' training class of that name, freshly initialised from torch's global generator.

    Args:
        k: latents a row for topk, their mean for batchtopk and matryoshka, target L0 of jumprelu's quadratic penalty.
        l1: weight of the L1 penalty, standard and gated only.
        steps: length of the training; sparsity penalties rise to full weight over its first tenth.

    Raises:
        InputError: an unknown architecture.
    """
    lens = saelens()
    shape = {"d_in": d, "d_sae": width}
    warm_up = steps // 10
    if architecture == "topk":
        return lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**shape, k=k))
    if architecture == "batchtopk":
        return lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**shape, k=k))
    if architecture == "matryoshka":
        nested = sorted({max(1, width // 8), max(1, width // 4), max(1, width // 2), width})
        config = lens.MatryoshkaBatchTopKTrainingSAEConfig(**shape, k=k, matryoshka_widths=nested)
        return lens.MatryoshkaBatchTopKTrainingSAE(config)
    if architecture == "jumprelu":
        penalty = {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": float(k), "l0_warm_up_steps": warm_up}
        return lens.JumpReLUTrainingSAE(lens.JumpReLUTrainingSAEConfig(**shape, **penalty))
    penalty = {"l1_coefficient": l1, "l1_warm_up_steps": warm_up}
    if architecture == "standard":
        return lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(**shape, **penalty))
    if architecture == "gated":
        return lens.GatedTrainingSAE(lens.GatedTrainingSAEConfig(**shape, **penalty))
    raise InputError(f"unknown SAE architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}")


def inference_sae(training: TrainingSAE, record: dict[str, object]) -> SAE:
    """The trained weights in SAELens' inference class, decoder rows of unit norm, with ``record`` in its metadata."""
    state = training.state_dict()
    training.process_state_dict_for_saving_inference(state)
    with torch.random.fork_rng(devices=[]):  # SAELens draws initial weights that are overwritten here
        sae = saelens().SAE.from_dict(training.cfg.get_inference_sae_cfg_dict())
    sae.load_state_dict(state)
    sae.fold_W_dec_norm()
    for name, value in record.items():
        sae.cfg.metadata[name] = value
    return sae.eval()
