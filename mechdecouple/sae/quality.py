"""Quality: whether a dictionary is good enough to speak of its features at all; where it is not, later stages say so.

The bounds are conventions, set where 'feature' stops being a safe word rather than where dictionaries are good.
Published SAEs of language models explain .7 to .9 of the variance and recover more than .9 of the loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mechdecouple.sae.evaluate import Evaluation
    from mechdecouple.sae.spliced import Spliced

MIN_EXPLAINED_VARIANCE = 0.7
"""With less, a feature 'missing' from a dictionary may as well lie in the part it leaves unexplained."""
MAX_DEAD = 0.5
"""With more dead latents it is in effect a much smaller dictionary, whose shares rest on few latents."""
MIN_RECOVERED = 0.7
"""Of the loss, or the accuracy, that mean ablation costs. With less, much of what the model reads here is not in the
reconstruction, so that a latent without effect proves nothing."""
MAX_DENSE = 0.1
"""Share of live latents that fire on many rows, above which latents hardly single anything out."""
SHRINKAGE = (0.9, 1.1)
"""Scale of reconstructions outside which a latent's value, and the norm of what it adds, mislead."""
MIN_FIRINGS = 10
"""Rows on which at least half of the live latents fire; with fewer, a latent's correlations are mostly noise."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question put to a dictionary.

    Attributes:
        name: what is asked about; value: what was found (NaN where it is undefined); bound: what is asked for.
        passed: whether the value keeps to the bound.
        required: whether a dictionary that fails it is unfit to speak of features; otherwise a caution.
        finding: what to say where it failed; empty where it passed.
    """

    name: str
    value: float
    bound: str
    passed: bool
    required: bool
    finding: str


@dataclass(frozen=True, eq=False)
class Quality:
    """The verdict on a dictionary, with every check it rests on."""

    checks: tuple[Check, ...]

    @property
    def good_enough(self) -> bool:
        """Whether one may speak of its features."""
        return all(check.passed for check in self.checks if check.required)

    @property
    def shortcomings(self) -> str:
        """Why one should not; empty where it is good enough."""
        return self._findings(required=True)

    @property
    def cautions(self) -> str:
        """What to keep in mind where one does; empty where there is nothing."""
        return self._findings(required=False)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a check."""
        import pandas as pd

        return pd.DataFrame([asdict(check) for check in self.checks], columns=list(Check.__slots__))

    def _findings(self, *, required: bool) -> str:
        return "; ".join(c.finding for c in self.checks if c.required == required and not c.passed)

    def _repr_html_(self) -> str:
        words = "good enough to speak of features" if self.good_enough else f"not good enough: {self.shortcomings}"
        return f"<p>{words}</p>{self.frame().to_html(index=False, float_format='%.3f', escape=True, border=0)}"


def judge(evaluation: Evaluation, spliced: Spliced | None = None) -> Quality:
    """Put a dictionary to every check that its evaluation allows.

    Required: explained variance on held-out rows; few enough dead latents; fewer active latents than dimensions (with
    as many, any basis reconstructs everything); and, where the model was run with the reconstruction spliced in, how
    much of the loss or accuracy that mean ablation costs comes back. Cautions: dense latents, shrinkage, too few rows.

    Args:
        evaluation: of held-out rows, by ``evaluate``.
        spliced: of the same dictionary in its model, by ``spliced``; a quantity that ablation does not move there is
            left out.

    Example:
        >>> judge(evaluate(sae, held_out)).shortcomings  # doctest: +SKIP
    """
    return Quality((*_of_rows(evaluation), *(() if spliced is None else _of_model(spliced))))


def _of_rows(found: Evaluation) -> list[Check]:
    ev, dead, l0, shrinkage = found.explained_variance, found.dead.value, found.l0.value, found.shrinkage.value
    live = found.frequency[found.frequency > 0]
    dense = found.dense.value * len(found.frequency) / max(1, len(live))
    firings = float(np.median(live) * found.rows) if len(live) else 0.0
    low, high = SHRINKAGE
    scaled = np.isnan(shrinkage) or low <= shrinkage <= high
    return [
        _check("explained variance", ev.value, f"≥ {MIN_EXPLAINED_VARIANCE}", ev.value >= MIN_EXPLAINED_VARIANCE,
               f"held-out explained variance {ev} is below {MIN_EXPLAINED_VARIANCE}"),
        _check("dead latents", dead, f"≤ {MAX_DEAD}", dead <= MAX_DEAD,
               f"{dead:.0%} of its latents are dead, more than {MAX_DEAD:.0%}"),
        _check("active latents", l0, f"< {found.d}", l0 < found.d,
               f"{l0:.3g} latents fire on a row of {found.d} dimensions, which any basis could do"),
        _check("dense latents", dense, f"≤ {MAX_DENSE}", dense <= MAX_DENSE,
               f"{dense:.0%} of its live latents fire on more than a tenth of the rows", required=False),
        _check("shrinkage", shrinkage, f"{low} to {high}", bool(scaled),
               f"reconstructions have {shrinkage:.2f} times the scale they should", required=False),
        _check("firings", firings, f"≥ {MIN_FIRINGS}", firings >= MIN_FIRINGS,
               f"half of its live latents fire on fewer than {MIN_FIRINGS} of the {found.rows} rows", required=False),
    ]  # fmt: skip


def _of_model(found: Spliced) -> list[Check]:
    checks = []
    for quantity, floors in found.recovered.items():
        share = floors["mean"]
        if np.isfinite(share.value):
            words = f"the model spliced with it recovers {share} of its {quantity}, less than {MIN_RECOVERED}"
            checks.append(
                _check(f"{quantity} recovered", share.value, f"≥ {MIN_RECOVERED}", share.value >= MIN_RECOVERED, words)
            )
    return checks


def _check(name: str, value: float, bound: str, passed: bool, finding: str, *, required: bool = True) -> Check:
    return Check(name, float(value), bound, bool(passed), required, "" if passed else finding)
