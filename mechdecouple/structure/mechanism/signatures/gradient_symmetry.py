"""Gradient symmetry: do the answers change with the inputs at two positions in the same direction?"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, jackknife_blocks
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures._replicates import on_rows
from mechdecouple.structure.mechanism.signatures.gradients import LIMIT, InputGradients, input_gradients

GRADIENT_SYMMETRY = Metric(
    name="gradient_symmetry",
    family="mechanism",
    title="gradient symmetry",
    measures="cosine of the gradients of a centred option logit with respect to the embeddings at two positions, mean "
    "over items, options and pairs of positions",
    range="[-1, 1]",
    invariances="rotation and uniform scale of the embedding; anything inside that leaves the logits alone; a constant "
    "added to all logits of an item",
    null="0: the gradients at two positions have nothing to do with each other",
    assumes="positions that mean the same in every item; the embedding's own basis up to rotation",
    source="arXiv:2306.17844 (there on raw logits of random triples)",
)

REASON = "no two positions of the prompt have gradients: the answers depend on one token at most"


def gradient_symmetry(
    rig: Rig, gradients: InputGradients | None = None, *, limit: int = LIMIT, seed: int = 0
) -> tuple[Replicates, str]:
    """Cosine of input gradients at two positions, and why it is NaN where it is.

    Centring the logits over options first makes it a fact of the answers: of a raw logit, the gradient contains that of
    a constant which no answer depends on. Published for sums of two tokens: .994 for a net that averages ('pizza'), .33
    to .36 for one that multiplies ('clock').

    Args:
        gradients: as `input_gradients` gave them, to save the passes.
    """
    found = input_gradients(rig, limit=limit, seed=seed) if gradients is None else gradients
    reason = found.reason or ("inputs are tensors, which have no positions" if found.symbols is None else "")
    if not reason and len(found.positions) < 2:
        reason = "the prompts differ at one position only"
    groups = rig.task.groups
    cosine, weight = pair_cosines(found.dots)
    made = on_rows(
        lambda r: symmetry(cosine[r], weight[r]), found.rows, jackknife_blocks(groups), len(set(groups.tolist()))
    )
    return made, reason or (REASON if np.isnan(made.value) else "")


def pair_cosines(dots: Float[np.ndarray, "r q t t"]) -> tuple[Float[np.ndarray, "r p"], Float[np.ndarray, "r p"]]:
    """Cosine for each item and pair of positions, mean over options, and the product of lengths that it weighs.

    NaN where a gradient is zero.
    """
    first, second = np.triu_indices(dots.shape[-1], 1)
    length = np.sqrt(np.maximum(np.einsum("rqtt->rqt", dots), 0.0))
    product = length[..., first] * length[..., second]
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(product > 0, dots[..., first, second] / product, np.nan)
    counted = (product > 0).sum(axis=1)
    mean = np.where(counted > 0, np.nansum(cosine, axis=1) / np.maximum(counted, 1), np.nan)
    return mean, product.sum(axis=1)


def symmetry(cosine: Float[np.ndarray, "r p"], weight: Float[np.ndarray, "r p"]) -> float:
    """Mean cosine over items for each pair of positions, and over pairs by how much the answers change with them."""
    counted = (~np.isnan(cosine)).sum(axis=0)
    by_pair = np.nansum(cosine, axis=0) / np.maximum(counted, 1)
    total = np.where(counted > 0, weight.sum(axis=0), 0.0)
    return float((by_pair * total).sum() / total.sum()) if total.sum() > 0 else np.nan
