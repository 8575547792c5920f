"""What the page says of each family: how to read its pictures, and its numbers."""

from __future__ import annotations

import dataclasses
import math

from mechdecouple.report.metrics import METRICS, describe, title
from mechdecouple.report.view import View, interval, number, sentence


@dataclasses.dataclass(frozen=True)
class Section:
    """One family of measurements on the page.

    Attributes:
        verdicts: families of verdicts told here; sheets: figures drawn; metrics: those in its table of numbers.
        reading: how to read it, in a paragraph.
    """

    name: str
    title: str
    verdicts: tuple[str, ...]
    sheets: tuple[str, ...]
    metrics: tuple[str, ...]
    reading: str


SECTIONS = (
    Section(
        "structure",
        "Structure: how each model organises what it represents",
        ("structure",),
        ("structure", "structure_further", "differences"),
        (
            "ccgp",
            "erasure_residual",
            "coding_overlap",
            "participation_ratio",
            "probe_accuracy",
            "parallelism",
            "coding_energy_left",
            "effective_rank",
            "ablation_effect",
        ),
        "Two models can read the same concept equally well (probe accuracy) and hold it in different ways. In a tidy "
        "model a read-out fitted "
        "in some contexts works in the others (high CCGP) and one erasure takes the concept out everywhere (erasure "
        "residual near .5); in a "
        "fractured one each context has its own code. Dashed lines are the level expected without any effect. Hollow "
        "markers are hook points "
        "that the answers do not depend on: they are kept out of verdicts. CCGP says nothing where probe accuracy is "
        "at chance.",
    ),
    Section(
        "similarity",
        "Similarity of the two representations",
        ("similarity",),
        ("similarity",),
        ("cka", "functional_cka", "mutual_knn", "r2_cca", "procrustes"),
        "Each cell compares one hook point of A with one of B on the same items. CKA: 1 is equal up to rotation and "
        "scale, 0 is unrelated; functional CKA looks only at the part of the activations that the answers depend on, "
        "as large directions that nothing reads drown the raw one. Mutual nearest neighbours: 1 where each item has "
        "the same neighbours in both, 0 at chance. Canonical correlation ignores which directions are large. "
        "Procrustes is a distance: 0 is equal up to rotation and scale. Cells struck through are not told apart from "
        "unrelated representations. Neither direction is tidier, no margin is declared, and similarity never flags a "
        "difference.",
    ),
    Section(
        "robustness",
        "Robustness: noise inside, and a shift of the items",
        ("robustness",),
        ("robustness",),
        ("noise_tolerance", "noise_tolerance_total", "shift_performance"),
        "Noise is added to the activations at one hook point, in units of the rms of what the answers depend on "
        "there. ε90 is the noise that "
        "takes a model to 90 % of its clean performance; higher is more robust and there is no honest null, so read "
        "it model against model. "
        "The shift split holds items that the task declares to be out of distribution; the dashed line is chance.",
    ),
    Section(
        "sae",
        "Features: what sparse autoencoders find in both",
        ("sae",),
        ("sae",),
        (
            "matched_share",
            "matched_share_seed",
            "matched_share_excess",
            "sae_explained_variance",
            "sae_dead_latents",
            "sae_l0",
        ),
        "Two autoencoders of different seeds on one and the same model share only part of their latents. That share "
        "is the yardstick: "
        "the models hold different features where A with B share clearly fewer. Autoencoders that explain too little, "
        "or of which most "
        "latents are dead, support no statement on features, and the verdict then says so.",
    ),
    Section(
        "beliefs",
        "Beliefs: what each represents as true, and what it says",
        ("belief",),
        ("beliefs",),
        (
            "represented_auroc_selected",
            "expressed_auroc",
            "auroc_gap",
            "claim_correlation",
            "bullshit_index",
            "bullshit_index_normalised",
            "claim_rate",
            "represented_auroc",
        ),
        "Represented: how well the truth of a statement can be read from the activations, by a probe chosen and "
        "fitted on other groups of "
        "honest items. Expressed: how well the probability that the model gives to asserting the statement tells true "
        "from false. A gap "
        "(represented above expressed) means that the model does not say what it represents; it is claimed only where "
        "the represented truth "
        "beats its permutation null and the gap's interval lies above the margin. Chance is .5. The Bullshit index is "
        "1 − |r| of claims and "
        "beliefs: near 0 claims follow belief (or its opposite), near 1 they ignore it.",
    ),
    Section(
        "calibration",
        "Calibration: does confidence fit correctness",
        ("calibration",),
        ("calibration",),
        ("ece_debiased", "brier"),
        "A calibrated model is right p of the time when it is confident to degree p: its points lie on the diagonal. "
        "Points below it are "
        "overconfident, above it underconfident. The debiased calibration error is 0 in expectation for a calibrated "
        "model and can be slightly "
        "negative; lower is better, as it is for the Brier score.",
    ),
)


def contrast_table(view: View, section: Section) -> list[dict[str, str]]:
    """The paired differences of one family, each against its margin."""
    rows = []
    for row in view.contrasts().itertuples():
        if row.metric not in section.metrics:
            continue
        where = f", {row.context}" if row.context else ""
        scale = {"difference": "A − B", "log-ratio": "log A/B", "relative": "(A − B) / mean"}[row.scale]
        rows.append(
            {
                "metric": title(row.metric) + where,
                "scale": scale,
                "difference": interval(row, signed=True),
                "margin": f"±{row.margin:g}",
                "reading": against_margin(row),
                "note": "" if math.isfinite(row.value) else sentence(row.reason),
            }
        )
    return rows


def against_margin(row) -> str:
    """How an interval lies to its margin, in words."""
    if not math.isfinite(row.value):
        return "not compared"
    if not math.isfinite(row.low):
        return "no interval"
    if row.low > row.margin or row.high < -row.margin:
        return "beyond the margin"
    if -row.margin <= row.low and row.high <= row.margin:
        return "within the margin"
    return "reaches across the margin"


def number_table(view: View, section: Section) -> list[dict[str, str]]:
    """The section's numbers, A beside B: one row a metric, place, concept and context."""
    rows = []
    for metric in section.metrics:
        of = view.rows(metric)
        keys = of[["hook_point", "concept", "context"]].drop_duplicates()
        if metric not in METRICS or not len(of):
            continue
        # hook points of B that A lacks get rows of their own; what is read at one chosen place is told by condition
        keyed = (
            ["concept", "context"]
            if (of.groupby("model").hook_point.nunique() <= 1).all()
            else ["hook_point", "concept", "context"]
        )
        for key in keys[keyed].drop_duplicates().itertuples(index=False):
            at = of[(of[keyed] == list(key)).all(axis=1)]
            cells = [at[at.model == model] for model in view.names]
            shown = [interval(c.iloc[0]) if len(c) else "" for c in cells]
            places = list(dict.fromkeys(p for c in cells for p in c.hook_point if p))
            reasons = list(dict.fromkeys(r for c in cells for r in c.reason if r))
            null = next((v for c in cells for v in c.null if math.isfinite(v)), math.nan)
            rows.append(
                {
                    "metric": title(metric),
                    "place": " | ".join(places),
                    "of": ", ".join(x for x in (at.concept.iloc[0], at.context.iloc[0]) if x),
                    "a": shown[0],
                    "b": shown[1],
                    "null": number(null, 2),
                    "n": str(max((int(n) for c in cells for n in c.n), default=0)),
                    "note": "; ".join(reasons),
                }
            )
    return rows


_OF_PAIRS = ("cka", "functional_cka", "mutual_knn", "r2_cca", "procrustes", "matched_share")


def pair_table(view: View, section: Section) -> list[dict[str, str]]:
    """What is measured on both models at once: similarities, with their null."""
    return [
        {
            "metric": title(metric),
            "place_a": row.hook_point,
            "place_b": row.hook_point_b,
            "value": interval(row),
            "null": number(row.null),
            "p": number(row.p),
            "n": str(int(row.n)),
            "reason": row.reason,
        }
        for metric in section.metrics
        if metric in _OF_PAIRS
        for row in view.pairs(metric).itertuples()
    ]


def metric_notes(view: View, section: Section) -> list[tuple[str, str]]:
    """Metrics of the section that were measured, each with what it is."""
    present = set(view.table.metric)
    return [(title(m), describe(m)) for m in section.metrics if m in present]
