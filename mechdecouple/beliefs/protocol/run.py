"""The whole protocol in one call: selection, generalisation, strata, controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy.typing import ArrayLike

from mechdecouple.beliefs._nested import PROBES, Fitter
from mechdecouple.beliefs.protocol import controls
from mechdecouple.beliefs.protocol.auroc import READ_AUROC
from mechdecouple.beliefs.protocol.report import Protocol
from mechdecouple.beliefs.protocol.transfer import Reader, Table, transfer
from mechdecouple.beliefs.represent import Represented, as_families, represent
from mechdecouple.errors import InputError
from mechdecouple.probes import selectivity
from mechdecouple.probes.many import PATH
from mechdecouple.results import Estimate
from mechdecouple.stats import group_bootstrap_weights, jackknife_blocks

_MAX_LEVELS = 50


def protocol(
    activations: Mapping[str, Float[np.ndarray, "n _d"]] | Mapping[tuple[str, str], Float[np.ndarray, "n _d"]],
    truth: ArrayLike,
    groups: ArrayLike,
    *,
    honest_mask: ArrayLike | None = None,
    context: ArrayLike | None = None,
    strata: Mapping[str, ArrayLike] | None = None,
    conditions: ArrayLike | None = None,
    loglik: ArrayLike | None = None,
    length: ArrayLike | None = None,
    types: ArrayLike | None = None,
    layer_0: Float[np.ndarray, "n _d"] | None = None,
    untrained: Mapping[str, Float[np.ndarray, "n _d"]] | None = None,
    probes: Sequence[str] | Mapping[str, Fitter] = PROBES,
    penalties: Sequence[float] = PATH,
    n_permutations: int = 200,
    n_resamples: int = 1000,
    seed: int = 0,
    device: str = "cpu",
    model: str = "",
) -> Protocol:
    """Reads what a model represents as true and runs every control that such a reading needs.

    Hook point (× position), family and penalty are chosen in nested grouped folds from honest rows alone
    (:func:`mechdecouple.beliefs.represent`); the belief that comes out of fold is then looked at from all sides. What
    was not given is named as not checked.

    Args:
        activations: hook point, or (hook point, position) → [n, d]; widths may differ.
        truth: 0, 1, NaN unknown. groups: the unit that never sits on both sides of a split (entity, statement pair).
        honest_mask: rows in which the truth is asked for; all by default. Nothing is fitted on the others.
        context: data set or topic of each row: generalisation matrix, and each left out.
        strata: name → level of each row (polarity, topic, …): AUROC in each level, and for strata of two levels the
            correlation of the belief with them.
        conditions: persona or situation of each row: AUROC under each.
        loglik, length: of each statement's text; NaN where unknown.
        types: item types that random labels are tied to for selectivity; the groups by default.
        layer_0, untrained: activations that cannot know the truth: [n, d] of the first layer, and those of an untrained
            model by hook point; read by the very same selection.
        probes, penalties, n_permutations, device: as for ``represent``.
        n_resamples: of the group bootstrap behind the intervals.
        model: its name in tables.

    Raises:
        InputError: lengths differ, a context or stratum with more than 50 levels, and as ``represent``.

    >>> rng = np.random.default_rng(0)
    >>> truth = np.tile([1.0, 0.0], 100)
    >>> X = rng.normal(size=(200, 4)) + 2 * truth[:, None]
    >>> found = protocol({"late": X}, truth, np.arange(200) // 2, n_permutations=19, n_resamples=50)
    >>> found.claims[0].holds, found.claims[-1].sentence[:21]
    (True, 'Decodable is not used')
    """
    named = {key if isinstance(key, str) else " @ ".join(key): X for key, X in activations.items()}
    if len(named) < len(activations):
        raise InputError("two activations have the same hook point and position; give each its own name")
    t, group = np.asarray(truth, float), np.asarray(groups)
    honest = np.ones(len(t), bool) if honest_mask is None else np.asarray(honest_mask, bool)
    levels = {name: _levels(name, column, len(t)) for name, column in (strata or {}).items()}
    places = {
        name: _levels(name, column, len(t))
        for name, column in (("context", context), ("condition", conditions))
        if column is not None
    }
    if "context" in places:
        levels = {"context": places["context"]} | levels
    surface = {
        name: _numbers(name, column, len(t))
        for name, column in (("log-likelihood", loglik), ("length", length))
        if column is not None
    }
    options = {"probes": probes, "penalties": penalties, "seed": seed, "device": device}
    represented = represent(named, t, group, honest, n_permutations=n_permutations, **options)
    if represented.reason:
        return _nothing(represented, model)
    table = Table(
        truth=t,
        group=np.unique(group, return_inverse=True)[1],
        usable=honest & ~np.isnan(t),
        fold=represented.fold,
        weights=group_bootstrap_weights(group, n_resamples, seed),
    )
    score, X = represented.score, named[represented.hook_point]
    reader = Reader(named, as_families(probes), penalties, seed, device)
    matrix, left_out = {}, {}
    if "context" in places and len(np.unique(places["context"][table.usable])) > 1:
        matrix, left_out = transfer(reader, table, places["context"])
    baselines, beyond = {}, {}
    for name, given in (("layer 0", {"layer 0": layer_0} if layer_0 is not None else None), ("untrained", untrained)):
        if given is not None:
            _same_rows(name, given, len(t))
            found = dataclasses.replace(reader, activations=given)(table, [table.usable])[0]
            baselines[name], beyond[name] = _beyond(score, found, table)
    two = {name: _coded(column, table.usable) for name, column in levels.items()}
    numbers = surface | {name: column for name, column in two.items() if column is not None}
    return Protocol(
        represented=represented,
        auroc=dataclasses.replace(table.auroc(score, table.usable, READ_AUROC), p=represented.p),
        strata={
            (name, str(level)): table.auroc(score, table.usable & (column == level), READ_AUROC)
            for name, column in levels.items()
            for level in np.unique(column[honest])
        },
        conditions={
            str(level): table.auroc(score, places["condition"] == level, READ_AUROC)
            for level in (np.unique(places["condition"]) if "condition" in places else ())
        },
        matrix=matrix,
        left_out=left_out,
        selectivity=_selectivity(X, table, group if types is None else np.asarray(types), seed, device),
        correlations={name: controls.surface_correlation(score, x, table, seed) for name, x in numbers.items()},
        surface={name: controls.surface_auroc(x, table) for name, x in numbers.items()},
        deciles={name: controls.within_deciles(score, x, table) for name, x in surface.items()},
        identity={
            name: controls.identity(
                X, column, table.usable if name == "context" else np.ones(len(t), bool), table, device
            )
            for name, column in places.items()
        },
        baselines=baselines,
        beyond=beyond,
        model=model,
    )


def _beyond(score: np.ndarray, found: np.ndarray | str, table: Table) -> tuple[Estimate, Estimate]:
    if isinstance(found, str):
        return Estimate.undefined(found, unit="groups"), Estimate.undefined(found, unit="groups")
    return controls.beyond(score, found, table)


def _selectivity(X: np.ndarray, table: Table, types: np.ndarray, seed: int, device: str) -> Estimate:
    rows = np.flatnonzero(table.usable)
    if len(types) != len(table.truth):
        raise InputError(f"types has {len(types)} rows, truth has {len(table.truth)}: all need the same rows")
    found = selectivity(X[rows], table.truth[rows], types[rows], seed=seed, device=device)
    blocks = jackknife_blocks(table.group[rows], seed=seed)
    return found.estimate(blocks, len(np.unique(table.group[rows])))


def _nothing(represented: Represented, model: str) -> Protocol:
    undefined = Estimate.undefined(represented.reason, unit="groups", n=represented.n_groups)
    return Protocol(
        represented=represented, auroc=undefined, strata={}, conditions={}, matrix={}, left_out={},
        selectivity=undefined, correlations={}, surface={}, deciles={}, identity={}, baselines={}, beyond={},
        model=model,
    )  # fmt: skip


def _levels(name: str, column: ArrayLike, n: int) -> Shaped[np.ndarray, " n"]:
    found = np.asarray(column).astype(str)
    _length(name, found, n)
    count = len(np.unique(found))
    if count > _MAX_LEVELS:
        raise InputError(f"{name} has {count} levels, at most {_MAX_LEVELS} are told apart; give coarser ones")
    return found


def _numbers(name: str, column: ArrayLike, n: int) -> Float[np.ndarray, " n"]:
    found = np.asarray(column, float)
    _length(name, found, n)
    return found


def _coded(column: Shaped[np.ndarray, " n"], rows: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"] | None:
    """A stratum of two levels as 0 and 1, in sorted order."""
    names = np.unique(column[rows])
    return (column == names[1]).astype(float) if len(names) == 2 else None


def _same_rows(name: str, given: Mapping[str, np.ndarray], n: int) -> None:
    for X in given.values():
        _length(name, X, n)
        if not np.isfinite(X).all():
            row = int(np.flatnonzero(~np.isfinite(X).all(axis=1))[0])
            raise InputError(f"activations of {name} are not finite in row {row}; expected numbers")


def _length(name: str, column: Shaped[np.ndarray, "m ..."], n: int) -> None:
    if len(column) != n:
        raise InputError(f"{name} has {len(column)} rows, truth has {n}: all need the same rows")
