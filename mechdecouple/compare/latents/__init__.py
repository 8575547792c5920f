"""Latents in the model: what each does to the answers, what it knows, and what it fires on."""

from __future__ import annotations

from mechdecouple.compare.latents.describe import COLUMNS, KINDS, Described, describe
from mechdecouple.compare.latents.effects import EXCLUSIVE_EFFECT, LATENT_ABLATION, LATENT_ATTRIBUTION
from mechdecouple.compare.latents.knowing import KNOWING_LATENTS, LATENT_EXPRESSED, LATENT_REPRESENTED
from mechdecouple.compare.latents.removal import KNOWING_DROP

__all__ = [
    "COLUMNS",
    "EXCLUSIVE_EFFECT",
    "KINDS",
    "KNOWING_DROP",
    "KNOWING_LATENTS",
    "LATENT_ABLATION",
    "LATENT_ATTRIBUTION",
    "LATENT_EXPRESSED",
    "LATENT_REPRESENTED",
    "Described",
    "describe",
]
