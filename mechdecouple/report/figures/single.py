"""Pictures of activations and of answers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.activations import Activations
from mechdecouple.behavior import Answers
from mechdecouple.behavior.calibration import reliability
from mechdecouple.report.figures.calibration import BINS, draw_reliability, square
from mechdecouple.report.style import COLOURS, say
from mechdecouple.report.view import sentence, shorten


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
