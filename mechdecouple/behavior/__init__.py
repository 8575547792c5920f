"""What a model expresses: its answers to a task's items, and how well their confidence fits."""

from mechdecouple.behavior.answers import OPTION_MASS, Answers
from mechdecouple.behavior.calibration import (
    BRIER,
    ECE_DEBIASED,
    BrierParts,
    brier,
    brier_decomposition,
    ece,
    ece_debiased,
    reliability,
)
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.read import prepare, read

__all__ = [
    "BRIER", "ECE_DEBIASED", "OPTION_MASS", "Answers", "BrierParts", "EditsFor", "brier", "brier_decomposition", "ece",
    "ece_debiased", "prepare", "read", "reliability",
]  # fmt: skip
