"""One training step by automatic differentiation of SAELens' losses, with fewer products than SAELens itself makes.

Two are saved. The gradient that reaches the decoder's bias through the encoder is that of the encoder's bias times the
encoder, as both only shift the pre-activations; so the centred rows need no gradient of their own. And the three paths
of the gated architecture read one encoder, whose product is made once.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mechdecouple.sae.training._sparse import Pass


class DenseStep:
    """Losses and gradients of any SAELens training class, equal to its own to rounding; on every device."""

    def __init__(self, sae: Any) -> None:
        self.sae = sae
        self.gated = sae.cfg.architecture() == "gated"
        sae.process_sae_in = self._centred

    def __call__(self, x: Float[Tensor, "b d"], dead: Bool[Tensor, " m"], step: int) -> Pass:
        """Leaves the gradients at the parameters.

        Args:
            dead: latents that count as dead.
            step: number of steps made before, which the weight of a sparsity penalty rises with.
        """
        from sae_lens.saes.sae import TrainStepInput

        sae, coefficients = self.sae, self._coefficients(step)
        if self.gated:
            loss, latents, rebuilt = gated_loss(sae, self._centred(x), x, coefficients["l1"])
        else:
            given = TrainStepInput(
                sae_in=x,
                coefficients=coefficients,
                dead_neuron_mask=dead,
                n_training_steps=step,
                is_logging_step=False,
            )
            out = sae.training_forward_pass(given)
            loss, latents, rebuilt = out.loss, out.feature_acts, out.sae_out
        loss.backward()
        with torch.no_grad():
            shift = sae.b_gate.grad + sae.b_mag.grad * sae.r_mag.exp() if self.gated else sae.b_enc.grad
            sae.b_dec.grad -= sae.W_enc @ shift
            firing = latents > 0
        return Pass(loss.detach(), rebuilt.detach() - x, firing.any(0), int(firing.sum()))

    def _centred(self, x: Tensor) -> Tensor:
        return x - self.sae.b_dec.detach()

    def _coefficients(self, step: int) -> dict[str, float]:
        from sae_lens.saes.sae import TrainCoefficientConfig

        found = {}
        for name, value in self.sae.get_coefficients().items():
            final, warm_up = value if isinstance(value, TrainCoefficientConfig) else (value, 0)
            found[name] = final * min(1.0, step / warm_up) if warm_up else final
        return found


def gated_loss(
    sae: Any, centred: Float[Tensor, "b d"], x: Float[Tensor, "b d"], l1: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "b m"], Float[Tensor, "b d"]]:
    """Loss, latents and rebuilt rows of a SAELens gated training SAE (2404.16014).

    Magnitudes scale the encoder's columns, which is the same as scaling what it gives.
    """
    encoded = centred @ sae.W_enc
    gate = encoded + sae.b_gate
    latents = torch.relu(encoded * sae.r_mag.exp() + sae.b_mag) * (gate > 0)
    opened = torch.relu(gate)
    rebuilt = latents @ sae.W_dec + sae.b_dec
    by_gate = opened @ sae.W_dec + sae.b_dec
    penalty = l1 * (opened.sum(0) @ sae.W_dec.norm(dim=1))
    return ((rebuilt - x).square().sum() + penalty + (by_gate - x).square().sum()) / len(x), latents, rebuilt
