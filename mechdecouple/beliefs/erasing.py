"""Erasing: whether what is said survives when the truth can no longer be read linearly at any layer."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from mechdecouple.beliefs.reading import DECODABLE, ELSEWHERE, READABLE, Change, Halves, Reader, accuracy
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.probes import Eraser, LeaceFitter
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates, weighted_auroc
from mechdecouple.tasks import Task

ERASURE_DROP = Metric(
    name="erasure_drop",
    family="causal",
    title="right claims lost by erasing the truth",
    measures="fall of the share of right claims when the truth is erased layer after layer, beyond the fall from "
    "erasing random labels in the same way",
    range="[-1, 1]",
    null="0: erasing the truth costs no more than erasing random labels",
    invariances="invertible affine maps of the activations, up to shrinkage",
    assumes="linear code; a nonlinear one is not erased",
    source="arXiv:2306.03819",
)
ERASURE_MARGIN = 0.05
"""A smaller loss of right claims is none worth the name."""

KINDS = ("clean", "erased", "independent", "random labels")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Erasure:
    """What erasing did to claims on held-out statements.

    Attributes:
        hook_points: where it was erased, in forward order.
        claims: one row a kind of erasure: ``accuracy`` of claims and ``auroc`` of the asserted probability, with
            intervals. Kinds: ``clean``; ``erased``, layer after layer; ``independent``, each layer fitted on clean
            activations, which takes more than the truth and can turn answers over; ``random labels``, layer after
            layer, mean of several draws.
        drop: fall of accuracy, clean less erased, beyond that of random labels.
        decodable: hook point -> AUROC of the truth there, before anything was erased.
        used: whether what is erased was used; None where that is open or cannot be told.
    """

    model: str
    position: str
    hook_points: tuple[str, ...]
    claims: pd.DataFrame
    drop: Estimate
    decodable: Mapping[str, Estimate]
    used: bool | None

    @property
    def sentence(self) -> str:
        """What may be said, in words."""
        if np.isnan(self.drop.value):
            return f"Erasing says nothing: {self.drop.reason}."
        at = self.claims.set_index("kind").accuracy
        effects = (
            f"right claims fall from {at['clean']:.3f} to {at['erased']:.3f}, against {at['random labels']:.3f} with "
            f"random labels erased"
        )
        best = max(self.decodable, key=lambda point: self.decodable[point].value)
        if self.used:
            return f"What is said rests on the represented truth: {effects}."
        if self.used is False and self.decodable[best].low > READABLE:
            return (
                f"Decodable is not used: the truth can be read (AUROC {self.decodable[best].value:.3f} at {best}), but "
                f"erasing it changes little ({effects}). {ELSEWHERE}"
            )
        if self.used is False:
            return f"The truth can hardly be read here, and erasing what there is changes little ({effects})."
        return f"Whether the represented truth is used stays open: {effects}."

    def measurements(self) -> list[Measurement]:
        rows = [(ERASURE_DROP, self.drop, "")] + [(DECODABLE, e, point) for point, e in self.decodable.items()]
        return [
            Measurement(
                metric=m.name, family=m.family, estimate=e, model=self.model, hook_point=at, position=self.position
            )
            for m, e, at in rows
        ]

    def frame(self):
        """One row a number: the drop, and how well each layer could be read before."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.claims.to_html(index=False, border=0)}"


def erase(
    model: HookedModel,
    task: Task,
    hook_points: Sequence[str] | None = None,
    position: str = "last",
    *,
    scored: ArrayLike | None = None,
    n_random: int = 5,
    chat: bool = False,
    seed: int = 0,
) -> Erasure:
    """Erase the truth from one token by LEACE, layer after layer, and see whether claims are still right.

    Erasers are fitted on honest statements of half of the groups, each on activations in which all earlier layers are
    erased already, and tried on the other half. Fitted independently they erase more than the truth: what one layer
    took off is taken off again from activations that no longer hold it. The control erases labels dealt out at random,
    in the same way. Intervals hold what was fitted as it is; of tasks with two classes, class 1 is the one that
    asserts.

    Args:
        hook_points: in any order; the embedding and the residual stream after each layer by default.
        position: ``"last"``, or a ``position_*`` column: the one token that is changed. Tensor inputs: ``"last"``.
        scored: [n] bool, items to try it on; the honest ones by default.
        n_random: draws of random labels.

    Raises:
        InputError: a position that is not one token, no hook points, no random draws.
        ModelError: unknown hook point, or a task that does not fit the model.

    Example:
        >>> erase(load("zoo:persuader"), load_task("zoo:persuader"), position="position_statement")
        ... # doctest: +SKIP
    """
    points = model.layer_points if hook_points is None else tuple(hook_points)
    model.check_hook_points(points)
    if not points or n_random < 1:
        raise InputError(f"{len(points)} hook points and {n_random} random draws: expected at least one of each")
    points = tuple(sorted(set(points), key=model.hook_points.index))
    halves = Halves.of(model, task, position, scored, chat, seed)
    place = {"model": model.name, "position": position, "hook_points": points}
    if halves.reason:
        none = Estimate.undefined(halves.reason, unit="groups")
        blank = pd.DataFrame({"kind": KINDS, "accuracy": np.nan, "auroc": np.nan})
        return Erasure(**place, claims=blank, drop=none, decodable=dict.fromkeys(points, none), used=None)

    truth, rng = halves.truth[0], np.random.default_rng(seed)
    plain = halves.fit.activations(points)
    held = halves.held.activations(points)
    decodable = {p: halves.decodable(plain[p], held[p]).estimate(DECODABLE, null=0.5) for p in points}
    fits: dict[str, list[dict[str, Change]]] = {
        "clean": [{}],
        "erased": [_in_turn(halves.fit, points, truth)],
        "independent": [{p: erasing(LeaceFitter().fit(plain[p], truth)) for p in points}],
        "random labels": [_in_turn(halves.fit, points, rng.permutation(truth)) for _ in range(n_random)],
    }
    asserted = {
        kind: np.stack([halves.held.affirmed(changes) if changes else halves.held.clean for changes in draws])
        for kind, draws in fits.items()
    }
    several, t = list(asserted.values()), halves.truth[1]
    right = halves.replicates(lambda rows: np.array([_accuracy(a[:, rows], t[rows]) for a in several]))
    ranked = halves.replicates(lambda rows: np.array([_auroc(a[:, rows], t[rows]) for a in several]))
    share = dict(zip(KINDS, iter(right), strict=True))
    drop = share["random labels"] - share["erased"]
    return Erasure(
        **place,
        claims=_table(right, ranked),
        drop=drop.estimate(ERASURE_DROP, null=0.0, p=drop.p_above(0.0)),
        decodable=decodable,
        used=_used(drop),
    )


def erasing(eraser: Eraser) -> Change:
    """The eraser as a change of activations while a model runs."""
    left, right, mean = (torch.from_numpy(np.ascontiguousarray(m)) for m in (eraser.left, eraser.right, eraser.mean))

    def change(x: torch.Tensor, _: Int[np.ndarray, " b"]) -> torch.Tensor:
        kind = torch.float64 if x.dtype == torch.float64 else torch.float32
        L, R, m = (value.to(x.device, kind) for value in (left, right, mean))
        wide = x.to(kind)
        return wide - ((wide - m) @ R.T) @ L.T

    return change


def _in_turn(reader: Reader, points: Sequence[str], labels: Int[np.ndarray, " n"]) -> dict[str, Change]:
    """Erasers of the labels, each fitted on what the earlier ones have left."""
    changes: dict[str, Change] = {}
    for point in points:
        X = reader.activations([point], changes)[point]
        changes[point] = erasing(LeaceFitter().fit(X, labels))
    return changes


def _accuracy(asserted: Float[np.ndarray, "r n"], truth: np.ndarray) -> float:
    return float(np.mean([accuracy(one, truth) for one in asserted]))


def _auroc(asserted: Float[np.ndarray, "r n"], truth: np.ndarray) -> float:
    return float(np.mean([float(weighted_auroc(one, truth)) for one in asserted]))


def _used(drop: Replicates) -> bool | None:
    low, high = drop.interval()
    if low > ERASURE_MARGIN:
        return True
    return False if high < ERASURE_MARGIN else None


def _table(right: Replicates, ranked: Replicates) -> pd.DataFrame:
    columns: dict[str, object] = {"kind": KINDS}
    for name, found in (("accuracy", right), ("auroc", ranked)):
        low, high = found.interval()
        columns |= {name: found.value, f"{name}_low": np.maximum(low, 0), f"{name}_high": np.minimum(high, 1)}
    return pd.DataFrame(columns)
