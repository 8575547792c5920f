"""Grafting: one model's block put into another with the same ancestor; what the answers make of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from mechdecouple import stats
from mechdecouple.behavior import Answers
from mechdecouple.compare.subject import INERT, Subject, moved
from mechdecouple.errors import MismatchError
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates

_BASIS = "the two models share an ancestor, so that a block of one fits into the other"

GRAFT_EFFECT = Metric(
    name="graft_effect",
    family="ancestry",
    title="effect of a grafted block",
    measures="how far a model's answers move when a block has the weights of the other model: total variation distance "
    "between the two distributions over options (change of the score where there are no options)",
    range="[0, 1], or the unit of performance",
    null="0 for a block whose change does nothing to the answers",
    assumes=_BASIS,
)
GRAFT_PERFORMANCE = Metric(
    name="graft_performance",
    family="ancestry",
    title="performance with a grafted block",
    measures="change of a model's performance when a block has the weights of the other model",
    range="[-1, 1], or the unit of performance",
    null="0",
    assumes=_BASIS,
)
GRAFT_CLOSED = Metric(
    name="graft_closed",
    family="ancestry",
    title="way to the other model closed by a block",
    measures="share of the distance between the answers of two models that one block of the other closes",
    range="(-inf, 1]",
    null="0 for a block that takes the answers no nearer to those of the other model; blocks need not add up to 1",
    assumes=_BASIS,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Graft:
    """A block of the donor in the host.

    Attributes:
        effect, performance: see the metrics; closed: None where host and donor answer alike, with the ``reason``.
        same: whether the block's weights are equal in both, so that nothing had to be read.
    """

    block: str
    effect: Replicates
    performance: Replicates
    closed: Replicates | None
    reason: str = ""
    same: bool = False


@contextlib.contextmanager
def grafted(host: HookedModel, donor: HookedModel, names: Sequence[str]) -> Iterator[None]:
    """The host with the donor's parameters and buffers of these names; its own are put back whatever happens.

    Raises:
        MismatchError: a name that one of them lacks, or whose shapes differ.
    """
    ours, theirs = _state(host), _state(donor)
    for name in names:
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            shapes = [tuple(s[name].shape) if name in s else "none" for s in (ours, theirs)]
            raise MismatchError(
                f"weights {name!r}: {shapes[0]} in {host.name}, {shapes[1]} in {donor.name}; grafting takes models of "
                "one architecture"
            )
    kept = {name: ours[name].detach().clone() for name in names}
    try:
        with torch.no_grad():
            for name in names:
                ours[name].copy_(theirs[name])
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                ours[name].copy_(tensor)


def graft(host: Subject, donor: Subject, block: str, names: Sequence[str]) -> Graft:
    """Put one block of the donor into the host and read the host's answers on its sample."""
    before, target = host.baseline, donor.baseline
    same = _equal(host.model, donor.model, names)
    after = before
    if not same:
        with grafted(host.model, donor.model, names):
            after = host.read(None)
    closed, reason = _closed(host, before, after, target)
    return Graft(
        block,
        host.replicates(moved(before, after)),
        host.replicates(after.score - before.score),
        closed,
        reason,
        same,
    )


def _closed(host: Subject, before: Answers, after: Answers, target: Answers) -> tuple[Replicates | None, str]:
    apart, left = moved(before, target), moved(after, target)
    if apart.mean() <= INERT:
        return None, f"the two models answer alike (answers differ by {apart.mean():.3f}), so there is nothing to close"

    def share(rows: np.ndarray) -> float:
        return float(1 - left[rows].mean() / apart[rows].mean()) if apart[rows].any() else np.nan

    return stats.jackknife(share, host.blocks, len(np.unique(host.groups))), ""


def _equal(host: HookedModel, donor: HookedModel, names: Sequence[str]) -> bool:
    ours, theirs = _state(host), _state(donor)
    return all(
        name in ours
        and name in theirs
        and ours[name].shape == theirs[name].shape
        and torch.equal(ours[name], theirs[name].to(ours[name]))
        for name in names
    )


def _state(model: HookedModel) -> dict[str, Tensor]:
    return {**dict(model.module.named_parameters()), **dict(model.module.named_buffers())}
