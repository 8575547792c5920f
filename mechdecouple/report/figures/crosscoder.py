"""Pictures of crosscoders: how exclusive each latent is, how much of each model is rebuilt, how training went."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, say
from mechdecouple.sae.crosscoder import Crosscoder, CrosscoderEvaluation, Exclusivity

_BINS = 21  # odd, so that one bin stands around a half
_SHADES = {
    "only b": (COLOURS[1], "", "only in B"),
    "only a": (COLOURS[0], "", "only in A"),
    "shared": (LIGHT, "", "shared"),
    "artefact": ("white", "/////", "not shown exclusive"),
    "undecided": ("white", "....", "undecided"),
}


def draw_exclusivity(found: Exclusivity, ax: Axes) -> None:
    """Live latents by the share of A in their decoder norms, coloured by what they are."""
    live = found.table[found.table.kind != "dead"]
    if not len(live):
        say(ax, "All latents of the crosscoder are dead.")
        return
    edges = np.linspace(0, 1, _BINS + 1)
    base = np.zeros(_BINS)
    for kind, (colour, hatch, label) in _SHADES.items():
        of = live.relative_norm[live.kind == kind]
        if not len(of):
            continue
        counts = np.histogram(of, edges)[0]
        ax.bar(
            edges[:-1], counts, 1 / _BINS, base, align="edge", color=colour, hatch=hatch, edgecolor=GREY,
            linewidth=0.5, label=f"{label} ({len(of)})",
        )  # fmt: skip
        base += counts
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1], ["0\nonly B", "0.5\nequal", "1\nonly A"])
    ax.set_ylim(0, 1.5 * base.max())  # room for the legend
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel("share of A in a latent's decoder norms")
    ax.set_ylabel("live latents")
    ax.set_title("Latents of both models and of one")
    ax.legend(loc="upper center", ncols=2, columnspacing=1.0)


def draw_crosscoder_evaluation(found: CrosscoderEvaluation, ax: Axes) -> None:
    """Explained variance of each model, with its interval."""
    for which, (name, e) in enumerate((("A", found.explained_a), ("B", found.explained_b))):
        if not np.isfinite(e.value):
            say(ax, f"Explained variance of model {name} is undefined: {e.reason}.")
            return
        whiskers = [[e.value - e.low], [e.high - e.value]] if np.isfinite(e.low) else None
        ax.errorbar([e.value], [-which], xerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], capsize=2.5)
    ax.set_yticks([0, -1], ["A", "B"])
    ax.set_ylim(-1.6, 0.6)
    ax.set_xlim(min(-0.02, found.explained_a.value - 0.05, found.explained_b.value - 0.05), 1.02)
    ax.set_xlabel("explained variance of the evaluated rows")
    ax.set_title(f"Crosscoder: {found.l0.value:.1f} active latents a row")


def draw_crosscoder(crosscoder: Crosscoder, ax: Axes) -> None:
    """Unexplained variance (left) and active latents a row (right) over the steps; each point is of one batch."""
    curve = crosscoder.training.get("curve") or []
    if len(curve) < 2:
        say(ax, "This crosscoder does not say how its training went.")
        return
    step, fvu, l0 = (np.array([point[name] for point in curve], float) for name in ("step", "fvu", "l0"))
    ax.plot(step, fvu, color=COLOURS[0])
    ax.set_yscale("log")
    ax.set_yticks([0.01, 0.03, 0.1, 0.3, 1], [".01", ".03", ".1", ".3", "1"])
    ax.set_yticks([], minor=True)
    ax.set_ylim(0.9 * min(0.1, fvu.min()), 1.1 * max(1, fvu.max()))
    ax.set_xlim(0, step[-1])
    ax.set_xlabel("step")
    ax.set_ylabel("variance unexplained", color=COLOURS[0])
    right = ax.twinx()
    right.plot(step, l0, color=COLOURS[1], linestyle="--")
    right.set_ylim(0, 1.15 * max(l0.max(), 1e-9))
    right.set_ylabel("active latents a row (dashed)", color=COLOURS[1])
    right.spines["right"].set_visible(True)
    ax.set_title(f"Crosscoder: {crosscoder.kind}, {crosscoder.width} latents")
