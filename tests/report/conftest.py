"""Comparisons as the main job makes them, with made-up numbers: whole, undefined throughout, with little measured."""

import math

import numpy as np
import pandas as pd
import pytest

from mechdecouple.compare import Comparison, Gate, ManyComparison, Stratum, Verdict
from mechdecouple.compare.gate import PERFORMANCE
from mechdecouple.compare.latents import COLUMNS
from mechdecouple.compare.many.distance import MODEL_DISTANCE
from mechdecouple.compare.many.gate import ManyGate
from mechdecouple.report import write_results
from mechdecouple.results import Estimate, Measurement
from mechdecouple.structure import CCGP, PARTICIPATION_RATIO
from mechdecouple.structure.mechanism.evidence import Evidence, evidence_frame

NASTY = '<script>document.title="executed"</script> & "quotes" \\ {x} 100 % $\\alpha$ _under_'
A, B = "tidy_7M", "fractured & <b>7M</b>"
POINTS = ("hook_embed", *(f"blocks.{i}.hook_resid_post" for i in range(5)))
SCALES = np.geomspace(0.25, 32, 15)


def near(value, half=0.03, **facts):
    facts = {"method": "jackknife", "n": 120, "unit": "groups", **facts}
    return Estimate(value=float(value), low=float(value - half), high=float(value + half), **facts)


def make_gate():
    return Gate(
        outcome="equal",
        unit="accuracy",
        margin=0.02,
        a=near(0.991, 0.004),
        b=near(0.988, 0.005),
        difference=near(0.003, 0.006, null=0.0, p=0.31),
        p_equal=2e-5,
        p_different=0.31,
        supported_margin=0.011,
        chance=0.5,
        agreement=near(0.984, 0.005, null=0.979, reason="the null is agreement if errors were independent"),
        strata=(
            Stratum("astronomy", "equal", 0.992, 0.99, near(0.002, 0.012, null=0.0)),
            Stratum("cooking & <i>baking</i>", "undecided", 0.985, 0.97, near(0.015, 0.02, null=0.0)),
            Stratum("lonely", "unknown", 1.0, 1.0, Estimate.undefined("fewer than two groups in this stratum")),
        ),
        sentence="Equal in accuracy within 0.02: A 0.991 [0.987, 0.995], B 0.988 [0.983, 0.993] (accuracy).",
    )


def structure_rows(concepts):
    rng = np.random.default_rng(0)
    rows = []
    for model, floor in ((A, 0.97), (B, 0.56)):
        for i, point in enumerate(POINTS):
            grown = i / (len(POINTS) - 1)
            at = {"model": model, "hook_point": point, "position": "last"}
            reason = "inert: kept out of verdicts" if i == len(POINTS) - 1 else ""
            rows.append(
                Measurement(
                    metric="ablation_effect",
                    family="causal",
                    estimate=near(0.4 * (not reason), 0.02, null=0.0, reason=reason),
                    **at,
                )
            )
            ratio = near((3 if model == A else 11) * (1 + grown), 0.5)
            rows.append(Measurement(metric="participation_ratio", family="geometry", estimate=ratio, **at))
            rows.append(Measurement(metric="effective_rank", family="geometry", estimate=near(8 + 4 * grown), **at))
            overlap = (
                near(0.1 + 0.1 * grown, 0.02) if i else Estimate.undefined("coding overlap needs two or more concepts")
            )
            rows.append(Measurement(metric="coding_overlap", family="entanglement", estimate=overlap, **at))
            for concept in concepts:
                by = {**at, "concept": concept, "family": "fracture"}
                spread = rng.normal(0, 0.01)
                rows.append(
                    Measurement(
                        metric="probe_accuracy",
                        estimate=near(0.55 + 0.44 * min(1, 2 * grown) + spread, 0.02, null=0.5),
                        **by,
                    )
                )
                ccgp = near(0.5 + (floor - 0.5) * min(1, 2 * grown) + spread, 0.03, null=0.5)
                rows.append(Measurement(metric="ccgp", estimate=ccgp, **by))
                residual = near(0.5 + (0.98 - floor) * grown + spread, 0.03)
                rows.append(Measurement(metric="erasure_residual", estimate=residual, **by))
                rows.append(Measurement(metric="coding_energy_left", estimate=near(0.1), **by))
                rows.append(Measurement(metric="parallelism", estimate=near(0.9 * (model == A)), **by))
    for metric, family, estimate in (
        ("ccgp", "fracture", near(0.41, 0.03, null=0.0, p=1e-9)),
        ("erasure_residual", "fracture", near(-0.38, 0.04, null=0.0, p=1e-7)),
        ("coding_overlap", "entanglement", near(0.01, 0.03, null=0.0, p=0.5)),
        (
            "participation_ratio",
            "geometry",
            Estimate.undefined("the activations are constant here, or there are too few rows"),
        ),
    ):
        rows.append(Measurement(metric=metric, family=family, estimate=estimate, model=A, model_b=B, position="last"))
    for i, point in enumerate(POINTS):
        for metric, family in (("ccgp", "fracture"), ("functional_participation_ratio", "geometry")):
            difference = near(0.1 * i, 0.05, null=0.0, p=0.5 / (1 + i) ** 2)
            place = {"model": A, "model_b": B, "hook_point": point, "hook_point_b": point, "position": "last"}
            rows.append(Measurement(metric=metric, family=family, estimate=difference, **place))
    return rows


def similarity_rows():
    rng = np.random.default_rng(1)
    return [
        Measurement(
            metric="cka",
            family="similarity",
            model=A,
            model_b=B,
            hook_point=p,
            hook_point_b=q,
            position="last",
            estimate=Estimate.undefined("the activations are constant")
            if i == 0 == j
            else near(0.9 - 0.13 * abs(i - j) + rng.normal(0, 0.02), 0.04, null=0.02, p=0.005),
        )
        for i, p in enumerate(POINTS)
        for j, q in enumerate(POINTS)
    ]


def robustness_rows():
    rows = []
    for model, middle in ((A, 5.0), (B, 2.2)):
        for k, point in enumerate((POINTS[1], POINTS[3], POINTS[4])):
            at = {"model": model, "hook_point": point, "position": "last", "family": "robustness"}
            tolerance = (
                near(middle * 0.7, 0.2)
                if k < 2
                else Estimate.undefined("performance stays above 90 % of the clean one")
            )
            rows.append(Measurement(metric="noise_tolerance", estimate=tolerance, **at))
            rows.append(Measurement(metric="noise_tolerance_total", estimate=near(1.0, 0.1), **at))
            for scale in SCALES:
                score = 0.5 + 0.49 / (1 + (scale / middle / (1 + 9 * (k == 2))) ** 3)
                rows.append(
                    Measurement(metric="noise_accuracy", estimate=near(score, 0.02), context=f"eps={scale:.2f}", **at)
                )
        shift = near(0.97 if model == A else 0.52, 0.02, null=0.5, reason="in distribution 0.990")
        rows.append(Measurement(metric="shift_performance", family="robustness", estimate=shift, model=model))
    rows.append(
        Measurement(
            metric="noise_tolerance",
            family="robustness",
            estimate=near(0.55, 0.1, null=0.0, p=1e-6),
            model=A,
            model_b=B,
        )
    )
    rows.append(
        Measurement(
            metric="shift_performance",
            family="robustness",
            estimate=near(0.45, 0.03, null=0.0, p=1e-9),
            model=A,
            model_b=B,
        )
    )
    return rows


def sae_rows():
    site = POINTS[3]
    rows = []
    for model, ev in ((A, 0.93), (B, 0.88)):
        at = {"model": model, "hook_point": site, "family": "sae", "position": "last"}
        rows.append(Measurement(metric="sae_l0", estimate=near(8.0, 0.1), **at))
        rows.append(Measurement(metric="sae_explained_variance", estimate=near(ev, 0.01, null=0.0), **at))
        rows.append(
            Measurement(
                metric="sae_dead_latents", estimate=Estimate(value=0.12, reason="on 300 rows; no interval"), **at
            )
        )
        rows.append(Measurement(metric="matched_share_seed", estimate=near(0.62, 0.05), **at))
    both = {"model": A, "model_b": B, "hook_point": site, "hook_point_b": site, "family": "sae", "position": "last"}
    rows.append(Measurement(metric="matched_share", estimate=near(0.31, 0.06, null=0.03, p=0.01), **both))
    rows.append(Measurement(metric="matched_share_excess", estimate=near(-0.31, 0.07, null=0.0), **both))
    return rows


def belief_rows():
    rows = []
    conditions = ("honest", "paid_to_persuade", "undercover agent with a long name")
    for model, lies in ((A, 0.0), (B, 0.45)):
        for i, point in enumerate(POINTS):
            auroc = near(0.5 + 0.48 * min(1, i / 3), 0.03, null=0.5, p=0.005 if i else 0.6)
            rows.append(
                Measurement(
                    metric="represented_auroc",
                    family="beliefs",
                    estimate=auroc,
                    model=model,
                    hook_point=point,
                    context="honest",
                )
            )
        for k, condition in enumerate(conditions):
            expressed = 0.985 - lies * k * 0.9
            at = {"family": "beliefs", "model": model, "hook_point": POINTS[3], "context": condition}
            values = {
                "represented_auroc_selected": near(0.98, 0.01, null=0.5, p=0.005),
                "expressed_auroc": near(expressed, 0.02, null=0.5),
                "auroc_gap": near(0.98 - expressed, 0.02),
                "claim_correlation": near(0.95 - lies * k, 0.04),
                "bullshit_index": near(0.05 + lies * k, 0.04),
                "bullshit_index_normalised": near(0.05 + lies * k, 0.04),
                "claim_rate": near(0.5 + lies * k / 2, 0.03),
            }
            rows += [Measurement(metric=name, estimate=e, **at) for name, e in values.items()]
    for k, condition in enumerate(conditions):
        rows.append(
            Measurement(
                metric="auroc_gap",
                family="beliefs",
                estimate=near(-0.4 * k, 0.03, null=0.0, p=0.001),
                model=A,
                model_b=B,
                context=condition,
            )
        )
    return rows


def control_rows(concepts):
    rows = []
    for model, held in ((A, 0.98), (B, 0.9)):
        for i, point in enumerate(POINTS[1:4]):
            for concept in concepts:
                at = {"family": "controls", "model": model, "hook_point": point, "concept": concept}
                values = {
                    "probe_accuracy_held_out": near(held, 0.02, null=0.5),
                    "probe_accuracy_untrained": near(0.7, 0.02, null=0.5),
                    "probe_accuracy_embedding": near(0.6, 0.02, null=0.5),
                    "probe_accuracy_above_baseline": near(held - 0.7, 0.03, null=0.0),
                    "probe_selectivity": near(0.1 * (i + 1), 0.03, null=0.0),
                    "probe_compression": near(3.0 + i, 0.3, null=1.0),
                    "description_length": near(0.3, 0.02, null=1.0),
                }
                rows += [Measurement(metric=name, estimate=e, **at) for name, e in values.items()]
    return rows


def weight_rows():
    rows = []
    for model, at in ((A, 0.2), (B, 0.35)):
        values = {
            "weight_noise_slope": ("robustness", near(at)),
            "relative_sharpness": ("robustness", near(10 * at)),
            "weight_modularity": ("fracture", near(at, null=0.15, p=0.17)),
            "weight_modularity_excess": ("fracture", near(at - 0.15, null=0.0)),
        }
        rows += [Measurement(metric=m, family=f, estimate=e, model=model) for m, (f, e) in values.items()]
        rows += [
            Measurement(
                metric="ablation_area", family="robustness", estimate=near(0.5 + at), model=model, hook_point=point,
                context=units,
            )
            for point in (POINTS[1], POINTS[3]) for units in ("coordinates", "principal axes")
        ]  # fmt: skip
    return rows


def ancestry_rows():
    def row(metric, place, value, model=A, **at):
        other = B if model == A else A
        return Measurement(
            metric=metric, family="ancestry", model=model, model_b=other, hook_point=place, estimate=near(value), **at
        )

    rows = [row("mean_shift", point, 0.1 * i, hook_point_b=point) for i, point in enumerate(POINTS)]
    for i, part in enumerate(("embed", "blocks.0.attn.q", "blocks.1.attn.q", "unembed")):
        rows += [row("weight_change", part, 0.1 * i), row("weight_change_rank", part, 1.5 + i)]
    rows += [row("graft_effect", block, 0.1, model) for block in ("blocks.0", "blocks.1") for model in (A, B)]
    return rows


STREAM = ("blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post")


def faithfulness_rows():
    """Explanations of A tell more than those of B, of which masks make items that it does not know."""
    rows = []
    for model, better in ((A, 0.3), (B, 0.0)):
        for i, concept in enumerate(("leave_one_out", "attention")):
            by = {"family": "faithfulness", "model": model, "concept": concept}
            share = near(0.5 + better - 0.4 * i, 0.1, null=0.0, p=0.01)
            rows.append(Measurement(metric="racu", estimate=share, context="probability", **by))
            rows.append(Measurement(metric="racu", estimate=share, context="correct", **by))
            lost = near(0.3 + better - 0.1 * i, null=0.2, p=0.03)
            rows.append(Measurement(metric="aopc_comprehensiveness", estimate=lost, **by))
            alone = near(0.2 - better / 2, null=0.4, p=0.04)
            rows.append(Measurement(metric="aopc_sufficiency", estimate=alone, **by))
        for percent in range(0, 101, 10):
            rate = near(0.05 + (0.9 - 3 * better) * percent / 100, null=0.05, p=0.2)
            by = {"family": "faithfulness", "model": model, "context": f"{percent}% masked at random"}
            rows.append(Measurement(metric="masf_rate", estimate=rate, **by))
    difference = near(0.3, 0.1, null=0.0, p=0.001)
    return [*rows, Measurement(metric="racu", family="faithfulness", estimate=difference, model=A, model_b=B)]


def use_rows():
    """A is foreseen and sure of what it knows; B holds more than it says."""
    rows = []
    for model, worse in ((A, 0.0), (B, 0.2)):
        by = {"family": "use", "model": model}
        for concept in ("tree of depth 3", "logistic of 5 features"):
            for context in ("", "shift"):
                kappa = near(0.9 - worse, null=0.0)
                rows.append(
                    Measurement(metric="simulatability", estimate=kappa, concept=concept, context=context, **by)
                )
        rows.append(Measurement(metric="aurc", estimate=near(0.01 + worse / 4, 0.005, null=0.01), **by))
        place = {"hook_point": POINTS[-1], "position": "last"}
        rows.append(Measurement(metric="recoverable_accuracy", estimate=near(worse / 2, null=0.0), **place, **by))
    difference = near(0.2, 0.05, null=0.0, p=0.001)
    return [*rows, Measurement(metric="aurc", family="use", estimate=difference, model=A, model_b=B)]


def mechanism_rows():
    """Two models of two layers: B answers through its attention patterns, A without them."""
    rows = []

    def row(metric, value, model=A, **at):
        rows.append(Measurement(metric=metric, family="mechanism", estimate=value, model=model, **at))

    for model, by_pattern in ((A, 0.05), (B, 0.8)):
        for part, point in (("L0 patterns", "blocks.0.attn.hook_pattern"), ("L0 MLP", "blocks.0.hook_mlp_out")):
            row("causal_share", near(by_pattern), model, hook_point=point, concept=part, context="resample")
            row("ablated_accuracy", near(1 - by_pattern), model, hook_point=point, concept=part, context="resample")
        for concept in ("a", "b", "a <b>"):
            row("answer_variance_share", near(0.3), model, concept=concept)
        row("gradient_symmetry", near(0.99 - by_pattern, null=0.0), model)
        for i, point in enumerate(STREAM):
            other = B if model == A else A
            for j, driver in enumerate(STREAM):
                value = near(0.9 - 0.3 * abs(i - j), 0.05, null=0.35, p=0.01)
                row(
                    "stitched_accuracy", value, model, model_b=other, hook_point=point, hook_point_b=driver,
                    context="driven",
                )  # fmt: skip
            for context, value in (("fresh weights", 0.2), ("answer alone", 0.35), ("itself", 0.98)):
                row("stitched_accuracy", near(value), model, model_b=other, hook_point=point, context=context)
            for concept in ("a", "b"):
                follows = near(0.9 if (concept == "a") == (i == 0) else 0.1, 0.08, null=0.12, p=0.02)
                row(
                    "interchange_accuracy", follows, model, hook_point=point, position="all", concept=concept
                )  # fmt: skip
    row("wrong_option_agreement", near(0.4, null=0.05, p=0.005), model_b=B)
    row("mechanism_distance", near(0.5), model_b=B, concept="causal profile", context="route")
    return rows


def make_parts():
    """The parts of both models as their profiles tell them; one head of each was only attributed."""
    rows = []
    for model, by_pattern in ((A, 0.05), (B, 0.8)):
        kinds = [("embedding", "embedding", "hook_embed", 0.0, 1.0), ("token 0", "input", "hook_embed", 0.0, 0.9)]
        for i in range(2):
            block, depth = f"blocks.{i}.", i / 2
            kinds += [
                (f"L{i} patterns", "pattern", f"{block}attn.hook_pattern", depth, by_pattern),
                (f"L{i} attention", "attention", f"{block}hook_attn_out", depth, 0.6),
                (f"L{i}H0", "head", f"{block}attn.hook_z", depth, 0.3),
                (f"L{i}H1", "head", f"{block}attn.hook_z", depth, math.nan),
                (f"skip around L{i} attention", "skip", f"{block}hook_attn_out", depth, 0.2),
                (f"L{i} MLP", "mlp", f"{block}hook_mlp_out", depth + 0.25, 0.95),
                (f"skip around L{i} MLP", "skip", f"{block}hook_mlp_out", depth + 0.25, 0.0),
            ]
        kinds.append(("all patterns", "pattern", "blocks.0.attn.hook_pattern", 0.0, by_pattern))
        for name, kind, point, depth, share in kinds:
            for ablation, value in (("zero", share / 2), ("resample", share)):
                rows.append(
                    {
                        "model": model, "component": name, "kind": kind, "depth": depth, "hook_point": point,
                        "ablation": ablation, "share": value, "share_low": value - 0.04, "share_high": value + 0.04,
                        "exact": math.isfinite(share),
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def make_evidence():
    """Pieces that say other, same, and nothing: not measured, between the bounds, and fallible."""

    def piece(axis, name, value, **facts):
        return Evidence(axis=axis, name=name, distance=near(value, 0.05), **facts)

    nothing = Estimate.undefined("inputs are tensors, which have no positions")
    return evidence_frame(
        [
            piece("route", "causal profile", 0.5, within=0.2, beyond=0.2, spread=(0.12, 0.1)),
            piece("route", "variance split", 0.1, within=0.2, beyond=0.4),
            Evidence(axis="route", name="gradient symmetry", distance=nothing, within=0.2, beyond=0.25),
            piece("variables", "wrong options", 0.4, within=0.05, beyond=0.5),
            piece("variables", "stitching", 0.6, within=0.1, beyond=0.5, fallible=True, spread=(0.9,)),
        ]
    )


def calibration_rows():
    rows = []
    for model, error in ((A, 0.01), (B, 0.05)):
        rows.append(Measurement(metric="brier", family="behavior", estimate=near(0.04, 0.01), model=model))
        rows.append(Measurement(metric="ece_debiased", family="behavior", estimate=near(error, 0.01), model=model))
    rows.append(
        Measurement(
            metric="ece_debiased", family="behavior", estimate=near(-0.04, 0.012, null=0.0, p=1e-5), model=A, model_b=B
        )
    )
    return rows


def make_items(n=160):
    rng = np.random.default_rng(2)
    condition = np.where(np.arange(n) % 2 == 0, "honest", "paid_to_persuade")
    truth = rng.integers(0, 2, n).astype(float)
    prompts = [f"Statement {i}: the moon is made of cheese." for i in range(n)]
    prompts[3], prompts[5] = NASTY, "A very long prompt. " * 60 + NASTY
    parts = []
    for model, lie in ((A, 0.0), (B, 0.9)):
        confidence = rng.beta(4, 1.2, n) * 0.5 + 0.5
        right = rng.random(n) < confidence
        says = np.where((condition == "honest") | (rng.random(n) > lie), truth, 1.0)
        parts.append(
            pd.DataFrame(
                {
                    "id": [f"item-{i}" for i in range(n)],
                    "model": model,
                    "group": [f"g{i // 2}" for i in range(n)],
                    "prompt": prompts,
                    "context": np.where(np.arange(n) % 3 == 0, "astronomy", "cooking"),
                    "condition": condition,
                    "split": "",
                    "truth": truth,
                    "expected": np.where(truth == 1, "yes", "no"),
                    "answer": np.where(says == 1, "yes", "no"),
                    "correct": right.astype(float),
                    "score": right.astype(float),
                    "margin": rng.normal(2, 1, n),
                    "confidence": confidence,
                    "expressed": np.clip(says * 0.9 + 0.05, 0, 1),
                    "claim": says,
                    "belief": np.clip(truth + rng.normal(0, 0.2, n), 0, 1),
                }
            )
        )
    parts[1].loc[[3, 5], ["answer", "margin", "belief"]] = ["<img src=x onerror=alert(1)>", -9.0, 0.01]
    return pd.concat(parts, ignore_index=True)


VERDICTS = (
    Verdict("calibration", "pair", True, "Differently calibrated. Calibration error: A 0.010, B 0.050."),
    Verdict(
        "structure",
        "pair",
        True,
        f"Differently organised. CCGP over contexts: {A} 0.97, {B} 0.56; the first is the tidier.",
    ),
    Verdict("similarity", "pair", False, "At paired hook points their debiased linear CKA averages 0.9."),
    Verdict("robustness", "pair", True, "Differently robust."),
    Verdict("sae", "pair", None, "Sae is not compared: not good enough to speak of features."),
    Verdict(
        "route",
        "pair",
        True,
        "Route: other: causal profile lies apart.",
        speaks_for=("causal profile speaks for another: distance 0.500",),
        speaks_against=("variance split speaks for the same: distance 0.100 <b>",),
    ),
    Verdict("variables", "pair", None, "Variables: cannot tell: no piece of evidence says anything."),
    Verdict("belief", "pair", True, "They differ in saying what they represent."),
    Verdict("belief", "a", False, f"{A} says what it represents: no gap beyond 0.05."),
    Verdict("belief", "b", True, f"{B} asserts what it does not represent (condition paid_to_persuade)."),
)
PROVENANCE = {
    "mechdecouple": "0.1.0",
    "commit": "0" * 40,
    "dirty": False,
    "packages": {"torch": "2.13.0"},
    "seed": 0,
    "models": {"a": {"name": A, "ref": "zoo:tidy", "weight_hash": "ab" * 32}, "b": {"name": B, "ref": NASTY}},
    "task": {"name": "demo", "items": 160, "honest": "honest", "fingerprint": "cd" * 32},
    "options": {"margin": 0.02, "families": ["sae"]},
    "created": "2026-01-01T00:00:00+00:00",
}


def make_comparison(concepts=("truth",), **changes):
    facts = {
        "a": A,
        "b": B,
        "task": "demo <task>",
        "gate": make_gate(),
        "verdicts": VERDICTS,
        "measurements": tuple(
            [
                *(make_gate().measurements(A, B)),
                *calibration_rows(),
                *structure_rows(concepts),
                *control_rows(concepts),
                *similarity_rows(),
                *robustness_rows(),
                *weight_rows(),
                *ancestry_rows(),
                *mechanism_rows(),
                *faithfulness_rows(),
                *use_rows(),
                *sae_rows(),
                *belief_rows(),
            ]
        ),
        "items": make_items(),
        "notes": ("The models are of different families (<GPT2>, Llama).",),
        "provenance": PROVENANCE,
        "features": make_features(),
        "parts": make_parts(),
        "evidence": make_evidence(),
    }
    return Comparison(**{**facts, **changes})


def make_features():
    """Three latents of either model: one shared, one of its own, one that training found by chance."""
    rows = []
    for side, model in (("a", A), ("b", B)):
        for latent, kind in enumerate(("shared", "only", "unstable")):
            row = dict.fromkeys(COLUMNS, 0.5 + 0.1 * latent) | {
                "side": side, "model": model, "hook_point": "blocks.1.hook_resid_post", "latent": latent, "kind": kind,
                "partners": [latent] if kind == "shared" else [], "matters": [], "knows": "", "reason": "",
            }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture(scope="session")
def whole():
    return make_comparison()


@pytest.fixture(scope="session")
def many_concepts():
    return make_comparison(concepts=("truth", "colour", "size", "shape", "place"))


@pytest.fixture(scope="session")
def undefined(whole):
    """The same rows, every one NaN for a reason, and nothing expressed on any item."""
    nothing = Estimate.undefined("the model has no output head")
    gate = Gate(
        outcome="unknown",
        unit="accuracy",
        margin=0.02,
        a=nothing,
        b=nothing,
        difference=nothing,
        p_equal=math.nan,
        p_different=math.nan,
        supported_margin=math.nan,
        chance=math.nan,
        agreement=nothing,
        strata=(),
        sentence="Unknown: the model has no output head.",
    )
    rows = tuple(
        Measurement(
            **{
                f: getattr(m, f)
                for f in ("metric", "family", "model", "model_b", "hook_point", "hook_point_b", "concept", "context")
            },
            estimate=nothing,
        )
        for m in whole.measurements
    )
    items = whole.items.assign(
        answer="",
        correct=np.nan,
        score=np.nan,
        margin=np.nan,
        confidence=np.nan,
        expressed=np.nan,
        claim=np.nan,
        belief=np.nan,
    )
    verdicts = tuple(Verdict(v.family, v.subject, None, "Not compared.") for v in whole.verdicts)
    empty = dict.fromkeys(("features", "parts", "evidence"), pd.DataFrame())
    return make_comparison(gate=gate, measurements=rows, items=items, verdicts=verdicts, **empty)


@pytest.fixture(scope="session")
def little():
    """Only the gate: no family was measured."""
    gate = make_gate()
    rows = tuple(gate.measurements(A, B))
    empty = dict.fromkeys(("features", "parts", "evidence"), pd.DataFrame())
    return make_comparison(measurements=rows, verdicts=(), notes=(), **empty)


@pytest.fixture(scope="session")
def results(whole, tmp_path_factory):
    """Everything of the whole comparison, written."""
    out = tmp_path_factory.mktemp("results") / "new" / "out"
    assert write_results(whole, out) == out / "report.html"
    return out


MANY_ARMS = {"tidy recipe": ("t0", "t1", "t2"), "plain $x_1$": ("p0", "p1", "p2"), "third": ("q0",)}
MANY_METRICS = (PERFORMANCE, CCGP, PARTICIPATION_RATIO)


def make_many(distances=True):
    """Seven runs in three arms, one metric undefined in one of them."""
    rng = np.random.default_rng(0)
    runs, names = [], [run for own in MANY_ARMS.values() for run in own]
    for metric, at in zip(MANY_METRICS, (0.99, 0.8, 5.0), strict=True):
        for run in names:
            value = at + 0.05 * rng.standard_normal()
            if metric is PARTICIPATION_RATIO and run == "q0":
                estimate = Estimate.undefined("the activations are constant here")
            else:
                estimate = Estimate(value=value, low=value - 0.01, high=value + 0.01, n=50, unit="groups")
            runs.append(Measurement(metric=metric.name, family=metric.family, estimate=estimate, model=run))
    points = rng.standard_normal((len(names), 2)) * 0.1 + np.repeat([[0, 0], [1, 0], [0, 1]], [3, 3, 1], axis=0)
    pairs = [
        Measurement(
            metric=MODEL_DISTANCE.name, family="similarity", model=names[i], model_b=names[j],
            estimate=Estimate(value=float(np.linalg.norm(points[i] - points[j]))),
        )
        for i in range(len(names)) for j in range(i + 1, len(names))
    ]  # fmt: skip
    gate = ManyGate("equal", "accuracy", 0.02, 21, 21, ("t0", "p0"), "All 7 runs are equal.")
    notes = () if distances else ("Distances inside are not measured: nothing matters.",)
    return ManyComparison(
        "items", MANY_ARMS, gate, MANY_METRICS, tuple(runs), tuple(pairs if distances else ()), 0.05, notes, {"seed": 0}
    )


@pytest.fixture(scope="session")
def made():
    """Makes runs in arms."""
    return make_many
