"""Recipe: the settings of one sparse autoencoder, with defaults that follow the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mechdecouple.errors import InputError
from mechdecouple.sae.architectures import ARCHITECTURES


@dataclass(frozen=True)
class Recipe:
    """What one sparse autoencoder is to be; ``None`` is filled in from the size of the data.

    Attributes:
        architecture: topk, batchtopk, matryoshka, jumprelu, standard or gated.
        width: number of latents m; by default 4·d, at most 16,384 and a quarter of the rows (more could store rows).
        k: latents a row (topk), their mean (batchtopk, matryoshka), their target (jumprelu); by default d/8 in 4..32.
        l1: penalty of standard and gated.
        learning_rate: peak rate of Adam; by default 4e-4·√(2¹⁴/m), at most 4e-3 (scaling by 1/√m: 2406.04093).
        seed: of the initial weights.
        hook_point: whose activations it reads; may stay empty where there is one source only.

    Example:
        >>> Recipe("batchtopk").filled(n=100_000, d=64)
        Recipe(architecture='batchtopk', width=256, k=8, l1=2.0, learning_rate=0.0032, seed=0, hook_point='')
    """

    architecture: str = "topk"
    width: int | None = None
    k: int | None = None
    l1: float = 2.0
    learning_rate: float | None = None
    seed: int = 0
    hook_point: str = ""

    def filled(self, n: int, d: int) -> Recipe:
        """The same recipe for n rows of width d: every default filled in, every setting checked.

        Raises:
            InputError: an unknown architecture, or a setting out of range.
        """
        k = min(32, max(4, d // 8)) if self.k is None else self.k
        width = max(2 * k, min(4 * d, n // 4, 16_384)) if self.width is None else self.width
        rate = self.learning_rate
        rate = min(4e-3, 4e-4 * math.sqrt(2**14 / max(1, width))) if rate is None else rate
        if self.architecture not in ARCHITECTURES:
            raise InputError(
                f"unknown SAE architecture {self.architecture!r}; expected one of {', '.join(ARCHITECTURES)}"
            )
        for name, value in {"width": width, "k": k}.items():
            if value < 1:
                raise InputError(f"{name} is {value}, expected at least 1")
        if k > width:
            raise InputError(f"k is {k} but the SAE has only {width} latents; lower k or raise width")
        if not (rate > 0 and math.isfinite(rate)):
            raise InputError(f"learning_rate is {rate}, expected a positive number")
        if not (self.l1 >= 0 and math.isfinite(self.l1)):
            raise InputError(f"l1 is {self.l1}, expected a number of at least 0")
        return replace(self, width=width, k=k, learning_rate=rate)
