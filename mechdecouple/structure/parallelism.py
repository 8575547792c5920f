"""Parallelism score: is a concept coded along the same direction under every condition?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.results import Metric
from mechdecouple.structure._coding import CodingVectors, coding_vectors
from mechdecouple.structure._rows import Rows

PARALLELISM = Metric(
    name="parallelism",
    family="fracture",
    title="Parallelism score",
    measures="cosine between the coding vectors of a concept under different conditions, noise taken out",
    range="about [-1, 1]",
    direction="higher",
    invariances="rotation, translation, uniform scale",
    null="0: unrelated coding vectors",
    source="Bernardi et al. 2020, doi:10.1016/j.cell.2020.09.031",
)


_MOST = 1.5
"""A cosine this far beyond 1 says that the lengths it was divided by are noise."""


class Parallelism:
    """The split-half parallelism score as a function of the kept rows, for ``stats.jackknife``.

    With coding vectors δ_c (μ₁ − μ₀, the other concepts held still) from two disjoint halves A and B of the groups,
    the score is the sum over pairs of conditions of δ_cᴬ·δ_c'ᴮ over the sum of √(δ_cᴬ·δ_cᴮ · δ_c'ᴬ·δ_c'ᴮ): a cosine
    that noise does not attenuate.

    A score beyond 1.5 is undefined: then noise has swallowed the lengths that it divides by.

    Conditions that are contexts find fracture; conditions that are the values of other concepts find conjunctive codes.

    Args and errors as for ``Ccgp``.

    Attributes:
        reason: why a value is NaN.
    """

    reason = "parallelism needs two or more conditions in which the classes of the concept differ well beyond noise"

    def __init__(
        self,
        X: Float[np.ndarray, "n d"],
        y: Shaped[np.ndarray, " m *k"],
        context: Shaped[np.ndarray, " c"],
        groups: Shaped[np.ndarray, " g"] | None = None,
        seed: int = 0,
    ) -> None:
        self._rows = Rows(X, y, context, groups)
        self._coding = CodingVectors(self._rows, self._rows.folds(2, seed), 2)

    def __call__(self, rows: Int[np.ndarray, " m"] | None = None) -> float | np.ndarray:
        """Score of each concept, [k] (a float for vector labels); NaN for the ``reason``."""
        gram, product = self._coding.of(self._rows.kept(rows))
        first, second = (coding_vectors(gram[:, [half]], product[:, [half]]) for half in (0, 1))
        dots = np.nan_to_num(np.einsum("ckr,dkr->kcd", first, second))
        size = np.sqrt(np.maximum(np.diagonal(dots, axis1=1, axis2=2), 0.0))
        scale = size.sum(axis=1) ** 2 - (size**2).sum(axis=1)
        shared = np.where(size[:, :, None] * size[:, None, :] > 0, dots, 0.0)
        across = shared.sum(axis=(1, 2)) - np.trace(shared, axis1=1, axis2=2)
        score = np.divide(across, scale, out=np.full(len(scale), np.nan), where=scale > 0)
        return self._rows.shaped(np.where(np.abs(score) > _MOST, np.nan, score))


def parallelism(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m *k"],
    context: Shaped[np.ndarray, " c"],
    groups: Shaped[np.ndarray, " g"] | None = None,
) -> float | np.ndarray:
    """Split-half parallelism score of each concept; higher is tidier: 1 one direction everywhere, 0 unrelated ones.

    See ``Parallelism``.

    >>> rng = np.random.default_rng(0)
    >>> y, context = rng.integers(0, 2, 400), rng.integers(0, 4, 400)
    >>> X = np.zeros((400, 8))
    >>> X[:, 0] += y
    >>> round(parallelism(X, y, context), 9)
    1.0
    """
    return Parallelism(X, y, context, groups)()
