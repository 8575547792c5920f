"""Which latents of two dictionaries are the same feature? One-to-one and one-to-many, by the items they fire on.

Activations come first and decoder directions second: two models may hold one feature along unrelated directions (any
rotation of the residual stream does that), but a feature that is the same fires on the same items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Metric
from mechdecouple.sae.matching._codes import Latents, as_sparse, check_rows, shape, standardised
from mechdecouple.sae.matching._cosine import Directions, incomparable
from mechdecouple.sae.matching._evidence import Evidence, by_chance, floor
from mechdecouple.sae.matching._pairs import correlate
from mechdecouple.sae.matching._sums import Moments
from mechdecouple.sae.matching.kinds import KIND_SHARES, KINDS, SIDES, Kinds, describe, no_kinds
from mechdecouple.stats import Replicates, jackknife_blocks, permutation_p

if TYPE_CHECKING:
    import pandas as pd

MATCHED_SHARE = Metric(
    name="matched_share",
    family="sae",
    title="Matched SAE latents",
    measures="share of the smaller dictionary's live latents matched one-to-one at or above the threshold",
    range="[0, 1]",
    invariances="rotation, scaling and translation of either representation; order and scale of latents",
    null="mean share after permuting groups of rows in one dictionary",
    source="1511.07543 (one-to-one matching of units), 2501.16615 (SAE seeds)",
)

WHOLE = 2**24
"""Pairs of live latents up to which a Matching keeps every correlation and cosine: 64 MB each."""


@dataclass(frozen=True, eq=False)
class Matching:
    """The live latents of dictionaries A and B, matched.

    Attributes:
        share: matched share (one-to-one), with its permutation null and jackknife interval.
        replicates: the share's jackknife, for paired contrasts with matchings on the same rows and groups.
        of_a, of_b: what becomes of the latents of A in B, and of B's in A: shared, split, merged or missing.
        live_a, live_b: which latents were matched at all (those that fire often enough to be correlated).
        correlation: of every live latent of A with every one of B over rows, ``[live_a, live_b]``; None for more than
            ``WHOLE`` pairs.
        cosine: the same for decoder rows; None also where decoders were not given or read activations of different
            widths.
        cosine_share: matched share by decoder cosine (no interval); undefined where cosines are.
        a, b: latents matched one-to-one, by their numbers in A and B, strongest pair first; similarity: their
            correlation.
        threshold: the correlation (and cosine) from which two latents count as the same feature.
    """

    share: Estimate
    replicates: Replicates
    of_a: Kinds
    of_b: Kinds
    live_a: Int[np.ndarray, " la"]
    live_b: Int[np.ndarray, " lb"]
    correlation: Float[np.ndarray, "la lb"] | None
    cosine: Float[np.ndarray, "la lb"] | None
    cosine_share: Estimate
    a: Int[np.ndarray, " p"]
    b: Int[np.ndarray, " p"]
    similarity: Float[np.ndarray, " p"]
    threshold: float

    @property
    def only_a(self) -> Int[np.ndarray, " u"]:
        """Live latents of A without a one-to-one partner; ``of_a`` tells those that are split or merged apart."""
        return np.setdiff1d(self.live_a, self.a)

    @property
    def only_b(self) -> Int[np.ndarray, " u"]:
        """Live latents of B without a one-to-one partner; ``of_b`` tells those that are split or merged apart."""
        return np.setdiff1d(self.live_b, self.b)

    def frame(self) -> pd.DataFrame:
        """One row a live latent of either side: side, latent, kind, partners, correlation, low, high, null, cosine."""
        import pandas as pd

        sides = [kinds.frame() for kinds in (self.of_a, self.of_b)]
        for side, table in zip(SIDES, sides, strict=True):
            table.insert(0, "side", side)
        return pd.concat(sides, ignore_index=True)

    def _repr_html_(self) -> str:
        live = f"{len(self.live_a)} and {len(self.live_b)} live latents, {len(self.a)} matched one-to-one"
        rows = [
            f"<tr><td>{kind}</td><td>{self.of_a.shares[kind]}</td><td>{self.of_b.shares[kind]}</td></tr>"
            for kind in KINDS
        ]
        head = f"<p>matched share {self.share} ({live} at correlation ≥ {self.threshold:g})</p>"
        return f"{head}<table><tr><th>latents</th><th>of A</th><th>of B</th></tr>{''.join(rows)}</table>"


def match(
    A: Latents,
    B: Latents,
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
    decoders: tuple[Float[np.ndarray, "ma da"], Float[np.ndarray, "mb db"]] | None = None,
    threshold: float = 0.7,
    min_rows: int = 10,
    n_permutations: int = 99,
    n_blocks: int = 20,
    seed: int = 0,
) -> Matching:
    """Match the latents of two dictionaries by their activations on the same rows.

    Pairs below the threshold are no candidates; among the rest the matching of greatest total correlation is taken
    one-to-one. Then latents that have no partner, or whose partner explains clearly less than several latents together,
    are looked for as sums of the other dictionary's (see ``mechdecouple.sae.matching.kinds``). The shares say nothing
    about which model is better, and alone they mean little: two SAEs of one model share only part of their latents, see
    ``matched_share_excess``.

    Args:
        A, B: latents ``[n, m]`` of the same rows in the same order, dense (``SparseAutoencoder.encode``) or sparse
            (``encode_sparse``: large dictionaries on many rows need that).
        groups: rows that belong together; by default rows identical in both dictionaries are a group.
        decoders: decoder rows of both, for the cosine.
        threshold: least correlation of a match; .7 is half of the variance shared.
        min_rows: a latent is live when it fires on at least that many distinct rows (on fewer, a chance coincidence
            correlates perfectly) and is not constant.
        n_permutations: draws of the null, which permutes whole groups of rows of B; 0 for none.
        n_blocks: blocks of groups left out in turn for the intervals, which cover the choice of items.

    Raises:
        MismatchError: A, B and groups differ in length, or decoders do not fit the latents.
        InputError: NaN in the latents, or a threshold outside (0, 1].

    >>> rng = np.random.default_rng(0)
    >>> A = rng.random((400, 6)) * (rng.random((400, 6)) < 0.2)
    >>> found = match(A, A[:, ::-1][:, :4])
    >>> found.share.value, found.of_a.kind.tolist()
    (1.0, ['only', 'only', 'shared', 'shared', 'shared', 'shared'])
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold}, expected more than 0 and at most 1")
    sparse_a, sparse_b = as_sparse(A, "A"), as_sparse(B, "B")
    groups, distinct = check_rows(sparse_a, sparse_b, groups)
    apart = incomparable(decoders, shape(sparse_a)[1], shape(sparse_b)[1])
    a, b = (standardised(x, distinct, min_rows) for x in (sparse_a, sparse_b))
    live = a.live, b.live
    n_groups = len(np.unique(groups))
    if not a.m or not b.m:
        reason = f"a dictionary has no latent firing on {min_rows} distinct rows or more"
        undefined = np.full((min(n_blocks, n_groups) if n_groups > 1 else 0, 9), np.nan)
        nothing = Replicates(np.full(9, np.nan), undefined, "jackknife", n_groups)
        return _unmatched(live, nothing, threshold, reason, apart or reason)
    blocks = jackknife_blocks(groups, n_blocks, seed) if n_groups > 1 else np.zeros(len(groups), np.int64)
    keep = a.m * b.m <= WHOLE
    pairs = correlate(a, b, floor(threshold), keep=keep)
    moments = Moments.of(a, blocks)
    evidence = Evidence.of(moments, Moments.of(b, blocks), pairs.i, pairs.j)
    found = evidence.sort(threshold)
    value = found.shares()
    replicates = Replicates(value, evidence.replicates(threshold, value), "jackknife", n_groups)
    chance = by_chance(moments, b, groups, threshold, n_permutations, seed)
    null = chance.shares.mean(0) if n_permutations else np.full(len(value), np.nan)

    directions = None if decoders is None or apart else Directions.of(decoders, live, threshold, keep)
    kinds = []
    for side, of in enumerate((slice(1, 5), slice(5, 9))):
        shares = {}
        for kind, one, draws, level in zip(KINDS, replicates[of], chance.shares[:, of].T, null[of], strict=True):
            tail = "lower" if kind == "only" else "upper"
            p = permutation_p(one.value, draws, tail) if n_permutations else np.nan
            shares[kind] = one.estimate(KIND_SHARES[kind], null=level, p=float(p))
        kinds.append(describe(side, found, evidence, live, chance.best[side], directions, shares, replicates[of]))
    share = replicates[0]
    p = float(permutation_p(share.value, chance.shares[:, 0])) if n_permutations else np.nan
    similarity = evidence.r[found.matched]
    best = found.matched[np.argsort(-similarity, kind="stable")]
    return Matching(
        share=share.estimate(MATCHED_SHARE, null=null[0], p=p),
        replicates=share,
        of_a=kinds[0],
        of_b=kinds[1],
        live_a=a.live,
        live_b=b.live,
        correlation=pairs.whole,
        cosine=None if directions is None else directions.whole,
        cosine_share=Estimate.undefined(apart, unit="latents") if directions is None else directions.share,
        a=a.live[evidence.ends[0][best]],
        b=b.live[evidence.ends[1][best]],
        similarity=evidence.r[best],
        threshold=threshold,
    )


def _unmatched(
    live: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]],
    nothing: Replicates,
    threshold: float,
    reason: str,
    apart: str,
) -> Matching:
    """The matching of a dead dictionary: undefined shares that say why."""
    none = np.zeros(0, np.int64)
    return Matching(
        share=nothing[0].estimate(MATCHED_SHARE, reason=reason),
        replicates=nothing[0],
        of_a=no_kinds(nothing[1:5], reason),
        of_b=no_kinds(nothing[5:9], reason),
        live_a=live[0],
        live_b=live[1],
        correlation=np.zeros((len(live[0]), len(live[1])), np.float32),
        cosine=None,
        cosine_share=Estimate.undefined(apart, unit="latents"),
        a=none,
        b=none,
        similarity=np.zeros(0),
        threshold=threshold,
    )
