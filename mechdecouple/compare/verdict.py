"""Verdicts: what may be said of the pair, in plain sentences, and the rule by which a difference is flagged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats as sps

from mechdecouple import stats
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates

ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One statement about the pair or about one of its models.

    Attributes:
        family: gate, structure, similarity, robustness, sae or belief.
        subject: ``"pair"``, ``"a"`` or ``"b"``.
        flagged: whether a difference (pair) or a gap (one model) is claimed; None where the data cannot tell.
        sentence: the statement with its numbers.
        evidence: the measurements it rests on.
    """

    family: str
    subject: Literal["pair", "a", "b"]
    flagged: bool | None
    sentence: str
    evidence: tuple[Measurement, ...] = ()


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A primary metric in both models, summed up over hook points and concepts, as paired replicates.

    Attributes:
        metric: the metric, with its declared margin and scale.
        a, b: the metric in each model (aligned replicates), or None where it is undefined, with the ``reason``.
        over: what it was averaged over, in words.
        seed_spread: largest absolute difference between two runs of one recipe; NaN where no seeds were given.
    """

    metric: Metric
    a: Replicates | None
    b: Replicates | None
    over: str = ""
    reason: str = ""
    seed_spread: float = math.nan

    @property
    def difference(self) -> Replicates | None:
        """A against B on the metric's scale."""
        return None if self.a is None or self.b is None else self.a.contrast(self.b, self.metric.scale)

    def p_beyond_margin(self) -> float:
        """One-sided p of 'the difference is no larger than the margin'."""
        difference = self.difference
        if difference is None or not math.isfinite(difference.value):
            return math.nan
        excess, se = abs(difference.value) - self.metric.margin, difference.standard_error()
        if not math.isfinite(se):
            return math.nan
        if se == 0:
            return 0.0 if excess > 0 else 1.0
        df = len(difference.replicates) - 1 if difference.kind == "jackknife" else math.inf
        return float(sps.t.sf(excess / se, df))

    def estimate(self) -> Estimate:
        difference = self.difference
        if difference is None or not math.isfinite(difference.value):
            return Estimate.undefined(self.reason or "undefined in one of the models")
        return difference.estimate(self.metric, null=0.0, p=float(difference.p_differs(0.0)))


def flag(contrasts: Sequence[Contrast]) -> dict[str, bool | None]:
    """Which primary metrics differ: the 95 % interval of the paired difference lies outside the declared margin after Holm's
    correction over the metrics, and the difference exceeds the spread of same-recipe seeds where seeds were given.

    None for a metric that could not be measured.
    """
    p = np.array([c.p_beyond_margin() for c in contrasts])
    adjusted = stats.holm(p) if len(p) else p
    return {c.metric.name: _flagged(c, q) for c, q in zip(contrasts, adjusted, strict=True)}


def _flagged(contrast: Contrast, p: float) -> bool | None:
    if math.isnan(p):
        return None
    beyond_seeds = math.isnan(contrast.seed_spread) or abs(contrast.difference.value) > contrast.seed_spread
    return bool(p <= ALPHA / 2 and beyond_seeds)


def contrast_sentence(contrast: Contrast, flagged: bool | None, name_a: str, name_b: str) -> str:
    """One metric in words: both values, the difference, the margin, and the seeds where there are any."""
    metric = contrast.metric
    if contrast.a is None or contrast.b is None or flagged is None:
        return f"{metric.title}: not compared ({contrast.reason or 'undefined in one of the models'})."
    d = contrast.estimate()
    tidier = ""
    if flagged and metric.direction:
        first = (contrast.a.value > contrast.b.value) == (metric.direction == "higher")
        tidier = f"; {name_a if first else name_b} is the tidier"
    scale = {"difference": "difference", "log-ratio": "log ratio", "relative": "relative difference"}[metric.scale]
    seeds = "" if math.isnan(contrast.seed_spread) else f", spread of same-recipe seeds {contrast.seed_spread:.3f}"
    return (
        f"{metric.title}{contrast.over and ' (' + contrast.over + ')'}: {name_a} {contrast.a.value:.3f}, "
        f"{name_b} {contrast.b.value:.3f}, {scale} {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] against a margin of "
        f"{metric.margin:g}{seeds}{tidier}."
    )


def difference_verdict(
    family: str, contrasts: Sequence[Contrast], flags: Mapping[str, bool | None], name_a: str, name_b: str,
    evidence: Sequence[Measurement] = (),
) -> Verdict:  # fmt: skip
    """The verdict of one family of metrics on the pair."""
    known = [c for c in contrasts if flags[c.metric.name] is not None]
    hit = [c for c in known if flags[c.metric.name]]
    noun = {"structure": "organised", "robustness": "robust", "sae": "equipped with features", "calibration": "calibrated"}[family]
    if not known:
        reasons = "; ".join(dict.fromkeys(f"{c.metric.title}: {c.reason}" for c in contrasts)) or "nothing was measured"
        return Verdict(family, "pair", None, f"Whether they are differently {noun} cannot be said: {reasons}.", tuple(evidence))
    head = f"Differently {noun}." if hit else f"No difference shown in how they are {noun}."
    said = [contrast_sentence(c, flags[c.metric.name], name_a, name_b) for c in (hit or known)]
    return Verdict(family, "pair", bool(hit), " ".join([head, *said]), tuple(evidence))
