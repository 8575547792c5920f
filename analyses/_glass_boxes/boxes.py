"""Glass boxes: models that are read as they stand, of several kinds and sizes, fitted on what a person sees."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax

from analyses._glass_boxes.rules import RuleListFitter
from mechdecouple.usefulness import SparseLogisticFitter, TreeFitter

Features = Int[np.ndarray, "n d"]
Predictor = Callable[[Features], Float[np.ndarray, "n 2"]]


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """A fitted glass box: probabilities of no and yes [n, 2] for features [n, d], and how many parts it has."""

    predict: Predictor
    size: int


def logistic(features: int, pairs: bool = False) -> Callable[[Features, np.ndarray], Box]:
    """A weighted sum of so many features, or of features and products of two of them (as GA2M, Lou et al. 2013,
    doi:10.1145/2487575.2487579, where features have two values)."""

    def fit(X: Features, y: np.ndarray) -> Box:
        shown = with_pairs if pairs else signs
        found = SparseLogisticFitter(features=features).fit(shown(X), y, 2)
        return Box(lambda x: softmax(shown(x) @ found.weights + found.bias, axis=1), found.size)

    return fit


def tree(depth: int) -> Callable[[Features, np.ndarray], Box]:
    """A decision tree; it is as sure as its leaves are pure, one item of either label added to each."""

    def fit(X: Features, y: np.ndarray) -> Box:
        found = TreeFitter(depth=depth, min_leaf=20).fit(X.astype(float), y, 2)
        ends, nodes = found.leaves(X.astype(float)), len(found.label)
        items, hits = np.bincount(ends, minlength=nodes), np.bincount(ends, weights=y, minlength=nodes)
        share = (hits + 1) / (items + 2)

        def predict(x: Features) -> np.ndarray:
            yes = share[found.leaves(x.astype(float))]
            return np.stack([1 - yes, yes], axis=1)

        return Box(predict, found.size)

    return fit


def rule_list(rules: int) -> Callable[[Features, np.ndarray], Box]:
    """A list of rules of up to three conditions."""

    def fit(X: Features, y: np.ndarray) -> Box:
        found = RuleListFitter(rules=rules).fit(X, y)
        return Box(found.predict_proba, found.size)

    return fit


def signs(X: Features) -> Float[np.ndarray, "n d"]:
    """Features as -1 and 1."""
    return 2.0 * X - 1


def with_pairs(X: Features) -> Float[np.ndarray, "n p"]:
    """Signs, and the product of every two of them."""
    sign = signs(X)
    pairs = [sign[:, i] * sign[:, j] for i, j in itertools.combinations(range(X.shape[1]), 2)]
    return np.column_stack([sign, *pairs])
