"""What each metric of a comparison is, by the name it has in tables."""

from __future__ import annotations

from mechdecouple import beliefs, sae, structure
from mechdecouple.behavior.calibration import BRIER, ECE_DEBIASED
from mechdecouple.compare.gate import AGREEMENT, PERFORMANCE
from mechdecouple.compare.robustness import NOISE_ACCURACY, SHIFT_PERFORMANCE
from mechdecouple.compare.subject import ABLATION_EFFECT
from mechdecouple.results import Metric

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        PERFORMANCE,
        AGREEMENT,
        BRIER,
        ECE_DEBIASED,
        structure.CCGP,
        structure.ERASURE_RESIDUAL,
        structure.CODING_OVERLAP,
        structure.PARTICIPATION_RATIO,
        structure.PROBE_ACCURACY,
        structure.PARALLELISM,
        structure.CODING_ENERGY_LEFT,
        structure.EFFECTIVE_RANK,
        ABLATION_EFFECT,
        structure.CKA,
        structure.NOISE_TOLERANCE,
        structure.NOISE_TOLERANCE_TOTAL,
        NOISE_ACCURACY,
        SHIFT_PERFORMANCE,
        sae.MATCHED_SHARE,
        sae.MATCHED_SHARE_SEED,
        sae.MATCHED_SHARE_EXCESS,
        sae.SAE_L0,
        sae.SAE_EXPLAINED_VARIANCE,
        sae.SAE_DEAD_LATENTS,
        beliefs.REPRESENTED_AUROC,
        beliefs.REPRESENTED_AUROC_SELECTED,
        beliefs.EXPRESSED_AUROC,
        beliefs.AUROC_GAP,
        beliefs.CLAIM_CORRELATION,
        beliefs.BULLSHIT_INDEX,
        beliefs.BULLSHIT_INDEX_NORMALISED,
        beliefs.CLAIM_RATE,
    )
}

_SHORT = {
    "erasure_residual": "Erasure residual",
    "coding_energy_left": "Coding energy left",
    "participation_ratio": "Participation ratio",
    "noise_tolerance": "Noise tolerance ε90",
    "noise_tolerance_total": "ε90 in total rms",
    "shift_performance": "Performance under shift",
    "matched_share_excess": "Shared features beyond seeds",
    "auroc_gap": "Belief gap",
    "ece_debiased": "Calibration error",
    "ablation_effect": "Effect of ablation",
    "probe_accuracy": "Probe accuracy",
    "represented_auroc": "Truth represented",
    "coding_overlap": "Coding overlap",
}


def title(metric: str) -> str:
    """Words for an axis or a table head; a metric this version does not know is called by its name."""
    if metric in _SHORT:
        return _SHORT[metric]
    known = METRICS.get(metric)
    return known.title[:1].upper() + known.title[1:] if known else metric.replace("_", " ")


def describe(metric: str) -> str:
    """What it measures, its range, null, direction and margin, in one paragraph; empty for an unknown metric."""
    known = METRICS.get(metric)
    if known is None:
        return ""
    parts = [known.measures[:1].upper() + known.measures[1:], f"range {known.range}"]
    if known.null:
        parts.append(f"null: {known.null}")
    if known.direction:
        parts.append(f"{known.direction} is tidier")
    if known.margin == known.margin:
        scale = {"difference": "difference", "log-ratio": "log ratio", "relative": "relative difference"}[known.scale]
        parts.append(f"two models differ where their {scale} goes beyond {known.margin:g}")
    return "; ".join(parts) + "."


def markdown() -> str:
    """Every metric as a Markdown table, for the README and ``mechdecouple metrics``."""
    head = ("family", "metric", "what it measures", "range", "tidier", "null", "unchanged by", "margin", "source")
    rows = [head, ("---",) * len(head)]
    for metric in METRICS.values():
        scale = {"difference": "", "log-ratio": " (log ratio)", "relative": " (relative)"}[metric.scale]
        margin = f"{metric.margin:.2f}{scale}".removeprefix("0") if metric.margin == metric.margin else ""
        rows.append(
            (
                metric.family,
                f"`{metric.name}`",
                metric.measures,
                metric.range,
                metric.direction,
                metric.null,
                metric.invariances,
                margin,
                metric.source,
            )
        )
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
