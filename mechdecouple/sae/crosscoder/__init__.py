"""Crosscoders: one set of latents for two models, and which of them are features of both, or of one alone."""

from mechdecouple.sae.crosscoder.crosscoder import Crosscoder
from mechdecouple.sae.crosscoder.evaluate import (
    CROSSCODER_EXPLAINED_VARIANCE,
    CROSSCODER_L0,
    CrosscoderEvaluation,
    evaluate_crosscoder,
)
from mechdecouple.sae.crosscoder.exclusivity import (
    CROSSCODER_EXCLUSIVE,
    CROSSCODER_SHARED,
    Exclusivity,
    exclusivity,
)
from mechdecouple.sae.crosscoder.scaling import latent_scale
from mechdecouple.sae.crosscoder.train import train_crosscoder

__all__ = [
    "CROSSCODER_EXCLUSIVE",
    "CROSSCODER_EXPLAINED_VARIANCE",
    "CROSSCODER_L0",
    "CROSSCODER_SHARED",
    "Crosscoder",
    "CrosscoderEvaluation",
    "Exclusivity",
    "evaluate_crosscoder",
    "exclusivity",
    "latent_scale",
    "train_crosscoder",
]
