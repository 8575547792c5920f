"""Verdicts: what may be said of the pair, in plain sentences, and the rule by which a difference is flagged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats as sps

from mechdecouple import stats
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism.evidence import AXES

ALPHA = 0.05


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One statement about the pair or about one of its models.

    Attributes:
        family: gate, structure, similarity, robustness, sae, belief, faithfulness, route or variables.
        subject: ``"pair"``, ``"a"`` or ``"b"``.
        flagged: whether a difference (pair) or a gap (one model) is claimed; None where the data cannot tell.
        sentence: the statement with its numbers.
        flags: metric (and condition) -> whether its difference is flagged; None where it could not be compared.
        evidence: the measurements it rests on.
        speaks_for, speaks_against, silent: each piece of evidence for it, against it, and of those that say nothing,
            as a sentence; where these are told apart.
    """

    family: str
    subject: Literal["pair", "a", "b"]
    flagged: bool | None
    sentence: str
    evidence: tuple[Measurement, ...] = ()
    flags: Mapping[str, bool | None] = dataclasses.field(default_factory=dict)
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def says_same(self) -> bool:
        """Whether it says that two are the same, which a verdict without a flag does not: only of mechanisms."""
        return self.family in AXES and self.flagged is False


@dataclasses.dataclass(frozen=True)
class Contrast:
    """A primary metric compared between two models, summed up over hook points and concepts, as paired replicates.

    Attributes:
        metric: the metric, with its declared margin and scale.
        difference: A against B on the metric's scale; None where it is undefined, with the ``reason``.
        a, b: the metric in each model.
        over: what it was averaged over, in words.
        cells: the (site, concept) pairs that were averaged.
        seed_spread: largest absolute difference between two runs of one recipe; NaN where no seeds were given.
        needs_seeds: two runs of one recipe are known to differ in this metric, so that without seeds no difference of
            it is flagged.
    """

    metric: Metric
    difference: Replicates | None
    a: float = math.nan
    b: float = math.nan
    over: str = ""
    reason: str = ""
    cells: tuple[tuple[Any, str], ...] = ()
    seed_spread: float = math.nan
    needs_seeds: bool = False

    @classmethod
    def between(cls, metric: Metric, a: Replicates, b: Replicates, **facts: Any) -> Contrast:
        """From the metric's aligned replicates in both models."""
        return cls(metric, a.contrast(b, metric.scale), float(a.value), float(b.value), **facts)

    @property
    def defined(self) -> bool:
        return self.difference is not None and math.isfinite(self.difference.value)

    def p_beyond_margin(self) -> float:
        """One-sided p of 'the difference is no larger than the margin'; NaN where undefined."""
        if self.difference is None or not self.defined:
            return math.nan
        excess, se = abs(self.difference.value) - self.metric.margin, self.difference.standard_error()
        if not math.isfinite(se):
            return math.nan
        if se == 0:
            return 0.0 if excess > 0 else 1.0
        df = len(self.difference.replicates) - 1 if self.difference.kind == "jackknife" else math.inf
        return float(sps.t.sf(excess / se, df))

    def estimate(self) -> Estimate:
        if self.difference is None or not self.defined:
            return Estimate.undefined(self.reason or "undefined in one of the models")
        p = float(self.difference.p_differs(0.0))
        return self.difference.estimate(self.metric.contrasted(), null=0.0, p=p)


def flag(contrasts: Sequence[Contrast]) -> list[bool | None]:
    """Which primary metrics differ: the 95 % interval of the paired difference lies outside the declared margin after
    Holm's correction over the metrics, and the difference exceeds the spread of same-recipe seeds where given.

    None for a metric that could not be measured, or that needs seeds and has none.
    """
    adjusted = stats.holm(np.array([c.p_beyond_margin() for c in contrasts], dtype=float))
    return [_flagged(c, float(p)) for c, p in zip(contrasts, adjusted, strict=True)]


def _flagged(contrast: Contrast, p: float) -> bool | None:
    if math.isnan(p):
        return None
    if p > ALPHA / 2:
        return False
    if math.isnan(contrast.seed_spread):
        return None if contrast.needs_seeds else True
    return abs(contrast.estimate().value) > contrast.seed_spread


def contrast_sentence(contrast: Contrast, flagged: bool, name_a: str, name_b: str) -> str:
    """One metric in words: both values, the difference, the margin, and the seeds where there are any."""
    metric = contrast.metric
    d = contrast.estimate()
    tidier = ""
    if flagged and metric.direction:
        first = (contrast.a > contrast.b) == (metric.direction == "higher")
        tidier = f"; {name_a if first else name_b} is the tidier"
    scale = {"difference": "difference", "log-ratio": "log ratio", "relative": "relative difference"}[metric.scale]
    seeds = "" if math.isnan(contrast.seed_spread) else f", spread of same-recipe seeds {contrast.seed_spread:.3f}"
    return (
        f"{metric.title[0].upper()}{metric.title[1:]}{contrast.over and ' (' + contrast.over + ')'}: "
        f"{name_a} {contrast.a:z.3f}, "
        f"{name_b} {contrast.b:z.3f}, {scale} {d.value:+z.3f} [{d.low:+z.3f}, {d.high:+z.3f}] against a margin of "
        f"{metric.margin:g}{seeds}{tidier}."
    )


CLAIMS = {
    "structure": ("Differently organised.", "No difference shown in how they are organised."),
    "robustness": ("Differently robust.", "No difference shown in robustness."),
    "sae": ("They hold different features.", "No difference shown in the features they hold."),
    "calibration": ("Differently calibrated.", "No difference shown in calibration."),
    "belief": (
        "They differ in saying what they represent.",
        "No difference shown in how far they say what they represent.",
    ),
    "faithfulness": (
        "One can be explained more faithfully.",
        "No difference shown in how faithfully they can be explained.",
    ),
}

NOUNS = {
    "structure": "Organisation is",
    "robustness": "Robustness is",
    "sae": "Features are",
    "calibration": "Calibration is",
    "belief": "Beliefs are",
    "faithfulness": "Faithfulness is",
}


def difference_verdict(
    family: str,
    contrasts: Sequence[Contrast],
    flags: Sequence[bool | None],
    name_a: str,
    name_b: str,
    evidence: Sequence[Measurement] = (),
) -> Verdict:
    """The verdict of one family of metrics on the pair."""
    judged = list(zip(contrasts, flags, strict=True))
    by_metric = {f"{c.metric.name}{f' ({c.over})' if c.over.startswith('condition') else ''}": f for c, f in judged}
    known = [(c, f) for c, f in judged if f is not None]
    if not known:
        reasons = dict.fromkeys(_why_not(c, name_a, name_b) for c in contrasts)
        why = "; ".join(reasons) or "nothing was measured"
        return Verdict(family, "pair", None, f"{NOUNS[family]} not compared: {why}.", tuple(evidence), by_metric)
    hits = [(c, f) for c, f in known if f]
    said = [contrast_sentence(c, f, name_a, name_b) for c, f in (hits or known)]
    left_out = [f"Left open: {_why_not(c, name_a, name_b)}." for c, f in judged if f is None]
    sentence = " ".join([CLAIMS[family][not hits], *said, *left_out])
    return Verdict(family, "pair", bool(hits), sentence, tuple(evidence), by_metric)


def _why_not(contrast: Contrast, name_a: str, name_b: str) -> str:
    """Why a metric is neither flagged nor cleared."""
    if not contrast.defined:
        return f"{contrast.metric.title}: {contrast.reason or 'undefined in one of the models'}"
    if math.isnan(contrast.p_beyond_margin()):
        return f"{contrast.metric.title}: it is undefined on some resamples, so the difference has no interval"
    said = contrast_sentence(contrast, False, name_a, name_b).rstrip(".")
    return (
        f"{said}; that is beyond the margin, but two runs of one recipe differ in it too, so it takes further runs of "
        "each recipe (seeds_a, seeds_b) to tell"
    )
