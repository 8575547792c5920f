"""The gate from scores alone: does the represented score rank the truth better than under permuted truth?"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from mechdecouple.beliefs._reasons import why_unscored
from mechdecouple.beliefs.null import permute_by_group
from mechdecouple.stats import permutation_p

_ALPHA = 0.05
_FEW_GROUPS = 10


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class ScoreGate:
    """Whether a gap may be claimed at all.

    Attributes:
        auroc: of the represented score; null: the same under permuted truth [r]; p: add-one p-value.
        n_groups: groups with a statement of known truth and a score.
        stratum: where it was asked; empty for all rows.
        reason: why nothing can be tested; empty otherwise.
    """

    auroc: float
    null: Float[np.ndarray, " r"]
    p: float
    n_groups: int
    stratum: str = ""
    reason: str = ""

    @property
    def passed(self) -> bool:
        """The AUROC is above ½ and beats its null at p ≤ .05."""
        return not self.reason and self.auroc > 0.5 and self.p <= _ALPHA

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if self.reason:
            return f"No gap is claimed: {self.reason}."
        place = f" in stratum {self.stratum}" if self.stratum else ""
        found = f"represented AUROC {self.auroc:.3f}{place}"
        how = f"its null of truth permuted by group (p = {self.p:.3g})"
        return f"The {found} beats {how}." if self.passed else f"No gap is claimed: {found} does not beat {how}."


def score_gate(
    groups: ArrayLike,
    truth: ArrayLike,
    represented: ArrayLike,
    *,
    n_permutations: int = 200,
    seed: int = 0,
    stratum: str = "",
) -> ScoreGate:
    """Permutes the truth by group against fixed scores (:func:`mechdecouple.beliefs.null.permute_by_group`).

    The probe that made the scores is not refitted, so the scores must come from groups that it was not fitted or chosen
    on: a probe read on its own training statements passes this gate whatever the model represents. Where activations
    are at hand, :func:`mechdecouple.beliefs.represent` permutes through the whole pipeline instead.

    Args:
        groups: the independent unit of each row; truth: 0, 1, or NaN (left out); represented: any score, NaN left out.
    """
    t, b = np.asarray(truth, float), np.asarray(represented, float)
    rows = np.flatnonzero(~np.isnan(t) & ~np.isnan(b))
    group = np.unique(np.asarray(groups)[rows], return_inverse=True)[1]
    n = int(group.max()) + 1 if len(rows) else 0
    reason = why_unscored(t, b)
    if not reason and n < _FEW_GROUPS:
        reason = f"only {n} groups have a truth and a score; at least {_FEW_GROUPS} are needed to test against chance"
    if reason:
        return ScoreGate(
            auroc=float("nan"), null=np.empty(0), p=float("nan"), n_groups=n, stratum=stratum, reason=reason
        )
    rng = np.random.default_rng(seed)
    known = t[rows].astype(int)
    labels = np.stack([known, *(permute_by_group(known, group, rng) for _ in range(n_permutations))])
    true = labels.sum(axis=1)
    wins = labels @ rankdata(b[rows]) - true * (true + 1) / 2
    auroc = wins / (true * (len(rows) - true))
    p = float(permutation_p(auroc[0], auroc[1:]))
    return ScoreGate(auroc=float(auroc[0]), null=auroc[1:], p=p, n_groups=n, stratum=stratum)
