"""Utility weights: told by the loss what matters, a model learns less of the rest, and no more of what matters.

    python -m analyses run utility_weights [--full] [--out DIR]

Small transformers read things of six kinds; mistakes about the two urgent kinds cost twenty times as much. One is
trained with the weights in its loss. The other is trained as if all mistakes cost the same, and its probabilities are
re-weighted afterwards, w_k p_k / Σ w_j p_j, which is a shift of its output bias. Both see the same batches. A second
pair is asked only whether a thing is urgent, at a weight of a hundred. The study asks

- which has the lower weighted loss, and the higher accuracy, at three lengths of training;
- whether both name urgent things equally well, by the gate, and what each still holds of the others: a head fitted
  anew on frozen activations tells the four light kinds apart; the effective rank is given beside it;
- which of the binary pair ranks better, and which decides at the lower cost.

What is best to believe of each thing is known, so losses and costs are exact expectations, and the least possible ones
are given. Quick: three seeds; ``--full``: eight.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses._arms import Arms, compare_arms
from analyses._models import raw, train_all
from analyses._study import Criterion, Result, Study, column, seed_interval, where
from analyses._utility_weights.draw import draw_arms
from analyses._utility_weights.world import (
    ANSWERS,
    AT_ANSWER,
    FLIP,
    KINDS,
    URGENT,
    WORDS,
    Things,
    draw,
    kind_posterior,
    posterior,
    reweighted,
    things_task,
    weighted_cost,
    weighted_loss,
)
from mechdecouple.behavior import read
from mechdecouple.extract import extract
from mechdecouple.models import HookedModel, wrap
from mechdecouple.stats import weighted_auroc
from mechdecouple.structure import effective_rank
from mechdecouple.tasks import Task
from mechdecouple.usefulness import refitted_answers
from mechdecouple.zoo.recipe import RESIDUALS, WordRecipe, sample

CLAIM = (
    "Trained with a utility-weighted loss, a model represents less, and is worse by that very loss, than one trained "
    "without weights whose probabilities are re-weighted afterwards."
)
SOURCE = "Misaligned by Design, 2511.07699"
NOTES = (
    "Where it fails: after 1000 steps both arms come close to the least possible loss and answer alike; after 100 the "
    "loss of the weighted arm is not always the higher one, and its decisions can cost less. Starvation belongs to "
    "training that ends before everything is learned.",
    "With fresh things in every batch the binary exception of the prototype (better AUROC, yet higher cost) did not "
    "show: re-weighting won on both. With a tenth of the signs wrong, both arms said yes to everything.",
    "A head fitted anew tells how much of the lost accuracy is lost inside, and how much in the answers alone: of six "
    "kinds the greater part is lost in the answers (the columns refitted and accuracy), so that less is represented by "
    "a point or two only; asked whether a thing is urgent, more is lost inside.",
    "Effective rank is no measure of what is represented: it rises while less can be read.",
    "The length of 300 steps was chosen on one run of a smaller model with fresh things in every batch. The same model "
    "on 1500 or 4000 things seen again and again had the same order of weighted losses, but the weighted one ranked "
    "urgent things slightly better, and of 1500 things answered slightly more rightly.",
)
WEIGHTS = {"kind": (20.0, 20.0, 1.0, 1.0, 1.0, 1.0), "urgent": (1.0, 100.0)}
ARMS = ("re-weighted", "weighted")
FAMILIES: dict[str, tuple[str, ...]] = {"kind": ("structure",), "urgent": ("structure", "beliefs")}
LENGTHS, MAIN = (100, 300, 1000), 300
"""Steps of training; the criteria are about ``MAIN``."""
SEEDS, ITEMS, MARGIN = 3, 2000, 0.03
"""``MARGIN``: largest difference of accuracy on urgent things that counts as equal."""


@dataclasses.dataclass(frozen=True)
class Sorter(WordRecipe):
    """Answers a question about things, each thing of the training seen once.

    Attributes:
        asked: ``kind`` or ``urgent``; weights: of the loss, one an answer.
    """

    asked: str = "kind"
    weights: tuple[float, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        return WORDS

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        things = draw(self.batch_size, rng, self.asked)
        labels = torch.from_numpy(things.labels(self.asked))
        logits = model(torch.from_numpy(things.tokens(self.asked, vocabulary())))[:, AT_ANSWER]
        return weighted_mean(
            cross_entropy(logits, spoken_tokens(self.asked)[labels], reduction="none"),
            torch.tensor(self.weights)[labels],
        )

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(things_task(tested(self.asked), self.asked), n, seed)


def weighted_mean(losses: Tensor, weights: Tensor) -> Tensor:
    """Σ w l / Σ w over a batch."""
    return (weights * losses).sum() / weights.sum()


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Token ids of the words."""
    return Sorter("", "").tokenizer().get_vocab()


def spoken_tokens(asked: str) -> Tensor:
    """Token ids of the answers to a question."""
    return torch.tensor([vocabulary()[word] for word in ANSWERS[asked]])


@lru_cache(maxsize=2)
def tested(asked: str) -> Things:
    """The things that all models of a question are judged on."""
    return draw(ITEMS, np.random.default_rng(9), asked)


@lru_cache(maxsize=1)
def urgent_task() -> Task:
    """Urgent things alone: what the weights pay for."""
    return things_task(draw(ITEMS, np.random.default_rng(10), "kind", kinds=URGENT), "kind")


def recipe(asked: str, arm: str, steps: int) -> Sorter:
    """How the model of an arm is trained."""
    weights = WEIGHTS[asked] if arm == "weighted" else (1.0,) * len(WEIGHTS[asked])
    name = f"weights-{asked}-{'weighted' if arm == 'weighted' else 'plain'}-{steps}"
    return Sorter(name, "", steps=steps, batch_size=128, asked=asked, weights=weights)


def model_of(made: Sorter, seed: int, arm: str) -> HookedModel:
    """The trained model; of the re-weighted arm with the weights added to its output bias."""
    model = raw(made, seed)
    if arm == "re-weighted":
        with torch.no_grad():
            model.unembed.b_U[spoken_tokens(made.asked)] += torch.tensor(WEIGHTS[made.asked]).log()
    return wrap(model, name=f"{arm}@{seed}", ref=f"study:{made.name}@{seed}")


def run(seeds: int = SEEDS, full: bool = False, progress: bool = True) -> Result:
    """The whole study."""
    cells = [("kind", arm, steps) for steps in LENGTHS for arm in ARMS] + [("urgent", arm, MAIN) for arm in ARMS]
    train_all([(recipe(*cell), seed) for cell in cells for seed in range(seeds)], progress)
    table = pd.DataFrame(measured(*cell, seed) for cell in cells for seed in range(seeds))
    pairs = {
        asked: [tuple(model_of(recipe(asked, arm, MAIN), seed, arm) for arm in ARMS) for seed in range(seeds)]
        for asked in WEIGHTS
    }
    options: dict[str, Any] = {"progress": progress, "hook_points": (RESIDUALS[-1],)}
    urgent = compare_arms(pairs["kind"], urgent_task(), families=FAMILIES["kind"], margin=MARGIN, **options)
    every = compare_arms(pairs["kind"], things_task(tested("kind"), "kind"), families=(), **options)
    binary = compare_arms(
        pairs["urgent"], things_task(tested("urgent"), "urgent"), families=FAMILIES["urgent"], **options
    )
    compared, floor = {"urgent": urgent, "all": every, "binary": binary}, {asked: least(asked) for asked in WEIGHTS}
    return Result(
        name="utility_weights", claim=CLAIM, source=SOURCE, full=full, notes=NOTES,
        criteria=tuple(criteria(table, urgent)),
        tables={
            "arms": table, "least": pd.DataFrame([{"asked": asked, **numbers} for asked, numbers in floor.items()]),
            **{f"compared_{name}": arms.frame for name, arms in compared.items()},
            "gates": pd.concat(arms.gates().assign(items=name) for name, arms in compared.items()),
        },
        figures={"utility_weights": draw_arms(table, floor, MAIN)},
        captions={"utility_weights": caption(table, floor)},
    )  # fmt: skip


def measured(asked: str, arm: str, steps: int, seed: int) -> dict[str, Any]:
    """Losses, decisions and what can be read off inside, of one model."""
    made, things = recipe(asked, arm, steps), tested(asked)
    task, last = things_task(things, asked), RESIDUALS[-1]
    model = wrap(raw(made, seed), name=made.name)
    logp = read(model, task).logp
    assert logp is not None
    weights = np.array(WEIGHTS[asked])
    decided = reweighted(logp, weights) if arm == "re-weighted" else logp
    right, light = decided.argmax(axis=1) == things.labels(asked), things.kind >= URGENT
    inside = extract(model, task, hook_points=(last,), progress=False)[last].astype(np.float64)
    names = np.take(KINDS, things.kind)
    return {
        "asked": asked, "arm": arm, "steps": steps, "seed": seed,
        "loss": weighted_loss(decided, posterior(things.signs, asked), weights),
        "cost": weighted_cost(decided, posterior(things.signs, asked), weights),
        "accuracy": float(right.mean()), "urgent_accuracy": float(right[~light].mean()),
        "as_trained_accuracy": float((logp.argmax(axis=1) == things.labels(asked)).mean()),
        "auroc": float(weighted_auroc(decided[:, 1] - decided[:, 0], things.labels(asked)))
        if asked == "urgent" else np.nan,
        "refitted": float((refitted_answers(inside, names) == names).mean()),
        "refitted_light": float((refitted_answers(inside[light], names[light]) == names[light]).mean()),
        "effective_rank": effective_rank(inside),
    }  # fmt: skip


def least(asked: str) -> dict[str, float]:
    """Loss and cost of what is best to believe, and how often the likeliest kind is right among light things."""
    things, weights = tested(asked), np.array(WEIGHTS[asked])
    truth, kinds = posterior(things.signs, asked), kind_posterior(things.signs, FLIP[asked])
    best, light = reweighted(np.log(truth), weights), things.kind >= URGENT
    among = kinds[light, URGENT:] / kinds[light, URGENT:].sum(axis=1, keepdims=True)
    return {
        "loss": weighted_loss(best, truth, weights), "cost": weighted_cost(best, truth, weights),
        "accuracy": float(np.take_along_axis(truth, best.argmax(axis=1)[:, None], axis=1).mean()),
        "refitted_light": float(among.max(axis=1).mean()),
    }  # fmt: skip


def criteria(table: pd.DataFrame, arms: Arms) -> list[Criterion]:
    """Those of the finding: in how many seeds each sign of its prototype is seen."""
    found = [arms.equal("equal accuracy on urgent things")]
    kept, given = (where(table, asked="kind", arm=arm, steps=MAIN) for arm in ARMS)
    for words, name, sign, how in (
        ("lower weighted loss, re-weighted", "loss", 1, "prototype: 8 of 8 seeds, .489 against .553"),
        ("higher accuracy, re-weighted", "accuracy", -1, "prototype: 8 of 8 seeds, .679 against .584"),
        ("light kinds read better, re-weighted", "refitted_light", -1, "decodability is what starves"),
    ):
        better = sign * (column(given, name) - column(kept, name)) > 0
        found.append(Criterion.over_seeds("six kinds", f"{words}: share of seeds", better, 1.0, "at least", how=how))
    risen = np.log(column(given, "effective_rank") / column(kept, "effective_rank"))
    found.append(Criterion.over_seeds(
        "six kinds", "effective rank, logarithm of weighted over re-weighted", risen, 0.0, "at least",
        how="it rises while decodability falls",
    ))  # fmt: skip
    kept, given = (where(table, asked="urgent", arm=arm) for arm in ARMS)
    ranked, cost = column(kept, "auroc") - column(given, "auroc"), column(kept, "cost") - column(given, "cost")
    found.append(Criterion.over_seeds(
        "urgent or not", "better AUROC, re-weighted: share of seeds", ranked > 0, 1.0, "at least",
        how="prototype: 8 of 8 seeds",
    ))  # fmt: skip
    found.append(Criterion.over_seeds(
        "urgent or not", "yet higher cost, re-weighted: share of seeds", cost > 0, 0.875, "at least",
        how="prototype: 7 of 8 seeds; where weighted training wins",
    ))  # fmt: skip
    return found


def caption(table: pd.DataFrame, floor: dict[str, dict[str, float]]) -> str:
    """What the figure shows, with its numbers."""

    def told(name: str, arm: str, asked: str = "kind", steps: int = MAIN, digits: int = 3) -> str:
        value, low, high = seed_interval(column(where(table, asked=asked, arm=arm, steps=steps), name))
        return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    def both(name: str, **at: Any) -> str:
        return f"{told(name, 'weighted', **at)} against {told(name, 're-weighted', **at)}"

    longest = max(LENGTHS)
    return (
        f"Weighted training against re-weighting afterwards, {MAIN} steps: weighted loss {both('loss')} (least "
        f"possible {floor['kind']['loss']:.3f}), accuracy {both('accuracy')}, on urgent things "
        f"{both('urgent_accuracy')}; a head fitted anew tells the light kinds apart in {both('refitted_light')} of "
        f"cases, all kinds in {both('refitted')}; effective rank {both('effective_rank', digits=1)}. After {longest} "
        f"steps the losses are {both('loss', steps=longest)}. Asked only whether a thing is urgent, AUROC is "
        f"{both('auroc', asked='urgent')}, share of the stakes lost {both('cost', asked='urgent', digits=4)} (least "
        f"possible {floor['urgent']['cost']:.4f}). Dashed: the least or most possible. Mean and 95 % interval over "
        "seeds."
    )


STUDY = Study(
    name="utility_weights", finding=9, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(8 if full else SEEDS, full, progress),
)  # fmt: skip
