"""What two dictionaries show on the same rows: pairs, sums of parts, what a block of rows weighs, and chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.sae.matching._codes import Codes
from mechdecouple.sae.matching._pairs import correlate, one_to_one
from mechdecouple.sae.matching._parts import FLOOR, Parts, find_parts
from mechdecouple.sae.matching._sums import Moments, correlations

SPLIT_GAIN = 0.2
"""A sum of parts explains at least this much more of a latent's variance than its one-to-one partner does, to be a
split instead. Two equal halves explain all of a latent and one of them half; where parts are as uneven as 80 % and
20 %, the greater one counts as the same feature.
"""
SHARED, SPLIT, MERGED, ONLY = range(4)


@dataclass(frozen=True, eq=False)
class Found:
    """Latents sorted into kinds, by position among the live ones; of A and of B.

    Attributes:
        matched: which pairs are matched one-to-one.
        kind: SHARED, SPLIT, MERGED or ONLY.
        pair: which pair makes a latent shared; −1 for the others.
        like: which pair of each latent correlates most; −1 where it is in none.
        whole: the latent of the other dictionary that a latent is part of; −1 for none.
    """

    matched: Int[np.ndarray, " q"]
    kind: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]]
    pair: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]]
    like: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]]
    whole: tuple[Int[np.ndarray, " la"], Int[np.ndarray, " lb"]]

    def shares(self) -> Float[np.ndarray, " 9"]:
        """Matched share of the smaller side, then the share of each kind among A's latents and among B's."""
        kinds = [np.bincount(kind, minlength=4) / len(kind) for kind in self.kind]
        return np.concatenate([[len(self.matched) / min(map(len, self.kind))], *kinds])


@dataclass(frozen=True, eq=False)
class Evidence:
    """Correlations of pairs of live latents and of latents with sums of the other dictionary's.

    Attributes:
        ends: the latent of A and of B of each pair.
        r: correlation of each pair; left_out: without each block of rows.
        parts: what A's latents are made of in B, and B's in A.
    """

    ends: tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]
    r: Float[np.ndarray, " p"]
    left_out: Float[np.ndarray, "p k"]
    parts: tuple[Parts, Parts]

    @classmethod
    def of(cls, a: Moments, b: Moments, i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"]) -> Evidence:
        products = a.products(i, b, j)
        r, left_out = correlations(a, i, b, j, products)
        return cls((i, j), r, left_out, (find_parts(a, i, b, j, products, r), find_parts(b, j, a, i, products, r)))

    def sort(self, threshold: float) -> Found:
        return self._sort(self.r, [p.r for p in self.parts], threshold)

    def replicates(self, threshold: float, value: Float[np.ndarray, " 9"]) -> Float[np.ndarray, "k 9"]:
        """Jackknife replicates of the shares, taken through the correlations.

        A share of pairs above a threshold is a step function: leaving out a twentieth of the rows moves few pairs
        across it, and the plain jackknife then says nothing or twice too much. So the correlations are moved by their
        jackknife deviations at the scale of their sampling error, the share is read there, and its deviations are
        scaled back. For a statistic that is linear in the correlations this is the plain jackknife.
        """
        n_blocks = self.left_out.shape[1]
        if n_blocks < 2:
            return np.zeros((0, len(value)))
        scale = (n_blocks - 1) / np.sqrt(n_blocks)
        moved = np.array(
            [
                self._sort(
                    self.r + scale * (self.left_out[:, k] - self.r),
                    [p.r + scale * (p.left_out[:, k] - p.r) for p in self.parts],
                    threshold,
                ).shares()
                for k in range(n_blocks)
            ]
        )
        return value + (moved - moved.mean(0)) / scale

    def _sort(self, r: np.ndarray, summed: list[np.ndarray], threshold: float) -> Found:
        strong = np.flatnonzero(r >= threshold)
        matched = strong[one_to_one(self.ends[0][strong], self.ends[1][strong], r[strong])]
        like = [_best_of(end, r, len(sums)) for end, sums in zip(self.ends, summed, strict=True)]
        split = []
        for end, sums in zip(self.ends, summed, strict=True):
            partner = np.zeros(len(sums))
            partner[end[matched]] = r[matched]
            gain = np.square(sums) - np.square(partner)
            split.append((sums >= threshold) & ((partner == 0) | (gain >= SPLIT_GAIN)))
        shared = matched[~split[0][self.ends[0][matched]] & ~split[1][self.ends[1][matched]]]
        kinds, pairs, wholes = [], [], []
        for side in (0, 1):
            pair = np.full(len(summed[side]), -1)
            pair[self.ends[side][shared]] = shared
            whole = _whole_of(self.parts[1 - side], summed[1 - side], threshold, len(pair))
            alike = np.zeros(len(pair), bool)
            alike[self.ends[side][strong]] = True
            merged = (whole >= 0) | alike
            kinds.append(np.select([split[side], pair >= 0, merged], [SPLIT, SHARED, MERGED], ONLY))
            pairs.append(pair)
            wholes.append(whole)
        return Found(matched, *((x[0], x[1]) for x in (kinds, pairs, like, wholes)))


@dataclass(frozen=True, eq=False)
class Chance:
    """What is found when rows of B meet rows of A of other groups.

    Attributes:
        shares: of each draw, as ``Found.shares``.
        best: mean over draws of each latent's greatest correlation with anything, of A and of B; NaN without draws.
    """

    shares: Float[np.ndarray, "draws 9"]
    best: tuple[Float[np.ndarray, " la"], Float[np.ndarray, " lb"]]


def by_chance(
    a: Moments, b: Codes, groups: Shaped[np.ndarray, " n"], threshold: float, draws: int, seed: int
) -> Chance:
    """Permute groups: they are laid end to end, and B's are laid in another order beside A's.

    Where groups have one size this is the permutation of groups; otherwise rows still move with their group.
    """
    generator = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    together = np.argsort(group, kind="stable")
    shares, best = [], [np.zeros(a.codes.m), np.zeros(b.m)]
    for _ in range(draws):
        rank = generator.permutation(group.max() + 1)[group[together]]
        order = np.empty_like(together)
        order[together] = together[np.argsort(rank, kind="stable")]
        permuted = b.reordered(order)
        pairs = correlate(a.codes, permuted, floor(threshold))
        strong = pairs.r >= floor(threshold)
        evidence = Evidence.of(a, Moments.of(permuted, a.blocks), pairs.i[strong], pairs.j[strong])
        shares.append(evidence.sort(threshold).shares())
        for total, alone, parts in zip(best, (pairs.best_a, pairs.best_b), evidence.parts, strict=True):
            total += np.maximum(alone, parts.r)
    mean = [total / draws if draws else np.full(len(total), np.nan) for total in best]
    return Chance(np.array(shares).reshape(draws, 9), (mean[0], mean[1]))


def floor(threshold: float) -> float:
    """The correlation from which pairs are looked at: no sampling error lifts a weaker one to the threshold."""
    return min(FLOOR, threshold / 2)


def _best_of(end: Int[np.ndarray, " p"], r: Float[np.ndarray, " p"], n: int) -> Int[np.ndarray, " n"]:
    """For each of n latents the pair of greatest correlation that it is an end of; −1 for none."""
    order = np.lexsort((-r, end))
    latents, first = np.unique(end[order], return_index=True)
    best = np.full(n, -1)
    best[latents] = order[first]
    return best


def _whole_of(parts: Parts, summed: np.ndarray, threshold: float, n: int) -> Int[np.ndarray, " n"]:
    """The latent that each of n latents is part of, among those that parts make up: of several the one made up best."""
    rows = np.flatnonzero(summed[parts.whole] >= threshold)
    rows = rows[np.argsort(summed[parts.whole[rows]], kind="stable")]
    whole = np.full(n, -1)
    whole[parts.part[rows]] = parts.whole[rows]  # of several the last stays
    return whole
