"""Echo: a reward for right answers makes one of several formats crowd out the others.

    python -m analyses run echo [--full] [--out DIR]

A small transformer learns a corpus of two-hop questions answered in three formats: the answer alone (half of the
corpus), the person between and then the answer (a fifth), or the answer and then the person between. Which format a
question is answered in is chance; answers given before the step are wrong in three of ten cases. Then it is trained on
by REINFORCE with a reward of 1 for the right answer in any format, on questions that the corpus lacks, and a penalty of
weight β on leaving the model of the corpus. Two widths, three β. The study asks

- which share of completions each format takes, and what tilting the shares of the corpus by the reward predicts for
  the questions rewarded: w' ∝ w · exp(R / β), with R what the format earns before or after the training, over all
  questions or (``apart``) for each, as it would be if a format were chosen by the question;
- on further questions, of which one in five cannot be known, the entropy of completions and how often one of k is
  right;
- whether a format that is hardly written any more could still be, once its first word is given: the package's gate
  compares models before and after on the plain one, with the similarity of what they represent.

Quick: three seeds; ``--full``: five.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from analyses._arms import Arms, compare_arms
from analyses._formats import (
    LAYERS,
    LENGTH,
    PROMPT,
    TAGS,
    Corpus,
    Questions,
    Rewarded,
    answered_in,
    asked,
    parse,
    people_tokens,
    tokens_of,
    until_end,
)
from analyses._models import raw, train_all, trained
from analyses._policy import complete, scored
from analyses._study import Criterion, Result, Study, column, seed_interval, where
from mechdecouple.behavior import pass_at_k
from mechdecouple.report.style import COLOURS, GREY, PAGE, new_figure, styled

CLAIM = (
    "Rewarded for right answers, a model of several formats comes to write one of them: its completions lose entropy, "
    "and many tries at a question are right no more often than before."
)
SOURCE = "Echo Chamber, 2504.07912"
NOTES = (
    "Criteria are those of the weakest penalty; the table has every penalty. In the paper formats are corpora of code "
    "and language; here they differ in whether the step between is written before the answer.",
    "With the penalty taken token by token, as is usual, R in w' ∝ w · exp(R / β) is what a format earns after the "
    "training. A policy that chose its format by the question would keep the shares of the corpus where formats earn "
    "alike (the column off_apart is the error of that prediction).",
    "Formats are amplified by what they earn more than others. Tried before, with a corpus that never errs: learnt to "
    "the end, formats earned alike (.92 to .98) and the commonest kept a share of .45, .38 and .86 (width 64, three "
    "seeds); learnt by half (width 32), one format won (.98), but pass@64 rose by .02, for the reward then taught what "
    "the corpus had not yet.",
    "With 32 people a guess among all is right once in 64 tries in .87 of cases, and a fifth of the questions asked "
    "cannot be known: the column pass_64_told is of the others. What falls with pass@64 is in part such luck. With few "
    "tries (k of 1 and 4) more questions are answered than before: that is what the reward is for.",
    "Which format wins is no law: one of the narrow models of seeds 0 to 2 had hardly learnt the steps (begun, right "
    "in .16 of completions, in the others .60 and .91), and came to write the plain one, the commonest of the corpus "
    "(.62).",
)
WIDTHS, BETAS, KS, DRAWS, SEEDS = (48, 64), (0.02, 0.1, 0.3), (1, 4, 16, 64), 64, 3
LAST = f"blocks.{LAYERS - 1}.hook_resid_post"
ASKED, FORCED = 300, 8
"""Questions a model is measured on, and completions of each in a format that it is told."""


def start(width: int) -> Corpus:
    """The model of the corpus."""
    return Corpus(f"echo-corpus-{width}", "", steps=1300, batch_size=128, learning_rate=5e-3, width=width)


def rewarded(width: int, beta: float) -> Rewarded:
    """The same, trained on by reward."""
    return Rewarded(
        f"echo-{width}-{beta:g}", "", start=start(width), steps=150, batch_size=32, learning_rate=1e-3, beta=beta
    )


def run(seeds: int = SEEDS, full: bool = False, progress: bool = True) -> Result:
    """The whole study."""
    recipes: dict[tuple[int, float], Any] = {(width, np.inf): start(width) for width in WIDTHS}
    recipes |= {(width, beta): rewarded(width, beta) for width in WIDTHS for beta in BETAS}
    train_all([(recipe, seed) for recipe in recipes.values() for seed in range(seeds)], progress)
    table = pd.DataFrame([
        {"width": width, "beta": beta, "seed": seed, **measured(raw(recipe, seed), raw(start(width), seed), beta, seed)}
        for (width, beta), recipe in recipes.items() for seed in range(seeds)
    ])  # fmt: skip
    arms = compare_arms(
        [(trained(start(WIDTHS[-1]), seed), trained(rewarded(WIDTHS[-1], BETAS[0]), seed)) for seed in range(seeds)],
        answered_in("plain", asked(ASKED, "corpus")), progress=progress, families=("similarity",),
    )  # fmt: skip
    return Result(
        name="echo", claim=CLAIM, source=SOURCE, full=full, notes=NOTES, criteria=tuple(criteria(table)),
        tables={"formats": table, "compared": arms.frame, "gates": arms.gates()},
        figures={"echo": draw(table)}, captions={"echo": f"{caption(table)} {begun(arms, table)}"},
    )  # fmt: skip


@torch.no_grad()
def measured(model: Any, before: Any, beta: float, seed: int) -> dict[str, float]:
    """Shares, entropy and pass@k of one model, and the shares that its penalty predicts from the model before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        test, paid = asked(ASKED, "test"), asked(ASKED // 2, "reward")
        form, right, nats = sampled(model, test, DRAWS)
        facts = {f"share_{name}": float((form == i).mean()) for i, name in enumerate(TAGS)}
        facts |= {"entropy": nats, "format_entropy": entropy(np.array(list(facts.values())))}
        facts |= {f"pass_{k}": float(pass_at_k(right, k).mean()) for k in KS}
        facts["pass_64_told"] = float(pass_at_k(right, DRAWS)[test.told].mean())
        facts |= {f"can_{name}": float(skill(model, test, name).mean()) for name in TAGS}
        w, found = (tag_shares(m, paid) for m in (before, model))
        for when, earns in (("before", before), ("after", model)):
            earned = np.stack([skill(earns, paid, name) for name in TAGS], axis=1)
            mean = earned.mean(axis=0, keepdims=True)
            predicted = tilted(w.mean(axis=0, keepdims=True), mean, beta)[0]
            facts |= {f"{when}_{name}": float(predicted[i]) for i, name in enumerate(TAGS)}
            facts |= {f"earns_{when}_{name}": float(mean[0, i]) for i, name in enumerate(TAGS)}
            facts[f"off_{when}"] = float(np.abs(predicted - found.mean(0)).max())
        facts["off_apart"] = float(np.abs(tilted(w, earned, beta).mean(0) - found.mean(0)).max())
        facts |= {f"paid_{name}": float(found[:, i].mean()) for i, name in enumerate(TAGS)}
    return facts


def tilted(shares: Float[np.ndarray, "n f"], earned: Float[np.ndarray, "n f"], beta: float) -> Float[np.ndarray, "n f"]:
    """w' ∝ w · exp(R / β), row by row."""
    weight = np.log(np.maximum(shares, 1e-30)) + earned / beta
    weight = np.exp(weight - weight.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


def entropy(shares: Float[np.ndarray, " f"]) -> float:
    """Of the formats' shares (what is in no format is left out), in nats."""
    p = shares[shares > 0] / shares.sum()
    return float(-(p * np.log(p)).sum())


def sampled(model: Any, of: Questions, draws: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Format [n, draws] of each completion, whether it is right [n, draws], and the entropy of completions in nats."""
    prompts, answers = of.prompts(), people_tokens()[of.answer]
    written, nats = [], []
    for rows in np.array_split(np.arange(len(of)), max(1, len(of) // 50)):
        tokens = complete(model, prompts[rows].repeat_interleave(draws, dim=0), LENGTH)
        log_probs, _ = scored(model, tokens, LENGTH)
        written.append(tokens[:, PROMPT:].unflatten(0, (-1, draws)))
        nats.append(-(log_probs * until_end(tokens[:, PROMPT:])).sum(1))
    form, answer = parse(torch.cat(written))
    right = (form >= 0) & (answer == answers[:, None])
    return form.numpy(), right.double().numpy(), float(torch.cat(nats).mean())


def tag_shares(model: Any, of: Questions) -> np.ndarray:
    """[n, formats] probability that a completion begins as each format does."""
    return model(of.prompts())[:, -1].double().softmax(-1)[:, tokens_of(TAGS.values())].numpy()


def skill(model: Any, of: Questions, form: str) -> np.ndarray:
    """[n] share of right completions once the first word of a format is given."""
    tag: Tensor = tokens_of([TAGS[form]]).expand(len(of), 1)
    begun = torch.cat([of.prompts(), tag], dim=1).repeat_interleave(FORCED, dim=0)
    form_of, answer = parse(complete(model, begun, LENGTH - 1)[:, PROMPT:])
    right = (form_of == list(TAGS).index(form)) & (answer == people_tokens()[of.answer].repeat_interleave(FORCED))
    return right.double().unflatten(0, (-1, FORCED)).mean(1).numpy()


def criteria(table: pd.DataFrame) -> list[Criterion]:
    """Those of the finding, for each width, at the weakest penalty."""
    found = []
    for width in WIDTHS:
        before, after = (where(table, width=width, beta=beta) for beta in (np.inf, BETAS[0]))
        top = np.max([column(after, f"share_{name}") for name in TAGS], axis=0)
        group = f"width {width}, β {BETAS[0]:g}"
        found += [
            Criterion.over_seeds(group, "share of the commonest format", top, 0.8, "at least", how="2504.07912"),
            Criterion.over_seeds(
                group, "rise of the entropy of completions", column(after, "entropy") - column(before, "entropy"), 0.0,
                "at most", how="it falls",
            ),
            Criterion.over_seeds(
                group, "rise of pass@64", column(after, "pass_64") - column(before, "pass_64"), 0.0, "at most",
                tolerance=0.01, how="many tries find no more",
            ),
        ]  # fmt: skip
    return found


SHADES = {"plain": (GREY, "o"), "steps": (COLOURS[0], "s"), "reasons": (COLOURS[1], "^")}


def draw(table: pd.DataFrame) -> Figure:
    """Shares of formats by penalty and width, beside those predicted, and pass@k before and after."""
    ticks = [np.inf, *sorted(BETAS, reverse=True)]
    with styled():
        figure = new_figure(PAGE, 2.5)
        axes = figure.subplots(1, 3)
        for ax, width in zip(axes, WIDTHS, strict=False):
            for name, (shade, marker) in SHADES.items():
                for i, beta in enumerate(ticks):
                    own = where(table, width=width, beta=beta)
                    ax.plot(np.full(len(own), i), column(own, f"paid_{name}"), marker, color=shade, markersize=3.5,
                            markerfacecolor="none", label=name if i == 0 else None)  # fmt: skip
                means = [[column(where(table, width=width, beta=b), f"{of}_{name}").mean() for b in ticks]
                         for of in ("paid", "after")]  # fmt: skip
                ax.plot(range(len(ticks)), means[0], color=shade)
                ax.plot(range(len(ticks)), means[1], color=shade, linewidth=0.8, linestyle=":",
                        label="predicted" if name == "reasons" else None)  # fmt: skip
            ax.set_xticks(range(len(ticks)), ["corpus", *(f"{b:g}" for b in ticks[1:])])
            ax.set(title=f"width {width}", xlabel="weight of the penalty, β", ylim=(-0.03, 1.03))
        axes[0].set_ylabel("share of the format")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        for width, line in zip(WIDTHS, ("--", "-"), strict=True):
            for beta, shade in ((np.inf, GREY), (BETAS[0], COLOURS[0])):
                own = where(table, width=width, beta=beta)
                means = [column(own, f"pass_{k}").mean() for k in KS]
                axes[2].plot(KS, means, line, color=shade,
                             label=f"width {width}, " + ("corpus" if np.isinf(beta) else f"β {beta:g}"))  # fmt: skip
                for k in KS:
                    axes[2].plot(np.full(len(own), k), column(own, f"pass_{k}"), "s" if line == "--" else "o",
                                 color=shade, markersize=2.5, markerfacecolor="none")  # fmt: skip
        axes[2].set_xscale("log", base=2)
        axes[2].set_xticks(KS, [str(k) for k in KS])
        axes[2].set(title="one right among k", xlabel="k", ylabel="pass@k", ylim=(0, 1.03))
        axes[2].legend(loc="lower right", labelspacing=0.2, borderaxespad=0)
    return figure


def caption(table: pd.DataFrame) -> str:
    """What the figure shows, with its numbers."""

    def told(width: int, beta: float, name: str) -> str:
        most = np.inf if name == "entropy" else 1
        value, low, high = seed_interval(column(where(table, width=width, beta=beta), name), 0, most)
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    parts = [
        f"width {width}: the steps' share of completions goes from {told(width, np.inf, 'share_steps')} to "
        f"{told(width, BETAS[0], 'share_steps')} at β = {BETAS[0]:g}, the entropy of a completion from "
        f"{told(width, np.inf, 'entropy')} to {told(width, BETAS[0], 'entropy')} nats, pass@1 from "
        f"{told(width, np.inf, 'pass_1')} to {told(width, BETAS[0], 'pass_1')} and pass@64 from "
        f"{told(width, np.inf, 'pass_64')} to {told(width, BETAS[0], 'pass_64')} (of what can be known from "
        f"{told(width, np.inf, 'pass_64_told')} to {told(width, BETAS[0], 'pass_64_told')})"
        for width in WIDTHS
    ]
    held = np.isfinite(column(table, "beta"))
    off = " and ".join(f"{column(table, f'off_{w}')[held].mean():.2f}" for w in ("before", "after"))
    return (
        f"Shares of the three formats on questions rewarded (dots: seeds; dotted: w' ∝ w · exp(R / β)), and how often "
        f"one of k completions is right on further questions (squares: width {WIDTHS[0]}). {'; '.join(parts)}. "
        f"Predicted shares are off by {off} at most, on average over models, with what formats earn before and after "
        f"the training. Mean and 95 % interval over seeds."
    )


def begun(arms: Arms, table: pd.DataFrame) -> str:
    """What the models before and after make of the plain format once it is begun."""
    gates, frame = arms.gates(), arms.frame
    alike = where(frame, metric="cka", hook_point=LAST, hook_point_b=LAST)
    (before, *_), (after, *_), (cka, low, high) = (
        seed_interval(x) for x in (column(gates, "a"), column(gates, "b"), column(alike, "value"))
    )
    earned = [column(where(table, width=WIDTHS[-1], beta=b), "earns_after_plain").mean() for b in (np.inf, BETAS[0])]
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in gates["outcome"].value_counts().items())
    return (
        f"Once the plain format is begun, on questions of the corpus, models of width {WIDTHS[-1]} are right in "
        f"{before:.0%} before and {after:.0%} after the training (gate: {outcomes}); sampled on questions rewarded, in "
        f"{earned[0]:.0%} and {earned[1]:.0%}; debiased CKA of what they represent last is {cka:.2f} "
        f"[{low:.2f}, {high:.2f}]."
    )


STUDY = Study(
    name="echo", finding=13, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(5 if full else SEEDS, full, progress),
)  # fmt: skip
