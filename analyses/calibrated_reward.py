"""Calibrated reward: rewarded for being right alone, a model grows sure; a Brier term makes it say how sure it may be.

    python -m analyses run calibrated_reward [--full] [--out DIR]

A small transformer reads statements about hidden orders and learns, by cross-entropy, what people say of them. People
err, the more often the closer two ranks are, so no answer is certain and the best confidence is known. Behind its
answer it also writes a confidence, from 0% to 100%, as people do: surer than they may be. Then it is trained on by
REINFORCE: with the reward 1 for being right, or with R = correct - (q - correct)², q the confidence that it wrote. The
study asks, on statements never trained on,

- how far confidence is from accuracy: the answer's own probability, the confidence written, and that of a fresh linear
  head on what is represented;
- whether the three are equally accurate, and alike in structure and in the truth that they represent: each rewarded
  model against the one before it, by the package's own comparison.

The Brier term acts on the confidence that is written. It does nothing for the probability of the answer, which is
pushed to certainty as by the binary reward: both are reported. A constant confidence would be calibrated as well, so
AUROC of right against wrong is given beside the error. Both rewards come with the same light penalty on leaving the
model of the start, and both are averaged over several people asked of each statement.

Quick: three seeds; ``--full``: five.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analyses._arms import Arms, compare_arms
from analyses._models import train_all, trained
from analyses._people import Labelled, Rewarded, asked, certainty
from analyses._study import Criterion, Result, Side, Study, column, seed_interval, where
from mechdecouple.behavior import brier, ece, ece_debiased, read, reliability, smooth_ece, verbalised
from mechdecouple.extract import extract
from mechdecouple.models import HookedModel
from mechdecouple.probes import LogisticFitter
from mechdecouple.report.style import COLOURS, GREY, PAGE, new_figure, styled
from mechdecouple.stats import weighted_auroc
from mechdecouple.tasks import Task
from mechdecouple.zoo.order_world import ANSWERS
from mechdecouple.zoo.recipe import READ, RESIDUALS

CLAIM = (
    "Rewarded for being right alone, a model's confidence rises to certainty whatever its accuracy; with a Brier term "
    "in the reward it writes a confidence that is calibrated, at the same accuracy."
)
SOURCE = "RLCR, 2507.16806"
NOTES = (
    "The Brier term acts on the confidence that is written alone: the probability of the answer is judged beside it. A "
    "confidence that is the same for everything can be calibrated too: see its AUROC of right against wrong.",
    "In the paper language models reason before they state a confidence; here the best confidence is known exactly.",
    "Tried before, on one seed: with a penalty of .02 what is written stays too sure (ECE .07); rewarded by one person "
    "a statement, ECE is .04 at a learning rate of 3e-4, and .02 at 1e-3, but 3 points of accuracy are lost: so the "
    "reward is averaged over eight people. Advantages divided by the spread within a group make it write 100% of "
    "everything (ECE .26): right or wrong then weigh alike, and the majority wins.",
    "The bound of written confidence, .02 ± .02, is the prototype's with a tolerance of this study's own. The model of "
    "the Brier term is trained for 400 steps and that of the binary reward for 200: it has a confidence to learn too, "
    "and what the two arms differ in inside is not the reward's doing alone.",
    "A model trained by reward leaves levels of confidence unused: of seeds 0 to 2 one writes 60% and 70% alone, and "
    "is less sure than it may be (ECE .06, the others .01 and .03).",
)
POSITION, READ_AT, SEEDS, PEOPLE = "position_statement", RESIDUALS[1:], 3, 20
"""Where structure is read, and how many people's answers to a statement confidence is judged by."""
PAIRS = (("cross-entropy", "binary reward"), ("binary reward", "Brier reward"))
"""Arms that are compared."""
INSIDE = {
    "accuracy": ("performance", "", ""),
    "ECE of the answer": ("ece_debiased", "", ""),
    "truth represented, AUROC": ("represented_auroc_selected", "", ""),
    "truth, probe accuracy": ("probe_accuracy", "truth", READ),
    "truth, CCGP": ("ccgp", "truth", READ),
    "truth, parallelism": ("parallelism", "truth", READ),
    "overlap of codes": ("coding_overlap", "", READ),
}
"""What is shown of a comparison: metric, concept and hook point."""
ANSWERED, STATED, FRESH = "answer probability", "written confidence", "fresh head"


_START = Labelled("calibrated-labelled", "", steps=1500, batch_size=128)
_REWARD: dict[str, Any] = {"batch_size": 64, "group": 32, "learning_rate": 5e-4, "beta": 0.002}
RECIPES: dict[str, Any] = {
    "cross-entropy": _START,
    "binary reward": Rewarded("calibrated-binary", "", start=_START, steps=200, **_REWARD),
    "Brier reward": Rewarded("calibrated-brier", "", start=_START, steps=400, **_REWARD, length=2, weight=1.0),
}  # fmt: skip


def run(seeds: int = SEEDS, full: bool = False, progress: bool = True) -> Result:
    """The whole study."""
    train_all([(recipe, seed) for recipe in RECIPES.values() for seed in range(seeds)], progress)
    models = {arm: [trained(recipe, seed) for seed in range(seeds)] for arm, recipe in RECIPES.items()}
    task, likely = _START.task(), certainty(asked())
    found = [measured(model, arm, seed, task, likely) for arm, own in models.items() for seed, model in enumerate(own)]
    table = pd.concat([part for part, _ in found], ignore_index=True)
    curves = pd.concat([part for _, part in found], ignore_index=True)
    options: dict[str, Any] = {"position": POSITION, "hook_points": READ_AT, "permutations": 19, "probe_items": 128}
    arms = {
        f"{b} against {a}": compare_arms(zip(models[b], models[a], strict=True), task, progress=progress, **options)
        for a, b in PAIRS
    }
    ends = compare_arms(
        zip(models["Brier reward"], models["cross-entropy"], strict=True), task, progress=progress, families=()
    )
    gated = {**arms, "Brier reward against cross-entropy": ends}
    shown = pd.concat([inside(own).assign(arms=name) for name, own in arms.items()], ignore_index=True)
    return Result(
        name="calibrated_reward", claim=CLAIM, source=SOURCE, full=full, notes=NOTES,
        criteria=tuple(criteria(table, gated)),
        tables={
            "confidences": table, "curves": curves, "inside": shown,
            "compared": pd.concat([own.frame.assign(arms=name) for name, own in arms.items()], ignore_index=True),
            "gates": pd.concat([own.gates().assign(arms=name) for name, own in gated.items()], ignore_index=True),
        },
        figures={"calibrated_reward": draw(table, curves), "inside": draw_inside(shown)},
        captions={"calibrated_reward": caption(table), "inside": caption_inside(shown)},
    )  # fmt: skip


def measured(
    model: HookedModel, arm: str, seed: int, task: Task, likely: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Error of each kind of confidence of one model, and its reliability curve, against what many people say.

    Args:
        likely: [n] probability that a person calls an item true.
    """
    answers, stated = read(model, task), verbalised(model, task, template="{prompt} {answer}", max_new_tokens=1)
    assert answers.choice is not None and answers.answer_text is not None
    says_true = answers.answer_text == ANSWERS[1]
    rng = np.random.default_rng(seed)
    people = np.stack([rng.random(len(task)) < likely for _ in range(PEOPLE)], axis=1)
    chance, on = fresh_head(model, task, seed)
    kinds = {
        ANSWERED: (np.arange(len(task)), answers.confidence, says_true),
        STATED: (np.flatnonzero(np.isfinite(stated.confidence)), stated.confidence, says_true),
        FRESH: (on, np.maximum(chance, 1 - chance), chance > 0.5),
    }
    rows, curves = [], []
    for kind, (items, confidence, claim) in kinds.items():
        of_item = {"arm": arm, "seed": seed, "confidence": kind}
        p = np.repeat(confidence[items], PEOPLE)
        right = (people[items] == claim[items, None]).ravel().astype(np.float64)
        rows.append({**of_item, "read": len(items) / len(task)})
        if not len(items):
            continue
        rows[-1] |= {
            "accuracy": right.mean(), "mean": p.mean(), "ece": ece(p, right), "ece_debiased": ece_debiased(p, right),
            "smooth_ece": smooth_ece(p, right), "brier": brier(p, right), "auroc": weighted_auroc(p, right),
        }  # fmt: skip
        curves.append(reliability(p, right, n_bins=10).assign(**of_item))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True)


def fresh_head(model: HookedModel, task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability [n] of "True" by a linear head fitted to the task's answers on half of the groups, where the answer
    is given; and the items of the other half."""
    acts = extract(model, task, hook_points=[RESIDUALS[-1]], progress=False)[RESIDUALS[-1]]
    assert task.answers is not None
    names = np.unique(task.groups)
    fit = np.isin(task.groups, np.random.default_rng(seed).permutation(names)[::2])
    head = LogisticFitter(seed=seed).fit(acts[fit], task.answers[fit] == ANSWERS[1], task.groups[fit])
    return head.predict_proba(acts), np.flatnonzero(~fit)


def inside(arms: Arms) -> pd.DataFrame:
    """What two arms differ in and what not: one row a seed and measure of :data:`INSIDE`."""
    frame, rows = arms.frame, []
    for name, (metric, concept, point) in INSIDE.items():
        at = {"concept": concept, "hook_point": point} if point else {}
        own = where(frame, metric=metric, context="", **at)
        for seed in np.unique(column(own, "seed").astype(np.int64)):
            a, b = (float(column(where(own, arm=arm, seed=seed), "value")[0]) for arm in ("a", "b"))
            rows.append({"measure": name, "seed": seed, "a": a, "b": b, "difference": a - b})
    return pd.DataFrame(rows)


def criteria(table: pd.DataFrame, arms: dict[str, Arms]) -> list[Criterion]:
    """Those of the finding: what its prototype measured, with room for another world's accuracy."""
    found = [own.equal(f"equal accuracy of {name}") for name, own in arms.items()]
    asks: tuple[tuple[str, str, float, Side, float], ...] = (
        ("cross-entropy", ANSWERED, 0.01, "at most", 0.02),
        ("binary reward", ANSWERED, 0.25, "at least", 0.1),
        ("Brier reward", STATED, 0.02, "at most", 0.02),
        ("Brier reward", ANSWERED, 0.25, "at least", 0.1),
    )
    for arm, kind, expected, side, tolerance in asks:
        found.append(Criterion.over_seeds(
            arm, f"ECE of the {kind}", errors(table, arm, kind), expected, side, tolerance=tolerance,
            how="a prototype's: .01 for cross-entropy, .25 for the binary reward, .02 for what is written",
        ))  # fmt: skip
    return found


def errors(table: pd.DataFrame, arm: str, kind: str, name: str = "ece") -> np.ndarray:
    """One measure of one kind of confidence, one number a seed."""
    return column(where(table, arm=arm, confidence=kind), name)


SHADES = {"cross-entropy": (GREY, "o"), "binary reward": (COLOURS[1], "s"), "Brier reward": (COLOURS[0], "^")}


def draw(table: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Reliability of the answer's probability and of what is written, and the errors; a line or a dot a seed."""
    with styled():
        figure = new_figure(PAGE, 2.4)
        axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
        for ax, kind in zip(axes, (ANSWERED, STATED), strict=False):
            ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.6, linestyle=":")
            for arm, (shade, marker) in SHADES.items():
                for seed, own in where(curves, arm=arm, confidence=kind).groupby("seed"):
                    large = own[own["n"] >= 0.01 * own["n"].sum()]
                    ax.plot(large["prob"], large["rate"], marker=marker, color=shade, markersize=3.5, linewidth=0.8,
                            markerfacecolor="none", label=arm if seed == 0 else None)  # fmt: skip
            ax.set(title=kind, xlabel="confidence", xlim=(0.37, 1.03), ylim=(0.37, 1.03))
        axes[0].set_ylabel("share right")
        axes[0].legend(loc="upper left")
        for j, (arm, (shade, marker)) in enumerate(SHADES.items()):
            for i, kind in enumerate((ANSWERED, STATED, FRESH)):
                x, values = i + 0.22 * (j - 1), errors(table, arm, kind)
                axes[2].plot(np.full(len(values), x), values, marker, color=shade, markersize=3.5,
                             markerfacecolor="none")  # fmt: skip
                axes[2].plot([x - 0.08, x + 0.08], [values.mean()] * 2, color=shade)
        axes[2].set_xticks(range(3), ["answer\nprobability", "written\nconfidence", "fresh\nhead"])
        axes[2].set(title="calibration error", ylabel="ECE", ylim=(0, None))
    return figure


def draw_inside(shown: pd.DataFrame) -> Figure:
    """What the models of each comparison differ in; a dot a seed."""
    with styled():
        figure = new_figure(PAGE, 2.1)
        axes = figure.subplots(1, 2, sharex=True, sharey=True)
        for ax, (name, own) in zip(axes, shown.groupby("arms", sort=False), strict=True):
            shade, marker = SHADES[str(name).split(" against ")[0]]
            for i, measure in enumerate(INSIDE):
                values = column(where(own, measure=measure), "difference")
                ax.plot(values, np.full(len(values), i), marker, color=shade, markersize=3.5, markerfacecolor="none")
                ax.plot([values.mean()] * 2, [i - 0.25, i + 0.25], color=shade)
            ax.axvline(0, color=GREY, linewidth=0.6, linestyle=":")
            ax.set_yticks(range(len(INSIDE)), list(INSIDE))
            ax.set(title=str(name), xlabel="difference, the first less the second")
        figure.axes[0].invert_yaxis()
    return figure


def caption_inside(shown: pd.DataFrame) -> str:
    """What the second figure shows, with its numbers."""

    def told(name: str, measure: str) -> str:
        value, low, high = seed_interval(column(where(shown, arms=name, measure=measure), "difference"))
        return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"

    parts = [
        f"{name}: accuracy {told(name, 'accuracy')}, ECE of the answer's probability "
        f"{told(name, 'ECE of the answer')}, AUROC of the truth represented {told(name, 'truth represented, AUROC')}, "
        f"CCGP of truth {told(name, 'truth, CCGP')}, overlap of codes {told(name, 'overlap of codes')}"
        for name in shown["arms"].unique()
    ]
    return (
        f"What the models compared differ in (dots: seeds), structure at the end of the statement. {'; '.join(parts)}. "
        f"Mean and 95 % interval over seeds."
    )


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with its numbers."""

    def told(arm: str, kind: str, name: str = "ece") -> str:
        value, low, high = seed_interval(errors(table, arm, kind, name), 0, 1)
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"

    return (
        f"Calibration error of the answer's probability: {told('cross-entropy', ANSWERED)} after cross-entropy, "
        f"{told('binary reward', ANSWERED)} after a reward for being right, {told('Brier reward', ANSWERED)} after a "
        f"reward with a Brier term; of the confidence written after the last, {told('Brier reward', STATED)} (AUROC of "
        f"right against wrong {told('Brier reward', STATED, 'auroc')}). A fresh linear head on the model rewarded for "
        f"being right errs by {told('binary reward', FRESH)}. Accuracy {told('cross-entropy', ANSWERED, 'accuracy')}, "
        f"{told('binary reward', ANSWERED, 'accuracy')} and {told('Brier reward', ANSWERED, 'accuracy')}. Mean and "
        f"95 % interval over seeds."
    )


STUDY = Study(
    name="calibrated_reward", finding=10, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(5 if full else SEEDS, full, progress),
)  # fmt: skip
