"""Sparse autoencoders: train a dictionary of features, check that it deserves the word, match it to another model's.

Built on SAELens (its architectures, losses and file format), which is imported when first used.
"""

from mechdecouple.sae.architectures import ARCHITECTURES
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.sae.evaluate import Evaluation, evaluate, holdout
from mechdecouple.sae.train import train

__all__ = ["ARCHITECTURES", "Evaluation", "SparseAutoencoder", "evaluate", "holdout", "train"]
