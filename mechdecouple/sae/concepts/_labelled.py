"""Latents beside declared concepts: labels checked, groups dealt into folds, latents ranked on the fitted rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from scipy import sparse

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import CrossValidated, LinearProbe, LogisticFitter, grouped_folds
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks

FOLDS = 5
MIN_GROUPS = 10
"""Groups that must hold a row of each class, so that a concept is there to fit on and to score on in most folds."""
_PENALTIES = (1e-2, 1e-1, 1.0)

Labels = Mapping[str, np.ndarray] | pd.DataFrame | np.ndarray
Codes = np.ndarray | sparse.csr_matrix | sparse.csr_array


@dataclass(frozen=True, eq=False)
class Labelled:
    """Latents, concepts and folds.

    Attributes:
        codes: [n, m] latents, by column; m of them.
        y: [n, c] 0, 1, or NaN where unknown; names: of the c concepts.
        left_out: concepts that cannot be judged, and why.
        groups: [n]; fold: [n] which fold a row is scored in; blocks: [n] of the jackknife.
    """

    codes: sparse.csc_matrix
    m: int
    y: Float[np.ndarray, "n c"]
    names: tuple[str, ...]
    left_out: dict[str, str]
    groups: Int[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    blocks: Int[np.ndarray, " n"]

    @classmethod
    def of(
        cls, codes: Codes, labels: Labels, groups: Shaped[np.ndarray, " n"] | None, *, n_blocks: int, seed: int
    ) -> Labelled:
        """Check and split.

        Args:
            labels: concept -> [n] of 0, 1 and NaN, as ``Task.concepts``; a frame of such columns; or [n] or [n, c].

        Raises:
            InputError: no finite table of latents, a label other than 0, 1 and NaN, or no concept that can be judged.
            MismatchError: latents, labels and groups differ in their rows.
        """
        table, n, m = _codes(codes)
        names, y = _labels(labels, n)
        groups = np.arange(n) if groups is None else np.asarray(groups)
        if len(groups) != n:
            raise MismatchError(f"{len(groups)} groups for {n} rows of latents; give one group a row")
        group = np.unique(groups, return_inverse=True)[1]
        if group.max() + 1 < 2 * MIN_GROUPS:
            raise InputError(
                f"{group.max() + 1} groups of rows; concepts are judged on held-out groups, at least {2 * MIN_GROUPS}"
            )
        fold = grouped_folds(np.zeros(n), group, FOLDS, seed)
        reasons = {name: _unfit(y[:, i], group, fold) for i, name in enumerate(names)}
        kept = [i for i, name in enumerate(names) if not reasons[name]]
        left_out = {name: reason for name, reason in reasons.items() if reason}
        if not kept:
            raise InputError(f"no concept can be judged: {next(iter(left_out.values()))}")
        blocks = jackknife_blocks(group, n_blocks, seed)
        return cls(table, m, y[:, kept], tuple(names[i] for i in kept), left_out, group, fold, blocks)

    @property
    def n_groups(self) -> int:
        return int(self.groups.max()) + 1

    def rows(self, fold: int, concept: int) -> tuple[Int[np.ndarray, " f"], Int[np.ndarray, " h"]]:
        """Rows to fit a concept on, its label known, and all rows of the fold to be scored."""
        known = ~np.isnan(self.y[:, concept])
        return np.flatnonzero((self.fold != fold) & known), np.flatnonzero(self.fold == fold)

    def columns(self, latents: Int[np.ndarray, " k"]) -> Float[np.ndarray, "n k"]:
        """Some latents, dense, on all rows."""
        return np.asarray(self.codes[:, latents].todense(), np.float64)

    @cached_property
    def differences(self) -> Float[np.ndarray, "f1 c m"]:
        """Mean of each latent where a concept holds less its mean where it does not, on the rows outside each fold;
        last, on all rows."""
        n_folds = int(self.fold.max()) + 1
        member = self.fold[:, None] == np.arange(n_folds)
        means = []
        for label in (1, 0):
            holds = np.einsum("nf,nc->nfc", member, self.y == label).reshape(len(self.y), -1).astype(np.float64)
            total = (self.codes.T @ holds).T.reshape(n_folds, -1, self.m)
            count = holds.sum(0).reshape(n_folds, -1, 1)
            outside = [np.concatenate([s.sum(0) - s, s.sum(0, keepdims=True)]) for s in (total, count)]
            means.append(outside[0] / outside[1])
        return means[0] - means[1]

    def top(self, fold: int, concept: int, k: int, *, signed: bool = False) -> Int[np.ndarray, " k"]:
        """Up to k latents whose mean differs most by a concept on the rows outside a fold (-1: on all rows).

        Args:
            signed: only those that fire more where the concept holds.
        """
        difference = self.differences[fold, concept]
        return best(difference if signed else np.abs(difference), k)

    def probes(self, X: Float[np.ndarray, "n d"], seed: int) -> list[list[LinearProbe]]:
        """A dense logistic probe for each fold and concept, fitted outside the fold; it says yes above ``base``.

        Its penalties are firm: on separable concepts weaker ones take their time, and turn the probe off the concept's
        direction towards dimensions of little variance.

        Raises:
            InputError: X is not finite.
            MismatchError: X does not have the latents' rows.
        """
        if len(X) != len(self.y):
            raise MismatchError(f"{len(X)} rows of activations for {len(self.y)} of latents; give those they encode")
        fitter = LogisticFitter(penalties=_PENALTIES, seed=seed)
        out = []
        for f in range(int(self.fold.max()) + 1):
            found = []
            for c in range(len(self.names)):
                fit, _ = self.rows(f, c)
                found.append(fitter.fit(X[fit], self.y[fit, c], self.groups[fit]))
            out.append(found)
        return out

    def scored(self, score: Float[np.ndarray, "l n c"]) -> CrossValidated:
        """Held-out log-odds of several probes as one object that scores them."""
        shape = (len(score), len(self.names), int(self.fold.max()) + 1)
        return CrossValidated(score, np.full(shape, np.nan), self.y, self.fold)

    @cached_property
    def base(self) -> Float[np.ndarray, "n c"]:
        """Log-odds of each concept among the rows outside each row's fold: above it, a probe says yes."""
        out = np.empty(self.y.shape)
        for f in np.unique(self.fold):
            outside = self.y[self.fold != f]
            out[self.fold == f] = np.log((outside == 1).sum(0) / (outside == 0).sum(0))
        return out

    def jackknife(self, statistic) -> Replicates:
        """A statistic of row indices with its replicates; what was fitted stays as it is."""
        return jackknife(statistic, self.blocks, self.n_groups)


def best(score: Float[np.ndarray, " m"], k: int) -> Int[np.ndarray, " _"]:
    """Indices of the up to k largest scores above zero, the largest first (the first among equals)."""
    order = np.argsort(-score, kind="stable")[:k]
    return order[score[order] > 0]


def _codes(codes: Codes) -> tuple[sparse.csc_matrix, int, int]:
    shape: tuple[int, ...] = tuple(getattr(codes, "shape", ()))
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"latents have shape {shape}, expected [rows, latents] with at least one of each")
    table = sparse.csc_matrix(codes)
    if not np.isfinite(table.data).all():
        raise InputError("the latents hold NaN or infinity; encode finite activations")
    return table, shape[0], shape[1]


def _labels(labels: Labels, n: int) -> tuple[Sequence[str], np.ndarray]:
    if isinstance(labels, (pd.DataFrame, Mapping)):
        columns = {str(name): np.asarray(labels[name], np.float64) for name in labels}
    else:
        array = np.asarray(labels, np.float64)
        array = array[:, None] if array.ndim == 1 else array
        columns = {f"concept {i + 1}": column for i, column in enumerate(array.T)}
    if not columns:
        raise InputError("no concepts were declared; give labels of at least one")
    for name, column in columns.items():
        if column.shape != (n,):
            raise MismatchError(f"concept {name!r} has labels of shape {column.shape} for {n} rows of latents")
        wrong = ~(np.isnan(column) | np.isin(column, (0, 1)))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise InputError(f"concept {name!r} is {column[at]:g} at row {at}: expected 0, 1, or NaN for unknown")
    return list(columns), np.column_stack(list(columns.values()))


def _unfit(y: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], fold: Int[np.ndarray, " n"]) -> str:
    """Why a concept cannot be judged on these folds; empty where it can."""
    held: list[Bool[np.ndarray, " n"]] = [y == label for label in (0, 1)]
    counts = [len(np.unique(group[rows])) for rows in held]
    if min(counts) < MIN_GROUPS:
        return f"only {min(counts)} groups hold rows of one of its classes, of at least {MIN_GROUPS}"
    for f in np.unique(fold):
        if min(len(np.unique(group[rows & (fold != f)])) for rows in held) < MIN_GROUPS // 2:
            return "one of its classes is missing from the groups that some fold is fitted on"
    return ""
