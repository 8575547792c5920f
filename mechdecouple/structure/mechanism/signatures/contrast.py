"""Contrast: two signatures held against each other, entry by entry and item by item."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from mechdecouple.results import Estimate, Measurement, frame
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks, permutation_p
from mechdecouple.structure.mechanism.signatures.agreement import (
    COMPONENT_AGREEMENT,
    INFLUENCE_AGREEMENT,
    Agreement,
    pattern_agreement,
)
from mechdecouple.structure.mechanism.signatures.effective_components import coarse_effects, like_components
from mechdecouple.structure.mechanism.signatures.entries import Entry, places
from mechdecouple.structure.mechanism.signatures.group_sparsity import (
    SPECTRUM_OVERLAP,
    overlap_null,
    spectrum_overlap,
)
from mechdecouple.structure.mechanism.signatures.signature import (
    Signature,
    check_paired,
)
from mechdecouple.structure.mechanism.signatures.wrong_options import WrongOptions, wrong_options


@dataclasses.dataclass(frozen=True, eq=False)
class SignatureContrast:
    """What two signatures have in common and what not.

    Attributes:
        model_a, model_b: names.
        entries: of both. difference: [s] A less B, paired. reasons: entry name -> why it is NaN.
        wrong_options: agreement on which wrong answers are nearly right.
        influence: agreement on what other inputs would do, item by item.
        components: agreement on what taking out like components does, item by item.
        overlap: of the spectra in the group basis; overlap_null: with blocks permuted; overlap_reason: why it is NaN.
    """

    model_a: str
    model_b: str
    entries: tuple[Entry, ...]
    difference: Replicates
    reasons: dict[str, str]
    wrong_options: WrongOptions
    influence: Agreement
    components: Agreement
    overlap: Replicates
    overlap_null: Float[np.ndarray, " draws"]
    overlap_reason: str = ""

    def differences(self) -> tuple[Estimate, ...]:
        """A less B of each entry, with p of no difference; of these Holm or BH where several are looked at."""
        return tuple(
            value.estimate(
                entry.metric.contrasted(), null=0.0, p=value.p_differs(), reason=self.reasons.get(entry.name, "")
            )
            for entry, value in zip(self.entries, self.difference, strict=True)
        )

    def measurements(self) -> list[Measurement]:
        """Paired differences, then agreements."""
        pair = {"model": self.model_a, "model_b": self.model_b}
        out = [
            Measurement(
                metric=entry.metric.name, family=entry.metric.family, estimate=estimate, concept=entry.of, **pair
            )
            for entry, estimate in zip(self.entries, self.differences(), strict=True)
        ]  # fmt: skip
        out += [m for m in self.wrong_options.measurements() if m.model_b]
        for agreement in (self.influence, self.components):
            metric = agreement.metric
            out.append(Measurement(metric=metric.name, family=metric.family, estimate=agreement.estimate(), **pair))
        null = self.overlap_null
        p = math.nan if not len(null) else float(permutation_p(self.overlap.value, null))
        estimate = self.overlap.estimate(
            SPECTRUM_OVERLAP, null=float(null.mean()) if len(null) else math.nan, p=p, reason=self.overlap_reason
        )
        out.append(Measurement(metric=SPECTRUM_OVERLAP.name, family="mechanism", estimate=estimate, **pair))
        return out

    def frame(self):
        return frame(self.measurements())

    def _repr_html_(self) -> str:
        table = self.frame()[["metric", "concept", "value", "low", "high", "null", "p", "reason"]]
        return f"<div><b>{self.model_a} - {self.model_b}</b>{table.round(3).to_html(index=False, border=0)}</div>"


def contrast(a: Signature, b: Signature, *, permutations: int = 199, seed: int = 0) -> SignatureContrast:
    """The paired difference of two signatures, and how far the two models agree item by item.

    Args:
        permutations: draws of each null.

    Raises:
        MismatchError: signatures on other items, or of other entries.
    """
    check_paired(a, b)
    blocks, n_groups = jackknife_blocks(a.groups), len(set(a.groups.tolist()))
    wrong = wrong_options(
        a.logits, b.logits, a.groups, blocks, shared=a.shared, names=(a.model, b.model), permutations=permutations,
        seed=seed,
    )  # fmt: skip
    missing = Replicates(math.nan, np.full(len(np.unique(blocks)), math.nan), "jackknife", n_groups)

    def agreement(metric, found) -> Agreement:
        if isinstance(found, str):
            return Agreement(metric, missing, np.zeros(0), found)
        x, y, rows = found
        return pattern_agreement(
            x, y, a.groups[rows], rows, blocks, n_groups, metric=metric, permutations=permutations, seed=seed
        )

    overlap, null, reason = (
        missing,
        np.zeros(0),
        a.reasons.get("group_sparsity", "") or "a model's logits do not differ",
    )
    if a.basis is not None and a.spectrum is not None and b.spectrum is not None:
        basis, powers = a.basis, (a.basis.power(a.logits.values), a.basis.power(b.logits.values))

        def shared(rows: np.ndarray) -> float:
            one, other = (power[rows].sum(axis=0) for power in powers)
            return spectrum_overlap(one / one.sum(), other / other.sum()) if one.sum() * other.sum() > 0 else math.nan

        overlap = jackknife(shared, blocks, n_groups)
        if not np.isnan(overlap.value):
            null, reason = overlap_null(a.spectrum, b.spectrum, basis, permutations, seed), ""
    return SignatureContrast(
        a.model, b.model, a.entries, a.values - b.values, {**b.reasons, **a.reasons}, wrong,
        agreement(INFLUENCE_AGREEMENT, _patterns(a, b)), agreement(COMPONENT_AGREEMENT, _effects(a, b)),
        overlap, null, reason,
    )  # fmt: skip


def _patterns(a: Signature, b: Signature) -> tuple[np.ndarray, np.ndarray, np.ndarray] | str:
    if a.pattern is None or b.pattern is None:
        return a.reasons.get("effective_inputs", "") or b.reasons.get("effective_inputs", "no inputs vary")
    if a.pattern.names != b.pattern.names or not np.array_equal(a.pattern.rows, b.pattern.rows):
        return "the models read the items as other tokens"
    return a.pattern.pattern, b.pattern.pattern, a.pattern.rows


def _effects(a: Signature, b: Signature) -> tuple[np.ndarray, np.ndarray, np.ndarray] | str:
    if a.profile is None or b.profile is None:
        return "no causal profiles were given"
    if not np.array_equal(a.profile.ids, b.profile.ids):
        return "the causal profiles are of other items"
    kinds = [
        [(p.components[i].kind, p.components[i].depth) for i in like_components(p)] for p in (a.profile, b.profile)
    ]
    if kinds[0] != kinds[1]:
        return "the models are not made of like components"
    if len(kinds[0]) < 3:
        return f"the models have {len(kinds[0])} like components: ranks need three"
    return coarse_effects(a.profile).T, coarse_effects(b.profile).T, places(a.ids, a.profile)
