"""Matched share against the seed baseline: do two models share fewer features than two SAEs of one model do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.sae.match import MATCHED_SHARE, Matching, match, repetitions
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
class Sharing:
    """How many features two models share, beside what two seeds of one model share.

    Attributes:
        share: mean matched share of an SAE of A and one of B, of different seeds.
        seed_a, seed_b: the same between seeds of A, and of B.
        excess: share − (seed_a + seed_b)/2, paired over the same groups of rows. About 0 when the models hold the same
            features, negative when they hold fewer in common than one model does with itself.
        replicates: the excess's jackknife.
        spread: largest difference between matchings that differ in SAE seeds only.
        matchings: those of A's with B's dictionaries, keyed by (seed index in A, in B).
    """

    share: Estimate
    seed_a: Estimate
    seed_b: Estimate
    excess: Estimate
    replicates: Replicates
    spread: float
    matchings: dict[tuple[int, int], Matching]

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

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a metric."""
        return frame(self.measurements("A", "B"))

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "model", "model_b", "value", "low", "high"]]
        return table.to_html(index=False, float_format="%.3f")


def matched_share_excess(
    a: Sequence[Float[np.ndarray, "n _"]],
    b: Sequence[Float[np.ndarray, "n _"]],
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
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
        a, b: latents ``[n, m]`` by seed, the same seeds in the same order.
        groups: rows that belong together; by default rows on which all dictionaries agree form a group.
        threshold, min_rows, n_blocks: as in ``match``.
        n_permutations: draws of the null of ``share``.

    Raises:
        InputError: fewer than two seeds, or a different number for each model; otherwise as ``match``.
    """
    if len(a) != len(b) or len(a) < 2:
        raise InputError(f"got SAEs of {len(a)} and {len(b)} seeds, expected the same two or more seeds of each model")
    options = {"threshold": threshold, "min_rows": min_rows, "n_blocks": n_blocks, "seed": seed}
    lengths = sorted({len(latents) for latents in (*a, *b)})
    if len(lengths) > 1:
        raise MismatchError(
            f"latents have {lengths[0]} and {lengths[-1]} rows; encode the same items in all dictionaries"
        )
    groups = repetitions(*a, *b) if groups is None else groups

    def seeds(latents: Sequence[np.ndarray]) -> list[Replicates]:
        pairs = combinations(latents, 2)
        return [match(x, y, groups=groups, n_permutations=0, **options).replicates for x, y in pairs]

    within_a, within_b = seeds(a), seeds(b)
    matchings = {
        (i, j): match(a[i], b[j], groups=groups, n_permutations=n_permutations, **options)
        for i, j in permutations(range(len(a)), 2)
    }
    between = [m.replicates for m in matchings.values()]
    across, seed_a, seed_b = (Replicates.mean(r) for r in (between, within_a, within_b))
    excess = across - Replicates.mean([seed_a, seed_b])
    dead = "" if np.isfinite(excess.value) else f"an SAE has no latent firing on {min_rows} distinct rows or more"
    covers = dead or f"the interval covers items, not the choice of the {len(a)} SAE seeds"
    nulls = [m.share.null for m in matchings.values()]
    return Sharing(
        share=across.estimate(
            MATCHED_SHARE, null=float(np.mean(nulls)), p=max(m.share.p for m in matchings.values()), reason=covers
        ),
        seed_a=seed_a.estimate(MATCHED_SHARE_SEED, reason=covers),
        seed_b=seed_b.estimate(MATCHED_SHARE_SEED, reason=covers),
        excess=excess.estimate(MATCHED_SHARE_EXCESS, null=0.0, reason=covers),
        replicates=excess,
        spread=float(max(np.ptp([r.value for r in runs]) for runs in (between, within_a, within_b))),
        matchings=matchings,
    )
