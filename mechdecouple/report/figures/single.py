"""Pictures of results other than a comparison: activations, answers, dictionaries and their matchings."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers
from mechdecouple.behavior.calibration import reliability
from mechdecouple.report.figures.calibration import BINS, draw_reliability, square
from mechdecouple.report.style import COLOURS, GREY, say
from mechdecouple.report.view import sentence, shorten
from mechdecouple.sae import Evaluation, Matching


def draw_activations(acts: Activations, ax: Axes) -> None:
    """Norms at each hook point: median, middle half, and 5 to 95 %."""
    norms = [
        np.concatenate([np.linalg.norm(rows, axis=1) for rows in acts.batches(point, 4096)] or [[]])
        for point in acts.hook_points
    ]
    if not len(acts):
        say(ax, "No rows of activations.")
        return
    quantiles = np.array([np.quantile(n, [0.05, 0.25, 0.5, 0.75, 0.95]) for n in norms])
    x = np.arange(len(norms))
    ax.vlines(x, quantiles[:, 0], quantiles[:, 4], color=COLOURS[0], linewidth=1)
    ax.vlines(x, quantiles[:, 1], quantiles[:, 3], color=COLOURS[0], linewidth=5, alpha=0.4)
    ax.plot(x, quantiles[:, 2], "o", color=COLOURS[0])
    step = -(-len(norms) // 13)
    labels = shorten(acts.hook_points)
    ax.set_xticks(
        x[::step],
        labels[::step],
        rotation=0 if max(map(len, labels)) < 4 else 35,
        ha="right" if max(map(len, labels)) >= 4 else "center",
    )
    ax.set_xlim(-0.6, len(norms) - 0.4)
    ax.set_ylim(0, None)
    ax.set_ylabel("norm of a row")
    ax.set_title(f"Activations, position {acts.position}")


def draw_answers(answers: Answers, ax: Axes) -> None:
    """Reliability of the confidence that a model's answers are given with."""
    held = np.zeros(0, bool) if answers.correct is None else np.isfinite(answers.confidence)
    if not held.any():
        say(ax, sentence(answers.reason or f"Answers scored in {answers.unit} carry no confidence"))
        return
    assert answers.correct is not None
    table = reliability(answers.confidence[held], answers.correct[held].astype(float), n_bins=BINS)
    draw_reliability(ax, table, 0)
    square(ax, float(table.prob.min()))


def draw_matching(matching: Matching, ax: Axes) -> None:
    """For each live latent of the smaller dictionary, its best correlation with one of the other, best first."""
    found = matching.correlation
    if not found.size:
        say(ax, "No live latents to match.")
        return
    best = np.sort(found.max(axis=1 if found.shape[0] <= found.shape[1] else 0))[::-1]
    ax.plot(np.arange(1, len(best) + 1), best, color=GREY, label="best correlation of each")
    ax.plot(
        np.arange(1, len(matching.similarity) + 1),
        matching.similarity,
        "o",
        color=COLOURS[0],
        markersize=2.5,
        label="matched one-to-one",
    )
    ax.axhline(matching.threshold, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    ax.set_ylim(min(0.0, float(best.min())) - 0.02, 1.02)
    ax.set_xlabel("latents, best first")
    ax.set_ylabel("correlation")
    ax.set_title("Matched latents")
    ax.legend(loc="lower left")


def draw_evaluation(evaluation: Evaluation, ax: Axes) -> None:
    """How often each latent fires."""
    fired = evaluation.frequency[evaluation.frequency > 0]
    if not len(fired):
        say(ax, "No latent fires.")
        return
    edges = np.geomspace(fired.min() / 1.0001, max(fired.max() * 1.0001, fired.min() * 1.5), 25)
    ax.hist(fired, edges, color=COLOURS[0])
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_xlabel("share of rows on which a latent fires")
    ax.set_ylabel("latents")
    dead = evaluation.dead.value
    ax.set_title(f"{len(evaluation.frequency)} latents, {dead:.0%} dead")
