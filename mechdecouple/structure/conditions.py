"""All the other concepts as the condition of each: generalisation and parallelism over them find conjunctive codes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.structure._rows import Rows
from mechdecouple.structure.ccgp import CCGP, Ccgp
from mechdecouple.structure.parallelism import PARALLELISM, Parallelism

CCGP_CONCEPTS = dataclasses.replace(
    CCGP,
    name="ccgp_concepts",
    title="CCGP over other concepts",
    measures="accuracy of a concept's linear read-out at combinations of the other concepts that it was not fitted at",
    null=".5: the concept is coded anew for each combination; only meaningful where probe_accuracy is above .5",
    assumes="the concepts vary freely, so that combinations of the others hold both classes of each",
    margin=np.nan,
)
PARALLELISM_CONCEPTS = dataclasses.replace(
    PARALLELISM,
    name="parallelism_concepts",
    title="Parallelism over other concepts",
    measures="cosine between the coding vectors of a concept at different values of the others, noise taken out",
    assumes="the concepts vary freely, so that combinations of the others hold both classes of each several times",
)


def other_concepts(Y: Shaped[np.ndarray, "n k"]) -> Int[np.ndarray, "n k"]:
    """For each concept the code of all the others together, 0, 1, ...; -1 where one of them is unknown.

    As the contexts of ``ccgp`` and ``parallelism`` the codes turn these from measures of fracture into measures of
    conjunctive coding: is a concept held in the same way whatever else is true?

    Args:
        Y: 0, 1 or NaN for unknown.

    Raises:
        InputError: other labels.

    >>> other_concepts(np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1]]))[:, 0].tolist()
    [0, 1, 2]
    """
    y = _labels(Y)
    codes = np.empty(y.shape, dtype=np.int64)
    for f in range(y.shape[1]):
        others = np.delete(y, f, axis=1)
        known = ~np.isnan(others).any(axis=1)
        codes[:, f] = -1
        codes[known, f] = np.unique(others[known], axis=0, return_inverse=True)[1].ravel()
    return codes


class _OverConcepts:
    """One statistic a concept, each with the other concepts as its contexts."""

    _statistic: Any

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        Y: Shaped[np.ndarray, "m k"],
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        y = _labels(Y)
        self._parts = []
        for own, code in zip(y.T, other_concepts(Y).T, strict=True):
            code = np.where(_crossed(own, code), code, -1)
            # A row without a usable condition still belongs to the activations, but not to the concept.
            self._parts.append(self._statistic(X, np.where(code < 0, np.nan, own), code, groups, seed))

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> np.ndarray:
        """Value of each concept, [k]; NaN for the ``reason``."""
        return np.array([part(rows) for part in self._parts], dtype=float)


class CcgpOverConcepts(_OverConcepts):
    """``Ccgp`` of each concept over the combinations of the others, as a function of the kept rows.

    A code that adds up scores 1, one direction for each combination .5. Combinations are left out in ten sets, as
    contexts are; one in which the concept does not vary cannot tell and does not count. So few rows in many concepts
    leave few combinations: with none, the value is undefined. Keeps the activations once a concept.

    Args:
        X: [n, d]; Y: [n, k] labels 0/1 (NaN unknown); groups: [n] (None: every row its own).

    Attributes:
        reason: why a value is NaN.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ.

    >>> Y = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (50, 1))
    >>> CcgpOverConcepts(Y @ np.eye(2), Y)().tolist(), CcgpOverConcepts(np.eye(4)[Y @ [2, 1]], Y)().tolist()
    ([1.0, 1.0], [0.5, 0.5])
    """

    reason = "CCGP over other concepts needs two or more combinations of them that hold both classes of the concept"
    _statistic = Ccgp

    def left_out(self, rows: Int[np.ndarray, " m"]) -> np.ndarray:
        """The jackknife's replicate of the value, as for ``Ccgp``."""
        return np.array([part.left_out(rows) for part in self._parts], dtype=float)

    @property
    def resolution(self) -> np.ndarray:
        """The least standard error that so many groups leave, as for ``Ccgp``."""
        return np.array([part.resolution for part in self._parts], dtype=float)


class ParallelismOverConcepts(_OverConcepts):
    """``Parallelism`` of each concept over the combinations of the others, as a function of the kept rows.

    A code that adds up scores 1, one direction for each combination 0. Args, errors and combinations as for
    ``CcgpOverConcepts``; a combination counts that holds both classes in both halves of the groups. With fewer than
    about ten noisy rows a combination the lengths that it divides by are uncertain and the score is off by some .1.

    Attributes:
        reason: why a value is NaN.

    >>> Y = np.tile([[0, 0], [0, 1], [1, 0], [1, 1]], (50, 1))
    >>> ParallelismOverConcepts(np.eye(4)[Y @ [2, 1]], Y)().round(9).tolist()
    [0.0, 0.0]
    """

    reason = "parallelism over other concepts needs two or more combinations in which the classes differ beyond noise"
    _statistic = Parallelism


def _labels(Y: Shaped[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    return Rows(np.zeros((len(Y), 1)), Y, None, None).y


def _crossed(y: Float[np.ndarray, " n"], code: Int[np.ndarray, " n"]) -> np.ndarray:
    """Rows at a condition that holds both classes."""
    size = code.max(initial=-1) + 2
    ones, zeros = (np.bincount(code[y == label] + 1, minlength=size) > 0 for label in (1, 0))
    return (ones & zeros)[code + 1]
