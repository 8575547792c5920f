"""Ancestry: whether two models came from one, as a base and its tuned version do."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from mechdecouple.compare.ancestry.weight_parts import weights
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric

ANCESTRY = Metric(
    name="shared_ancestor",
    family="ancestry",
    title="cosine of weights with a shared ancestor",
    measures="median over the weights of two models of the cosine of the matrix that they stand in",
    range="[-1, 1]",
    invariances="scale of either",
    null="0 ± 1 / sqrt(weights) for fresh seeds",
    assumes="fewer than half of the weights are fixed by the recipe",
)
SHARED = 0.2
"""Cosine of most weights from which two models are taken to share an ancestor."""
BEYOND_CHANCE = 6


@dataclasses.dataclass(frozen=True)
class Ancestry:
    """Whether two models share an ancestor, and with it a basis.

    Attributes:
        shared: whether they do; declared: whether that was said rather than found.
        cosine: median over weights of the cosine of the matrix that they stand in; NaN for unlike architectures.
        chance: its spread for fresh seeds, 1 / sqrt(weights).
        cosines: part -> cosine of its matrices (gains and biases say nothing: they start alike in every model).
        sentence: the finding in words.
    """

    a: str
    b: str
    shared: bool
    declared: bool
    cosine: float
    chance: float
    cosines: Mapping[str, float]
    sentence: str


def ancestry(a: HookedModel, b: HookedModel, *, declared: bool | None = None) -> Ancestry:
    """Find out from the weights whether two models share an ancestor.

    They do where parameters have the same names and shapes, and most weights stand in matrices whose cosine between
    the models is above 0.2 and far above chance. Fresh seeds give 0 ± 1/sqrt(weights); runs that start from the same
    random weights count as sharing an ancestor, for they share a basis as long as they have not moved far from it.
    Matrices that a recipe fixes are alike in all its runs and count for one: so most must agree, not some.

    Args:
        declared: True or False where it is known, for instance after a tuning so long that weights do not show it.

    Raises:
        InputError: a shared ancestor is declared for models whose parameters do not match.
    """
    why = _unlike(a, b)
    if why and declared:
        raise InputError(f"{a.name!r} and {b.name!r} are declared to share an ancestor, but {why}; leave that out")
    if why:
        return Ancestry(a.name, b.name, False, False, math.nan, math.nan, {}, f"No shared ancestor: {why}.")
    cosines, sizes = {}, []
    theirs = weights(b)
    for part, own in weights(a).items():
        matrices = [(x, y) for x, y in zip(own, theirs[part], strict=True) if x.ndim == 2]
        if matrices:
            cosines[part] = _cosine(matrices)
            sizes.append(sum(x.numel() for x, _ in matrices))
    cosine = _median(np.array(list(cosines.values())), np.array(sizes))
    chance = 1 / math.sqrt(sum(sizes)) if sizes else math.nan
    found = cosine > max(SHARED, BEYOND_CHANCE * chance)
    shared = found if declared is None else declared
    said = f"their weights have a cosine of {cosine:.3f} (median; fresh seeds: 0 ± {chance:.1g})"
    head = "share an ancestor" if shared else "share no ancestor"
    how = "declared; " if declared is not None else ""
    sentence = f"{a.name} and {b.name} {head}: {how}{said}."
    return Ancestry(a.name, b.name, shared, declared is not None, cosine, chance, cosines, sentence)


def _unlike(a: HookedModel, b: HookedModel) -> str:
    """Why the parameters of two models do not match; empty where they do."""
    shapes = [{name: tuple(p.shape) for name, p in model.module.named_parameters()} for model in (a, b)]
    if not shapes[0]:
        return "there are no weights"
    lacking = sorted(set(shapes[0]) ^ set(shapes[1]))
    if lacking:
        return f"only one of them has weights {lacking[0]!r}"
    other = next((name for name in shapes[0] if shapes[0][name] != shapes[1][name]), None)
    return "" if other is None else f"weights {other!r} have shapes {shapes[0][other]} and {shapes[1][other]}"


def _cosine(matrices: list[tuple[Tensor, Tensor]]) -> float:
    sums = np.zeros(3)
    for x, y in matrices:
        x, y = x.double(), y.double().to(x.device)
        sums += [float((x * y).sum()), float((x * x).sum()), float((y * y).sum())]
    return float(sums[0] / math.sqrt(sums[1] * sums[2])) if sums[1] * sums[2] > 0 else 0.0


def _median(values: np.ndarray, sizes: np.ndarray) -> float:
    """The value that half of the weights lie at or below."""
    if not len(values):
        return math.nan
    order = np.argsort(values)
    held = np.cumsum(sizes[order])
    return float(values[order][np.searchsorted(held, held[-1] / 2)])
