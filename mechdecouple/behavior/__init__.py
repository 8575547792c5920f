"""What a model expresses: its answers to a task's items, and how well their confidence fits."""

from mechdecouple.behavior.answers import OPTION_MASS, Answers
from mechdecouple.behavior.bands import CalibrationCurve, calibration_curve
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
from mechdecouple.behavior.claims import CLAIM_FAILURES, SAMPLED_CLAIM_RATE, SampledClaims, sample_claims
from mechdecouple.behavior.ece_sweep import ECE_SWEEP, ece_sweep
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.orders import ORDER_SPREAD, OrderedAnswers, read_orders
from mechdecouple.behavior.p_true import P_TRUE, PTrue, p_true
from mechdecouple.behavior.pass_at_k import PASS_AT_K, pass_at_k
from mechdecouple.behavior.read import prepare, read
from mechdecouple.behavior.repeats import APTITUDE, MEAN_SCORE, UNRELIABILITY, Repeats, repeats
from mechdecouple.behavior.sensitivity import (
    CONFIDENCE_ROBUSTNESS,
    PROMPT_SENSITIVITY,
    confidence_robustness,
    mean_sensitivity,
    prompt_sensitivity,
)
from mechdecouple.behavior.smooth_ece import SMOOTH_ECE, smooth_ece
from mechdecouple.behavior.verbalised import CONFIDENCE_FAILURES, VERBALISED_CONFIDENCE, Verbalised, verbalised
from mechdecouple.behavior.wordings import Wordings, read_wordings, sample_repeats

__all__ = [
    "APTITUDE",
    "BRIER",
    "CLAIM_FAILURES",
    "CONFIDENCE_FAILURES",
    "CONFIDENCE_ROBUSTNESS",
    "ECE_DEBIASED",
    "ECE_SWEEP",
    "MEAN_SCORE",
    "OPTION_MASS",
    "ORDER_SPREAD",
    "PASS_AT_K",
    "PROMPT_SENSITIVITY",
    "P_TRUE",
    "SAMPLED_CLAIM_RATE",
    "SMOOTH_ECE",
    "UNRELIABILITY",
    "VERBALISED_CONFIDENCE",
    "Answers",
    "BrierParts",
    "CalibrationCurve",
    "EditsFor",
    "OrderedAnswers",
    "PTrue",
    "Repeats",
    "SampledClaims",
    "Verbalised",
    "Wordings",
    "brier",
    "brier_decomposition",
    "calibration_curve",
    "confidence_robustness",
    "ece",
    "ece_debiased",
    "ece_sweep",
    "mean_sensitivity",
    "p_true",
    "pass_at_k",
    "prepare",
    "prompt_sensitivity",
    "read",
    "read_orders",
    "read_wordings",
    "reliability",
    "repeats",
    "sample_claims",
    "sample_repeats",
    "smooth_ece",
    "verbalised",
]
