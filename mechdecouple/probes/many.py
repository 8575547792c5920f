"""Logistic probes of many layers, concepts, folds and penalties, fitted together in batched matrix products."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import _checks
from mechdecouple.probes._design import Design, fits
from mechdecouple.probes.splits import grouped_folds
from mechdecouple.stats import weighted_auroc

PATH = (1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""Penalties of a path, the strongest first: from a probe that knows the base rate alone to one nearly unpenalised."""

_TOLERANCE = 1e-2


@dataclasses.dataclass(frozen=True, eq=False)
class LogisticPath:
    """Held-out scores of every layer, concept and penalty.

    Attributes:
        penalties: [p], strongest first.
        score: [L, n, k, p] log-odds of class 1 by the probe that was fitted without the row's fold; NaN where the rows
            it was fitted on lacked a class.
        y: [n, k] labels, NaN unknown; fold: [n].
    """

    penalties: Float[np.ndarray, " p"]
    score: Float[np.ndarray, "L n k p"]
    y: Float[np.ndarray, "n k"]
    fold: Int[np.ndarray, " n"]

    def auroc(self) -> Float[np.ndarray, "L k p"]:
        """See ``held_out_auroc``."""
        return np.stack([held_out_auroc(self.score[..., p], self.y, self.fold) for p in range(len(self.penalties))], -1)

    def loss(self) -> Float[np.ndarray, "L k p"]:
        """Mean log-loss of the held-out rows in nats; NaN where a score is."""
        known = ~np.isnan(self.y)
        y = np.nan_to_num(self.y)[:, :, None]
        loss = np.where(known[:, :, None], _log_loss(self.score, y), 0.0).sum(axis=1)
        count = known.sum(axis=0)[:, None]
        return np.divide(loss, count, out=np.full(loss.shape, np.nan), where=count > 0)


@dataclasses.dataclass(frozen=True, eq=False)
class CrossValidated:
    """Held-out scores with the penalty chosen among the rows that each probe was fitted on.

    Attributes:
        score: [L, n, k] log-odds of class 1; NaN where the fitted rows lacked a class.
        penalty: [L, k, folds] what was chosen.
        y: [n, k] labels, NaN unknown; fold: [n].
    """

    score: Float[np.ndarray, "L n k"]
    penalty: Float[np.ndarray, "L k f"]
    y: Float[np.ndarray, "n k"]
    fold: Int[np.ndarray, " n"]

    reason = "a probe needs groups of both classes outside each fold, and both classes within one"

    def auroc(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "L k"]:
        """See ``held_out_auroc``; of the given rows alone, the probes left as they are."""
        rows = np.arange(len(self.y)) if rows is None else rows
        return held_out_auroc(self.score[:, rows], self.y[rows], self.fold[rows])

    def accuracy(self, rows: Int[np.ndarray, " m"] | None = None) -> Float[np.ndarray, "L k"]:
        """Class-balanced accuracy, ties ½; of the given rows alone, the probes left as they are.

        A row counts as class 1 where its log-odds exceed the base rate of the rows its probe was fitted on. (At zero,
        a probe that found nothing would answer with the class that is more frequent there, which by the same token is
        the rarer one among the held-out rows: worse than chance.) NaN where a class is missing or a score undefined.
        """
        rows = np.arange(len(self.y)) if rows is None else rows
        margin, y = self._margin[:, rows], self.y[rows]
        right = np.where(np.abs(margin) < 1e-6, 0.5, (margin > 0) == (y == 1))
        right = np.where(np.isnan(margin), np.nan, right)
        shares = []
        for label in (0, 1):
            count = (y == label).sum(axis=0)
            total = np.where(y == label, right, 0.0).sum(axis=1)
            shares.append(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
        return (shares[0] + shares[1]) / 2

    @cached_property
    def _margin(self) -> Float[np.ndarray, "L n k"]:
        base = np.full(self.y.shape, np.nan)
        for f in np.unique(self.fold):
            outside = self.y[self.fold != f]
            ones, zeros = (outside == 1).sum(axis=0), (outside == 0).sum(axis=0)
            with np.errstate(divide="ignore", invalid="ignore"):
                base[self.fold == f] = np.log(ones / zeros)
        with np.errstate(invalid="ignore"):
            return self.score - base


def fit_many(
    layers: Sequence[np.ndarray],
    y: Shaped[np.ndarray, " m *k"],
    fold: Int[np.ndarray, " f"],
    penalties: Sequence[float] | Float[np.ndarray, " p"] = PATH,
    *,
    device: str = "cpu",
    tolerance: float = _TOLERANCE,
) -> LogisticPath:
    """Held-out scores of an L2-penalised logistic probe for every layer, concept, fold and penalty.

    Each problem is mean log-loss + penalty/2 · ‖w‖² on columns standardised by its own fitted rows: scikit-learn's
    ``LogisticRegression(C=1 / (n · penalty))`` after ``StandardScaler``, for rows outside one fold. All problems of a
    layer share their two matrix products an iteration, in float32, and the axes that steer the search.

    Args:
        layers: L arrays [n, d_l]; y: [n] or [n, k] labels 0/1, NaN unknown.
        fold: [n] fold of each row, from ``grouped_folds``, so that groups stay whole.
        penalties: in any order.
        device: "cpu", "cuda" or "auto".
        tolerance: a fit ends within about tolerance²/2 nats of its least loss.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, fewer than two folds, a penalty <= 0.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 300)
    >>> layers = [rng.normal(size=(300, 8)) + gap * y[:, None] for gap in (0, 3)]
    >>> fit_many(layers, y, grouped_folds(y)).auroc()[:, 0, 3] > 0.9
    array([False,  True])
    """
    penalties_ = _penalties(penalties)
    y, fold = _labels(y, layers), _folds(fold, layers, least=2)
    n_folds = int(fold.max()) + 1
    score = np.full((len(layers), len(y), y.shape[1], len(penalties_)), np.nan, dtype=np.float32)
    fit = fold[:, None] != np.arange(n_folds)
    for l, layer in enumerate(layers):
        for targets, found in fits(layer, y, fit, penalties_, device, tolerance):
            for f in range(n_folds):
                score[l][np.ix_(fold == f, targets)] = found[fold == f, f].cpu().numpy()
    return LogisticPath(penalties_, score, y, fold)


def cross_validated(
    layers: Sequence[np.ndarray],
    y: Shaped[np.ndarray, " m *k"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    folds: int = 5,
    fold: Int[np.ndarray, " f"] | None = None,
    penalties: Sequence[float] | Float[np.ndarray, " p"] = PATH,
    seed: int = 0,
    device: str = "cpu",
    tolerance: float = _TOLERANCE,
) -> CrossValidated:
    """Held-out scores of every layer and concept, the penalty chosen inside the fitted rows.

    For the rows of one fold, the penalty is the one with the smallest held-out log-loss over the *other* folds, each
    scored by probes that saw neither of the two (the stronger penalty among equals); then a probe is fitted on all the
    others. Two outer folds share each such pair, so ten sets of rows serve five folds.

    Args:
        layers: L arrays [n, d_l]; y: [n] or [n, k] labels 0/1, NaN unknown.
        groups: [n]; None makes every row its own. Folds keep groups whole and leave labels to chance.
        fold: [n] folds of your own instead.
        penalties, device, tolerance: as for ``fit_many``; a single penalty skips the choice.

    Raises:
        InputError: as ``fit_many``; fewer than three groups where there is a penalty to choose.
    """
    penalties_ = _penalties(penalties)
    y = _labels(y, layers)
    if fold is None:
        fold = grouped_folds(np.zeros(len(y)), _checks.group_codes(groups, len(y)), folds, seed)
    fold = _folds(fold, layers, least=2 if len(penalties_) == 1 else 3)
    n_folds, k = int(fold.max()) + 1, y.shape[1]
    score = np.full((len(layers), len(y), k), np.nan)
    penalty = np.full((len(layers), k, n_folds), penalties_[0])
    for l, layer in enumerate(layers):
        design = Design.of(layer, device)
        if len(penalties_) > 1:
            penalty[l] = _choose(design, y, fold, penalties_, tolerance)
        for f in range(n_folds):
            for targets, found in fits(design, y, (fold != f)[:, None], penalty[l, :, f, None], device, tolerance):
                score[l][np.ix_(fold == f, targets)] = found[fold == f, 0, :, 0].cpu().numpy()
    return CrossValidated(score, penalty, y, fold)


def held_out_auroc(
    score: Float[np.ndarray, "L n k"], y: Float[np.ndarray, "n k"], fold: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "L k"]:
    """AUROC over pairs of rows from the same fold, ties ½; NaN where no fold holds both classes or a score is NaN.

    Scores of different folds come from different probes; comparing them would punish a fold for its base rate.
    """
    total, right = np.zeros((2, len(score), y.shape[1]))
    for f in np.unique(fold):
        for j in range(y.shape[1]):
            rows = np.flatnonzero((fold == f) & ~np.isnan(y[:, j]))
            pairs = float((y[rows, j] == 1).sum() * (y[rows, j] == 0).sum())
            if pairs == 0:
                continue
            total[:, j] += pairs
            for l in range(len(score)):
                here = score[l, rows, j]
                right[l, j] += np.nan if np.isnan(here).any() else pairs * weighted_auroc(here, y[rows, j])
    return np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0)


def _choose(
    design: Design, y: np.ndarray, fold: np.ndarray, penalties: np.ndarray, tolerance: float
) -> Float[np.ndarray, "k f"]:
    n_folds, k = int(fold.max()) + 1, y.shape[1]
    pairs = list(combinations(range(n_folds), 2))
    fit = np.stack([(fold != f) & (fold != g) for f, g in pairs], axis=1)
    total = np.zeros((k, n_folds, len(penalties)))
    scored = np.zeros((k, n_folds))
    for targets, found in fits(design, y, fit, penalties, "", tolerance):
        for i, (f, g) in enumerate(pairs):
            for outer, inner in ((f, g), (g, f)):
                rows = np.flatnonzero(fold == inner)
                label = y[np.ix_(rows, targets)][:, :, None]
                score = found[rows, i].double().cpu().numpy()
                usable = np.asarray(np.isfinite(score).all(axis=(0, 2)))
                loss = np.where(np.isnan(label), 0.0, _log_loss(score, np.nan_to_num(label))).sum(axis=0)
                total[targets, outer] += np.where(usable[:, None], loss, 0.0)
                scored[targets, outer] += usable
    # Without a single usable split nothing is known but that the strongest penalty does least harm.
    return np.where(scored > 0, penalties[np.argmin(total, axis=2)], penalties[0])


def _log_loss(score: np.ndarray, y: np.ndarray) -> np.ndarray:
    score = score.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.logaddexp(0.0, score) - y * score


def _penalties(penalties: Sequence[float] | np.ndarray) -> np.ndarray:
    found = np.unique(np.asarray(penalties, dtype=np.float64))[::-1].copy()
    if len(found) == 0 or not (found > 0).all() or not np.isfinite(found).all():
        raise InputError(f"penalties {tuple(penalties)}: expected one or more numbers above zero")
    return found


def _labels(y: np.ndarray, layers: Sequence[np.ndarray]) -> Float[np.ndarray, "n k"]:
    if len(layers) == 0:
        raise InputError("there are no layers to probe: give at least one [n, d] array")
    for i, layer in enumerate(layers):
        if len(layer) != len(layers[0]):
            raise MismatchError(f"layer {i} has {len(layer)} rows, layer 0 has {len(layers[0])}: use the same items")
    return _checks.concept_labels(y, len(layers[0]))


def _folds(fold: np.ndarray, layers: Sequence[np.ndarray], least: int) -> Int[np.ndarray, " n"]:
    fold = _checks.group_codes(np.asarray(fold), len(layers[0]))
    if fold.max() + 1 < least:
        raise InputError(f"{fold.max() + 1} folds: held-out scores with a chosen penalty need {least} or more groups")
    return fold
