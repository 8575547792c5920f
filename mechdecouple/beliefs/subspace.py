"""Subspaces: how many directions hold the truth that an answer rests on, by taking them away and by leaving them alone.

Directions are nested: the first is the difference of the class means, each next one what the covariance of the
activations makes of those before (a Krylov basis). Their span of rank k is that of partial least squares with k parts.
"""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Num
from numpy.typing import ArrayLike

from mechdecouple.beliefs.reading import ALPHA, DECODABLE, ELSEWHERE, READABLE, Change, Halves
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates, permutation_p
from mechdecouple.tasks import Task

COMPREHENSIVENESS = Metric(
    name="comprehensiveness",
    family="causal",
    title="comprehensiveness of the truth's subspace",
    measures="fall of the probability of the claim that the whole model makes when the subspace is set to its mean; "
    "high: the claim needs it",
    range="[-1, 1]",
    invariances="rotations of the activations",
    null="the same of random subspaces of equal rank",
    source="arXiv:1911.03429",
)
SUFFICIENCY = dataclasses.replace(
    COMPREHENSIVENESS,
    name="sufficiency",
    title="sufficiency of the truth's subspace",
    measures="fall of the probability of the claim that the whole model makes when all but the subspace is set to its "
    "mean; near 0: it is enough for the claim",
)
INERT_FALL = 0.05
"""A smaller fall of probability is none worth the name."""

_EXHAUSTED = 1e-9
# The least rank that does this share of what any does is the one to speak of.
_MOST = 0.8


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class SubspaceAblation:
    """What taking away, and leaving alone, subspaces of growing rank did to claims on held-out statements.

    Attributes:
        ranks: [k] of the subspaces.
        comprehensiveness, sufficiency: an Estimate a rank; ``null`` is the mean over random subspaces.
        random_comprehensiveness, random_sufficiency: [r, k] of the random subspaces.
        ceiling: fall when everything at the hook point is set to its mean: what comprehensiveness can reach.
        directions: [k, d] orthonormal, in order.
        decodable: AUROC of the truth at this place.
        used: whether what holds the truth is needed; None where that is open or cannot be told.
    """

    model: str
    hook_point: str
    position: str
    ranks: tuple[int, ...]
    comprehensiveness: tuple[Estimate, ...]
    sufficiency: tuple[Estimate, ...]
    random_comprehensiveness: Float[np.ndarray, "r k"]
    random_sufficiency: Float[np.ndarray, "r k"]
    ceiling: Estimate
    directions: Float[np.ndarray, "k d"]
    decodable: Estimate
    used: bool | None

    @property
    def sentence(self) -> str:
        """What may be said, in words."""
        if np.isnan(self.ceiling.value):
            return f"Subspaces at {self.hook_point} say nothing: {self.ceiling.reason}."
        values = np.array([e.value for e in self.comprehensiveness])
        at = int(np.argmax(values >= _MOST * values.max())) if self.used else int(values.argmax())
        lost, kept, rank = self.comprehensiveness[at], self.sufficiency[at], self.ranks[at]
        those = "the direction that tells it" if rank == 1 else f"the {rank} directions that tell it"
        effects = (
            f"without {those}, the probability of the claim falls by {lost.value:z.3f} (without as many at random "
            f"{lost.null:z.3f}), with nothing else by {kept.value:z.3f} ({kept.null:z.3f})"
        )
        if self.used:
            return f"What is said needs what holds the truth at {self.hook_point}: {effects}."
        if self.used is False and self.decodable.low > READABLE:
            return (
                f"Decodable is not used: at {self.hook_point} the truth can be read (AUROC "
                f"{self.decodable.value:.3f}), but claims do without it: {effects}. {ELSEWHERE}"
            )
        if self.used is False:
            return f"At {self.hook_point} the truth can hardly be read, and nothing there is needed: {effects}."
        return f"Whether what holds the truth at {self.hook_point} is needed stays open: {effects}."

    def measurements(self) -> list[Measurement]:
        place = {"model": self.model, "hook_point": self.hook_point, "position": self.position}
        rows = [(DECODABLE, self.decodable, "")]
        for metric, estimates in ((COMPREHENSIVENESS, self.comprehensiveness), (SUFFICIENCY, self.sufficiency)):
            rows += [(metric, e, f"rank {rank}") for rank, e in zip(self.ranks, estimates, strict=True)]
        return [Measurement(metric=m.name, family=m.family, estimate=e, concept=of, **place) for m, e, of in rows]

    def frame(self) -> pd.DataFrame:
        """One row a number; the rank stands in ``concept``."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"


def ablate_subspace(
    model: HookedModel,
    task: Task,
    hook_point: str,
    position: str = "last",
    *,
    ranks: Sequence[int] = (1, 2, 4, 8),
    scored: ArrayLike | None = None,
    n_random: int = 20,
    chat: bool = False,
    seed: int = 0,
) -> SubspaceAblation:
    """Comprehensiveness and sufficiency (DeYoung et al., arXiv 1911.03429) of what tells true from false at one place.

    Subspaces are found on honest statements of half of the groups and tried on the other half, at one token. Taken
    away: x − P(x − μ); left alone: μ + P(x − μ), with P the projection and μ the mean of the fitted half. Intervals
    hold what was fitted as it is; of tasks with two classes, class 1 is the one that asserts.

    Args:
        position: ``"last"``, or a ``position_*`` column: the one token that is changed. Tensor inputs: ``"last"``.
        ranks: of the subspaces, at most the width; fewer are returned where the activations hold fewer.
        scored: [n] bool, items to try it on; the honest ones by default.
        n_random: random subspaces a rank; at least 19, or none could be beaten at the 5 % level. The model runs over
            the held-out items 2 × ranks × (n_random + 1) times.

    Raises:
        InputError: a position that is not one token, ranks that are not positive or exceed the width, too few draws.
        ModelError: unknown hook point, or a task that does not fit the model.
    """
    ranks = tuple(sorted(set(ranks)))
    if not ranks or ranks[0] < 1:
        raise InputError(f"ranks {ranks}: expected one or more positive numbers of directions")
    if n_random < 19:
        raise InputError(f"n_random is {n_random}; at least 19 are needed to be beaten at the 5 % level")
    model.check_hook_points([hook_point])
    halves = Halves.of(model, task, position, scored, chat, seed)
    place = {"model": model.name, "hook_point": hook_point, "position": position}
    if halves.reason:
        return _nothing(place, ranks, halves.reason)
    X = halves.fit.activations([hook_point])[hook_point]
    if ranks[-1] > X.shape[1]:
        raise InputError(f"rank {ranks[-1]} exceeds the {X.shape[1]} dimensions at {hook_point!r}; ask for fewer")
    directions = truth_directions(X, halves.truth[0], ranks[-1])
    if not len(directions):
        return _nothing(place, ranks, "true and false statements have the same mean here")
    ranks = tuple(dict.fromkeys(min(rank, len(directions)) for rank in ranks))
    mean, rng = X.mean(axis=0), np.random.default_rng(seed)
    held = halves.held.activations([hook_point])[hook_point]
    decodable = halves.decodable(X, held).estimate(DECODABLE, null=0.5)

    def falls(basis: np.ndarray, rank: int) -> np.ndarray:
        """[2, n] fall of the claim's probability without the subspace, and with it alone."""
        edits = (_without(basis[:rank], mean), _alone(basis[:rank], mean))
        return np.stack([_fall(halves.held.clean, halves.held.affirmed({hook_point: edit})) for edit in edits])

    found = np.stack([falls(directions, rank) for rank in ranks])
    bases = [_orthonormal(rng.normal(size=(ranks[-1], len(mean)))) for _ in range(n_random)]
    random = np.array([[falls(basis, rank).mean(axis=1) for rank in ranks] for basis in bases])
    nothing_left = halves.held.affirmed({hook_point: _alone(np.zeros((1, len(mean))), mean)})
    ceiling = _fall(halves.held.clean, nothing_left)
    replicates = halves.replicates(lambda rows: found[:, :, rows].mean(axis=2))
    top = halves.replicates(lambda rows: float(ceiling[rows].mean()))
    p = np.asarray(permutation_p(found[:, 0].mean(axis=1), random[:, :, 0]))
    q = np.asarray(permutation_p(found[:, 1].mean(axis=1), random[:, :, 1], "lower"))
    return SubspaceAblation(
        **place,
        ranks=ranks,
        comprehensiveness=_estimates(replicates[:, 0], COMPREHENSIVENESS, random[:, :, 0], p),
        sufficiency=_estimates(replicates[:, 1], SUFFICIENCY, random[:, :, 1], q),
        random_comprehensiveness=random[:, :, 0],
        random_sufficiency=random[:, :, 1],
        ceiling=top.estimate(COMPREHENSIVENESS),
        directions=directions,
        decodable=decodable,
        used=_used(replicates[:, 0], random[:, :, 0]),
    )


def truth_directions(X: Float[np.ndarray, "n d"], y: Num[np.ndarray, " n"], rank: int) -> Float[np.ndarray, "k d"]:
    """Orthonormal directions that tell y, in order: the difference of the class means, then what the covariance adds.

    Fewer than ``rank`` where they are exhausted: along them the least-squares read-out of y is as good as along all.
    The span is that of partial least squares (Helland 1988, doi:10.1080/03610918808812681).

    Example:
        >>> X = np.array([[0.0, 1.0], [2.0, 1.0], [0.0, -1.0], [2.0, -1.0]])
        >>> truth_directions(X, np.array([0, 1, 0, 1]), 2)
        array([[1., 0.]])
    """
    centred, target = X - X.mean(axis=0), y - np.mean(y)
    basis: list[np.ndarray] = []
    vector = centred.T @ target
    scale = np.linalg.norm(centred) * np.linalg.norm(target)
    while len(basis) < rank:
        for _ in range(2):
            for known in basis:
                vector = vector - (vector @ known) * known
        size = np.linalg.norm(vector)
        if size <= _EXHAUSTED * scale:
            break
        basis.append(vector / size)
        vector = centred.T @ (centred @ basis[-1])
        scale = np.linalg.norm(vector)
    return np.array(basis).reshape(-1, X.shape[1])


def _without(basis: np.ndarray, mean: np.ndarray) -> Change:
    def change(x: torch.Tensor, _: Int[np.ndarray, " b"]) -> torch.Tensor:
        q, m = (torch.as_tensor(v).to(x.device, x.dtype) for v in (basis, mean))
        return x - ((x - m) @ q.T) @ q

    return change


def _alone(basis: np.ndarray, mean: np.ndarray) -> Change:
    def change(x: torch.Tensor, _: Int[np.ndarray, " b"]) -> torch.Tensor:
        q, m = (torch.as_tensor(v).to(x.device, x.dtype) for v in (basis, mean))
        return m + ((x - m) @ q.T) @ q

    return change


def _fall(clean: Float[np.ndarray, " n"], changed: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Fall of the probability of the claim that was likelier before."""
    return np.where(clean > 0.5, clean - changed, changed - clean)


def _orthonormal(rows: np.ndarray) -> np.ndarray:
    return np.linalg.qr(rows.T)[0].T


def _estimates(
    found: Replicates, metric: Metric, random: Float[np.ndarray, "r k"], p: np.ndarray
) -> tuple[Estimate, ...]:
    return tuple(one.estimate(metric, null=float(random[:, i].mean()), p=float(p[i])) for i, one in enumerate(found))


def _used(lost: Replicates, random: Float[np.ndarray, "r k"]) -> bool | None:
    """All ranks are one test: the most that any of them does, against the most that any random one does."""
    low, high = lost.interval()
    best = int(np.argmax(lost.value))
    if permutation_p(lost.value[best], random.max(axis=1)) <= ALPHA and low[best] > INERT_FALL:
        return True
    return False if (high < INERT_FALL).all() else None


def _nothing(place: dict[str, str], ranks: tuple[int, ...], reason: str) -> SubspaceAblation:
    none, empty = Estimate.undefined(reason, unit="groups"), np.empty((0, len(ranks)))
    several = (none,) * len(ranks)
    return SubspaceAblation(
        **place, ranks=ranks, comprehensiveness=several, sufficiency=several, random_comprehensiveness=empty,
        random_sufficiency=empty, ceiling=none, directions=np.empty((0, 0)), decodable=none, used=None,
    )  # fmt: skip
