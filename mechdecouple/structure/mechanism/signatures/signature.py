"""Signature: what is told of a mechanism without looking inside, as a vector with intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Measurement, frame
from mechdecouple.stats import Replicates, jackknife_blocks
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.profile import CausalProfile
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.signatures.additivity import ADDITIVITY, additivity
from mechdecouple.structure.mechanism.signatures.entries import (
    Entries,
    Entry,
    add_components,
    add_influence,
    add_spectrum,
    add_split,
)
from mechdecouple.structure.mechanism.signatures.gradient_symmetry import GRADIENT_SYMMETRY, gradient_symmetry
from mechdecouple.structure.mechanism.signatures.gradients import LIMIT, OPTIONS, gradients_cost, input_gradients
from mechdecouple.structure.mechanism.signatures.group_basis import GroupBasis, task_basis
from mechdecouple.structure.mechanism.signatures.group_sparsity import (
    spectrum,
)
from mechdecouple.structure.mechanism.signatures.influence import (
    Influence,
    influence,
)
from mechdecouple.structure.mechanism.signatures.shared import shared_options
from mechdecouple.structure.mechanism.signatures.wrong_options import WRONG_OPTIONS_WITHIN, consistency


@dataclasses.dataclass(frozen=True, eq=False)
class Signature:
    """What is told of a model's mechanism without looking inside.

    Attributes:
        model: its name. ids, groups: [n] the items and their unit of resampling.
        entries: s numbers; two models on the same items have the same ones.
        values: [s], on one plan of resampling. counts: [s] items that each rests on.
        reasons: entry name -> why it is NaN.
        logits: the clean answers; shared: whether a column of them, in order of ``right``, is one option in all items.
        pattern: influence of other inputs, item by item; None where there is none.
        basis, spectrum: group basis of the task, and the share of each block; None where there is none.
        profile: as given.
    """

    model: str
    ids: np.ndarray
    groups: np.ndarray
    entries: tuple[Entry, ...]
    values: Replicates
    counts: Int[np.ndarray, " s"]
    reasons: dict[str, str]
    logits: OptionLogits
    shared: bool
    pattern: Influence | None = None
    basis: GroupBasis | None = None
    spectrum: Float[np.ndarray, " q"] | None = None
    profile: CausalProfile | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(entry.name for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, name: str) -> Replicates:
        """One number by its name.

        Raises:
            InputError: there is none of that name.
        """
        if name not in self.names:
            raise InputError(f"signature of {self.model!r} has no {name!r}; it has {', '.join(self.names)}")
        return self.values[self.names.index(name)]

    def __sub__(self, other: Signature) -> Replicates:
        """The paired difference, entry by entry.

        Raises:
            MismatchError: signatures on other items, or of other entries.
        """
        check_paired(self, other)
        return self.values - other.values

    def estimates(self) -> tuple[Estimate, ...]:
        return tuple(
            dataclasses.replace(
                value.estimate(entry.metric, reason=self.reasons.get(entry.name, "")), n=int(n), unit="items"
            )
            for entry, value, n in zip(self.entries, self.values, self.counts, strict=True)
        )

    def measurements(self) -> list[Measurement]:
        return [
            Measurement(
                metric=entry.metric.name, family=entry.metric.family, estimate=estimate, model=self.model,
                concept=entry.of,
            )
            for entry, estimate in zip(self.entries, self.estimates(), strict=True)
        ]  # fmt: skip

    def frame(self):
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "concept", "value", "low", "high", "reason"]]
        return f"<div><b>{self.model}</b>{table.round(3).to_html(index=False, border=0)}</div>"


def signature(rig: Rig, profile: CausalProfile | None = None, *, limit: int = LIMIT, seed: int = 0) -> Signature:
    """Measure what tells of a mechanism whatever the basis inside.

    How the right option's logit varies with declared concepts and, on a cyclic task, with its grid; symmetry of input
    gradients between positions; additivity of inputs; consistency of the wrong options; which inputs have influence,
    and how many; on how many components the answers rest; sparsity in the group basis of the task. What a task does not
    allow is NaN with a reason.

    Args:
        profile: of the same model on some of the same items; without it the number of components is NaN.
        limit: most items that gradients are taken of.

    Raises:
        InputError: the model's answers are not among a few options.
        MismatchError: a profile of other items.
    """
    clean, groups = rig.clean, rig.task.groups
    made = Entries(jackknife_blocks(groups), len(set(groups.tolist())), len(rig))
    add_split(made, rig)
    gradients = input_gradients(rig, limit=limit, seed=seed)
    made.add(Entry(GRADIENT_SYMMETRY), *gradient_symmetry(rig, gradients), len(gradients.rows))
    made.add(Entry(ADDITIVITY), *additivity(rig, made.blocks))
    options = shared_options(rig)
    columns = clean if options is None else OptionLogits(options.of(clean), options.right)
    made.add(Entry(WRONG_OPTIONS_WITHIN), *consistency(columns, groups, made.blocks, shared=options is not None))
    pattern = influence(gradients)
    add_influence(made, pattern)
    add_components(made, rig, profile)
    basis = task_basis(rig)
    held = None if isinstance(basis, str) else (basis[0], spectrum(columns.values, basis[0]))
    add_spectrum(made, basis if isinstance(basis, str) else basis[0], columns)
    return Signature(
        rig.name, rig.task.ids, groups, tuple(made.entries), Replicates.stack(made.values), np.array(made.counts),
        made.reasons, columns, options is not None, None if isinstance(pattern, str) else pattern,
        *(held or (None, None)), profile,
    )  # fmt: skip


def signature_cost(n: int, *, limit: int = LIMIT, options: int = OPTIONS) -> int:
    """Item passes that `signature` of n items with so many options takes: one reading, and gradients of some."""
    return n + gradients_cost(n, limit=limit, options=min(options, OPTIONS))


def check_paired(a: Signature, b: Signature) -> None:
    """Raise a `MismatchError` unless two signatures are of the same items and entries."""
    if not np.array_equal(a.ids, b.ids) or a.names != b.names:
        odd = sorted(set(a.names) ^ set(b.names))
        what = f"{odd[0]!r} is in one of them only" if odd else "they are of other items"
        raise MismatchError(f"signatures of {a.model!r} and {b.model!r} do not pair, {what}: make both on one task")
