"""Selectivity: does a probe read the concept, or could it have memorised any labels of the same items?"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy import stats as sps

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.many import CrossValidated, cross_validated
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, jackknife

PROBE_SELECTIVITY = Metric(
    name="probe_selectivity",
    family="controls",
    title="Probe selectivity",
    measures="accuracy of a linear probe on a concept minus its accuracy on random labels of the same types of item",
    range="[-1, 1]",
    invariances="translation, scale of each dimension",
    null="0: labels that mean nothing are read as well as the concept",
    assumes="types recur; both tasks are split by rows within types, so memorised types count in both",
    source="Hewitt & Liang, arXiv 1909.03368",
)

_FOLDS = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Selectivity:
    """Accuracy on the concept and on several control tasks, over the same rows in the same folds.

    Attributes:
        value: accuracy - mean control accuracy; NaN with a ``reason``.
        accuracy: class-balanced held-out accuracy on the concept.
        control: [draws] the same on each draw of control labels.
        rows: [m] the rows that count: of known label, and of a type that has two such rows or more.
        reason: why the value is undefined; else empty.
    """

    value: float
    accuracy: float
    control: Float[np.ndarray, " draws"]
    rows: Int[np.ndarray, " m"]
    reason: str
    fitted: CrossValidated | None

    def __call__(self, rows: Int[np.ndarray, " q"] | None = None) -> float:
        """The value on the given rows alone (numbered as in X), the fitted probes left as they are."""
        if self.fitted is None:
            return float("nan")
        kept = None if rows is None else np.flatnonzero(np.isin(self.rows, rows))
        accuracy = self.fitted.accuracy(kept)[0]
        return float(accuracy[0] - accuracy[1:].mean())

    def estimate(self, blocks: Int[np.ndarray, " n"], n_groups: int) -> Estimate:
        """With a 95 % interval from the jackknife over ``blocks`` of rows and the spread of the control draws.

        The two variances add: the control labels are drawn apart from the items. Probes are held as fitted.
        """
        if self.reason:
            return Estimate.undefined(self.reason)
        found: Replicates = jackknife(self, blocks, n_groups)
        draws, parts = len(self.control), len(found.replicates)
        half = float("nan")
        if draws > 1 and parts > 1:
            variance = np.array([found.standard_error() ** 2, self.control.var(ddof=1) / draws])
            # Degrees of freedom of a sum of two variances, after Welch and Satterthwaite.
            freedom = variance.sum() ** 2 / max((variance**2 / np.array([parts - 1, draws - 1])).sum(), 1e-300)
            half = float(sps.t.ppf(0.975, max(freedom, 1.0)) * np.sqrt(variance.sum()))
        return Estimate(
            value=self.value,
            low=PROBE_SELECTIVITY.clip(self.value - half),
            high=PROBE_SELECTIVITY.clip(self.value + half),
            method=f"t, jackknife over {parts} blocks of groups with {draws} control draws",
            null=0.0,
            n=n_groups,
            unit="groups",
            invariances=PROBE_SELECTIVITY.invariances,
        )


def selectivity(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m"],
    types: Shaped[np.ndarray, " t"],
    *,
    draws: int = 5,
    seed: int = 0,
    device: str = "cpu",
) -> Selectivity:
    """Accuracy on a concept minus accuracy on control labels; high where the probe reads more than identity.

    A control label is a fixed random function of an item's type (a word, an entity, a prompt: the task's group, as a
    rule), drawn with the concept's base rate. With whole types held out it could not be learnt at all; so both tasks
    are split by rows *within* types: each type's rows are dealt over the folds, and a probe can score on the control by
    memorising types. The concept is evaluated on the same rows in the same folds, where memorising pays as well. Rows
    of a type that occurs once take no part. The probe is the one of ``cross_validated``, its penalty chosen for each
    task of its own.

    Neither direction is tidier. About 0 says that the accuracy shows no more than that types can be told apart, .5 that
    the probe reads the concept and cannot memorise types, below 0 that it does the second better than the first. It
    depends on n, d and on how often types recur: compare at equal ones.

    Args:
        y: [n] 0/1, NaN unknown; types: [n] names.
        draws: control tasks; their accuracies are averaged.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ, draws < 1.

    >>> rng = np.random.default_rng(0)
    >>> types = np.repeat(np.arange(60), 4)
    >>> y = types % 2
    >>> code = rng.normal(size=(240, 2)) * .1 + y[:, None]
    >>> bool(selectivity(code, y, types).value > .3), bool(selectivity(np.eye(60)[types], y, types).value < .1)
    (True, True)
    """
    X = _checks.activations(X)
    y = _checks.concept_labels(y, len(X))[:, 0]
    tasks = control_tasks(y, _checks.group_codes(types, len(X)), draws=draws, seed=seed)
    rows = tasks.rows
    if tasks.reason:
        return Selectivity(np.nan, np.nan, np.full(draws, np.nan), rows, tasks.reason, None)
    fitted = cross_validated([X[rows]], tasks.labels, fold=tasks.fold, seed=seed, device=device)
    accuracy = fitted.accuracy()[0]
    if np.isnan(accuracy).any():
        return Selectivity(np.nan, np.nan, np.full(draws, np.nan), rows, fitted.reason, None)
    value = float(accuracy[0] - accuracy[1:].mean())
    return Selectivity(value, float(accuracy[0]), accuracy[1:], rows, "", fitted)


@dataclasses.dataclass(frozen=True, eq=False)
class ControlTasks:
    """A concept beside labels that mean nothing, to be read on the same rows in the same folds.

    Attributes:
        rows: [m] the rows that count: of known label, and of a type that has two such rows or more.
        labels: [m, 1 + draws] the concept, then the control labels, fixed functions of the type.
        fold: [m] each type's rows dealt over the folds.
        reason: why nothing can be said (then the other two are empty); else empty.
    """

    rows: Int[np.ndarray, " m"]
    labels: Float[np.ndarray, "m k"]
    fold: Int[np.ndarray, " m"]
    reason: str


def control_tasks(
    y: Float[np.ndarray, " n"] | Int[np.ndarray, " n"], types: Int[np.ndarray, " n"], *, draws: int, seed: int
) -> ControlTasks:
    """The tasks of ``selectivity``; y is 0, 1 or NaN, types are codes."""
    if draws < 1:
        raise InputError(f"draws is {draws}: expected at least one control task")
    known = ~np.isnan(y)
    count = np.bincount(types[known], minlength=int(types.max()) + 1)
    rows = np.flatnonzero(known & (count[types] > 1))
    reason = _undefined(y[rows], types[rows], int(known.sum()))
    if reason:
        return ControlTasks(rows[:0], np.empty((0, 1 + draws)), rows[:0], reason)
    rng = np.random.default_rng(seed)
    codes = np.unique(types[rows], return_inverse=True)[1]
    control = _control_labels(codes, float(y[rows].mean()), draws, rng)
    return ControlTasks(rows, np.column_stack([y[rows], control]).astype(float), _dealt(codes, rng), "")


def _undefined(y: np.ndarray, types: np.ndarray, n_known: int) -> str:
    if n_known == 0:
        return "selectivity needs rows whose label is known"
    if len(y) == 0:
        return "every type of item occurs once, so control labels have nothing to be memorised from"
    if y.min() == y.max():
        return "selectivity needs both classes among the types that recur"
    if len(np.unique(types)) < 4:
        return f"{len(np.unique(types))} types of item recur, and random labels need four or more"
    return ""


def _control_labels(
    types: Int[np.ndarray, " m"], rate: float, draws: int, rng: np.random.Generator
) -> Float[np.ndarray, "m draws"]:
    """A label for each type, as many ones among the types as the concept's base rate, both classes at least twice."""
    n_types = int(types.max()) + 1
    ones = int(np.clip(round(rate * n_types), 2, n_types - 2))
    label = np.arange(n_types) < ones
    return np.stack([rng.permutation(label) for _ in range(draws)], axis=1)[types].astype(float)


def _dealt(types: Int[np.ndarray, " m"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Folds over which each type's rows are dealt one by one, in random order, going on where the last type ended."""
    order = np.lexsort((rng.random(len(types)), rng.permutation(int(types.max()) + 1)[types]))
    fold = np.empty(len(types), dtype=np.int64)
    fold[order] = np.arange(len(types)) % _FOLDS
    return fold
