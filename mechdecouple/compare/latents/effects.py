"""Effects of latents on the answers: how far the right option would fall or rise against the others without each."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csc_matrix, csr_matrix

from mechdecouple import stats
from mechdecouple.compare.gate import gate_rows
from mechdecouple.compare.latents.logits import LogitDifference, no_difference
from mechdecouple.compare.latents.removal import random_like, seeds
from mechdecouple.compare.side import Side
from mechdecouple.compare.subject import Subject, make_subject
from mechdecouple.results import Estimate, Metric
from mechdecouple.sae import SparseAutoencoder
from mechdecouple.stats import Replicates

LATENT_ATTRIBUTION = Metric(
    name="latent_attribution",
    family="sae",
    title="Attribution of a latent",
    measures="gradient of the logit difference (right option minus the mean of the others) times what the latent adds "
    "to the activations, mean over items; positive where the latent speaks for the right option",
    range="(−∞, ∞)",
    null="0",
    assumes="the answer changes linearly with the latent; the SAE's error is left in",
    source="arXiv:2403.19647",
)
LATENT_ABLATION = Metric(
    name="latent_ablation",
    family="sae",
    title="Effect of a latent",
    measures="logit difference of the model as it is, minus that with the latent's part subtracted from the "
    "activations, mean over items; positive where the latent speaks for the right option",
    range="(−∞, ∞)",
    null="root mean square of the same for a random direction of the length of the latent's",
    assumes="the SAE's error is left in; where the latent does not fire nothing is changed",
    source="arXiv:2403.19647",
)
EXCLUSIVE_EFFECT = dataclasses.replace(
    LATENT_ABLATION,
    name="exclusive_effect",
    title="Effect of the latents that the other model lacks",
    measures="logit difference of the model as it is, minus that with the parts of all latents without a partner "
    "subtracted from the activations at once, mean over items",
    null="root mean square of the same for changes of equal norm, row by row, in random directions",
)

TOP, MOST = 32, 64
"""Latents ablated: so many by attribution, and with those that the other model lacks so many in all."""
MOST_PLACES = 32_768
"""Tokens that are changed at most for the ablation of single latents, one for each on which a latent fires."""
MATTERS = 8
_DRAWS, _JOINT_DRAWS = 4, 19
_ROWS = 1024
LIMIT = 256
"""Most items that effects are measured on, and that latents are ranked on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Effects:
    """What m latents do to the logit difference on held-out items.

    Attributes:
        attribution: [m]; None where there are no logits to take it of, for the ``reason``.
        ablated: [k] positions of the latents that were ablated; ablation: [k]; null: [k] level of random directions.
        matters: for each ablated latent the ids of the items that it moves most, and further than 95 % of the
            changes in random directions move items.
        exclusive: of all latents that the other model lacks, at once.
        skipped: why the other latents were not ablated.
    """

    reason: str
    attribution: Replicates | None = None
    ablated: Int[np.ndarray, " k"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    ablation: Replicates | None = None
    null: Float[np.ndarray, " k"] = dataclasses.field(default_factory=lambda: np.zeros(0))
    matters: list[list[str]] = dataclasses.field(default_factory=list)
    exclusive: Estimate = dataclasses.field(default_factory=lambda: Estimate.undefined("not measured"))
    skipped: str = ""

    def beyond(self) -> np.ndarray:
        """[k] ablated latents that do more than random directions, at a false-discovery rate of 5 %."""
        if self.ablation is None or not len(self.ablated):
            return np.zeros(0, bool)
        over = (self.ablation.map(lambda x: x - self.null), self.ablation.map(lambda x: -x - self.null))
        p = 2 * np.min([one.p_above(0.0) for one in over], axis=0)
        return np.nan_to_num(stats.benjamini_hochberg(np.minimum(p, 1.0)), nan=1.0) < 0.05


def measure_effects(
    side: Side, point: str, sae: SparseAutoencoder, latents: np.ndarray, lacking: np.ndarray, groups: np.ndarray
) -> Effects:
    """Attribution of every one of ``latents`` [m], ablation of the first by attribution and of those ``lacking`` [m].

    Latents are ranked on items outside ``groups`` (those held out from the SAE's training), and everything else is
    measured inside.
    """
    reason = no_difference(side.subject, side.untestable)
    usable = np.flatnonzero(gate_rows(side.task) & np.isin(side.task.groups, groups))
    if not len(usable):
        reason = reason or "none of the items that answers are compared on lies in groups held out"
    if not len(latents):
        reason = reason or "no latent fires"
    if reason or side.subject is None:
        return Effects(reason, exclusive=Estimate.undefined(reason, unit="groups"))
    config = side.config
    if len(usable) > LIMIT:
        usable = np.sort(np.random.default_rng(config.seed).choice(usable, LIMIT, replace=False))
    subject = make_subject(side.model, side.task, usable, side.acts, config, "token")
    held = _Coded(subject, point, sae, latents)
    per_item = held.attribution(np.arange(len(subject.task)))
    chosen = _chosen(held, _ranking(side.subject, point, sae, latents, groups, per_item), lacking)
    moved = held.without(chosen, held.directions[chosen])
    draws = [held.without(chosen, held.random(chosen, (config.seed, i))) for i in range(_DRAWS)]
    names = np.asarray(subject.task.ids)
    return Effects(
        "",
        attribution=subject.replicates(per_item),
        ablated=chosen,
        ablation=subject.replicates(moved),
        null=np.sqrt(np.mean([draw.mean(axis=0) ** 2 for draw in draws], axis=0)),
        matters=[_matters(moved[:, i], np.stack([d[:, i] for d in draws]), names) for i in range(len(chosen))],
        exclusive=_joint(held, np.flatnonzero(lacking), config.seed),
        skipped=f"ablation: not among the {len(chosen)} latents that were ablated",
    )


class _Coded:
    """A subject's items in terms of latents, and what its answers do without them."""

    def __init__(self, subject: Subject, point: str, sae: SparseAutoencoder, latents: np.ndarray) -> None:
        self.difference, self.subject = LogitDifference(subject, point), subject
        self.codes: csr_matrix = sae.encode_sparse(subject.acts[point])[:, latents]
        self.directions = sae.decoder[latents].astype(np.float64)
        places = self.difference.places
        self.placed: csc_matrix = csc_matrix(self.codes[places.row])

    def attribution(self, items: np.ndarray) -> Float[np.ndarray, "n m"]:
        """Gradient times what each latent adds, summed over the rows of each item."""
        slopes, places = self.difference.gradient(items), self.difference.places
        rows, first = np.unique(places.row, return_index=True)
        out = np.zeros((len(self.difference), len(self.directions)))
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            parts = self.codes[some].multiply(slopes[some] @ self.directions.T).tocoo()
            np.add.at(out, (places.item[first[start : start + _ROWS]][parts.row], parts.col), parts.data)
        return out[items]

    def without(self, chosen: np.ndarray, directions: Float[np.ndarray, "k d"]) -> Float[np.ndarray, "n k"]:
        """What the difference loses when each latent's activation times its direction is subtracted, item by item."""
        columns = self.placed[:, chosen].tocoo()
        n, place, latent = len(self.difference), columns.row, columns.col
        runs, owner = np.unique(self.difference.places.item[place] * len(chosen) + latent, return_inverse=True)
        item, which = np.divmod(runs, len(chosen))
        out = np.zeros((n, len(chosen)))
        if len(runs):
            change = -columns.data[:, None] * directions[latent]
            out[item, which] = self.difference.clean[item] - self.difference.moved(item, owner, place, change)
        return out

    def jointly(self, change: Float[np.ndarray, "r d"]) -> Float[np.ndarray, " n"]:
        """What the difference loses when ``change`` is subtracted from the rows of activations."""
        places = self.difference.places
        place = np.flatnonzero(np.abs(change[places.row]).any(axis=1))
        item, owner = np.unique(places.item[place], return_inverse=True)
        out = np.zeros(len(self.difference))
        if len(item):
            found = self.difference.moved(item, owner, place, -change[places.row[place]])
            out[item] = self.difference.clean[item] - found
        return out

    def random(self, chosen: np.ndarray, seed: tuple[int, int]) -> Float[np.ndarray, "k d"]:
        """Random directions of the lengths of the latents' own."""
        drawn = np.random.default_rng(seed).normal(size=(len(chosen), self.directions.shape[1]))
        length = np.linalg.norm(self.directions[chosen], axis=1, keepdims=True)
        return drawn * length / np.linalg.norm(drawn, axis=1, keepdims=True)


def _ranking(
    subject: Subject, point: str, sae: SparseAutoencoder, latents: np.ndarray, groups: np.ndarray, held: np.ndarray
) -> Int[np.ndarray, " m"]:
    """Latents by mean absolute attribution on items outside ``groups``; on those held where there are no others."""
    other = np.flatnonzero(~np.isin(subject.task.groups, groups))[:LIMIT]
    sizes = np.abs(_Coded(subject, point, sae, latents).attribution(other) if len(other) else held).mean(axis=0)
    return np.argsort(-sizes, kind="stable")


def _chosen(coded: _Coded, ranking: np.ndarray, lacking: np.ndarray) -> Int[np.ndarray, " k"]:
    """Latents to ablate, first by attribution, then those that the other model lacks, as far as places allow."""
    top = ranking[:TOP]
    rest = ranking[TOP:]
    wanted = np.concatenate([top, rest[lacking[rest]]])[:MOST]
    affordable = np.cumsum(np.diff(coded.placed.indptr)[wanted]) <= MOST_PLACES
    return wanted[affordable]


def _matters(moved: np.ndarray, draws: np.ndarray, ids: np.ndarray) -> list[str]:
    """Ids of the items that a latent moves most, of those further than random directions move 95 % of items."""
    size, fires = np.abs(moved), np.abs(draws).any(axis=0)
    least = np.quantile(np.abs(draws[:, fires]), 0.95) if fires.any() else 0.0
    order = np.argsort(-size, kind="stable")[:MATTERS]
    return [str(ids[i]) for i in order if size[i] > least]


def _joint(coded: _Coded, lacking: np.ndarray, seed: int) -> Estimate:
    """The effect of taking out all latents ``lacking`` at once, against changes of equal norm."""
    if not len(lacking):
        return Estimate.undefined("no latent lacks a partner in the other model", unit="groups")
    codes = coded.codes[:, lacking]
    change = codes @ coded.directions[lacking]
    draws = np.array([coded.jointly(random_like(change, codes, s)).mean() for s in seeds(seed, _JOINT_DRAWS)])
    found = coded.subject.replicates(coded.jointly(change))
    p = float(stats.permutation_p(abs(found.value), np.abs(draws)))
    return found.estimate(EXCLUSIVE_EFFECT, null=float(np.sqrt(np.mean(draws**2))), p=p)
