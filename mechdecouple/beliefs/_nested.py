"""Nested grouped selection of a read-out: every family, penalty and fold of one hook point in a few products."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import expit

from mechdecouple.errors import InputError
from mechdecouple.probes import grouped_folds
from mechdecouple.probes.probe import LinearProbe, calibration_fold, platt
from mechdecouple.probes.sets import LogisticSets, SetProbes, mass_mean_sets
from mechdecouple.stats import weighted_auroc

FOLDS = 5
PAIRS = tuple(itertools.combinations(range(FOLDS), 2))
PROBES = ("logistic", "mass_mean")
# Scores and calibrated probabilities of equal activations agree to rounding; they are ties.
DECIMALS = 9
_CALIBRATION_SHARE = 0.2
_FINE = 1e-3


class Fitter(Protocol):
    """What a family of probes is: anything with this method, such as those of ``mechdecouple.probes``."""

    def fit(self, X: np.ndarray, y: np.ndarray, groups: np.ndarray) -> LinearProbe: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Which rows fit, choose, calibrate and score when one pool of rows is read in nested folds.

    Attributes:
        pool: rows that may be fitted on, [n].
        fold: outer fold of every row of the table, [n].
        inner: [n, pairs] the pool without two folds; such a probe is scored on either, for the other.
        outer: [n, folds] the pool without one fold and without the groups kept aside; aside: those, for calibration.
    """

    pool: Bool[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    inner: Bool[np.ndarray, "n pairs"]
    outer: Bool[np.ndarray, "n folds"]
    aside: Bool[np.ndarray, "n folds"]

    @classmethod
    def of(
        cls,
        truth: Float[np.ndarray, " n"],
        group: Int[np.ndarray, " n"],
        pool: Bool[np.ndarray, " n"],
        fold: Int[np.ndarray, " n"],
        seed: int,
    ) -> Split:
        """Raises InputError where the pool has too few groups of a class to be split so."""
        inner = np.stack([pool & (fold != f) & (fold != g) for f, g in PAIRS], axis=1)
        aside = np.zeros((len(fold), FOLDS), bool)
        for f in range(FOLDS):
            rows = np.flatnonzero(pool & (fold != f))
            if len(np.unique(truth[rows])) < 2:
                raise InputError(f"without fold {f} the rows hold a single class; add groups of each class")
            aside[rows, f] = calibration_fold(truth[rows].astype(int), group[rows], _CALIBRATION_SHARE, seed)
        outer = pool[:, None] & (fold[:, None] != np.arange(FOLDS)) & ~aside
        for value in (0, 1):
            if not inner[truth == value].any(axis=0).all():
                raise InputError("without two folds the rows hold a single class; add groups of each class")
        return cls(pool, fold, inner, outer, aside)


@dataclasses.dataclass(frozen=True)
class Reading:
    """One candidate read by one pool: how well the inner folds rank, by outer fold, and the out-of-fold belief.

    Attributes:
        quality: AUROC over the inner folds of each outer fold [folds].
        score: calibrated belief of every row by the probe of its outer fold [n].
        penalty: what was chosen in each outer fold; NaN where the family has none.
    """

    quality: Float[np.ndarray, " folds"]
    score: Float[np.ndarray, " n"]
    penalty: Float[np.ndarray, " folds"]


def folds(
    truth: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], usable: Bool[np.ndarray, " n"], seed: int
) -> Int[np.ndarray, " n"]:
    """Outer folds: groups with usable rows dealt out by class, the others evenly."""
    fold_of = np.zeros(group.max() + 1, int)
    fold_of[group[usable]] = grouped_folds(truth[usable], group[usable], FOLDS, seed)
    rest = np.setdiff1d(group, group[usable])
    fold_of[rest] = np.arange(len(rest)) % FOLDS
    return fold_of[group]


def readings(
    X: Float[np.ndarray, "n d"],
    truth: Float[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    splits: Sequence[Split],
    families: Mapping[str, Fitter | None],
    penalties: Sequence[float],
    device: str,
) -> dict[str, list[Reading]]:
    """Family → its Reading by each pool. The batched families have no fitter of their own (None).

    The logistic penalty of an outer fold is the one of least log-loss over the inner folds, the stronger among equals.
    """
    rows = np.flatnonzero(np.any([s.pool for s in splits], axis=0))
    inner = np.concatenate([s.inner[rows] for s in splits], axis=1)
    outer = np.concatenate([s.outer[rows] for s in splits], axis=1)
    X = np.asarray(X, np.float64)
    y = truth[rows]
    found: dict[str, list[Reading]] = {}
    for family, fitter in families.items():
        if fitter is not None:
            found[family] = [_one_by_one(fitter, X, truth, group, split) for split in splits]
            continue
        if family == "mass_mean":
            chosen = [_Chosen.of(s, part, truth) for s, part in _parts(mass_mean_sets(X[rows], y, inner), X, splits)]
            final = mass_mean_sets(X[rows], y, outer)
        else:
            strengths = np.unique(np.asarray(penalties, float))[::-1].copy()
            sets = LogisticSets(X[rows], y, device)
            scored = _parts(sets.fit(inner, strengths), X, splits)
            chosen = [_Chosen.of(s, part, truth, strengths) for s, part in scored]
            final = sets.fit(outer, np.concatenate([c.penalty for c in chosen])[:, None], _FINE)
        found[family] = [
            Reading(c.quality, _calibrated(s, part[:, :, 0], truth), c.penalty)
            for (s, part), c in zip(_parts(final, X, splits), chosen, strict=True)
        ]
    return found


def ranked(score: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """True–false pairs ranked right (ties ½) and all such pairs; none where a class is absent."""
    pairs = float((truth == 1).sum() * (truth == 0).sum())
    if not pairs:
        return 0.0, 0.0
    scale = max(float(np.ptp(score)), 1e-3 * float(np.abs(score).max()), 1e-300)
    return pairs * float(weighted_auroc(np.round(score / scale, DECIMALS), truth)), pairs


@dataclasses.dataclass(frozen=True)
class _Chosen:
    quality: np.ndarray
    penalty: np.ndarray

    @classmethod
    def of(cls, split: Split, score: np.ndarray, truth: np.ndarray, penalties: np.ndarray | None = None) -> _Chosen:
        """From scores [n, pairs, p] of the inner probes, the penalties strongest first."""
        count = score.shape[2]
        loss, wins, pairs = np.zeros((FOLDS, count)), np.zeros((FOLDS, FOLDS)), np.zeros((FOLDS, FOLDS))
        held = [np.flatnonzero(split.pool & (split.fold == f)) for f in range(FOLDS)]
        for i, pair in enumerate(PAIRS):
            for scored, out in (pair, pair[::-1]):
                here = score[held[scored], i]
                loss[out] += (np.logaddexp(0, here) - truth[held[scored], None] * here).sum(axis=0)
        best = loss.argmin(axis=1)
        for i, pair in enumerate(PAIRS):
            for scored, out in (pair, pair[::-1]):
                wins[out, scored], pairs[out, scored] = ranked(score[held[scored], i, best[out]], truth[held[scored]])
        total = pairs.sum(axis=1)
        quality = np.divide(wins.sum(axis=1), total, out=np.full(FOLDS, 0.5), where=total > 0)
        return cls(quality, np.full(FOLDS, np.nan) if penalties is None else penalties[best])


def _parts(probes: SetProbes, X: np.ndarray, splits: Sequence[Split]):
    """(split, scores of all rows by its own probes), one split at a time."""
    each = probes.bias.shape[0] // len(splits)
    for i, split in enumerate(splits):
        mine = slice(i * each, (i + 1) * each)
        yield split, SetProbes(probes.weights[:, mine], probes.bias[mine])(X)


def _calibrated(split: Split, score: Float[np.ndarray, "n folds"], truth: np.ndarray) -> Float[np.ndarray, " n"]:
    belief = np.empty(len(score))
    for f in range(FOLDS):
        aside, rows = split.aside[:, f], split.fold == f
        slope, offset = platt(score[aside, f], truth[aside].astype(int))
        belief[rows] = expit(slope * score[rows, f] + offset)
    return np.round(belief, DECIMALS)


def _one_by_one(fitter: Fitter, X: np.ndarray, truth: np.ndarray, group: np.ndarray, split: Split) -> Reading:
    """The same for a family that has only its fitter, which calibrates (and chooses what it has to) by itself."""
    wins, pairs = np.zeros(FOLDS), np.zeros(FOLDS)

    def fitted(rows: np.ndarray) -> LinearProbe:
        return fitter.fit(X[rows], truth[rows].astype(int), group[rows])

    for i, pair in enumerate(PAIRS):
        probe = fitted(split.inner[:, i])
        for scored, out in (pair, pair[::-1]):
            rows = split.pool & (split.fold == scored)
            won, of = ranked(probe.decision_function(X[rows]), truth[rows])
            wins[out] += won
            pairs[out] += of
    score, penalty = np.full(len(truth), np.nan), np.full(FOLDS, np.nan)
    for f in range(FOLDS):
        rows = split.fold == f
        if rows.any():
            probe = fitted(split.outer[:, f] | split.aside[:, f])
            score[rows] = np.round(probe.predict_proba(X[rows]), DECIMALS)
            penalty[f] = getattr(probe, "penalty", np.nan)
    return Reading(np.divide(wins, pairs, out=np.full(FOLDS, 0.5), where=pairs > 0), score, penalty)
