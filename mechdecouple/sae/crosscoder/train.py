"""Train a crosscoder on two models' activations of the same rows."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.progress import bar
from mechdecouple.sae.crosscoder._fit import Fitter
from mechdecouple.sae.crosscoder.crosscoder import KINDS, Crosscoder
from mechdecouple.sae.crosscoder.pairs import Moments, Pairs, Rows, model_of, pair_rows

_CURVE_POINTS = 50
_SAMPLE = 8192


def train_crosscoder(
    a: Rows,
    b: Rows,
    *,
    hook_point_a: str | None = None,
    hook_point_b: str | None = None,
    kind: str = "batchtopk",
    width: int | None = None,
    k: int | None = None,
    l1: float = 2.0,
    dedicated: float = 0.05,
    steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    model_a: str = "",
    model_b: str = "",
    progress: bool = False,
) -> Crosscoder:
    """Fit one set of latents from which both models' activations are rebuilt, each by a decoder of its own.

    The models may have different widths: each is centred and scaled on its own, so that both weigh the same. A latent
    costs the sum of its two decoder norms, so a feature of both models is cheaper as one latent than as two.
    The same rows, settings, device and number of threads give the same weights.

    Args:
        a, b: activations of the same items (and tokens) in both models: arrays ``[n, d]``, or Activations, in memory or
            on disk, whose ids and tokens are checked.
        hook_point_a, hook_point_b: which to read of Activations; not needed where there is only one.
        kind: ``batchtopk`` keeps the k·batch strongest latents of a batch (2504.02922: fewer false exclusives than L1);
            ``l1`` penalises decoder norms; ``dedicated`` is batchtopk with latents that by design read and write only A
            or only B (2602.11729: more of the true exclusives).
        width: latents m; by default 4·max(d_a, d_b), at most 16,384 and a quarter of the rows.
        k: mean latents a row (batchtopk, dedicated); by default (d_a + d_b)/16 in 4..32. It matters: above the number
            of features that rows really use, latents mix features, and fewer of the exclusive ones are found.
        l1: weight of the penalty, l1 only.
        dedicated: share of the latents that are A's alone, and as many B's alone; dedicated only.
        steps: optimiser steps; by default 1,000, or as many as see each row once if that is more.
        learning_rate: peak rate of Adam; by default 4e-4·√(2¹⁴/m), at most 4e-3.
        model_a, model_b: names to remember; by default those that the Activations know.

    Raises:
        InputError: rows that are no finite tables with variance, a setting out of range, or the training diverged.
        MismatchError: the models' rows are not of the same items and tokens; the first that differs is named.

    Example:
        >>> from mechdecouple.zoo.dictionaries import planted_pair
        >>> pair = planted_pair(n=500, d_a=8, d_b=12, shared=6, only_a=2, only_b=2, active=2)
        >>> train_crosscoder(pair.a, pair.b, width=16, k=2, steps=20)
        Crosscoder(batchtopk, 8 + 12 -> 16 latents)
    """
    pairs = pair_rows(a, b, hook_point_a, hook_point_b)
    n, d_a, d_b = pairs.n, pairs.d_a, pairs.d_b
    k = min(32, max(4, (d_a + d_b) // 16)) if k is None else k
    width = max(2 * k, min(4 * max(d_a, d_b), n // 4, 16_384)) if width is None else width
    batch_size = min(batch_size, n)
    steps = max(1000, math.ceil(n / max(1, batch_size))) if steps is None else steps
    learning_rate = min(4e-3, 4e-4 * math.sqrt(2**14 / max(1, width))) if learning_rate is None else learning_rate
    _check_settings(kind, width=width, k=k, steps=steps, batch_size=batch_size)
    _check_rates(learning_rate=learning_rate, l1=l1, dedicated=dedicated)

    moments = pairs.moments()
    fitter = Fitter(
        _allowed(kind, width, d_a, d_b, dedicated).to(device),
        d_a=d_a, k=None if kind == "l1" else k, l1=l1, learning_rate=learning_rate, steps=steps,
        patience=min(1000, max(20, steps // 10)), generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    curve = _fit(fitter, pairs, moments, steps=steps, batch_size=batch_size, seed=seed, progress=progress)
    threshold = _threshold(fitter, pairs, moments, k) if kind != "l1" else 0.0
    (name_a, weights_a), (name_b, weights_b) = _model(a, model_a), _model(b, model_b)
    training = {
        "model_a": name_a, "model_b": name_b, "weight_hash_a": weights_a, "weight_hash_b": weights_b,
        "hook_point_a": pairs.hook_point_a, "hook_point_b": pairs.hook_point_b,
        "k": None if kind == "l1" else k, "l1": l1 if kind == "l1" else None,
        "dedicated": dedicated if kind == "dedicated" else None, "seed": seed, "steps": steps, "rows": n,
        "batch_size": batch_size, "learning_rate": learning_rate, "curve": curve,
    }  # fmt: skip
    return _frozen(fitter, moments, threshold, kind, training)


def _fit(
    fitter: Fitter, pairs: Pairs, moments: tuple[Moments, Moments], *, steps: int, batch_size: int, seed: int,
    progress: bool,
) -> list[dict[str, float]]:  # fmt: skip
    """Run the steps; returns step, loss, l0 and fvu at some fifty of them."""
    curve: list[dict[str, float]] = []
    batches = enumerate(pairs.shuffled(batch_size, steps, seed))
    every = math.ceil(steps / _CURVE_POINTS)
    for step, (x, y) in bar(batches, progress=progress, total=steps, desc="crosscoder", unit="step"):
        rows = _scaled(x, y, moments).to(fitter.decoder.device)
        fitter.step(rows)
        if step % every == 0 or step == steps - 1:
            fvu = fitter.error.square().sum() / (rows - rows.mean(0)).square().sum().clamp_min(1e-12)
            found = {"loss": float(fitter.loss), "l0": fitter.active / len(rows), "fvu": float(fvu)}
            curve.append({"step": step, **found})
            if not math.isfinite(found["loss"]):
                rate = fitter.learning_rate
                raise InputError(f"crosscoder training diverged at step {step}; lower learning_rate (was {rate:g})")
    return curve


@torch.no_grad()
def _threshold(fitter: Fitter, pairs: Pairs, moments: tuple[Moments, Moments], k: int) -> float:
    """The score above which k latents fire on average, over up to 8,192 rows: what batches chose by comparing rows."""
    index = np.unique(np.linspace(0, pairs.n - 1, min(pairs.n, _SAMPLE)).astype(np.int64))
    scores = np.empty(0, np.float32)
    for _, x, y in pairs.batches(index, 512):
        rows = _scaled(x, y, moments).to(fitter.decoder.device)
        of_batch = (fitter.positive(rows) * fitter.norms()).flatten()
        of_batch = of_batch[of_batch > 0].cpu().numpy()
        scores = np.concatenate([scores, of_batch])
        if len(scores) > k * len(index):
            scores = np.partition(scores, -k * len(index))[-k * len(index) :]
    return float(scores.min()) if len(scores) >= k * len(index) else 0.0


@torch.no_grad()
def _frozen(
    fitter: Fitter, moments: tuple[Moments, Moments], threshold: float, kind: str, training: dict
) -> Crosscoder:
    """The result: latents rescaled so that a latent's value is the length of what it adds, in scaled units."""
    (mean_a, scale_a), (mean_b, scale_b) = ((m.mean, m.scale) for m in moments)
    length = fitter.decoder.norm(dim=1)
    length = torch.where(length > 0, length, torch.ones_like(length))
    # The fitter's centre is subtracted before its encoder; here that is part of the bias.
    bias = (fitter.bias - fitter.centre @ fitter.encoder) * length
    encoder, decoder = fitter.encoder * length, fitter.decoder / length[:, None]
    least = threshold * length / fitter.norms().clamp_min(1e-12)
    d_a, centre = fitter.d_a, fitter.centre
    return Crosscoder(
        encoder_a=_numpy(encoder[:d_a]), encoder_b=_numpy(encoder[d_a:]), bias=_numpy(bias), threshold=_numpy(least),
        decoder_a=_numpy(decoder[:, :d_a] / scale_a), decoder_b=_numpy(decoder[:, d_a:] / scale_b),
        b_dec_a=mean_a + _numpy(centre[:d_a] / scale_a), b_dec_b=mean_b + _numpy(centre[d_a:] / scale_b),
        mean_a=mean_a, mean_b=mean_b, scale_a=scale_a, scale_b=scale_b, kind=kind, training=training,
    )  # fmt: skip


def _scaled(x: np.ndarray, y: np.ndarray, moments: tuple[Moments, Moments]) -> Float[Tensor, "b d"]:
    """Rows of both models side by side, centred and scaled."""
    of_a, of_b = moments
    return torch.from_numpy(np.hstack([(x - of_a.mean) * of_a.scale, (y - of_b.mean) * of_b.scale], dtype=np.float32))


def _model(source: Rows, name: str) -> tuple[str, str]:
    """Name and weight hash of the model that activations are of, as far as they know."""
    known = model_of(source)
    return name or str(known.get("name", "")), str(known.get("weight_hash", ""))


def _allowed(kind: str, width: int, d_a: int, d_b: int, dedicated: float) -> Bool[Tensor, "m d"]:
    """Which model each latent may write to: the last ones are A's alone, then B's alone, where some are dedicated."""
    allowed = torch.ones(width, d_a + d_b, dtype=torch.bool)
    own = math.ceil(dedicated * width) if kind == "dedicated" else 0
    allowed[width - 2 * own : width - own, d_a:] = False
    allowed[width - own :, :d_a] = False
    return allowed


def _check_settings(kind: str, **counts: int) -> None:
    if kind not in KINDS:
        raise InputError(f"unknown kind of crosscoder {kind!r}; expected one of {', '.join(KINDS)}")
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"{name} is {value}, expected at least 1")
    if counts["k"] > counts["width"]:
        raise InputError(f"k is {counts['k']} but there are only {counts['width']} latents; lower k or raise width")


def _check_rates(*, learning_rate: float, l1: float, dedicated: float) -> None:
    if not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise InputError(f"learning_rate is {learning_rate}, expected a positive number")
    if not (l1 >= 0 and math.isfinite(l1)):
        raise InputError(f"l1 is {l1}, expected a number of at least 0")
    if not 0 < dedicated < 0.5:
        raise InputError(f"dedicated is {dedicated}, expected a share above 0 and below 0.5 for each model")


def _numpy(x: Tensor) -> Float[np.ndarray, ...]:
    return x.detach().float().cpu().contiguous().numpy()
