"""What each metric of mechanism is drawn and told as."""

from __future__ import annotations

from mechdecouple.compare.mechanism import DISTANCE
from mechdecouple.results import Metric
from mechdecouple.structure.mechanism import _interchanged as interchange
from mechdecouple.structure.mechanism import paths, profile, profile_distance, signatures, stitched, units

METRICS: tuple[Metric, ...] = (
    *profile.METRICS,
    paths.PATH_SHARE,
    profile_distance.LARGEST_SHARE_DIFFERENCE,
    profile_distance.MEAN_SHARE_DIFFERENCE,
    profile_distance.EFFECT_AGREEMENT,
    *units.UNIT_SHARES.values(),
    *signatures.SIGNATURE_METRICS,
    *signatures.CONTRAST_METRICS,
    stitched.STITCHED,
    stitched.KEPT,
    interchange.FOLLOWS,
    interchange.KEEPS,
    interchange.UNSEEN,
    interchange.SHARE,
    DISTANCE,
)
SIGNATURE = tuple(metric.name for metric in signatures.SIGNATURE_METRICS)
"""What is read off one model's answers, in the order of telling."""
ALIKE = tuple(metric.name for metric in signatures.CONTRAST_METRICS)
"""How far two models agree in it."""
STITCHED = (stitched.STITCHED.name, stitched.KEPT.name)
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
