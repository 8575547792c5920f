"""Training: several dictionaries on one pass over the rows of an array, a store or a running model."""

from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.stream import ModelRows
from mechdecouple.sae.training.train import train, train_many
from mechdecouple.sae.training.trainer import Trainer

__all__ = ["ModelRows", "Recipe", "Trainer", "train", "train_many"]
