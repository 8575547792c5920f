"""Shared features against the seed baseline: do two models share fewer than two SAEs of one model do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae.matching._codes import Latents, as_sparse, repetitions, shape
from mechdecouple.sae.matching.kinds import KIND_EXCESSES, KIND_SEEDS, KIND_SHARES, KINDS, SIDES, Kinds
from mechdecouple.sae.matching.match import MATCHED_SHARE, Matching, match
from mechdecouple.stats import Replicates

if TYPE_CHECKING:
    import pandas as pd

MATCHED_SHARE_SEED = Metric(
    name="matched_share_seed",
    family="sae",
    title="Matched SAE latents, seeds of one model",
    measures="matched share of two SAEs trained with different seeds on one model",
    range="[0, 1]",
    invariances=MATCHED_SHARE.invariances,
    null=MATCHED_SHARE.null,
    source="2501.16615",
)
MATCHED_SHARE_EXCESS = Metric(
    name="matched_share_excess",
    family="sae",
    title="Matched SAE latents beyond seeds",
    measures="matched share of two models less the mean share of two seeds of each",
    range="[−1, 1]",
    invariances=MATCHED_SHARE.invariances,
    null="0: the models share as many latents as two seeds of one model; below 0 they share fewer",
    margin=0.10,
)


@dataclass(frozen=True, eq=False)
class KindShare:
    """How many of one model's live latents are of one kind, beside what another seed of the model itself would show.

    Attributes:
        share: mean share over pairs of an SAE of either model, of different seeds; with its permutation null.
        seed: the same between seeds of the model.
        excess: share − seed, paired over the same groups of rows; 0 when the other model is as another seed of this.
        replicates: the excess's jackknife.
    """

    share: Estimate
    seed: Estimate
    excess: Estimate
    replicates: Replicates


@dataclass(frozen=True, eq=False)
class Sharing:
    """How many features two models share, beside what two seeds of one model share.

    Attributes:
        share: mean matched share of an SAE of A and one of B, of different seeds.
        seed_a, seed_b: the same between seeds of A, and of B.
        excess: share − (seed_a + seed_b)/2, paired over the same groups of rows. About 0 when the models hold the same
            features, negative when they hold fewer in common than one model does with itself.
        replicates: the excess's jackknife.
        spread: largest difference between matchings that differ in SAE seeds only.
        kinds: by side (``"a"``, ``"b"``) and kind (shared, split, merged, only): its share of the model's live latents.
        matchings: those of A's with B's dictionaries, keyed by (seed index in A, in B).
        within: those between seeds of A and of B, by side and (seed index, another seed index above it).
    """

    share: Estimate
    seed_a: Estimate
    seed_b: Estimate
    excess: Estimate
    replicates: Replicates
    spread: float
    kinds: dict[tuple[str, str], KindShare]
    matchings: dict[tuple[int, int], Matching]
    within: dict[str, dict[tuple[int, int], Matching]]

    def latents(self, seed_a: int = 0, seed_b: int = 1) -> pd.DataFrame:
        """The live latents of one SAE of each model, as ``Matching.frame``, with what its own model's seeds say.

        Two columns are added: ``seed_kind``, the kind of the latent in the SAE of its own model with the other's seed,
        and ``seed_correlation``. A latent that is ``only`` in both is one that training found by chance: that the other
        model lacks it says nothing of the models.
        """
        table = self.matchings[seed_a, seed_b].frame()
        own = [
            _against(self.within[side], mine, theirs)
            for side, mine, theirs in (("a", seed_a, seed_b), ("b", seed_b, seed_a))
        ]
        if len(table):
            table["seed_kind"] = np.concatenate([kinds.kind for kinds in own])
            table["seed_correlation"] = np.concatenate([kinds.correlation for kinds in own])
        return table

    def measurements(
        self, model_a: str = "", model_b: str = "", *, hook_point: str = "", hook_point_b: str = "", position: str = ""
    ) -> list[Measurement]:
        """Its rows of the table of results; seed baselines stand under the one model that they are about."""
        both = {
            "model": model_a,
            "model_b": model_b,
            "hook_point": hook_point,
            "hook_point_b": hook_point_b or hook_point,
        }
        rows = [
            (MATCHED_SHARE, self.share, both),
            (MATCHED_SHARE_SEED, self.seed_a, {"model": model_a, "hook_point": hook_point}),
            (MATCHED_SHARE_SEED, self.seed_b, {"model": model_b, "hook_point": hook_point_b or hook_point}),
            (MATCHED_SHARE_EXCESS, self.excess, both),
        ]
        return [Measurement(metric=m.name, family=m.family, estimate=e, position=position, **at) for m, e, at in rows]

    def kind_measurements(
        self, model_a: str = "", model_b: str = "", *, hook_point: str = "", hook_point_b: str = "", position: str = ""
    ) -> list[Measurement]:
        """Shares of the kinds: of the latents of ``model``, found in ``model_b`` (or in another seed of itself)."""
        places = {"a": (model_a, hook_point), "b": (model_b, hook_point_b or hook_point)}
        rows = []
        for (side, kind), found in self.kinds.items():
            (model, point), (other, other_point) = places[side], places["b" if side == "a" else "a"]
            own = {"model": model, "hook_point": point, "position": position}
            both = {**own, "model_b": other, "hook_point_b": other_point}
            rows += [
                (KIND_SHARES[kind], found.share, both),
                (KIND_SEEDS[kind], found.seed, own),
                (KIND_EXCESSES[kind], found.excess, both),
            ]
        return [Measurement(metric=m.name, family=m.family, estimate=e, **at) for m, e, at in rows]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric."""
        return frame(self.measurements("A", "B") + self.kind_measurements("A", "B"))

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "model", "model_b", "value", "low", "high"]]
        return table.to_html(index=False, float_format="%.3f")


def matched_share_excess(
    a: Sequence[Latents],
    b: Sequence[Latents],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    decoders: tuple[Sequence[Float[np.ndarray, "_ _"]], Sequence[Float[np.ndarray, "_ _"]]] | None = None,
    threshold: float = 0.7,
    min_rows: int = 10,
    n_permutations: int = 99,
    n_blocks: int = 20,
    seed: int = 0,
) -> Sharing:
    """Compare the features of two models, given the latents of SAEs of at least two seeds of each on the same rows.

    Only SAEs of different seeds are matched across models (A's first with B's second and so on), as they are within
    one: a common initialisation is an advantage that the baseline lacks. So a model against itself gives exactly 0.

    Args:
        a, b: latents ``[n, m]`` by seed, dense or sparse, the same seeds in the same order.
        groups: rows that belong together; by default rows on which all dictionaries agree form a group.
        decoders: decoder rows of A's SAEs and of B's by seed, for the cosines.
        threshold, min_rows, n_blocks: as in ``match``.
        n_permutations: draws of the null of shares across models.

    Raises:
        InputError: fewer than two seeds, or a different number for each model; otherwise as ``match``.
    """
    if len(a) != len(b) or len(a) < 2:
        raise InputError(f"got SAEs of {len(a)} and {len(b)} seeds, expected the same two or more seeds of each model")
    options = {"threshold": threshold, "min_rows": min_rows, "n_blocks": n_blocks, "seed": seed}
    lengths = sorted({shape(latents)[0] for latents in (*a, *b)})
    if len(lengths) > 1:
        raise MismatchError(
            f"latents have {lengths[0]} and {lengths[-1]} rows; encode the same items in all dictionaries"
        )
    tables = {side: [as_sparse(x, side.upper()) for x in of] for side, of in zip(SIDES, (a, b), strict=True)}
    groups = repetitions(*tables["a"], *tables["b"]) if groups is None else groups

    def between(first: str, second: str, i: int, j: int, draws: int) -> Matching:
        rows = None if decoders is None else (decoders[SIDES.index(first)][i], decoders[SIDES.index(second)][j])
        one, other = tables[first][i], tables[second][j]
        return match(one, other, groups=groups, decoders=rows, n_permutations=draws, **options)

    seeds = range(len(a))
    within = {side: {(i, j): between(side, side, i, j, 0) for i, j in combinations(seeds, 2)} for side in SIDES}
    matchings = {(i, j): between("a", "b", i, j, n_permutations) for i, j in permutations(seeds, 2)}
    runs = [[m.replicates for m in pairs.values()] for pairs in (matchings, within["a"], within["b"])]
    across, seed_a, seed_b = (Replicates.mean(r) for r in runs)
    excess = across - Replicates.mean([seed_a, seed_b])
    dead = "" if np.isfinite(excess.value) else f"an SAE has no latent firing on {min_rows} distinct rows or more"
    covers = dead or f"the interval covers items, not the choice of the {len(a)} SAE seeds"
    null, p = _chance([m.share for m in matchings.values()])
    return Sharing(
        share=across.estimate(MATCHED_SHARE, null=null, p=p, reason=covers),
        seed_a=seed_a.estimate(MATCHED_SHARE_SEED, reason=covers),
        seed_b=seed_b.estimate(MATCHED_SHARE_SEED, reason=covers),
        excess=excess.estimate(MATCHED_SHARE_EXCESS, null=0.0, reason=covers),
        replicates=excess,
        spread=float(max(np.ptp([r.value for r in run]) for run in runs)),
        kinds=_kind_shares(matchings, within, covers),
        matchings=matchings,
        within=within,
    )


def _kind_shares(
    matchings: dict[tuple[int, int], Matching], within: dict[str, dict[tuple[int, int], Matching]], covers: str
) -> dict[tuple[str, str], KindShare]:
    shares = {}
    for side in SIDES:
        found = [_of(m, side) for m in matchings.values()]
        # in the order of the matchings of both models, so that a model against itself has the same sums
        own = [_against(within[side], *(ij if side == "a" else ij[::-1])) for ij in matchings]
        share, seed = (Replicates.mean([kinds.replicates for kinds in of]) for of in (found, own))
        excess = share - seed
        for number, kind in enumerate(KINDS):
            null, p = _chance([kinds.shares[kind] for kinds in found])
            shares[side, kind] = KindShare(
                share=share[number].estimate(KIND_SHARES[kind], null=null, p=p, reason=covers),
                seed=seed[number].estimate(KIND_SEEDS[kind], reason=covers),
                excess=excess[number].estimate(KIND_EXCESSES[kind], null=0.0, reason=covers),
                replicates=excess[number],
            )
    return shares


def _of(matching: Matching, side: str) -> Kinds:
    return matching.of_a if side == "a" else matching.of_b


def _against(within: dict[tuple[int, int], Matching], mine: int, other: int) -> Kinds:
    """The kinds of one seed's latents in the dictionary of another."""
    return within[mine, other].of_a if mine < other else within[other, mine].of_b


def _chance(found: Sequence[Estimate]) -> tuple[float, float]:
    """Null and p of a mean over matchings: the mean null, and the greatest p."""
    return float(np.mean([e.null for e in found])), float(max(e.p for e in found))
