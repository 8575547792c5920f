"""Trainer: one sparse autoencoder in training, fed batch by batch, so that several can share one pass over the rows."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.architectures import inference_sae, training_sae
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.training._dense import DenseStep
from mechdecouple.sae.training._sparse import Pass, SparseStep
from mechdecouple.sae.training.recipe import Recipe

CURVE = ("step", "loss", "l0", "fvu", "dead", "learning_rate")
_CURVE_POINTS = 50
_SPARSE = ("topk", "batchtopk", "matryoshka")
_BETAS, _EPSILON, _MAX_NORM = (0.9, 0.999), 1e-8, 1.0


class Trainer:
    """Fits one dictionary to the batches it is given; ``finish`` makes the frozen result.

    Rows are scaled by ``scale`` and centred through the decoder bias, which starts at ``mean``. Adam's rate rises over
    the first twentieth of ``steps`` and falls to zero over the last third; gradients are clipped to norm 1. The same
    batches, recipe, device and number of threads give the same weights, also across ``state`` and ``restore``.

    Args:
        recipe: what to train; ``Recipe.filled`` has given it all its settings.
        d: width of the rows.
        steps: how many batches it will be given.
        mean: of the rows, raw units.
        scale: what the rows are multiplied by, such that their root-mean-square distance from the mean is √d.
        patience: steps after which a latent that never fired counts as dead, and is helped where the architecture
            does so (topk and its kin); by default a tenth of the steps, within 20 and 1,000.

    Raises:
        InputError: the recipe is not filled, or the training diverged.

    Example:
        >>> import torch
        >>> rows = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))
        >>> trainer = Trainer(Recipe(k=2).filled(512, 16), d=16, steps=4, mean=rows.mean(0), scale=1.0)
        >>> for batch in rows.split(128):
        ...     trainer.step(batch)
        >>> trainer.finish()
        SparseAutoencoder(topk, 16 -> 64 latents)
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        d: int,
        steps: int,
        mean: Float[Tensor, " d"],
        scale: float,
        device: str = "cpu",
        patience: int | None = None,
    ) -> None:
        if recipe.width is None or recipe.k is None or recipe.learning_rate is None:
            raise InputError(f"recipe {recipe} has open settings; fill them with recipe.filled(n, d)")
        self.recipe, self.steps, self.scale = recipe, steps, scale
        self.patience = min(1000, max(20, steps // 10)) if patience is None else patience
        self.step_number = 0
        self.curve: list[dict[str, float]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self._sae: Any = training_sae(
                recipe.architecture, d=d, width=recipe.width, k=recipe.k, l1=recipe.l1, steps=steps
            )
        self._sae.to(device)
        self._sae.b_dec.data.copy_(mean * scale)
        self._sae.train()
        self._parameters: dict[str, torch.nn.Parameter] = dict(self._sae.named_parameters())
        self._rate = recipe.learning_rate
        self._adam = torch.optim.Adam(self._parameters.values(), lr=self._rate, betas=_BETAS, eps=_EPSILON, fused=True)
        sparse = recipe.architecture in _SPARSE and torch.device(device).type == "cpu"
        self._pass = SparseStep(self._sae) if sparse else DenseStep(self._sae)
        self._silent = torch.zeros(recipe.width, dtype=torch.int32, device=device)  # steps since each last fired
        self._loss = torch.tensor(math.nan)

    @property
    def loss(self) -> float:
        """Of the last batch, all terms, scaled units."""
        return float(self._loss)

    def step(self, batch: Float[Tensor, "b d"]) -> None:
        """One step of the optimiser on rows in raw units, already on the device."""
        rows = batch * self.scale
        rate = self._rate * share_of_rate(self.step_number / self.steps)
        for group in self._adam.param_groups:
            group["lr"] = rate
        dead, one = self._silent > self.patience, self._pass
        out = one(rows, dead) if isinstance(one, SparseStep) else one(rows, dead, self.step_number)
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), _MAX_NORM)
        self._adam.step()
        self._adam.zero_grad()
        self._silent += 1
        self._silent[out.fired] = 0
        self._loss = out.loss
        if self.step_number % math.ceil(self.steps / _CURVE_POINTS) == 0 or self.step_number == self.steps - 1:
            self._note(rows, out, rate)
        self.step_number += 1

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on with the same bytes: weights, moments of Adam, counters, curve; copies."""
        found = {f"weights.{name}": value for name, value in self._sae.state_dict().items()}
        for name, parameter in self._parameters.items():
            for moment, value in self._adam.state[parameter].items():
                found[f"adam.{moment}.{name}"] = value
        found["silent"] = self._silent
        found["step"], found["loss"] = torch.tensor(self.step_number), self._loss
        found["curve"] = torch.tensor(
            [[point[name] for name in CURVE] for point in self.curve], dtype=torch.float64
        ).reshape(-1, len(CURVE))
        return {name: value.detach().clone().contiguous() for name, value in found.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on where ``state`` was taken.

        Raises:
            MismatchError: the state is of an SAE of another architecture or size.
        """
        own = self._sae.state_dict()
        for name, value in own.items():
            found = state.get(f"weights.{name}")
            if found is None or found.shape != value.shape:
                shape = "absent" if found is None else f"of shape {tuple(found.shape)}"
                raise MismatchError(
                    f"{name} of the saved training is {shape}, expected {tuple(value.shape)}; use the same recipe"
                )
        self._sae.load_state_dict({name: state[f"weights.{name}"] for name in own})
        for name, parameter in self._parameters.items():
            if f"adam.step.{name}" not in state:  # taken before the first step
                continue
            kept = self._adam.state[parameter]
            kept["step"] = state[f"adam.step.{name}"].to(parameter.device, copy=True)
            for moment in ("exp_avg", "exp_avg_sq"):  # laid out in memory as the parameter is, which fused Adam wants
                kept[moment] = torch.empty_like(parameter).copy_(state[f"adam.{moment}.{name}"])
        self._silent.copy_(state["silent"])
        self.step_number, self._loss = int(state["step"]), state["loss"].clone()
        self.curve = [dict(zip(CURVE, point, strict=True)) for point in state["curve"].tolist()]
        for point in self.curve:
            point["step"] = int(point["step"])

    def finish(self, record: dict[str, Any] | None = None) -> SparseAutoencoder:
        """The SAE as it is now, in raw units and SAELens' inference class, decoder rows of unit norm.

        Args:
            record: SAELens' metadata (``model_name``, ``hook_name`` ...); what stands under ``mechdecouple`` is joined
                with the recipe, the scale and the curve.
        """
        record = dict(record or {})
        made = {**asdict(self.recipe), "steps": self.steps, "activation_scale": self.scale, "curve": self.curve}
        record["mechdecouple"] = {**made, **record.get("mechdecouple", {})}
        trained = copy.deepcopy(self._sae)
        trained.fold_activation_norm_scaling_factor(self.scale)
        return SparseAutoencoder(inference_sae(trained, record))

    def _note(self, rows: Tensor, out: Pass, rate: float) -> None:
        if not math.isfinite(self.loss):
            raise InputError(
                f"SAE training diverged at step {self.step_number}; lower learning_rate (was {self._rate:g})"
            )
        values = {
            "step": self.step_number,
            "loss": self.loss,
            "l0": out.active / len(rows),
            "fvu": float(out.error.square().sum() / (rows - rows.mean(0)).square().sum()),
            "dead": float((self._silent > self.patience).float().mean()),
            "learning_rate": rate,
        }
        self.curve.append({name: values[name] for name in CURVE})


def share_of_rate(done: float) -> float:
    """Share of the peak learning rate: a short rise, then constant, then down to zero over the last third."""
    return min(1.0, (done + 1e-3) / 0.05, (1 - done) / 0.33)
