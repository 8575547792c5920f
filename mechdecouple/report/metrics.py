"""What each metric of a comparison is, by the name it has in tables."""

from __future__ import annotations

from mechdecouple import behavior, beliefs, faithfulness, probes, sae, structure, usefulness
from mechdecouple.beliefs.gap_metrics import GAP_METRICS, KNOWLEDGE_METRICS
from mechdecouple.beliefs.protocol import (
    BEYOND_AUROC,
    IDENTITY_AUROC,
    LEFT_OUT_AUROC,
    READ_AUROC,
    SURFACE_AUROC,
    SURFACE_CORRELATION,
    TRANSFER_AUROC,
    WITHIN_DECILES_AUROC,
)
from mechdecouple.beliefs.reading import DECODABLE
from mechdecouple.compare import controls, latents
from mechdecouple.compare.ancestry import grafting, mean_state, shared, weight_change
from mechdecouple.compare.gate import AGREEMENT, PERFORMANCE
from mechdecouple.compare.many.distance import MODEL_DISTANCE
from mechdecouple.compare.many.spread import ARM_SHARE
from mechdecouple.compare.robustness import NOISE_ACCURACY, SHIFT_PERFORMANCE
from mechdecouple.compare.structural import OF_CONCEPTS, OVER_CONCEPTS, OVER_CONTEXTS
from mechdecouple.compare.subject import ABLATION_EFFECT
from mechdecouple.report import metrics_of_mechanism as mechanism
from mechdecouple.report import rating
from mechdecouple.results import Metric

FAMILIES = (
    "geometry",
    "fracture",
    "entanglement",
    "robustness",
    "similarity",
    "controls",
    "causal",
    "mechanism",
    "faithfulness",
    "ancestry",
    "sae",
    "beliefs",
    "behavior",
    "use",
    "arms",
)
"""Families in the order of telling."""

_DECLARED = (
    structure.PARTICIPATION_RATIO,
    structure.EFFECTIVE_RANK,
    structure.INTRINSIC_DIMENSION,
    structure.NEURAL_COLLAPSE,
    structure.PROBE_ACCURACY,
    structure.CCGP,
    structure.ERASURE_RESIDUAL,
    structure.CODING_ENERGY_LEFT,
    structure.PARALLELISM,
    structure.CCGP_CONCEPTS,
    structure.PARALLELISM_CONCEPTS,
    structure.ADDITIVE_SHARE,
    structure.DCI_COMPLETENESS,
    structure.WEIGHT_MODULARITY,
    structure.WEIGHT_MODULARITY_EXCESS,
    structure.CODING_OVERLAP,
    structure.ERASURE_COLLATERAL,
    structure.DCI_DISENTANGLEMENT,
    structure.CLUSTERABILITY,
    structure.SUPERPOSITION_DIMENSIONALITY,
    structure.SUPERPOSITION_INTERFERENCE,
    structure.NOISE_TOLERANCE,
    structure.NOISE_TOLERANCE_TOTAL,
    NOISE_ACCURACY,
    SHIFT_PERFORMANCE,
    structure.WEIGHT_NOISE_SLOPE,
    structure.RELATIVE_SHARPNESS,
    structure.ABLATION_AREA,
    structure.CKA,
    structure.MUTUAL_KNN,
    structure.R2_CCA,
    structure.PROCRUSTES,
    MODEL_DISTANCE,
    controls.PROBE_ACCURACY_HELD_OUT,
    controls.PROBE_ACCURACY_UNTRAINED,
    controls.PROBE_ACCURACY_EMBEDDING,
    controls.PROBE_ACCURACY_ABOVE,
    probes.PROBE_SELECTIVITY,
    probes.DESCRIPTION_LENGTH,
    probes.PROBE_COMPRESSION,
    ABLATION_EFFECT,
    *mechanism.METRICS,
    faithfulness.RACU,
    faithfulness.AOPC_COMPREHENSIVENESS,
    faithfulness.AOPC_SUFFICIENCY,
    faithfulness.COMPREHENSIVENESS,
    faithfulness.SUFFICIENCY,
    faithfulness.MASF_RATE,
    faithfulness.RATIONALE_AUROC,
    faithfulness.SELF_CONSISTENCY,
    faithfulness.SELECTED_ACCURACY,
    faithfulness.ENCODED,
    faithfulness.SELECTED_SHARE,
    shared.ANCESTRY,
    mean_state.MEAN_SHIFT,
    mean_state.MEAN_COSINE,
    weight_change.WEIGHT_CHANGE,
    weight_change.WEIGHT_COSINE,
    weight_change.CHANGE_RANK,
    weight_change.CHANGE_STABLE_RANK,
    weight_change.CHANGE_SPIKES,
    grafting.GRAFT_EFFECT,
    grafting.GRAFT_PERFORMANCE,
    grafting.GRAFT_CLOSED,
    sae.MATCHED_SHARE,
    sae.MATCHED_SHARE_SEED,
    sae.MATCHED_SHARE_EXCESS,
    *sae.KIND_SHARES.values(),
    *sae.KIND_SEEDS.values(),
    *sae.KIND_EXCESSES.values(),
    latents.LATENT_ATTRIBUTION,
    latents.LATENT_ABLATION,
    latents.EXCLUSIVE_EFFECT,
    latents.LATENT_REPRESENTED,
    latents.LATENT_EXPRESSED,
    latents.KNOWING_LATENTS,
    latents.KNOWING_DROP,
    sae.SAE_L0,
    sae.SAE_EXPLAINED_VARIANCE,
    sae.SAE_FVU,
    sae.SAE_MSE,
    sae.SAE_COSINE,
    sae.SAE_SHRINKAGE,
    sae.SAE_NORM_RATIO,
    sae.SAE_DEAD_LATENTS,
    sae.SAE_DENSE_LATENTS,
    sae.SAE_LOSS_RECOVERED,
    sae.SAE_ACCURACY_RECOVERED,
    sae.SAE_SPLICED_LOSS,
    sae.SAE_SPLICED_ACCURACY,
    sae.SAE_SPARSE_PROBING,
    sae.SAE_SPARSE_PROBING_GAP,
    sae.SAE_SPLITTING,
    sae.SAE_ABSORPTION,
    sae.SAE_ABSORPTION_FULL,
    sae.SAE_PERTURBATION,
    sae.SAE_PERTURBATION_TARGET,
    sae.SAE_PERTURBATION_OTHERS,
    sae.CROSSCODER_SHARED,
    sae.CROSSCODER_EXCLUSIVE,
    sae.CROSSCODER_EXPLAINED_VARIANCE,
    sae.CROSSCODER_L0,
    beliefs.REPRESENTED_AUROC,
    beliefs.REPRESENTED_AUROC_SELECTED,
    beliefs.EXPRESSED_AUROC,
    beliefs.AUROC_GAP,
    beliefs.CLAIM_CORRELATION,
    beliefs.BULLSHIT_INDEX,
    beliefs.BULLSHIT_INDEX_NORMALISED,
    beliefs.CLAIM_RATE,
    *GAP_METRICS.values(),
    *KNOWLEDGE_METRICS.values(),
    READ_AUROC,
    TRANSFER_AUROC,
    LEFT_OUT_AUROC,
    WITHIN_DECILES_AUROC,
    SURFACE_CORRELATION,
    SURFACE_AUROC,
    IDENTITY_AUROC,
    BEYOND_AUROC,
    beliefs.TRAJECTORY_GAP,
    DECODABLE,
    beliefs.STEERING_NIE,
    beliefs.STEERING_NIE_MIRROR,
    beliefs.ERASURE_DROP,
    beliefs.COMPREHENSIVENESS,
    beliefs.SUFFICIENCY,
    PERFORMANCE,
    AGREEMENT,
    behavior.BRIER,
    behavior.ECE_DEBIASED,
    behavior.SMOOTH_ECE,
    behavior.ECE_SWEEP,
    behavior.OPTION_MASS,
    behavior.ORDER_SPREAD,
    behavior.P_TRUE,
    behavior.PASS_AT_K,
    behavior.SAMPLED_CLAIM_RATE,
    behavior.CLAIM_FAILURES,
    behavior.VERBALISED_CONFIDENCE,
    behavior.CONFIDENCE_FAILURES,
    behavior.PROMPT_SENSITIVITY,
    behavior.CONFIDENCE_ROBUSTNESS,
    behavior.MEAN_SCORE,
    behavior.APTITUDE,
    behavior.UNRELIABILITY,
    usefulness.SIMULATABILITY,
    usefulness.SIMULATED_AGREEMENT,
    usefulness.AURC,
    usefulness.EXCESS_AURC,
    usefulness.AURC_GAIN,
    usefulness.SELECTIVE_ACCURACY,
    usefulness.RECOVERABLE_ACCURACY,
    usefulness.REFITTED_ACCURACY,
    rating.RATING,
    rating.RATER_ALPHA,
    rating.RATER_KAPPA,
    ARM_SHARE,
)

_ON_WHAT_IS_USED = (
    structure.PARTICIPATION_RATIO,
    structure.EFFECTIVE_RANK,
    structure.INTRINSIC_DIMENSION,
    structure.NEURAL_COLLAPSE,
    structure.PROBE_ACCURACY,
    *OVER_CONTEXTS,
    *OF_CONCEPTS,
    *OVER_CONCEPTS,
    structure.CKA,
)

_METRICS = {metric.name: metric for metric in sorted(_DECLARED, key=lambda metric: FAMILIES.index(metric.family))}
FUNCTIONAL: dict[str, Metric] = {
    metric.functional().name: metric.functional() for metric in _METRICS.values() if metric in _ON_WHAT_IS_USED
}
"""The versions of activations projected on what the answers depend on."""
METRICS: dict[str, Metric] = _METRICS | FUNCTIONAL
"""Every metric that a table can hold, family by family; the functional versions at the end."""

_SHORT = {
    **mechanism.SHORT,
    "erasure_residual": "Erasure residual",
    "coding_energy_left": "Coding energy left",
    "participation_ratio": "Participation ratio",
    "noise_tolerance": "Noise tolerance ε90",
    "noise_tolerance_total": "ε90 in total rms",
    "shift_performance": "Performance under shift",
    "matched_share_excess": "Shared features beyond seeds",
    "auroc_gap": "Belief gap",
    "racu": "Faithfulness of explanations",
    "aopc_comprehensiveness": "Comprehensiveness",
    "aopc_sufficiency": "Sufficiency",
    "masf_rate": "Masked items unlike known ones",
    "ece_debiased": "Calibration error",
    "ablation_effect": "Effect of ablation",
    "probe_accuracy": "Probe accuracy",
    "represented_auroc": "Truth represented",
    "coding_overlap": "Coding overlap",
    "neural_collapse": "Within-class variability NC1",
    "intrinsic_dimension": "Intrinsic dimension",
    "ccgp_concepts": "CCGP over concepts",
    "parallelism_concepts": "Parallelism over concepts",
    "weight_modularity_excess": "Modularity above fresh weights",
    "weight_noise_slope": "Slope under weight noise",
    "ablation_area": "Area under ablation",
    "cka": "Debiased linear CKA",
    "mutual_knn": "Mutual nearest neighbours",
    "r2_cca": "Canonical correlation R²",
    "procrustes": "Procrustes distance",
    "probe_accuracy_held_out": "Probe AUROC, held out",
    "probe_accuracy_untrained": "Probe AUROC, untrained copy",
    "probe_accuracy_embedding": "Probe AUROC, first hook point",
    "probe_accuracy_above_baseline": "Probe AUROC above baselines",
    "description_length": "Description length",
    "represented_auroc_selected": "Truth represented, selected",
    "bullshit_index_normalised": "Bullshit index, normalised",
}


def title(metric: str) -> str:
    """Words for an axis or a table head; a metric this version does not know is called by its name."""
    if metric in _SHORT:
        return _SHORT[metric]
    if metric in FUNCTIONAL:
        return f"{title(metric.removeprefix('functional_'))}, functional"
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
    if known.assumes:
        parts.append(f"assumes: {known.assumes}")
    if known.direction:
        parts.append(f"{known.direction} is tidier")
    if known.margin == known.margin:
        scale = {"difference": "difference", "log-ratio": "log ratio", "relative": "relative difference"}[known.scale]
        parts.append(f"two models differ where their {scale} goes beyond {known.margin:g}")
    return "; ".join(parts) + "."


def markdown() -> str:
    """Every metric as a Markdown table, for the README and ``mechdecouple metrics``."""
    head = ("family", "metric", "what it measures", "range", "tidier", "null", "assumes", "unchanged by", "margin",
            "source")  # fmt: skip
    rows = [head, ("---",) * len(head)]
    for metric in METRICS.values():
        if metric.name in FUNCTIONAL:
            continue
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
                metric.assumes,
                metric.invariances,
                margin,
                metric.source,
            )
        )
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    names = ", ".join(f"`{name.removeprefix('functional_')}`" for name in FUNCTIONAL)
    return (
        f"{table}\n\nWith `functional_` before its name, a metric is taken of the activations projected on what the "
        f"answers depend on, so that dimensions that nothing reads do not count: {names}."
    )
