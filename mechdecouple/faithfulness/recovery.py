"""Recovery: whether an explanation ranks first the features that are known to be used."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from mechdecouple.results import Metric
from mechdecouple.stats import weighted_auroc

RATIONALE_AUROC = Metric(
    name="rationale_auroc", family="faithfulness", title="known features ranked first", range="[0, 1]",
    measures="probability that a feature which is known to be used ranks before one that is not, mean over items",
    direction="higher",
    invariances="increasing functions of the explanation",
    null="0.5: the explanation does not tell them apart",
    assumes="the model uses what is declared, and nothing else",
    source="arXiv:1911.03429",
)  # fmt: skip


def rationale_auroc(
    values: Float[np.ndarray, "n t"], used: Bool[np.ndarray, "n t"], maskable: Bool[np.ndarray, "n t"]
) -> Float[np.ndarray, " n"]:
    """AUROC of an explanation against the features that are used, item by item; ties count half.

    NaN for items of which all features are used, or none.
    """
    found = [weighted_auroc(v[own], u[own].astype(float)) for v, u, own in zip(values, used, maskable, strict=True)]
    return np.array(found, float)
