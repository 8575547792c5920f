"""Steering: whether moving activations along the represented truth moves what is said, and random moves do not."""

from __future__ import annotations

import dataclasses
import html
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike

from mechdecouple.beliefs.reading import ALPHA, DECODABLE, ELSEWHERE, READABLE, Change, Halves
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.probes import LogisticFitter
from mechdecouple.probes.mass_mean import mass_mean
from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import permutation_p
from mechdecouple.tasks import Task

STEERING_NIE = Metric(
    name="steering_nie",
    family="causal",
    title="indirect effect of steering false to true",
    measures="how far false statements come to be asserted as true ones are, when the represented truth is added: "
    "0 not at all, 1 fully",
    range="(-inf, inf)",
    invariances="affine maps of the asserted probability",
    null="the same along random directions, as far as along the truth",
    assumes="true and false statements are asserted differently without steering",
    source="arXiv:2310.06824",
)
STEERING_NIE_MIRROR = dataclasses.replace(
    STEERING_NIE,
    name="steering_nie_mirror",
    title="indirect effect of steering true to false",
    measures="how far true statements come to be asserted as false ones are, when the represented truth is taken off: "
    "0 not at all, 1 fully",
)
INERT_NIE = 0.1
"""Effects within ± this are none worth the name."""
MIN_SPREAD = 0.05
"""True and false statements must be asserted with probabilities this far apart for there to be shares of it."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Steering:
    """What steering did to held-out statements.

    Attributes:
        nie, mirror: indirect effects of + on false and of − on true statements; ``null`` is the mean of random draws.
        random, random_mirror: [r] the same along random directions of equal length.
        decodable: AUROC of the truth along the direction itself.
        spread: asserted probability of true less that of false statements, untouched: what the effects are shares of.
        length: how far each item was moved.
        used: whether the direction moves what is said; None where that is open or cannot be told.
    """

    model: str
    hook_point: str
    position: str
    nie: Estimate
    mirror: Estimate
    random: Float[np.ndarray, " r"]
    random_mirror: Float[np.ndarray, " r"]
    decodable: Estimate
    spread: Estimate
    length: float
    used: bool | None

    @property
    def sentence(self) -> str:
        """What may be said, in words."""
        if np.isnan(self.nie.value):
            return f"Steering at {self.hook_point} says nothing: {self.nie.reason}."
        effects = (
            f"effect {_shown(self.nie)} on false and {_shown(self.mirror)} on true statements, along random directions "
            f"{self.nie.null:z.3f} and {self.mirror.null:z.3f}"
        )
        if self.used:
            return f"What is said follows the represented truth at {self.hook_point} when it is steered: {effects}."
        if self.used is False and self.decodable.low > READABLE:
            return (
                f"Decodable is not used: at {self.hook_point} the truth can be read (AUROC "
                f"{self.decodable.value:.3f}), but steering along it does not move what is said ({effects}). "
                f"{ELSEWHERE}"
            )
        if self.used is False:
            return (
                f"At {self.hook_point} the truth can hardly be read (AUROC {self.decodable.value:.3f}), and "
                f"steering moves nothing ({effects})."
            )
        return f"Whether the truth represented at {self.hook_point} is used stays open: {effects}."

    def measurements(self) -> list[Measurement]:
        place = {"model": self.model, "hook_point": self.hook_point, "position": self.position}
        rows = ((STEERING_NIE, self.nie), (STEERING_NIE_MIRROR, self.mirror), (DECODABLE, self.decodable))
        return [Measurement(metric=m.name, family=m.family, estimate=e, **place) for m, e in rows]

    def frame(self):
        """One row a number: both effects and how well the direction reads."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"


def steer(
    model: HookedModel,
    task: Task,
    hook_point: str,
    position: str = "last",
    *,
    probe: Literal["mass_mean", "logistic"] = "mass_mean",
    scored: ArrayLike | None = None,
    n_random: int = 20,
    chat: bool = False,
    seed: int = 0,
) -> Steering:
    """Steer by ±(θ̂·Δμ)θ̂ and see how far false statements are asserted like true ones, and the other way round.

    θ̂ is a probe's unit direction and Δμ the difference of the class means, both from honest statements of half of the
    groups; statements of the other half are moved at one token. With p̄ the mean asserted probability, the normalised
    indirect effect is (p̄*_false − p̄_false) / (p̄_true − p̄_false), its mirror (p̄*_true − p̄_true) / (p̄_false −
    p̄_true) (Marks & Tegmark, arXiv 2310.06824, whose P(true) − P(false) is 2p − 1 here: an affine map changes
    nothing). Intervals hold what was fitted as it is; of tasks with two classes, class 1 is the one that asserts.

    Args:
        position: ``"last"``, or a ``position_*`` column: the one token that is moved. Tensor inputs: ``"last"``.
        probe: ``mass_mean`` (θ = Δμ, the move is Δμ itself) or ``logistic``.
        scored: [n] bool, items to try it on; the honest ones by default.
        n_random: random directions; at least 19, or none could be beaten at the 5 % level.

    Raises:
        InputError: a position that is not one token, an unknown probe, too few random directions.
        ModelError: unknown hook point, or a task that does not fit the model.

    Example:
        >>> steer(load("zoo:persuader"), load_task("zoo:persuader"), "blocks.1.hook_resid_post", "position_statement")
        ... # doctest: +SKIP
    """
    if probe not in ("mass_mean", "logistic"):
        raise InputError(f"probe {probe!r} is unknown; expected mass_mean or logistic")
    if n_random < 19:
        raise InputError(f"n_random is {n_random}; at least 19 are needed to be beaten at the 5 % level")
    model.check_hook_points([hook_point])
    halves = Halves.of(model, task, position, scored, chat, seed)
    if halves.reason:
        return _nothing(model, hook_point, position, halves.reason)
    X, (t_fit, t) = halves.fit.activations([hook_point])[hook_point], halves.truth
    delta = mass_mean(X, t_fit)[0]
    direction = delta
    if probe == "logistic":
        direction = LogisticFitter(folds=3, seed=seed).fit(X, t_fit, halves.fit.task.groups).direction
    norm = float(np.linalg.norm(direction))
    if norm == 0:
        return _nothing(model, hook_point, position, "true and false statements have the same mean here")
    direction = direction / norm
    length = float(direction @ delta)
    held = halves.held.activations([hook_point])[hook_point]
    decodable = halves.auroc(held @ direction).estimate(DECODABLE, null=0.5)

    clean, sign = halves.held.clean, 1.0 - 2.0 * t
    rng = np.random.default_rng(seed)
    moved = halves.held.affirmed({hook_point: _shift(length * direction, sign)})
    others = [
        halves.held.affirmed({hook_point: _shift(length * _unit(rng, len(delta)), sign)}) for _ in range(n_random)
    ]
    spread = halves.replicates(lambda rows: _means(clean[rows], t[rows]) @ np.array([-1.0, 1.0]))
    span = spread.estimate(Metric(name="spread", family="causal", title="", measures="", range=""))
    common = {"model": model.name, "hook_point": hook_point, "position": position, "spread": span, "length": length}
    if not (span.low > 0 or span.high < 0) or abs(span.value) < MIN_SPREAD:
        reason = (
            f"true and false statements are asserted alike without steering (probabilities differ by {_shown(span)}), "
            "so there is no effect to take a share of"
        )
        none = Estimate.undefined(reason, n=span.n, unit="groups")
        empty = np.empty(0)
        return Steering(
            **common, nie=none, mirror=none, random=empty, random_mirror=empty, decodable=decodable, used=None
        )
    found = halves.replicates(lambda rows: _effects(clean[rows], moved[rows], t[rows]))
    random = np.stack([_effects(clean, other, t) for other in others])
    p = np.asarray(permutation_p(found.value, random))
    nie, mirror = (
        found[i].estimate(metric, null=float(random[:, i].mean()), p=float(p[i]))
        for i, metric in enumerate((STEERING_NIE, STEERING_NIE_MIRROR))
    )
    return Steering(
        **common, nie=nie, mirror=mirror, random=random[:, 0], random_mirror=random[:, 1], decodable=decodable,
        used=_used(nie, mirror),
    )  # fmt: skip


def _shown(e: Estimate) -> str:
    return f"{e.value:z.3f} [{e.low:z.3f}, {e.high:z.3f}]"


def _used(nie: Estimate, mirror: Estimate) -> bool | None:
    both = (nie, mirror)
    if all(e.p <= ALPHA and e.low > INERT_NIE for e in both):
        return True
    if all(e.low > -INERT_NIE and e.high < INERT_NIE for e in both):
        return False
    return None


def _effects(clean: np.ndarray, moved: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, " 2"]:
    """The effect on false statements and on true ones, each as a share of the way to the other kind."""
    before, after = _means(clean, truth), _means(moved, truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (after - before) / (before[::-1] - before)


def _means(asserted: np.ndarray, truth: np.ndarray) -> Float[np.ndarray, " 2"]:
    return np.array([asserted[truth == value].mean() for value in (0, 1)])


def _shift(vector: np.ndarray, sign: np.ndarray) -> Change:
    def change(x: torch.Tensor, items: np.ndarray) -> torch.Tensor:
        return x + torch.as_tensor(np.outer(sign[items], vector)).to(x.device, x.dtype)

    return change


def _unit(rng: np.random.Generator, d: int) -> Float[np.ndarray, " d"]:
    vector = rng.normal(size=d)
    return vector / np.linalg.norm(vector)


def _nothing(model: HookedModel, hook_point: str, position: str, reason: str) -> Steering:
    none, empty = Estimate.undefined(reason, unit="groups"), np.empty(0)
    return Steering(
        model=model.name, hook_point=hook_point, position=position, nie=none, mirror=none, random=empty,
        random_mirror=empty, decodable=none, spread=none, length=float("nan"), used=None,
    )  # fmt: skip
