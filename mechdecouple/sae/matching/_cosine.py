"""Decoder directions of the live latents of two dictionaries, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import MismatchError
from mechdecouple.results import Estimate
from mechdecouple.sae.matching._pairs import one_to_one, strongest


@dataclass(frozen=True, eq=False)
class Directions:
    """Decoder rows of the live latents of A and of B, of unit norm, and how they agree.

    Attributes:
        rows: of A ``[la, d]`` and of B ``[lb, d]``.
        whole: their cosines ``[la, lb]``; None where they were not kept.
        best: the greatest cosine of each latent of A and of B with any live one of the other dictionary.
        share: share of the smaller dictionary's live latents matched one-to-one by cosine.
    """

    rows: tuple[Float[np.ndarray, "la d"], Float[np.ndarray, "lb d"]]
    whole: Float[np.ndarray, "la lb"] | None
    best: tuple[Float[np.ndarray, " la"], Float[np.ndarray, " lb"]]
    share: Estimate

    @classmethod
    def of(
        cls,
        decoders: tuple[Float[np.ndarray, "ma da"], Float[np.ndarray, "mb db"]],
        live: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]],
        threshold: float,
        keep: bool,
    ) -> Directions:
        unit = [np.asarray(w)[rows] for w, rows in zip(decoders, live, strict=True)]
        u, v = (w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12) for w in unit)
        pairs = strongest(lambda part: u[part] @ v.T, len(u), len(v), threshold, keep)
        strong = pairs.r >= threshold
        matched = len(one_to_one(pairs.i[strong], pairs.j[strong], pairs.r[strong]))
        smaller = min(len(u), len(v))
        note = "by decoder cosine, which no rotation between the models survives; no interval"
        share = Estimate(value=matched / smaller, n=smaller, unit="latents", reason=note)
        return cls((u, v), pairs.whole, (pairs.best_a, pairs.best_b), share)

    def with_sum(
        self, side: int, latent: Int[np.ndarray, " s"], others: Int[np.ndarray, " s"], weight: Float[np.ndarray, " s"]
    ) -> Float[np.ndarray, " l"]:
        """Cosine of each latent's row with the weighted sum of the rows of others (listed by latent); NaN without."""
        mine, theirs = self.rows[side], self.rows[1 - side]
        out = np.full(len(mine), np.nan)
        order = np.argsort(latent, kind="stable")
        latents, first = np.unique(latent[order], return_index=True)
        if len(latents):
            total = np.add.reduceat(theirs[others[order]] * weight[order, None], first)
            norm = np.maximum(np.linalg.norm(total, axis=1), 1e-12)
            out[latents] = np.einsum("ld,ld->l", mine[latents], total) / norm
        return out


def incomparable(
    decoders: tuple[Float[np.ndarray, "ma da"], Float[np.ndarray, "mb db"]] | None, ma: int, mb: int
) -> str:
    """Why decoder directions do not compare; empty where they do.

    Raises:
        MismatchError: decoders do not fit the latents.
    """
    if decoders is None:
        return "decoders were not given"
    wa, wb = decoders
    if len(wa) != ma or len(wb) != mb:
        raise MismatchError(
            f"decoders have {len(wa)} and {len(wb)} rows for {ma} and {mb} latents; pass each SAE's own"
        )
    if wa.shape[1] != wb.shape[1]:
        return f"the models have widths {wa.shape[1]} and {wb.shape[1]}: directions do not compare"
    return ""
