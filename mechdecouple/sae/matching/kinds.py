"""What becomes of each latent in the other dictionary: it is shared, split into several, merged into one, or missing.

A latent of A is

* **shared** when it and one latent of B are matched one-to-one at or above the threshold;
* **split** when a weighted sum of two or more latents of B, which fire where it fires, correlates with it at or above
  the threshold, and it has no match or the sum explains clearly more of it than the match does;
* **merged** when it has no match and is part of such a sum for a latent of B, or when its like in B is matched to
  another latent of A: several of A's stand for one of B's;
* **only** in A when nothing in B, alone or summed, reaches the threshold.

The same holds with A and B exchanged. Features split as dictionaries grow (2409.14507): a wider one has its own kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.results import Estimate, Metric
from mechdecouple.sae.matching._codes import ragged
from mechdecouple.sae.matching._cosine import Directions
from mechdecouple.sae.matching._evidence import MERGED, ONLY, SHARED, SPLIT, Evidence, Found
from mechdecouple.sae.matching._parts import Parts
from mechdecouple.stats import Replicates

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("shared", "split", "merged", "only")
"""In the order of the numbers that the search gives them."""
SIDES = ("a", "b")

_MEASURES = {
    "shared": "share of a model's live latents that have one like them in the other model",
    "split": "share of a model's live latents that several latents of the other model together make up",
    "merged": "share of a model's live latents of which several stand for one latent of the other model",
    "only": "share of a model's live latents that nothing in the other model makes up",
}


def _metric(kind: str, suffix: str, title: str, measures: str, bounds: str, null: str) -> Metric:
    return Metric(
        name=f"latents_{kind}{suffix}",
        family="sae",
        title=f"SAE latents, {kind}{title}",
        measures=measures,
        range=bounds,
        invariances="rotation, scaling and translation of either representation; order and scale of latents",
        null=null,
        assumes="both dictionaries explain their activations well enough to speak of features",
        source="1511.07543 (one-to-one and one-to-many matching of units), 2501.16615 (SAE seeds)",
    )


KIND_SHARES = {
    kind: _metric(kind, "", "", words, "[0, 1]", "mean share after permuting groups of rows in one dictionary")
    for kind, words in _MEASURES.items()
}
KIND_SEEDS = {
    kind: _metric(
        kind, "_seed", ", seeds of one model", f"{words}, taken between two seeds of one model instead", "[0, 1]",
        "none: it is the baseline of two models",
    )
    for kind, words in _MEASURES.items()
}  # fmt: skip
KIND_EXCESSES = {
    kind: _metric(
        kind, "_excess", " beyond seeds", f"{words}, less the same between two seeds of that model", "[−1, 1]",
        "0: the other model is as another seed of the same",
    )
    for kind, words in _MEASURES.items()
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Kinds:
    """What becomes of the live latents of one dictionary in the other.

    Attributes:
        latents: their numbers.
        kind: of each, one of ``KINDS``.
        partners: numbers of the latents of the other dictionary that it is shared with (one), split into (greatest
            weight first) or merged into (one); empty for ``only``.
        correlation: how strong that is, in [−1, 1]. Shared: of the pair. Split: with the sum of its parts, on rows that
            the weights of the sum were not fitted on. Merged: that of the latent it is part of with all of its
            parts, or its own with the one latent it is like. Only: the greatest with anything in the other dictionary.
        low, high: its 95 % interval over groups (jackknife of Fisher's z); NaN where there is only one group.
        null: the mean over permutations of the greatest correlation that it has with anything by chance.
        cosine: of its decoder row with its partner's (with the weighted sum of all for a split latent; for ``only`` the
            greatest with any live latent); NaN where decoders do not compare.
        shares: share of the live latents of each kind, with interval and permutation null.
        replicates: their jackknife, in the order of ``KINDS``.
    """

    latents: Int[np.ndarray, " l"]
    kind: Shaped[np.ndarray, " l"]
    partners: tuple[Int[np.ndarray, " _"], ...]
    correlation: Float[np.ndarray, " l"]
    low: Float[np.ndarray, " l"]
    high: Float[np.ndarray, " l"]
    null: Float[np.ndarray, " l"]
    cosine: Float[np.ndarray, " l"]
    shares: dict[str, Estimate]
    replicates: Replicates

    def frame(self) -> pd.DataFrame:
        """One row a live latent: latent, kind, partners (list), correlation, low, high, null, cosine."""
        import pandas as pd

        partners = [p.tolist() for p in self.partners]
        table = {"latent": self.latents, "kind": self.kind, "partners": pd.Series(partners, dtype=object)}
        names = ("correlation", "low", "high", "null", "cosine")
        return pd.DataFrame(table | {name: getattr(self, name) for name in names})


def describe(
    side: int,
    found: Found,
    evidence: Evidence,
    live: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]],
    null: Float[np.ndarray, " l"],
    directions: Directions | None,
    shares: dict[str, Estimate],
    replicates: Replicates,
) -> Kinds:
    """The kinds of one side (0 for A, 1 for B) by the latents' own numbers, with what each rests on."""
    kind, mine, theirs = found.kind[side], live[side], live[1 - side]
    own, other = evidence.parts[side], evidence.parts[1 - side]
    far = evidence.ends[1 - side]
    like, whole = found.like[side], found.whole[side]
    # each latent's partners as flat lists: who, the partner's position, its weight
    alone = np.flatnonzero((kind == SHARED) | ((kind == MERGED) & (whole < 0)))
    part_of = np.flatnonzero((kind == MERGED) & (whole >= 0))
    split = np.flatnonzero(kind == SPLIT)
    rows, owner = _members(own, split)
    pair = np.where(kind == SHARED, found.pair[side], like)
    who = np.concatenate([alone, part_of, split[owner]])
    partner = np.concatenate([far[pair[alone]], whole[part_of], own.part[rows]])
    weight = np.concatenate([np.ones(len(alone) + len(part_of)), own.weight[rows]])

    value, left_out = evidence.r[pair], evidence.left_out[pair]
    summed = (kind == SPLIT) | ((kind == ONLY) & (own.r > value))
    value[summed], left_out[summed] = own.r[summed], own.left_out[summed]
    value[part_of], left_out[part_of] = other.r[whole[part_of]], other.left_out[whole[part_of]]
    low, high = _fisher(value, left_out, replicates.n)
    cosine = np.full(len(mine), np.nan)
    if directions is not None:
        cosine = np.where(kind == ONLY, directions.best[side], directions.with_sum(side, who, partner, weight))
    order = np.lexsort((-weight, who))
    cuts = np.searchsorted(who[order], np.arange(1, len(mine)))
    return Kinds(
        latents=mine,
        kind=np.array(KINDS)[kind],
        partners=tuple(np.split(theirs[partner[order]], cuts)),
        correlation=value,
        low=low,
        high=high,
        null=null,
        cosine=cosine,
        shares=shares,
        replicates=replicates,
    )


def no_kinds(replicates: Replicates, reason: str) -> Kinds:
    """No latents at all, and undefined shares: one of the dictionaries is dead."""
    empty = np.zeros(0)
    shares = {kind: Estimate.undefined(reason) for kind in KINDS}
    latents, kind = np.zeros(0, np.int64), np.zeros(0, "<U6")
    return Kinds(latents, kind, (), empty, empty, empty, empty, empty, shares, replicates)


def _members(parts: Parts, latents: Int[np.ndarray, " k"]) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, " s"]]:
    """Rows of ``parts`` that are of these latents in turn, and which of them each is of."""
    return ragged(np.searchsorted(parts.whole, latents, "left"), np.searchsorted(parts.whole, latents, "right"))


def _fisher(
    value: Float[np.ndarray, " l"], left_out: Float[np.ndarray, "l k"], n_groups: int
) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    """Jackknife intervals of correlations on the scale of Fisher's z, so that they end within [−1, 1]."""
    if left_out.shape[1] < 2:
        return np.full(len(value), np.nan), np.full(len(value), np.nan)
    limit = 1 - 1e-9
    z, replicates = (np.arctanh(np.clip(x, -limit, limit)) for x in (value, left_out))
    low, high = Replicates(z, replicates.T, "jackknife", n_groups).interval()
    return np.minimum(np.tanh(low), value), np.maximum(np.tanh(high), value)  # the limit moves a correlation of 1
