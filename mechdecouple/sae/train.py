"""Train a sparse autoencoder on stored activations: SAELens' architectures and losses in a short loop of our own.

SAELens' trainer wants a store that feeds it through a mixing buffer, and keeps its own logs. Activations that already
lie in an array need neither: rows are drawn by a fresh permutation of the whole array each epoch (perfect mixing at the
price of an index), and each step is SAELens' ``training_forward_pass`` followed by Adam.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from mechdecouple.errors import InputError
from mechdecouple.progress import bar
from mechdecouple.sae.architectures import ARCHITECTURES, inference_sae, training_sae
from mechdecouple.sae.autoencoder import SparseAutoencoder, check_activations

_CURVE_POINTS = 50


def train(
    X: Float[np.ndarray, "n d"],
    *,
    architecture: str = "topk",
    width: int | None = None,
    k: int | None = None,
    l1: float = 2.0,
    steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    model: str = "",
    hook_point: str = "",
    progress: bool = False,
) -> SparseAutoencoder:
    """Fit a dictionary of ``width`` directions of which each row of X uses few.

    Rows are centred (through the decoder bias) and scaled to root-mean-square norm √d, so that the defaults fit any
    model; the scale is recorded and folded into the weights: the SAE reads and writes raw activations.
    The same X, settings, seed, device and number of threads give the same weights.

    Args:
        X: activations, a row an item or token; any float type.
        architecture: topk, batchtopk, matryoshka, jumprelu, standard or gated.
        width: number of latents m; by default 4·d, at most 16,384 and a quarter of the rows (more could store rows).
        k: latents a row (topk), their mean (batchtopk, matryoshka), their target (jumprelu); by default d/8 in 4..32.
        l1: penalty of standard and gated.
        steps: optimiser steps; by default 1,000, or as many as see each row once if that is more.
        batch_size: rows a step (at most n).
        learning_rate: peak rate of Adam; by default 4e-4·√(2¹⁴/m), at most 4e-3 (scaling by 1/√m: 2406.04093).
        model, hook_point: written into the metadata, where SAELens' tools look for them.

    Raises:
        InputError: X is not a finite table with variance, a setting is out of range, or the training diverged.

    Example:
        >>> sae = train(activations[hook_point], k=8, seed=0)  # doctest: +SKIP
        >>> latents = sae.encode(activations[hook_point])  # doctest: +SKIP
    """
    check_activations(X)
    n, d = X.shape
    k = min(32, max(4, d // 8)) if k is None else k
    width = max(2 * k, min(4 * d, n // 4, 16_384)) if width is None else width
    batch_size = min(batch_size, n)
    steps = max(1000, math.ceil(n / max(1, batch_size))) if steps is None else steps
    learning_rate = min(4e-3, 4e-4 * math.sqrt(2**14 / max(1, width))) if learning_rate is None else learning_rate
    _check_settings(architecture, width=width, k=k, steps=steps, batch_size=batch_size, learning_rate=learning_rate)

    rows = torch.tensor(X, dtype=torch.float32, device=device)
    mean = rows.mean(0)
    rms = float((rows - mean).square().sum(1).mean().sqrt())
    if not rms > 1e-6 * float(mean.norm()):
        raise InputError(f"all {n} rows of the activations are the same; an SAE needs rows that differ")
    scale = math.sqrt(d) / rms
    rows *= scale

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sae = training_sae(architecture, d=d, width=width, k=k, l1=l1, steps=steps)
    sae.to(device)
    sae.b_dec.data.copy_(mean * scale)
    curve = _fit(
        sae, rows, steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed, progress=progress
    )
    sae.fold_activation_norm_scaling_factor(scale)
    settings = {
        "architecture": architecture, "seed": seed, "steps": steps, "batch_size": batch_size,
        "learning_rate": learning_rate, "rows": n, "activation_scale": scale, "loss": curve,
    }  # fmt: skip
    record = {"mechdecouple": settings, "model_name": model or None, "hook_name": hook_point or None}
    return SparseAutoencoder(inference_sae(sae, record))


def row_batches(n: int, batch_size: int, steps: int, seed: int) -> Iterator[Int[np.ndarray, " b"]]:
    """Row indices of each step: permutations of all n rows, one after another, cut into equal batches.

    After s steps each row was seen ⌊s·b/n⌋ or ⌈s·b/n⌉ times, and no permutation is used twice.
    """
    generator = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, generator.permutation(n)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def _fit(
    sae: Any, rows: torch.Tensor, *, steps: int, batch_size: int, learning_rate: float, seed: int, progress: bool
) -> list[list[float]]:
    """Run the steps in place; returns the loss curve as (step, loss) pairs."""
    from sae_lens.saes.sae import TrainCoefficientConfig, TrainStepInput
    from sae_lens.training.optim import CoefficientScheduler

    n = len(rows)
    optimiser = torch.optim.Adam(sae.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    coefficients = {}
    for name, value in sae.get_coefficients().items():
        final, warm_up = value if isinstance(value, TrainCoefficientConfig) else (value, 0)
        coefficients[name] = CoefficientScheduler(warm_up, final)
    silent = torch.zeros(sae.cfg.d_sae, device=rows.device)  # steps since each latent last fired
    patience = min(1000, max(20, 2 * math.ceil(n / batch_size)))
    curve: list[list[float]] = []

    sae.train()
    batches = enumerate(row_batches(n, batch_size, steps, seed))
    for step, index in bar(batches, progress=progress, total=steps, desc="SAE", unit="step"):
        given = TrainStepInput(
            sae_in=rows[torch.from_numpy(index).to(rows.device)],
            coefficients={name: c.value for name, c in coefficients.items()},
            dead_neuron_mask=silent > patience,
            n_training_steps=step,
            is_logging_step=False,
        )
        out = sae.training_forward_pass(given)
        optimiser.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        for coefficient in coefficients.values():
            coefficient.step()
        silent += 1
        silent[(out.feature_acts.detach() > 0).any(0)] = 0
        if step % max(1, steps // _CURVE_POINTS) == 0 or step == steps - 1:
            curve.append([step, float(out.loss.detach())])
            if not math.isfinite(curve[-1][1]):
                raise InputError(f"SAE training diverged at step {step}; lower learning_rate (was {learning_rate:g})")
    return curve


def _rate(done: float) -> float:
    """Share of the peak learning rate: a short rise, then constant, then down to zero over the last third."""
    return min(1.0, (done + 1e-3) / 0.05, (1 - done) / 0.33)


def _check_settings(
    architecture: str, *, width: int, k: int, steps: int, batch_size: int, learning_rate: float
) -> None:
    if architecture not in ARCHITECTURES:
        raise InputError(f"unknown SAE architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}")
    for name, value in {"width": width, "k": k, "steps": steps, "batch_size": batch_size}.items():
        if value < 1:
            raise InputError(f"{name} is {value}, expected at least 1")
    if k > width:
        raise InputError(f"k is {k} but the SAE has only {width} latents; lower k or raise width")
    if not learning_rate > 0:
        raise InputError(f"learning_rate is {learning_rate}, expected a positive number")
