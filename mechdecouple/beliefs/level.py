"""Level: one model's scores on the rows of one stratum."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mechdecouple.behavior.calibration import ECE_DEBIASED, brier_decomposition, ece_debiased
from mechdecouple.beliefs.gap import BRIER_BINS, Gap, bullshit_index_excess, gap
from mechdecouple.beliefs.gap_metrics import GAP_METRICS
from mechdecouple.beliefs.hidden_knowledge import HiddenKnowledge, hidden_knowledge
from mechdecouple.results import Estimate
from mechdecouple.stats import Replicates, jackknife, jackknife_blocks

if TYPE_CHECKING:
    import pandas as pd

CHANNELS = ("represented", "expressed")
BRIER_PARTS = ("reliability", "resolution", "uncertainty", "within_bin")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Level:
    """One model on the rows of one stratum (``""``: on all rows).

    Attributes:
        gap: both channels and the claims; knowledge: within questions.
        ece: debiased calibration error of each channel, with a jackknife interval; brier: the parts of its Brier score.
        excess: Bullshit index beyond the honest stratum; None in it and where there is none.
        n: statements.
    """

    gap: Gap
    knowledge: HiddenKnowledge
    ece: dict[str, Estimate]
    brier: dict[str, dict[str, Estimate]]
    excess: Replicates | None
    n: int


def evaluate(
    rows: pd.DataFrame, strata: tuple[str, ...], honest: str, weights: Float[np.ndarray, "b n"], seed: int
) -> dict[str, Level]:
    """A Level for each of ``strata`` of one model's rows, on the bootstrap weights [b, n] of all of them."""
    # Answers to one question under two conditions are not each other's alternatives.
    question = np.unique(np.asarray([f"{q}\0{s}" for q, s in zip(rows.question, rows.stratum, strict=True)]),
                         return_inverse=True)[1]  # fmt: skip
    columns = {name: np.asarray(rows[name]) for name in ("group", "truth", "represented", "expressed", "claim")}
    found: dict[str, Level] = {}
    for stratum in sorted(strata, key=lambda name: (name != honest, name != "")):
        use = np.flatnonzero((rows.stratum == stratum) | (stratum == ""))
        g, t, b, p, c = (column[use] for column in columns.values())
        expressed, claim = (None if np.isnan(x).all() else x for x in (p, c))
        w = weights if len(use) == len(rows) else weights[:, use]
        one = gap(g, t, b, expressed, claim, weights=w)
        spoken = c if expressed is None else p
        reference = found.get(honest) if honest and stratum not in ("", honest) else None
        calibration = {name: _calibration(x, t, g, seed) for name, x in zip(CHANNELS, (b, spoken), strict=True)}
        found[stratum] = Level(
            gap=one,
            knowledge=hidden_knowledge(question[use], t, b, spoken, g, weights=w),
            ece={name: ece for name, (ece, _) in calibration.items()},
            brier={name: parts for name, (_, parts) in calibration.items()},
            excess=None if reference is None else bullshit_index_excess(one, reference.gap),
            n=len(use),
        )
    return {stratum: found[stratum] for stratum in strata}


def _calibration(
    score: np.ndarray, truth: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[Estimate, dict[str, Estimate]]:
    """Debiased calibration error, and the parts of the Brier score by name."""
    rows = np.flatnonzero(~np.isnan(score) & ~np.isnan(truth))
    if not len(rows):
        nothing = Estimate.undefined("no statement of known truth has a score", unit="groups")
        return nothing, dict.fromkeys(BRIER_PARTS, nothing)
    s, t, g = score[rows], truth[rows], groups[rows]

    def statistics(kept: np.ndarray) -> np.ndarray:
        parts = brier_decomposition(s[kept], t[kept], BRIER_BINS)
        return np.array([ece_debiased(s[kept], t[kept]), *(getattr(parts, name) for name in BRIER_PARTS)])

    n = len(np.unique(g))
    made = jackknife(statistics, jackknife_blocks(g, seed=seed), n)
    reason = "no interval: all scores come from one group" if n < 2 else ""
    parts = {
        name: made[i].estimate(GAP_METRICS[f"brier_{name}"], reason=reason)
        for i, name in enumerate(BRIER_PARTS, start=1)
    }
    return made[0].estimate(ECE_DEBIASED, reason=reason), parts
