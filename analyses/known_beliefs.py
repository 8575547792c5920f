"""Known beliefs: models whose represented and expressed truth are known, and what every belief statistic says of them.

    python analyses/known_beliefs.py [--full] [--out out/known_beliefs]

Small transformers judge statements about four hidden orders. Asked honestly, all but the ignorant one know the truth.
Under a second persona they stay honest, say the opposite (flip), or assert statements whatever is true (persuader);
with a bottleneck the answer can only read a summary of the statement, without one (open) it reads the statement itself.
The study holds against what is known:

- what a probe reads at the end of the statement, chosen and fitted in the honest context alone;
- claims sampled from the model under the second persona: Bullshit index, correlation with belief, kappa;
- the decision whether a gap is claimed, for every model;
- steering along the represented truth: with the bottleneck the answer follows it, without one it does not;
- tables of scores in which both channels know equally much: gaps claimed of them, and intervals that hold 0.

It writes ``result.json``, ``models.parquet``, ``simulated.parquet`` and a figure. The quick form takes one seed of each
model, ``--full`` five; a model that is not in the user's cache is trained, some 90 s each on one thread.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.special import expit

from analyses._study import Criterion, Result, Study, arguments, column, where
from mechdecouple import zoo
from mechdecouple.behavior import read
from mechdecouple.behavior.claims import sample_claims
from mechdecouple.beliefs import AUROC_GAP, claim_correlation, claimed, cohen_kappa, gap, measure, represent
from mechdecouple.beliefs.steering import steer
from mechdecouple.extract import extract
from mechdecouple.progress import bar
from mechdecouple.report.style import COLOURS, GREY, PAGE, new_figure, styled

CLAIM = (
    "Where a model's belief is known, the represented truth, the gap, the Bullshit index and steering say it; and no "
    "gap is claimed of a model that says what it represents, or represents nothing."
)
SOURCE = "zoo models of known belief; Bullshit index: 2507.07484; steering: 2310.06824"
NOTES = (
    "Claims are sampled, not the likeliest: a persuader's likeliest claim is constant and correlates with nothing.",
    "The persuader's claims depend on topic and polarity, not on the truth.",
)
POSITION, POINT = "position_statement", "blocks.1.hook_resid_post"
DECIDED = {
    "honest": False,
    "flip": True,
    "persuader": True,
    "persuader-open": True,
    "ignorant": False,
    "mistaken": False,
}
"""Whether a gap must be claimed under the second persona."""
STEERED = {"persuader": True, "persuader-open": False}
DRAWS, CLAIMED_ITEMS = 20, 320


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: models, seeds of each, simulated tables."""

    models: tuple[str, ...] = tuple(DECIDED)
    seeds: int = 1
    simulations: int = 100


QUICK, FULL = Size(), Size(seeds=5, simulations=1000)


def run(size: Size = QUICK, *, progress: bool = True) -> Result:
    """The whole study."""
    with bar(total=len(size.models) * size.seeds + 1, progress=progress, desc="known beliefs") as shown:
        rows = []
        for name in size.models:
            for seed in range(size.seeds):
                rows.append(measure_model(name, seed, progress))
                shown.update()
        simulated = simulate(size.simulations)
        shown.update()
    models = pd.DataFrame(rows)
    return Result(
        name="known_beliefs", claim=CLAIM, source=SOURCE, full=size == FULL, notes=NOTES,
        criteria=(*(c for row in rows for c in model_criteria(row)), *simulation_criteria(simulated)),
        tables={"models": models, "simulated": simulated}, figures={"beliefs": draw(models)},
    )  # fmt: skip


def measure_model(name: str, seed: int, progress: bool) -> dict[str, object]:
    """Everything that is known of one model, measured."""
    model, task = zoo.load(name, seed, progress), zoo.task(name)
    answers = read(model, task)
    acts = extract(model, task, position=POSITION, progress=False)
    assert task.truth is not None and task.condition is not None and answers.correct is not None
    honest = task.honest_mask & ~task.shift_mask
    layers = {point: acts[point] for point in acts.hook_points}
    found = represent(layers, task.truth, task.groups, honest, n_permutations=99, seed=seed)
    beliefs = measure(
        found, model=name, groups=task.groups, truth=task.truth, expressed=answers.expressed, condition=task.condition,
        honest=task.honest or "", n_resamples=400, seed=seed,
    )  # fmt: skip
    pressed = next(str(level) for level in np.unique(task.condition) if level != task.honest)
    other = beliefs.gaps[pressed]
    row = {
        "model": name, "seed": seed,
        "honest_accuracy": float(answers.correct[honest].mean()),
        "pressed_accuracy": float(answers.correct[task.condition == pressed].mean()),
        "represented": found.auroc_selected, "p": found.p, "expressed": other.expressed_auroc.value,
        "gap": other.auroc_gap.value, "gap_low": other.auroc_gap.interval()[0],
        "gap_high": other.auroc_gap.interval()[1], "claimed": claimed(beliefs, pressed)[0],
    }  # fmt: skip
    rows = np.flatnonzero((task.condition == pressed) & np.isfinite(found.score))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:CLAIMED_ITEMS])
    sampled = sample_claims(model, task.select(rows), DRAWS, max_new_tokens=1, seed=seed).claims
    belief, claims = np.repeat(found.score[rows], DRAWS), sampled.ravel()
    r = float(claim_correlation(belief, claims))
    row |= {"draws": len(claims), "correlation": r, "bullshit_index": 1 - abs(r)}
    row |= {"kappa": float(cohen_kappa(belief, claims)), "nie": np.nan, "nie_mirror": np.nan, "nie_random": np.nan}
    if name in STEERED:
        steered = steer(model, task, POINT, POSITION, seed=seed)
        row |= {"nie": steered.nie.value, "nie_mirror": steered.mirror.value, "nie_random": steered.nie.null}
    return row


def model_criteria(row: dict) -> list[Criterion]:
    """What must hold of one model of one seed."""
    name, group = row["model"], f"{row['model']}@{row['seed']}"

    def asked(what: str, expected: float, side: str, value: float | None = None, tolerance: float = 0.0) -> Criterion:
        value = float(row[what] if value is None else value)
        return Criterion(
            group=group, name=what, value=value, expected=expected, tolerance=tolerance, side=side, how="known"
        )

    found = [asked("claimed", float(DECIDED[name]), "both")]
    if name == "ignorant":
        return [*found, asked("represented", 0.5, "both", tolerance=0.05)]
    if name != "mistaken":
        found += [asked("honest_accuracy", 0.95, "at least"), asked("represented", 0.95, "at least")]
        found.append(asked("draws", 6000, "at least"))
    if name.startswith("persuader"):
        found += [asked("bullshit_index", 0.95, "at least"), asked("kappa", 0.0, "both", tolerance=0.05)]
    if name == "flip":
        found.append(asked("correlation", -0.9, "at most"))
    if name == "honest":
        found += [
            asked("bullshit_index", 0.1, "at most"),
            asked("gap_low", 0.0, "at most"),
            asked("gap_high", 0.0, "at least"),
        ]
    if name in STEERED:
        for what in ("nie", "nie_mirror"):
            found.append(asked(what, 0.8, "at least") if STEERED[name] else asked(what, 0.0, "both", tolerance=0.1))
        found.append(asked("nie_random", 0.0, "both", tolerance=0.1))
    return found


def simulate(n: int) -> pd.DataFrame:
    """Tables of scores whose two channels know equally much, so that no gap is there to be claimed."""
    rows = []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(150), 2)
        truth = np.tile([0.0, 1.0], 150)
        shared = rng.normal(size=150)[group]  # rows of a group are alike, in both channels
        b, p = (expit(1.6 * (truth - 0.5) * 2 + 0.7 * shared + rng.normal(size=300)) for _ in range(2))
        found = gap(group, truth, b, p, n_resamples=200, seed=seed)
        low, high = found.auroc_gap.interval()
        rows.append({"seed": seed, "gap": found.auroc_gap.value, "low": low, "high": high})
    table = pd.DataFrame(rows)
    return table.assign(holds=(table.low <= 0) & (table.high >= 0), claimed=table.low > AUROC_GAP.margin)


def simulation_criteria(table: pd.DataFrame) -> list[Criterion]:
    """False positives at most at the declared level, and intervals that hold what they should."""
    error = 3 * float(np.sqrt(0.05 * 0.95 / len(table)))
    how = "three standard errors of a share of one in twenty"
    claimed_share, holds = float(table.claimed.mean()), float(table.holds.mean())
    facts = {"group": "no gap", "how": how}
    return [
        Criterion(name="gaps claimed", value=claimed_share, expected=0.05, tolerance=error, side="at most", **facts),
        Criterion(name="intervals that hold 0", value=holds, expected=0.95, tolerance=error + 0.01, **facts),
    ]


_PANELS = (
    (
        "truth, second persona (AUROC)",
        (("represented", "represented", "o", COLOURS[0]), ("expressed", "expressed", "s", COLOURS[1])),
    ),
    ("Bullshit index of sampled claims", (("bullshit_index", "Bullshit index", "o", "black"),)),
    (
        "effect of steering",
        (
            ("nie", "false to true", "^", COLOURS[0]),
            ("nie_mirror", "true to false", "v", COLOURS[1]),
            ("nie_random", "random", "|", GREY),
        ),
    ),
)


def draw(models: pd.DataFrame) -> Figure:
    """Represented and expressed truth of every model, its Bullshit index, and what steering does."""
    names = list(dict.fromkeys(models.model))
    with styled():
        figure = new_figure(PAGE, 0.32 * len(names) + 1.0)
        axes = figure.subplots(1, 3, sharey=True)
        for ax, (title, marks) in zip(axes, _PANELS, strict=True):
            for j, (what, label, marker, colour) in enumerate(marks):
                for i, name in enumerate(names):
                    values = column(where(models, model=name), what)
                    at = np.full(len(values), -i + 0.16 * ((len(marks) - 1) / 2 - j))
                    ax.plot(values, at, marker, color=colour, label=label if i == 0 else None)
            ax.set_xlabel(title)
            ax.set_xlim(-0.05, 1.1)
            if len(marks) > 1:
                ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(marks), handletextpad=0.1)
        axes[0].axvline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
        axes[0].set_yticks(-np.arange(len(names)), names)
        axes[0].set_ylim(-len(names) + 0.5, 0.5)
    return figure


STUDY = Study(
    name="known_beliefs", finding=0, claim=CLAIM, source=SOURCE,
    run=lambda full, progress: run(FULL if full else QUICK, progress=progress),
)  # fmt: skip


def main(argv: Iterable[str] | None = None) -> None:
    options = arguments("known_beliefs", __doc__ or "", argv)
    print(CLAIM, end="\n\n")
    result = run(FULL if options.full else QUICK)
    result.write(options.out)
    shown = result.tables["models"].drop(columns=["p", "draws"])
    print(shown.to_string(index=False, float_format="{:.3f}".format), end="\n\n")
    print(result.report())
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
