"""Which latents of two dictionaries are the same feature? One-to-one, by what they do on the same items.

Activations come first and decoder directions second: two models may hold one feature along unrelated directions (any
rotation of the residual stream does that), but a feature that is the same fires on the same items.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.optimize import linear_sum_assignment

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Metric
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


@dataclass(frozen=True, eq=False)
class Matching:
    """A one-to-one matching of the live latents of dictionaries A and B.

    Attributes:
        share: matched share, with its permutation null and jackknife interval.
        replicates: the share's jackknife, for paired contrasts with matchings on the same rows and groups.
        live_a, live_b: which latents were matched at all (those that fire often enough to be correlated).
        correlation: of every live latent of A with every one of B over rows, ``[live_a, live_b]``.
        cosine: the same for decoder rows; None where decoders were not given or read activations of different widths.
        cosine_share: matched share by decoder cosine (no interval); undefined where ``cosine`` is None.
        a, b: matched latents, by their numbers in A and B, strongest pair first; similarity: their correlation.
        threshold: the correlation (and cosine) from which two latents count as the same feature.
    """

    share: Estimate
    replicates: Replicates
    live_a: Int[np.ndarray, " la"]
    live_b: Int[np.ndarray, " lb"]
    correlation: Float[np.ndarray, "la lb"]
    cosine: Float[np.ndarray, "la lb"] | None
    cosine_share: Estimate
    a: Int[np.ndarray, " p"]
    b: Int[np.ndarray, " p"]
    similarity: Float[np.ndarray, " p"]
    threshold: float

    @property
    def only_a(self) -> Int[np.ndarray, " u"]:
        """Live latents of A without a partner."""
        return np.setdiff1d(self.live_a, self.a)

    @property
    def only_b(self) -> Int[np.ndarray, " u"]:
        """Live latents of B without a partner."""
        return np.setdiff1d(self.live_b, self.b)

    def frame(self) -> pd.DataFrame:
        """One row a matched pair: latent_a, latent_b, correlation and, where decoders compare, their cosine."""
        import pandas as pd

        table = pd.DataFrame({"latent_a": self.a, "latent_b": self.b, "correlation": self.similarity})
        if self.cosine is not None:
            table["cosine"] = self.cosine[np.searchsorted(self.live_a, self.a), np.searchsorted(self.live_b, self.b)]
        return table

    def _repr_html_(self) -> str:
        live = f"{len(self.live_a)} and {len(self.live_b)} live latents, {len(self.a)} matched"
        table = self.frame().head(20).to_html(index=False, float_format="%.2f")
        return f"<p>matched share {self.share} ({live} at correlation ≥ {self.threshold:g})</p>{table}"


def match(
    A: Float[np.ndarray, "n ma"],
    B: Float[np.ndarray, "n mb"],
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

    Pairs below the threshold are no candidates; among the rest the Hungarian method takes the one-to-one matching of
    greatest total correlation. The share is symmetric in A and B and says nothing about which is better. Alone it means
    little: two SAEs of one model share only part of their latents, see ``matched_share_excess``.

    Args:
        A, B: latents of the same rows in the same order (``SparseAutoencoder.encode``).
        groups: rows that belong together; by default rows identical in both dictionaries are a group.
        decoders: decoder rows of both, for the cosine.
        threshold: least correlation of a match; .7 is half of the variance shared.
        min_rows: a latent is live when it fires on at least that many distinct rows (on fewer, a chance coincidence
            correlates perfectly) and is not constant.
        n_permutations: draws of the null, which permutes whole groups of rows of B; 0 for none.
        n_blocks: blocks of groups left out in turn for the interval, which covers the choice of items.

    Raises:
        MismatchError: A, B and groups differ in length, or decoders do not fit the latents.
        InputError: NaN in the latents, or a threshold outside (0, 1].
    """
    groups, distinct = _check_rows(A, B, groups)
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold}, expected more than 0 and at most 1")
    live_a, live_b = _live(A, distinct, min_rows), _live(B, distinct, min_rows)
    n_groups = len(np.unique(groups))
    za, zb = _standardised(A[:, live_a]), _standardised(B[:, live_b])
    correlation = za.T @ zb
    rows, columns = _one_to_one(correlation, threshold)
    blocks = jackknife_blocks(groups, n_blocks, seed) if n_groups > 1 else None
    replicates = Replicates(
        _share(len(rows), correlation), _replicates(za, zb, correlation, blocks, threshold), "jackknife", n_groups
    )
    reason = "" if correlation.size else f"a dictionary has no latent firing on {min_rows} distinct rows or more"
    null, p = np.nan, np.nan
    if correlation.size and n_permutations:
        draws = _null_shares(za, zb, groups, threshold, n_permutations, seed)
        null, p = float(draws.mean()), permutation_p(replicates.value, draws)
    cosine, cosine_share = _cosine(decoders, A, B, live_a, live_b, threshold, reason)
    similarity = correlation[rows, columns]
    order = np.argsort(-similarity, kind="stable")
    return Matching(
        share=replicates.estimate(MATCHED_SHARE, null=null, p=float(p), reason=reason),
        replicates=replicates,
        live_a=live_a,
        live_b=live_b,
        correlation=correlation,
        cosine=cosine,
        cosine_share=cosine_share,
        a=live_a[rows[order]],
        b=live_b[columns[order]],
        similarity=similarity[order],
        threshold=threshold,
    )


def repetitions(*latents: Float[np.ndarray, "n _"]) -> Int[np.ndarray, " n"]:
    """A number for each row, the same for rows that are identical in every one of the tables."""
    digests = [hashlib.blake2b(b"".join(x.tobytes() for x in row), digest_size=8) for row in zip(*latents, strict=True)]
    numbers = np.array([int.from_bytes(d.digest(), "little") for d in digests], dtype=np.uint64)
    return np.unique(numbers, return_inverse=True)[1]


def _check_rows(
    A: np.ndarray, B: np.ndarray, groups: np.ndarray | None
) -> tuple[Shaped[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """The group of each row, and which rows are not a repetition of an earlier one."""
    for name, latents in (("A", A), ("B", B)):
        if latents.ndim != 2 or not len(latents):
            raise InputError(f"latents of {name} have shape {latents.shape}, expected [rows, latents]")
        finite = np.isfinite(latents).all(axis=1)
        if not finite.all():
            raise InputError(f"row {int(np.argmin(finite))} of the latents of {name} holds NaN or infinity")
    if len(A) != len(B):
        raise MismatchError(f"latents of A have {len(A)} rows and those of B {len(B)}; encode the same items in both")
    content = repetitions(A, B)
    distinct = np.zeros(len(A), bool)
    distinct[np.unique(content, return_index=True)[1]] = True
    if groups is None:
        return content, distinct
    if len(groups) != len(A):
        raise MismatchError(f"{len(groups)} groups for {len(A)} rows of latents; give one group a row")
    return np.asarray(groups), distinct


def _live(latents: np.ndarray, distinct: np.ndarray, min_rows: int) -> Int[np.ndarray, " live"]:
    fires = (latents[distinct] != 0).sum(0) >= min_rows
    return np.flatnonzero(fires & (np.ptp(latents, axis=0) > 0))


def _standardised(latents: np.ndarray) -> Float[np.ndarray, "n live"]:
    """Columns of mean 0 and unit norm, so that one product of two such tables is their correlation matrix."""
    centred = latents - latents.mean(0, dtype=np.float64)
    return (centred / np.linalg.norm(centred, axis=0)).astype(np.float32)


def _one_to_one(similarity: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the matching with the greatest total similarity among pairs at or above the threshold."""
    strong = similarity >= threshold
    rows, columns = np.flatnonzero(strong.any(1)), np.flatnonzero(strong.any(0))
    candidates = np.where(strong, similarity, 0)[np.ix_(rows, columns)]
    i, j = linear_sum_assignment(candidates, maximize=True)
    taken = candidates[i, j] > 0
    return rows[i[taken]], columns[j[taken]]


def _share(n_matched: int, similarity: np.ndarray) -> float:
    return n_matched / min(similarity.shape) if similarity.size else np.nan


def _replicates(
    za: np.ndarray, zb: np.ndarray, correlation: np.ndarray, blocks: np.ndarray | None, threshold: float
) -> Float[np.ndarray, " b"]:
    """Jackknife replicates of the share, taken through the correlations.

    A share of pairs above a threshold is a step function: leaving out a twentieth of the rows moves few pairs across
    it, and the plain jackknife then says nothing or twice too much. So the correlations are moved by their jackknife
    deviations at the scale of their sampling error, the share is read there, and its deviations are scaled back. For a
    statistic that is linear in the correlations this is the plain jackknife.
    """
    if blocks is None or not correlation.size:
        return np.full(0 if blocks is None else int(blocks.max()) + 1, np.nan)
    n_blocks = int(blocks.max()) + 1
    scale = (n_blocks - 1) / np.sqrt(n_blocks)
    shares = []
    for block in range(n_blocks):
        deviation = _without(za, zb, correlation, blocks == block) - correlation
        rows, _ = _one_to_one(correlation + scale * deviation, threshold)
        shares.append(_share(len(rows), correlation))
    moved = np.array(shares)
    return _share(len(_one_to_one(correlation, threshold)[0]), correlation) + (moved - moved.mean()) / scale


def _without(za: np.ndarray, zb: np.ndarray, correlation: np.ndarray, out: np.ndarray) -> Float[np.ndarray, "la lb"]:
    """Correlations without some rows, from the whole product less theirs: each row is multiplied twice in all."""
    a, b = za[out], zb[out]
    kept = len(za) - len(a)
    mean_a, mean_b = -a.sum(0) / kept, -b.sum(0) / kept  # of the rows that stay; over all rows they are 0
    shared = correlation - a.T @ b - kept * np.outer(mean_a, mean_b)
    left_a = 1 - np.square(a).sum(0) - kept * np.square(mean_a)
    left_b = 1 - np.square(b).sum(0) - kept * np.square(mean_b)
    # A latent that is constant on the rows that stay correlates with nothing there.
    spread = np.outer(np.where(left_a > 1e-4, left_a, np.inf), np.where(left_b > 1e-4, left_b, np.inf))
    return shared / np.sqrt(spread)


def _null_shares(
    za: np.ndarray, zb: np.ndarray, groups: np.ndarray, threshold: float, draws: int, seed: int
) -> Float[np.ndarray, " r"]:
    """Shares when A's rows meet B's rows of other groups: groups are laid end to end, B's in permuted order.

    Where groups have one size this is the permutation of groups; otherwise rows still move with their group.
    """
    generator = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    together = np.argsort(group, kind="stable")
    a, b, group = za[together], zb[together], group[together]
    shares = []
    for _ in range(draws):
        order = np.argsort(generator.permutation(group.max() + 1)[group], kind="stable")
        permuted = a.T @ b[order]
        shares.append(_share(len(_one_to_one(permuted, threshold)[0]), permuted))
    return np.array(shares)


def _cosine(
    decoders: tuple[np.ndarray, np.ndarray] | None,
    A: np.ndarray,
    B: np.ndarray,
    live_a: np.ndarray,
    live_b: np.ndarray,
    threshold: float,
    reason: str,
) -> tuple[np.ndarray | None, Estimate]:
    """Cosines of live decoder rows and the share matched by them; None and a reason where directions do not compare."""
    if decoders is None:
        return None, Estimate.undefined("decoders were not given", unit="latents")
    wa, wb = decoders
    if len(wa) != A.shape[1] or len(wb) != B.shape[1]:
        raise MismatchError(
            f"decoders have {len(wa)} and {len(wb)} rows for {A.shape[1]} and {B.shape[1]} latents; pass each SAE's own"
        )
    if wa.shape[1] != wb.shape[1]:
        widths = f"{wa.shape[1]} and {wb.shape[1]}"
        return None, Estimate.undefined(f"the models have widths {widths}: directions do not compare", unit="latents")
    if reason:
        return None, Estimate.undefined(reason, unit="latents")
    unit_a, unit_b = (w / np.maximum(np.linalg.norm(w, axis=1, keepdims=True), 1e-12) for w in (wa, wb))
    cosine = unit_a[live_a] @ unit_b[live_b].T
    matched = len(_one_to_one(cosine, threshold)[0])
    note = "by decoder cosine, which no rotation between the models survives; no interval"
    share = Estimate(value=_share(matched, cosine), n=min(cosine.shape), unit="latents", reason=note)
    return cosine, share
