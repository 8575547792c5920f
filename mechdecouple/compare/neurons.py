"""Neurons: whether the weights of a model's MLPs fall into clusters, beyond what their sizes bring about."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from torch import Tensor

from mechdecouple.compare.ancestry.weight_parts import weights
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.results import Estimate, Measurement
from mechdecouple.structure import CLUSTERABILITY, clusterability

MOST_WEIGHTS, MOST_PLACES = 500_000, 3
"""Size of a pair of matrices up to which it is cut, and how many of them: a cut costs the cube of the neurons."""
_CLUSTERS, _SHUFFLES = 12, 19


def cluster_measurements(model: HookedModel, seed: int) -> list[Measurement]:
    """z of the normalised cut of up to three pairs of consecutive matrices (``context`` names them), spread over the
    depth: into and out of the hidden layer of an MLP, or two layers of a plain module that follow each other."""
    found = _pairs(model)
    keep = np.unique(np.linspace(0, len(found) - 1, min(MOST_PLACES, len(found))).round().astype(int)) if found else []
    names = list(found)
    place = {"metric": CLUSTERABILITY.name, "family": CLUSTERABILITY.family, "model": model.name}
    if not found:
        return [Measurement(**place, estimate=Estimate.undefined("no two matrices of weights follow each other"))]
    return [Measurement(**place, context=names[i], estimate=_estimate(*found[names[i]], seed=seed)) for i in keep]


def _estimate(first: Tensor, second: Tensor, seed: int) -> Estimate:
    if first.numel() + second.numel() > MOST_WEIGHTS:
        return Estimate.undefined(
            f"more than {MOST_WEIGHTS:,} weights: call structure.clusterability, it takes minutes"
        )
    layers = [matrix.detach().double().cpu().numpy() for matrix in (first, second)]
    n_clusters = min(_CLUSTERS, min(first.shape) // 2, min(second.shape) // 2)
    try:
        return clusterability(layers, n_clusters, _SHUFFLES, seed).estimate()
    except InputError as error:
        return Estimate.undefined(str(error))


def _pairs(model: HookedModel) -> dict[str, tuple[Tensor, Tensor]]:
    """Place -> two matrices [out, in], the second reading what the first writes."""
    matrices = {name: own[0] for name, own in weights(model).items() if own and own[0].ndim == 2}
    if model.input_kind == "array":
        names = [name for name in matrices if min(matrices[name].shape) > 1]
        pairs = pairwise(names)
        return {
            f"{a} to {b}": (matrices[a], matrices[b]) for a, b in pairs if matrices[a].shape[0] == matrices[b].shape[1]
        }
    found = {}
    for name, into in matrices.items():
        out = matrices.get(name.removesuffix(".in") + ".out") if name.endswith(".mlp.in") else None
        if out is not None and into.shape == out.T.shape:
            # [out, in] where it widens from the residual stream, whichever way the model stores it
            widens = into.shape[0] == model.width(model.layer_points[0])
            found[name.removesuffix(".in")] = (into.T, out.T) if widens else (into, out)
    return found
