"""What is measured of readers and explainers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats as sps

from analyses._faithful_models.recipes import HIDE, NAME, TURN, UNKNOWN
from analyses._faithful_models.world import ANSWERS, ASK, LENGTH, MASK, review_task
from mechdecouple.faithfulness import (
    Maskable,
    ModelSpeaker,
    Questions,
    attribute,
    measure,
    ordered,
    random_masks,
    self_consistency,
    top,
    unlike,
)
from mechdecouple.models import HookedModel

QUESTIONS = Questions(
    classify=f"{{text}} {ASK}", counterfactual=f"{{text}} {TURN}", redaction=f"{{text}} {HIDE}",
    importance=f"{{text}} {NAME}", mark=MASK,
)  # fmt: skip
WRITTEN = {"counterfactual": LENGTH, "redaction": LENGTH, "importance": 2}
"""How many words each explanation has."""
REFERENCES = {"whole": 0.0, "masked": 1.0}
"""Known reviews that masked ones are compared with, and the largest share of their words that is masked."""
EXPLAINED, KNOWN, SPOKEN = 96, 1000, 200
"""Reviews that are explained, that are tested for being known, and that explaining models explain."""


def attributed(model: HookedModel, masked: bool, n: int = EXPLAINED) -> tuple[list[dict[str, Any]], list[dict]]:
    """RACU and rationale AUROC of every explanation; and the masking curves behind them, in accuracy as in 2310.07819,
    with explanations made anew after every step."""
    task, reviews = review_task(n, 1)
    ends = np.zeros((n, 1), dtype=bool)
    among = list(np.concatenate([ends, np.ones((n, LENGTH), dtype=bool), ends], axis=1))
    used = list(np.concatenate([ends, reviews.used(), ends], axis=1))
    found = measure(
        model, task, mask=mask_of(model), among=among, used=used, recursive=True, trained_ratio=float(masked), limit=n,
        progress=False,
    )  # fmt: skip
    assert found.recovered is not None
    rows = [
        {
            "explanation": name, "racu": float(found.racu.value[1, i]),
            "racu_probability": float(found.racu.value[0, i]), "rationale_auroc": float(found.recovered.value[i]),
        }
        for i, name in enumerate(found.methods)
    ]  # fmt: skip
    curves = {**found.curves, "random": found.random}
    points = [
        {"explanation": name, "ratio": float(ratio), "accuracy": float(correct.mean())}
        for name, curve in curves.items()
        for ratio, correct in zip(curve.ratios, curve.correct, strict=True)
    ]
    return rows, points


def tested(model: HookedModel, n: int = KNOWN, seed: int = 0) -> list[dict[str, Any]]:
    """MaSF's p of masked reviews, as many words of each as in masked fine-tuning, at random or those that leave-one-out
    ranks first: against whole reviews, and against reviews masked at random.

    Masks at random are drawn as those of the reviews masked at random are, and p is then uniform whatever the model:
    what is tested are masks that depend on it.
    """
    task, _ = review_task(n, 2)
    ends = np.zeros(1, dtype=bool)
    among = [np.concatenate([ends, np.ones(LENGTH, dtype=bool), ends])] * n
    subject = Maskable(model, task, mask=mask_of(model), among=among)
    at_random = random_masks(subject.maskable, np.random.default_rng(seed), untouched=0.0)
    ranks = ordered(attribute(subject, "leave_one_out"), subject.maskable)
    masks = {"random": at_random, "leave_one_out": top(ranks, at_random.sum(axis=1)) & subject.maskable}
    rows = []
    for reference, ratio in REFERENCES.items():
        found = unlike(subject, list(masks.values()), trained_ratio=ratio, untouched=0.0, seed=seed)
        words = at_random.sum(axis=1)[found.tested]
        rows += [
            {"reference": reference, "order": order, "words": int(count), "p": float(p)}
            for order, values in zip(masks, found.p, strict=True)
            for count, p in zip(words, values, strict=True)
        ]
    return rows


def explained(model: HookedModel, n: int = SPOKEN) -> list[dict[str, Any]]:
    """Self-consistency of a model that explains itself, by each kind of explanation."""
    _, reviews = review_task(n, 3)
    texts, options = [" ".join(words) for words in reviews.words()], (*ANSWERS, UNKNOWN)
    rows = []
    for kind, length in WRITTEN.items():
        speaker = ModelSpeaker(model, options, max_new_tokens=length)
        found = self_consistency(speaker, texts, options, kind=kind, questions=QUESTIONS, name=model.name).estimate()  # pyright: ignore[reportArgumentType]
        rows.append({"kind": kind, "consistent": found.value, "random": found.null, "p": found.p})
    return rows


def mask_of(model: HookedModel) -> int:
    """The token that masks a word."""
    assert model.tokenizer is not None
    return int(model.tokenizer.get_vocab()[MASK])


def distance(p: Float[np.ndarray, " n"]) -> float:
    """Kolmogorov and Smirnov's distance of p-values to the uniform distribution."""
    return float(sps.kstest(p, "uniform").statistic)


def summary(p: pd.DataFrame) -> dict[str, float]:
    """Of one model's p-values: how often they are below .05 and how far from uniform, and their median over reviews of
    which a word is masked at least."""
    values, some = p["p"].to_numpy(), p["words"].to_numpy() > 0
    return {
        "rate": float((values < 0.05).mean()),
        "distance": distance(values),
        "median": float(np.median(values[some])),
    }
