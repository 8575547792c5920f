"""Sparse autoencoders: train a dictionary of features, check that it deserves the word, match it to another model's.

Built on SAELens (its architectures, losses and file format), which is imported when first used.
"""

from mechdecouple.sae.architectures import ARCHITECTURES
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.evaluate import SAE_DEAD_LATENTS, SAE_EXPLAINED_VARIANCE, SAE_L0, Evaluation, evaluate, holdout
from mechdecouple.sae.match import MATCHED_SHARE, Matching, match
from mechdecouple.sae.seeds import MATCHED_SHARE_EXCESS, MATCHED_SHARE_SEED, Sharing, matched_share_excess
from mechdecouple.sae.train import train

__all__ = [
    "ARCHITECTURES",
    "MATCHED_SHARE",
    "MATCHED_SHARE_EXCESS",
    "MATCHED_SHARE_SEED",
    "SAE_DEAD_LATENTS",
    "SAE_EXPLAINED_VARIANCE",
    "SAE_L0",
    "Evaluation",
    "Matching",
    "Sharing",
    "SparseAutoencoder",
    "evaluate",
    "holdout",
    "match",
    "matched_share_excess",
    "train",
]
