"""Recoverable accuracy: what a head fitted anew on frozen activations gets right beyond the model's own answers."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.probes import cross_validated, grouped_folds
from mechdecouple.results import Metric
from mechdecouple.usefulness._found import Cell, Found, checked_groups, least_error

RECOVERABLE_ACCURACY = Metric(
    name="recoverable_accuracy", family="use", title="recoverable accuracy", range="[-1, 1]",
    measures="accuracy of a linear head fitted anew on frozen activations of other groups, less that of the model's "
    "own answers",
    null="0 and slightly below, by what fitting on fewer items costs: the model says all that it holds linearly",
    assumes="the activations are those that answers are read from; a head on many random features may read the input",
    invariances="any invertible linear change of the activations, but for the penalty",
    source="arXiv:2204.02937, arXiv:1910.09217",
)  # fmt: skip
REFITTED_ACCURACY = Metric(
    name="refitted_accuracy", family="use", title="accuracy of a head fitted anew", range="[0, 1]",
    measures="accuracy, in groups held out, of a linear head fitted on frozen activations, penalty chosen inside",
    null="accuracy of the model's own answers", invariances="rotation, translation, scale of each axis",
    source="arXiv:2204.02937",
)  # fmt: skip

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
MAX_CLASSES = 50


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Recoverable(Found):
    """What a refitted head gains.

    Attributes:
        answers: [n] the answer of the refitted head to each item, fitted without its group.
    """

    answers: np.ndarray


def refitted_answers(
    X: Float[np.ndarray, "n d"],
    answers: Shaped[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    allowed: Bool[np.ndarray, "n k"] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Shaped[np.ndarray, " m"]:
    """The answer of a linear head to each item [n], fitted on frozen features of other groups.

    One logistic probe an answer against the others (one in all for two), its penalty chosen among the groups that it
    is fitted on; the likeliest wins.

    Args:
        X: [n, d] frozen activations; answers: [n] right answers, of at most 50 kinds.
        allowed: [n, k] which of the k answers (in sorted order) each item offers; all without.

    Raises:
        InputError: one answer or too many of them; fewer than three groups; what `cross_validated` refuses.
    """
    answers = np.asarray(answers)
    groups = checked_groups(len(answers), groups)
    kinds, y = np.unique(answers, return_inverse=True)
    if not 2 <= len(kinds) <= MAX_CLASSES:
        raise InputError(f"there are {len(kinds)} right answers: a head is fitted for 2 to {MAX_CLASSES} of them")
    if len(np.unique(groups)) < 3:
        raise InputError("a head is fitted and its penalty chosen on groups held apart: at least three are needed")
    fold = grouped_folds(y, groups, folds, seed)
    hot = np.eye(len(kinds))[y]
    targets = hot[:, 1:] if len(kinds) == 2 else hot
    score = cross_validated([np.asarray(X)], targets, groups, fold=fold, penalties=PENALTIES).score[0]
    # an answer that is missing outside a fold cannot be given within it
    score = np.column_stack([-score[:, 0], score[:, 0]]) if len(kinds) == 2 else score
    score = np.where(np.isnan(score), -np.inf, score)
    if allowed is not None:
        if np.shape(allowed) != score.shape:
            raise InputError(f"allowed has shape {np.shape(allowed)}, expected {score.shape}: an answer each column")
        score = np.where(allowed, score, -np.inf)
    return kinds[score.argmax(axis=1)]


def recoverable_accuracy(
    X: Float[np.ndarray, "n d"],
    answers: Shaped[np.ndarray, " m"],
    correct: Bool[np.ndarray, " c"] | Int[np.ndarray, " c"] | Float[np.ndarray, " c"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    score: Bool[np.ndarray, " s"] | None = None,
    allowed: Bool[np.ndarray, "n k"] | None = None,
    name: str = "model",
    folds: int = 5,
    n_blocks: int = 20,
    seed: int = 0,
) -> Recoverable:
    """Accuracy that a head fitted anew on frozen features has beyond the model's own, nested by group.

    Two models on the same items pair: ``differences(a, b, names)``. The interval is of the items: heads are held as
    they were fitted.

    Args:
        X: [n, d] activations that the model's answers are read from; answers: [n] right answers.
        correct: [n] whether the model's own answer is right.
        score: [n] items that are scored, where heads may be fitted on more; all without.
        allowed, folds: see `refitted_answers`.

    Raises:
        InputError: as `refitted_answers`; correctness other than 0 and 1.
    """
    answers, own = np.asarray(answers), np.asarray(correct, float)
    if own.shape != answers.shape or not np.isin(own, (0.0, 1.0)).all():
        raise InputError(f"correctness must be 0 or 1 for each of {len(answers)} items, got shape {own.shape}")
    groups = checked_groups(len(answers), groups)
    rows = np.ones(len(answers), bool) if score is None else np.asarray(score, bool)
    given = refitted_answers(X, answers, groups, allowed=allowed, folds=folds, seed=seed)
    checked_groups(int(rows.sum()), groups[rows])
    both = np.stack([(given == answers)[rows].astype(float) - own[rows], (given == answers)[rows]], axis=1)
    found = stats.jackknife(
        lambda kept: both[kept].mean(axis=0),
        stats.jackknife_blocks(groups[rows], n_blocks, seed), len(np.unique(groups[rows])),
    )  # fmt: skip
    found = dataclasses.replace(found, resolution=np.full(2, least_error(groups[rows])))
    cells = (
        Cell(metric=RECOVERABLE_ACCURACY, replicates=found[0], null=0.0),
        Cell(metric=REFITTED_ACCURACY, replicates=found[1], null=float(own[rows].mean())),
    )
    return Recoverable(name=name, cells=cells, answers=given)
