"""Distance of two causal profiles: like parts side by side, unlike ones by their best matching."""

from __future__ import annotations

import dataclasses
import html
import math

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped
from scipy.optimize import linear_sum_assignment

from mechdecouple.errors import MismatchError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates, holm, jackknife, jackknife_blocks, permutation_p
from mechdecouple.structure.mechanism.component import Component
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.tape import Ablation

LARGEST_SHARE_DIFFERENCE = Metric(
    name="largest_share_difference", family="mechanism", title="largest difference of causal shares", range="[0, 1]",
    measures="difference of the shares of the answer that depend on a part, for the part of like role in which two "
    "models differ most",
    invariances="rotation and scale of the activations",
    null="0: like parts matter alike; noise alone lies above it, so its p is that of the part, adjusted for the choice",
    assumes="parts of one kind and depth, or of one name, play one role",
)  # fmt: skip
MEAN_SHARE_DIFFERENCE = Metric(
    name="mean_share_difference", family="mechanism", title="mean difference of causal shares", range="[0, 1]",
    measures="absolute difference of the shares of the answer that depend on a part, mean over parts of like role",
    invariances="rotation and scale of the activations",
    null="0: like parts matter alike; noise alone lies above it",
    assumes="parts of one kind and depth, or of one name, play one role",
)  # fmt: skip
EFFECT_AGREEMENT = Metric(
    name="effect_agreement", family="mechanism", title="agreement of effects, item by item", range="[0, 1]",
    measures="covariance over items of what ablations of matched parts do to the answer, over the most that their "
    "variances allow, under the matching that makes it largest",
    direction="",
    invariances="order of the parts, rotation and scale of the activations, scale of the logits of either model",
    null="mean over permutations of whole groups of items",
    assumes="both profiles are of the same items",
    source="matching by effects as in arXiv:2306.17844's isomorphism of circuits, without a search",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class ProfileDistance:
    """How differently the answers of two models depend on their parts.

    Attributes:
        a, b: the models. ablation: which one is compared.
        like: r pairs of parts of like role (one of A, one of B).
        difference: [r] share of A less share of B.
        largest, mean: of its absolute value over the parts; None where no parts are alike.
        p: [r] of no difference, adjusted over parts (Holm).
        matching: the parts matched by their effects; None where a model has no part with an effect.
    """

    a: str
    b: str
    ablation: Ablation
    like: tuple[tuple[Component, Component], ...]
    difference: Replicates | None
    largest: Replicates | None
    mean: Replicates | None
    p: Float[np.ndarray, " r"]
    matching: Matching | None

    def measurements(self) -> list[Measurement]:
        """Largest and mean difference, and the agreement of matched effects."""
        none = Estimate.undefined("the models have no parts of like role: compare their matching")
        nothing = Estimate.undefined("a model has no part with an effect on any item")
        largest, mean, agreement = none, none, nothing
        if self.largest is not None and self.mean is not None:
            largest = self.largest.estimate(LARGEST_SHARE_DIFFERENCE, p=float(self.p.min()))
            mean = self.mean.estimate(MEAN_SHARE_DIFFERENCE)
        if self.matching is not None:
            m = self.matching
            agreement = m.agreement.estimate(EFFECT_AGREEMENT, null=m.null, p=m.p)
        metrics = (LARGEST_SHARE_DIFFERENCE, MEAN_SHARE_DIFFERENCE, EFFECT_AGREEMENT)
        return [
            Measurement(metric=m.name, family=m.family, estimate=e, model=self.a, model_b=self.b, context=self.ablation)
            for m, e in zip(metrics, (largest, mean, agreement), strict=True)
        ]

    def frame(self) -> pd.DataFrame:
        """One row a pair of like parts, the largest difference first."""
        columns = ["part_a", "part_b", "difference", "low", "high", "p"]
        if self.difference is None:
            return pd.DataFrame(columns=columns)
        low, high = self.difference.interval()
        rows = zip(self.like, self.difference.value, low, high, self.p, strict=True)
        table = pd.DataFrame([(a.name, b.name, *numbers) for (a, b), *numbers in rows], columns=columns)
        return table.sort_values("difference", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.a} and {self.b}: share of the answer that depends on each part, {self.ablation}")
        return f"<div><b>{title}</b>{self.frame().round(3).to_html(index=False, border=0)}</div>"


@dataclasses.dataclass(frozen=True, eq=False)
class Matching:
    """Parts of two models matched by what their ablation does item by item.

    Attributes:
        pairs: [r, 2] names. correlation: [r] of their effects over items.
        agreement: in [0, 1]; 1 where every effect of one model is a matched one's of the other, up to one scale.
        null: its mean when groups of items change places in one model; p: add-one, of no larger an agreement by chance.
    """

    pairs: tuple[tuple[str, str], ...]
    correlation: Float[np.ndarray, " r"]
    agreement: Replicates
    null: float
    p: float

    def frame(self) -> pd.DataFrame:
        rows = [(*pair, r) for pair, r in zip(self.pairs, self.correlation, strict=True)]
        return pd.DataFrame(rows, columns=["part_a", "part_b", "correlation"])


def profile_distance(
    a: CausalProfile, b: CausalProfile, *, ablation: Ablation = "resample", permutations: int = 999, seed: int = 0
) -> ProfileDistance:
    """Compare two profiles of the same items; parts that were only attributed are left out.

    Raises:
        MismatchError: the profiles are of other items. InputError: the ablation was not made.
    """
    if len(a.ids) != len(b.ids) or (a.ids != b.ids).any():
        raise MismatchError(
            f"profiles of {a.name!r} ({len(a.ids)} items) and {b.name!r} ({len(b.ids)}) are of different items: "
            "make both with the same limit and seed"
        )
    ja, jb = a.column(ablation), b.column(ablation)
    pairs = [(i, j) for i, j in like_parts(a, b) if a.exact[i] and b.exact[j]]
    difference = largest = mean = None
    p = np.empty(0)
    if pairs:
        rows_a, rows_b = (np.array(rows) for rows in zip(*pairs, strict=True))
        difference = a.share[rows_a, ja] - b.share[rows_b, jb]
        p = holm(np.nan_to_num(difference.p_differs(), nan=1.0))
        top = difference[int(np.nanargmax(np.abs(difference.value)))] if np.isfinite(difference.value).any() else None
        largest = None if top is None else top * math.copysign(1.0, top.value)
        mean = None if top is None else _mean_size(difference)
    parts = [np.array([i for i, c in enumerate(x.components) if x.exact[i] and not c.parts]) for x in (a, b)]
    matching = None
    if len(parts[0]) and len(parts[1]):
        names = [np.array(x.names)[rows] for x, rows in zip((a, b), parts, strict=True)]
        matching = match_effects(
            a.effect[parts[0], ja], b.effect[parts[1], jb], a.groups, *names, permutations=permutations, seed=seed
        )
    like = tuple((a.components[i], b.components[j]) for i, j in pairs)
    return ProfileDistance(a.name, b.name, ablation, like, difference, largest, mean, p, matching)


def like_parts(a: CausalProfile, b: CausalProfile) -> list[tuple[int, int]]:
    """Rows of parts that play one role in both: one kind and depth where both have the same layers, or one name.

    Models of other depth have like parts only in what is all of a kind. Heads, units and latents have none.
    """
    out: list[tuple[int, int]] = []
    kinds = dict.fromkeys(c.kind for c in a.components)
    for kind in kinds:
        first, second = _roles(a, kind), _roles(b, kind)
        if first.keys() == second.keys() or kind in ("input", "module"):
            out += [(first[role], second[role]) for role in first if role in second]
        elif (i := a.whole(kind)) is not None and (j := b.whole(kind)) is not None:
            out.append((i, j))
    return out


def match_effects(
    a: Float[np.ndarray, "c n"],
    b: Float[np.ndarray, "d n"],
    groups: Shaped[np.ndarray, " n"],
    names_a: Shaped[np.ndarray, " c"],
    names_b: Shaped[np.ndarray, " d"],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> Matching | None:
    """The matching of parts under which their effects covary most, against permuted groups; None without effects.

    The effects' covariances, over √(Σ variance of A · Σ variance of B), are summed over matched parts; a pair that does
    not covary is not matched. So parts count by how much they matter.
    """
    if not _variances(a).sum() or not _variances(b).sum():
        return None
    scores = _overlap(a, b)
    rows, columns = _assigned(scores)
    blocks = jackknife_blocks(groups, seed=seed)
    n_groups = len(np.unique(groups))
    agreement = jackknife(lambda kept: _agreement(a[:, kept], b[:, kept]), blocks, n_groups)
    draws = np.array([_agreement(a, b[:, order]) for order in _shuffles(groups, permutations, seed)])
    spread = np.sqrt(np.outer(_variances(a), _variances(b)))
    correlation = scores * math.sqrt(_variances(a).sum() * _variances(b).sum()) / np.where(spread > 0, spread, np.inf)
    return Matching(
        tuple(zip(names_a[rows].tolist(), names_b[columns].tolist(), strict=True)), correlation[rows, columns],
        agreement, float(draws.mean()) if len(draws) else math.nan,
        float(permutation_p(agreement.value, draws)) if len(draws) else math.nan,
    )  # fmt: skip


def _roles(profile: CausalProfile, kind: str) -> dict[str | float, int]:
    parts = [(i, c) for i, c in enumerate(profile.components) if c.kind == kind and not c.fine and not c.parts]
    return {c.name if kind in ("input", "module") else round(c.depth, 6): i for i, c in parts}


def _mean_size(difference: Replicates) -> Replicates:
    size = difference[np.isfinite(difference.value)].map(np.abs)
    return Replicates(size.value.mean(), size.replicates.mean(axis=1), size.kind, size.n)


def _variances(effect: np.ndarray) -> Float[np.ndarray, " c"]:
    spread = effect.var(axis=1)
    return np.where(spread > 1e-20 * np.maximum((effect**2).mean(axis=1), 1e-300), spread, 0.0)


def _overlap(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "c d"]:
    centred = [x - x.mean(axis=1, keepdims=True) for x in (a, b)]
    size = math.sqrt(float(_variances(a).sum() * _variances(b).sum()))
    return centred[0] @ centred[1].T / a.shape[1] / size if size else np.zeros((len(a), len(b)))


def _assigned(scores: np.ndarray) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, " r"]]:
    rows, columns = linear_sum_assignment(np.maximum(scores, 0.0), maximize=True)
    kept = scores[rows, columns] > 0
    return rows[kept], columns[kept]


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    scores = _overlap(a, b)
    return float(scores[_assigned(scores)].sum())


def _shuffles(groups: np.ndarray, count: int, seed: int) -> list[Int[np.ndarray, " n"]]:
    """Orders of the rows in which whole groups change places with groups of their size."""
    _, code, size = np.unique(groups, return_inverse=True, return_counts=True)
    starts, order = np.append(0, np.cumsum(size)[:-1]), np.argsort(code, kind="stable")
    rng, out = np.random.default_rng(seed), []
    for _ in range(count):
        taken = np.arange(len(size))
        for s in np.unique(size):
            same = np.flatnonzero(size == s)
            taken[same] = rng.permutation(same)
        rows = np.empty(len(code), np.int64)
        rows[order] = np.concatenate([order[starts[g] : starts[g] + size[g]] for g in taken])
        out.append(rows)
    return out
