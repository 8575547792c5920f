"""What each metric of mechanism is drawn and told as."""

from __future__ import annotations

from mechdecouple.compare.mechanism import DISTANCE
from mechdecouple.results import Metric
from mechdecouple.structure.mechanism.interchange import FOLLOWS, KEEPS, SHARE, UNSEEN
from mechdecouple.structure.mechanism.paths import PATH_SHARE
from mechdecouple.structure.mechanism.profile import METRICS as OF_PROFILES
from mechdecouple.structure.mechanism.profile_distance import (
    EFFECT_AGREEMENT,
    LARGEST_SHARE_DIFFERENCE,
    MEAN_SHARE_DIFFERENCE,
)
from mechdecouple.structure.mechanism.signatures import CONTRAST_METRICS, SIGNATURE_METRICS
from mechdecouple.structure.mechanism.stitched import KEPT
from mechdecouple.structure.mechanism.stitched import STITCHED as STITCHED_ACCURACY
from mechdecouple.structure.mechanism.units import UNIT_SHARES

METRICS: tuple[Metric, ...] = (
    *OF_PROFILES,
    PATH_SHARE,
    LARGEST_SHARE_DIFFERENCE,
    MEAN_SHARE_DIFFERENCE,
    EFFECT_AGREEMENT,
    *UNIT_SHARES.values(),
    *SIGNATURE_METRICS,
    *CONTRAST_METRICS,
    STITCHED_ACCURACY,
    KEPT,
    FOLLOWS,
    KEEPS,
    UNSEEN,
    SHARE,
    DISTANCE,
)
SIGNATURE = tuple(metric.name for metric in SIGNATURE_METRICS)
"""What is read off one model's answers, in the order of telling."""
ALIKE = tuple(metric.name for metric in CONTRAST_METRICS)
"""How far two models agree in it."""
STITCHED = (STITCHED_ACCURACY.name, KEPT.name)
"""How well one model is driven by the other."""
AGREEMENTS = (*ALIKE, *STITCHED, DISTANCE.name)
"""Values of the pair that are no difference of two."""
SHORT = {
    "causal_share": "Share of the answer",
    "answer_variance_share": "Variance of the answer",
    "answer_variance_interaction": "Variance of interaction",
    "answer_variance_rest": "Variance beyond sums",
    "wrong_option_class_agreement": "Agreement by right option",
    "wrong_option_agreement": "Agreement on wrong options",
    "stitched_accuracy": "Accuracy when driven",
    "stitched_variance": "Answers kept when driven",
    "effective_representations": "Effective representations",
    "effective_components": "Effective components",
    "effective_inputs": "Effective inputs",
}
