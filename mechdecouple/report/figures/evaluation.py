"""Pictures of a dictionary's quality: how often latents fire, what the model keeps, and declared concepts in it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mechdecouple.report.style import BAND, COLOURS, GREY, LIGHT, say
from mechdecouple.report.view import sentence
from mechdecouple.results import Estimate
from mechdecouple.sae.concepts import Absorption, SparseProbing, Splitting, TargetedPerturbation
from mechdecouple.sae.evaluate import DENSE_FREQUENCY, Evaluation
from mechdecouple.sae.quality import MIN_RECOVERED
from mechdecouple.sae.spliced import Spliced
from mechdecouple.stats import Replicates

_LONGEST = 18
_FLOOR_WORDS = {"mean": "above the mean", "zero": "above zero"}


def draw_evaluation(evaluation: Evaluation, ax: Axes) -> None:
    """How often each live latent fires; those firing on many rows lie on a grey band."""
    fired = evaluation.frequency[evaluation.frequency > 0]
    if not len(fired):
        say(ax, "No latent fires.")
        return
    low, high = min(1 / evaluation.rows, float(fired.min())), 1.0
    ax.axvspan(DENSE_FREQUENCY, high, color=BAND, linewidth=0)
    ax.hist(fired, np.geomspace(low / 1.0001, high * 1.0001, 31).tolist(), color=COLOURS[0])
    ax.set_xscale("log")
    ax.set_xlim(low / 1.2, 1.05)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("share of rows that fire a latent (grey: dense)")
    ax.set_ylabel("latents")
    ax.set_title(f"{len(evaluation.frequency)} latents, {evaluation.dead.value:.0%} dead")


def draw_spliced(spliced: Spliced, ax: Axes) -> None:
    """What reconstructions win back of what ablation costs, with intervals; 1 is the model as it is."""
    rows = [
        (f"{quantity}, {_FLOOR_WORDS[floor]}", spliced.recovered[quantity][floor])
        for quantity in spliced.recovered
        for floor in ("mean", "zero")
    ]
    shown = [(name, found) for name, found in rows if np.isfinite(found.value)]
    if not shown:
        say(ax, sentence(rows[0][1].reason) if rows else "Nothing was measured.")
        return
    ax.axvline(1, color=GREY, linewidth=0.8)
    ax.axvline(0, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    ax.axvline(MIN_RECOVERED, color=LIGHT, linestyle=":", linewidth=1)
    for y, (_, found) in enumerate(shown):
        ax.errorbar([found.value], [-y], xerr=_whiskers(found), fmt="o", color=COLOURS[0], capsize=2.5)
    ax.set_yticks(-np.arange(len(shown)), [name for name, _ in shown])
    ax.set_ylim(-len(shown) + 0.4, 0.6)
    values = [found.value for _, found in shown]
    ax.set_xlim(min(-0.05, min(values) - 0.1), max(1.05, max(values) + 0.05))
    ax.set_xlabel("share won back (dotted: least)")
    ax.set_title("Spliced into the model")


def draw_probing(probing: SparseProbing, ax: Axes) -> None:
    """Held-out AUROC by number of latents, a thin line a concept and their mean; at the right the dense probe."""
    x = np.arange(len(probing.k))
    names = [str(k) for k in probing.k]
    curves = np.asarray(probing.auroc.value)
    ax.axhline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    ax.plot(x, curves, color=LIGHT, linewidth=0.8, zorder=1)
    for i in x:
        _mean_point(ax, float(i), probing.auroc[i], "o")
    ax.plot(x, np.nanmean(curves, axis=1), color=COLOURS[0])
    if probing.dense_auroc is not None:
        dense = np.asarray(probing.dense_auroc.value)
        ax.plot(np.full(len(dense), len(x) + 0.0), dense, "_", color=LIGHT, markersize=8, zorder=1)
        _mean_point(ax, len(x), probing.dense_auroc, "s")
        names.append("dense")
    ax.set_xticks(np.arange(len(names)), names)
    ax.set_xlim(-0.4, len(names) - 0.6)
    ax.set_ylim(min(0.45, float(np.nanmin(curves)) - 0.03), 1.02)
    ax.set_xlabel("latents read")
    ax.set_ylabel("held-out AUROC")
    c = len(probing.concepts)
    ax.set_title(f"Probes of few latents, {c} concept{'s' * (c != 1)}")


def draw_splitting(splitting: Splitting, ax: Axes) -> None:
    """Held-out F1 by number of latents, a line a concept; the dot is where the concept's own latents end."""
    f1 = np.asarray(splitting.f1.value)
    x = np.arange(1, len(f1) + 1)
    for c, count in enumerate(splitting.count):
        ax.plot(x, f1[:, c], color=LIGHT, linewidth=0.8, zorder=1)
        ax.plot([count], [f1[count - 1, c]], "o", color=COLOURS[0])
    ax.set_xticks(x)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("latents read (dot: the concept's own)")
    ax.set_ylabel("held-out F1")
    ax.set_title("Latents of a concept")


def draw_absorption(absorption: Absorption, ax: Axes) -> None:
    """Share of each concept that other latents supply (dots), and of rows that one other supplies alone (squares)."""
    if not absorption.concepts:
        say(ax, sentence(next(iter(absorption.left_out.values()), "No concept was declared")))
        return
    y = -np.arange(len(absorption.concepts))
    for found, marker, colour, shift, label in (
        (absorption.fraction, "o", COLOURS[0], 0.13, "in part or whole"),
        (absorption.full, "s", COLOURS[1], -0.13, "whole, by one latent"),
    ):
        low, high = found.interval()
        values = np.asarray(found.value)
        ax.hlines(y + shift, np.clip(low, 0, 1), np.clip(high, 0, 1), color=colour, linewidth=1)
        ax.plot(values, y + shift, marker, color=colour, label=label)
    ax.set_yticks(y, _cut(absorption.concepts))
    ax.set_ylim(-len(y) + 0.4, 0.6)
    ax.set_xlim(-0.02, max(0.3, float(np.nanmax(absorption.fraction.interval()[1], initial=0.0)) + 0.05))
    ax.set_xlabel("share of the concept's rows")
    ax.set_title("Absorption")
    ax.legend(loc="upper right", bbox_to_anchor=(1.02, -0.2), ncols=2, columnspacing=1.0)


def draw_perturbation(perturbation: TargetedPerturbation, ax: Axes) -> None:
    """Fall of each concept's probe (columns) without the latents of each concept (rows), for the most latents."""
    falls = np.asarray(perturbation.effect.value)[-1]
    top = max(0.05, float(np.nanmax(np.abs(falls))))
    ax.imshow(falls, cmap="PuOr_r", vmin=-top, vmax=top)
    for i, row in enumerate(falls):
        for j, fall in enumerate(row):
            colour = "white" if abs(fall) > 0.6 * top else "black"
            ax.text(j, i, f"{fall + 0.0:.2f}".replace("-0.00", "0.00"), ha="center", va="center", color=colour)
    names = _cut(perturbation.concepts)
    places = np.arange(len(names))
    long = max(map(len, names)) > 6
    ax.set_xticks(places, names, rotation=35 if long else 0, ha="right" if long else "center")
    ax.set_yticks(places, names)
    ax.tick_params(length=0)
    ax.set_xlabel("fall of the probe of")
    ax.set_ylabel("without latents of")
    k = perturbation.k[-1]
    ax.set_title(f"{k} latent{'s' * (k != 1)} taken out")


def _mean_point(ax: Axes, x: float, found: Replicates, marker: str) -> None:
    """The mean over concepts with its interval."""
    mean = Replicates.mean(list(found))
    low, high = mean.interval()
    whiskers = None if np.isnan(low) else [[mean.value - low], [min(high, 1.0) - mean.value]]
    ax.errorbar([x], [mean.value], yerr=whiskers, fmt=marker, color=COLOURS[0], capsize=2.5)


def _cut(names: tuple[str, ...]) -> list[str]:
    return [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]


def _whiskers(found: Estimate) -> list[list[float]] | None:
    return None if np.isnan(found.low) else [[found.value - found.low], [found.high - found.value]]
