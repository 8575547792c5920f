"""Entries: the numbers of a signature as they are measured, all on one plan of resampling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from mechdecouple.errors import MismatchError
from mechdecouple.results import Metric
from mechdecouple.stats import Replicates, jackknife
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures._replicates import on_rows
from mechdecouple.structure.mechanism.signatures.effective_components import (
    EFFECTIVE_COMPONENTS,
    coarse_effects,
    effective_components,
)
from mechdecouple.structure.mechanism.signatures.group_basis import GroupBasis
from mechdecouple.structure.mechanism.signatures.group_sparsity import (
    EFFECTIVE_BLOCKS,
    GROUP_SPARSITY,
    effective_blocks,
    group_sparsity,
)
from mechdecouple.structure.mechanism.signatures.influence import EFFECTIVE_INPUTS, INFLUENCE_SHARE, Influence
from mechdecouple.structure.mechanism.signatures.variance_split import (
    VARIANCE_INTERACTION,
    VARIANCE_REST,
    VARIANCE_SHARE,
    split_answer,
)

_INPUTS = 8
"""Up to so many inputs each is an entry."""
_CONCEPTS = 4
"""Up to so many concepts each pair of them is an entry."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One number of a signature: its metric, and the concept or input that it is of, if it is of one."""

    metric: Metric
    of: str = ""

    @property
    def name(self) -> str:
        return f"{self.metric.name}: {self.of}" if self.of else self.metric.name


class Entries:
    """Entries as they come, all on one plan of blocks."""

    def __init__(self, blocks: np.ndarray, n_groups: int, n: int) -> None:
        self.blocks, self.n_groups, self.n = blocks, n_groups, n
        self.entries: list[Entry] = []
        self.values: list[Replicates] = []
        self.counts: list[int] = []
        self.reasons: dict[str, str] = {}

    def add(self, entry: Entry, value: Replicates, reason: str = "", count: int | None = None) -> None:
        self.entries.append(entry)
        self.values.append(value)
        self.counts.append(self.n if count is None else count)
        if np.isnan(value.value):
            self.reasons[entry.name] = reason

    def lacking(self, entry: Entry, reason: str) -> None:
        nothing = np.full(len(np.unique(self.blocks)), math.nan)
        self.add(entry, Replicates(math.nan, nothing, "jackknife", self.n_groups), reason, 0)

    def some(self, statistic: Callable[[np.ndarray], float | np.ndarray], rows: np.ndarray) -> Replicates:
        return on_rows(statistic, rows, self.blocks, self.n_groups)


def add_split(made: Entries, rig: Rig) -> None:
    split = split_answer(rig, made.blocks)
    if isinstance(split, str):
        made.lacking(Entry(VARIANCE_REST), split)
        return
    for name, value in zip(split.concepts, split.main, strict=True):
        made.add(Entry(VARIANCE_SHARE, name), value, split.reason)
    few = len(split.concepts) <= _CONCEPTS
    for pair, value in zip(split.pairs, split.interactions, strict=True) if few else ():
        made.add(Entry(VARIANCE_INTERACTION, " x ".join(pair)), value, split.reason)
    made.add(Entry(VARIANCE_REST), split.rest, split.reason)


def add_influence(made: Entries, pattern: Influence | str) -> None:
    if isinstance(pattern, str):
        made.lacking(Entry(EFFECTIVE_INPUTS), pattern)
        return
    reason = "no input has influence on the right option's logit"
    if len(pattern.inputs) <= _INPUTS:
        for name, value in zip(pattern.inputs, made.some(pattern.shares, pattern.rows), strict=True):
            made.add(Entry(INFLUENCE_SHARE, name), value, reason, len(pattern.rows))
    made.add(Entry(EFFECTIVE_INPUTS), made.some(pattern.effective, pattern.rows), reason, len(pattern.rows))


def add_components(made: Entries, rig: Rig, profile: CausalProfile | None) -> None:
    if profile is None:
        made.lacking(Entry(EFFECTIVE_COMPONENTS), "no causal profile was given")
        return
    rows = places(rig.task.ids, profile)
    effect = coarse_effects(profile)
    if not len(effect):
        made.lacking(Entry(EFFECTIVE_COMPONENTS), "the causal profile holds no attention, MLPs or submodules")
        return
    value = made.some(lambda kept: effective_components(effect[:, kept]), rows)
    made.add(Entry(EFFECTIVE_COMPONENTS), value, "no component has an effect on the right option's logit", len(rows))


def add_spectrum(made: Entries, basis: GroupBasis | str, columns: OptionLogits) -> None:
    if isinstance(basis, str):
        made.lacking(Entry(GROUP_SPARSITY), basis)
        made.lacking(Entry(EFFECTIVE_BLOCKS), basis)
        return
    power = basis.power(columns.values)

    def both(rows: np.ndarray) -> np.ndarray:
        total = power[rows].sum(axis=0)
        if not total.sum() > 0:
            return np.full(2, math.nan)
        share = total / total.sum()
        return np.array([group_sparsity(share, basis), effective_blocks(share)])

    sparsity, number = jackknife(both, made.blocks, made.n_groups)
    reason = "the options' logits do not differ" if np.isnan(number.value) else "the group has one representation only"
    made.add(Entry(GROUP_SPARSITY), sparsity, reason)
    made.add(Entry(EFFECTIVE_BLOCKS), number, reason)


def places(ids: np.ndarray, profile: CausalProfile) -> Int[np.ndarray, " r"]:
    """Where the items of a profile are among those of a task.

    Raises:
        MismatchError: one of them is not.
    """
    at = {name: i for i, name in enumerate(ids.tolist())}
    odd = [name for name in profile.ids.tolist() if name not in at]
    if odd:
        raise MismatchError(
            f"the profile of {profile.name!r} holds item {odd[0]!r}, which the task does not: use one task"
        )
    return np.array([at[name] for name in profile.ids.tolist()])
