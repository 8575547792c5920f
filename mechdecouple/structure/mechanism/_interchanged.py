"""Interchange, the result: what came of swapping one concept at one place, and what may be said of it."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from mechdecouple.results import Estimate, Measurement, Metric, frame
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._stage import Place

Method = Literal["mean_difference", "pca", "rotation"]
METHODS: tuple[Method, ...] = ("mean_difference", "pca", "rotation")
MOSTLY, HARDLY = 0.5, 0.2
"""Shares of what there is to follow: a variable above the first (with its interval), none below the second."""

FOLLOWS = Metric(
    name="interchange_accuracy",
    family="mechanism",
    title="answers that follow a swapped concept",
    measures="share of held-out items whose answer becomes the right one for the concept's other value, when the "
    "concept's directions are given another item's coordinates; of items where that is another answer",
    range="[0, 1]",
    invariances="rotation, translation, scale",
    null="the same with random directions, as many",
    assumes="the declared concepts settle the answers; the concept has directions of its own at this place",
    source="arXiv:2106.02997, 2303.02536",
)
KEEPS = dataclasses.replace(
    FOLLOWS,
    name="interchange_keeps",
    title="answers that stay when they should",
    measures="share of held-out items that stay right where the concept's other value leaves the answer as it is",
    null="the accuracy without a swap is the most that can stay",
)
UNSEEN = dataclasses.replace(
    FOLLOWS,
    name="interchange_unseen",
    title="answers that follow to unseen values",
    measures="interchange accuracy with directions found without the value that is swapped in",
    null="none: 0 where every value has a direction of its own, as names have",
)
SHARE = dataclasses.replace(
    FOLLOWS,
    name="interchange_share",
    title="share of answers that follow",
    measures="interchange accuracy less that of random directions, of the model's accuracy less that",
    range="about [0, 1]",
    null="0",
)
SCORES = ("follows", "keeps", "random", "nothing", "everything", "unseen", "ceiling", "share", "gain")
"""What `Interchange.scores` holds, in order."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Interchange:
    """What came of swapping one concept's directions at one place, on held-out items.

    Attributes:
        k: directions swapped. n_levels: values of the concept. chance of ``readable`` is 1 / n_levels.
        held, moved: other declared concepts that the counterfactuals keep, and those that change along.
        scores: [9] named in ``SCORES``: accuracy of following; of staying; of following with random directions, with
            nothing and with everything swapped, and with directions that never saw the value; the model's accuracy;
            (follows - random) / (ceiling - random); follows - random. NaN where there are no such items.
        readable: accuracy of reading the concept of held-out items off these directions.
        bases: [m] id of each held-out item that something was swapped into.
        repeats: share of the variance here that is the concept's and repeats between groups; pure: the same along
            the directions alone. They stray below 0.
        reason: why nothing was measured; empty where something was.
    """

    model: str
    concept: str
    place: Place
    method: Method
    k: int
    n_levels: int
    held: tuple[str, ...]
    moved: tuple[str, ...]
    scores: Replicates
    readable: float
    repeats: float
    pure: float
    bases: Shaped[np.ndarray, " m"]
    reason: str = ""

    def score(self, name: str) -> Replicates:
        """One of ``SCORES`` with its replicates."""
        return self.scores[SCORES.index(name)]

    def __getitem__(self, name: str) -> float:
        return self.score(name).value

    @property
    def causal(self) -> bool | None:
        """Whether answers follow the concept here: most (True), hardly any (False), or it cannot be told (None)."""
        share = self.score("share")
        low, high = share.interval()
        if np.isnan(low):
            return None
        if low > MOSTLY and not self["keeps"] < MOSTLY * self["ceiling"]:
            return True
        return False if high < HARDLY else None

    @property
    def sentence(self) -> str:
        """What may be said, in words."""
        where = f"{self.concept!r} at {self.place}"
        if self.reason:
            return f"Nothing is known of {where}: {self.reason}."
        those = "one direction is" if self.k == 1 else f"{self.k} directions are"
        found = (
            f"{_percent(self['follows'])} of answers follow when {those} swapped "
            f"({_percent(self['random'])} with random ones; the model is right on {_percent(self['ceiling'])})"
        )
        if self.causal:
            return f"{where} is a variable that answers are computed from: {found}."
        if self.causal is False and self.readable > 2 / (1 + self.n_levels):
            return f"{where} can be read ({_percent(self.readable)} right) but answers do not follow it: {found}."
        if self.causal is False:
            return f"Answers do not follow {where}: {found}."
        if self["share"] > HARDLY and self["keeps"] < MOSTLY * self["ceiling"]:
            stay = _percent(self["keeps"])
            return f"The swap of {where} does not act on it alone: {found}, but only {stay} stay that should."
        return f"Answers follow {where} in part, or it stays open: {found}."

    @property
    def p(self) -> float:
        """One-sided p-value of 'answers follow no more than with random directions'; NaN for the ``reason``."""
        return self.score("gain").p_above() if not self.reason else math.nan

    def measurements(self, p: float = math.nan) -> list[Measurement]:
        """``p``: adjusted over the map that this is part of; its own by default."""
        place = {
            "model": self.model, "hook_point": self.place.hook_point, "position": self.place.position,
            "concept": self.concept,
        }  # fmt: skip
        return [Measurement(metric=m.name, family=m.family, estimate=self.estimate(m, p), **place) for m in _MEASURED]

    def estimate(self, metric: Metric, p: float = math.nan) -> Estimate:
        """One of the metrics of this file; the null of following is the accuracy with random directions."""
        score = self.score(_MEASURED[metric])
        if np.isnan(score.value):
            return Estimate.undefined(self.reason or _MISSING[metric], n=score.n, unit="groups")
        if metric is FOLLOWS:
            return score.estimate(metric, null=self["random"], p=self.p if math.isnan(p) else p)
        return score.estimate(metric, null=0.0 if metric is SHARE else math.nan)

    def frame(self):
        """One row a number."""
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.sentence)}</p>{self.frame().to_html(index=False, border=0)}"


_MEASURED = {FOLLOWS: "follows", KEEPS: "keeps", UNSEEN: "unseen", SHARE: "share"}
_MISSING = {
    FOLLOWS: "no held-out item's answer should change",
    KEEPS: "every swap should change the answer",
    UNSEEN: "leaving values out takes five values or more, and directions that are not trained",
    SHARE: "the model is right no more often than answers follow random directions",
}


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
