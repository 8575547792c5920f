"""The figures of the planted truth: the table as a picture, and the dose curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullFormatter

from analyses._planted.doses import Dose, band, by_level, dose_criteria
from analyses._planted.measures import MEASURES
from analyses._planted.table import MODELS
from analyses._planted.trained import ARMS
from analyses._study import Criterion, where
from mechdecouple.report.style import BAND, GREY, LIGHT, PAGE, new_figure, styled

# From white to the first colour of Okabe and Ito's palette: read in grey as well.
_SHADES = LinearSegmentedColormap.from_list("unlike", ["#FFFFFF", "#0072B2"])
_UNMET = "#D55E00"
_FAMILIES = {"geometry": "geometry", "fracture": "fracture", "entanglement": "entanglement", "similarity": "similarity",
             "robustness": "robustness"}  # fmt: skip

# Short words for a direct label, what the curve is divided by, colour and marker.
_CURVES: dict[str, tuple[str, float, str, str]] = {
    "participation_ratio": ("PR / 128", 128, "#000000", "o"),
    "functional_participation_ratio": ("functional PR / 6", 6, "#666666", "s"),
    "effective_rank": ("effective rank / 128", 128, "#666666", "s"),
    "coding_overlap": ("overlap", 1, "#D55E00", "D"),
    "erasure_collateral": ("collateral / .5", 0.5, "#882255", "o"),
    "coding_energy_left": ("energy left", 1, "#D55E00", "D"),
    "procrustes": ("Procrustes / (π/2)", np.pi / 2, "#009E73", "^"),
    "cka": ("CKA", 1, "#0072B2", "o"),
    "functional_cka": ("functional CKA", 1, "#56B4E9", "s"),
    "noise_tolerance": ("ε90 functional / 4", 4, "#CC79A7", "v"),
    "noise_tolerance_total": ("ε90 total / 4", 4, "#E69F00", "v"),
    "erasure_residual": ("erasure AUROC", 1, "#CC79A7", "s"),
    "parallelism": ("parallelism", 1, "#56B4E9", "o"),
    "additive_share": ("additive share", 1, "#666666", "s"),
    "ccgp": ("CCGP", 1, "#0072B2", "o"),
    "dci_completeness": ("completeness", 1, "#882255", "D"),
    "probe_accuracy": ("probe accuracy", 1, "#0072B2", "o"),
    "superposition_interference": ("interference / 6", 6, "#D55E00", "D"),
    "superposition_dimensionality": ("dimensions a feature", 1, "#000000", "o"),
}


def draw_table(
    table: pd.DataFrame,
    trained: pd.DataFrame,
    planted_criteria: Iterable[Criterion],
    trained_criteria: Iterable[Criterion],
) -> Figure:
    """Metric × model: the number, how unlike the factored model it is (shade), and whether it is as declared (mark)."""
    metrics = [m for m in dict.fromkeys(table["metric"]) if m != "cka_plain"]
    families = [f for f in _FAMILIES if any(MEASURES[m].metric.family == f for m in metrics)]
    metrics = sorted(metrics, key=lambda m: families.index(MEASURES[m].metric.family))
    planted = table.pivot_table(index="metric", columns="model", values="value", sort=False)
    networks = trained.pivot_table(index="metric", columns="arm", values="value", sort=False)
    marks, network_marks = _marks(planted_criteria), _marks(trained_criteria)
    with styled():
        figure = new_figure(PAGE, 0.22 * len(metrics) + 1.3)
        ax = figure.subplots()
        gap = len(MODELS) + 0.4
        for y, metric in enumerate(metrics):
            title = MEASURES[metric].metric.title
            own = [planted.loc[metric, name] for name in MODELS]
            for x, (value, name) in enumerate(zip(own, MODELS.values(), strict=True)):
                _cell(ax, x, y, value, _unlike(own, x), marks.get(f"{name}: {title}"))
            if metric in networks.index:
                own = [networks.loc[metric, arm] for arm in ARMS]
                for x, (value, arm) in enumerate(zip(own, ARMS, strict=True)):
                    _cell(ax, gap + x, y, value, _unlike(own, x), network_marks.get(f"{arm}: {title}"))
        titles = [MEASURES[m].metric.title for m in metrics]
        for words in (" (debiased)", " (chance-corrected)"):
            titles = [title.replace(words, "") for title in titles]
        _frame(ax, metrics, [title[0].upper() + title[1:] for title in titles], gap)
        figure.suptitle(
            "Eight codes of one function, and trained networks: what each metric sees", x=0.01, ha="left", weight="bold"
        )
        figure.supxlabel(
            "Shade: how unlike the factored model, as a share of the row's largest difference (white: the metric is "
            "blind to it).\n✓ as declared and computed   ✗ not   no mark: nothing declared. Means over seeds. "
            "Similarities are to the factored model drawn again (trained: itself).",
            fontsize=6.5, color=GREY, x=0.01, ha="left",
        )  # fmt: skip
    return figure


def _marks(criteria: Iterable[Criterion]) -> dict[str, bool]:
    """By name of the criterion, whether all of that name are met."""
    found: dict[str, bool] = {}
    for c in criteria:
        found[c.name] = found.get(c.name, True) and c.met
    return found


def _unlike(values: Sequence[float], x: int) -> float:
    """Distance from the first as a share of the largest, counting a twentieth of the largest value as nothing."""
    difference = np.abs(np.asarray(values, float) - values[0])
    largest = max(np.nanmax(difference), 0.05 * np.nanmax(np.abs(values)), 0.02)
    return float(np.nan_to_num(difference[x] / largest))


def _cell(ax: Axes, x: float, y: float, value: float, shade: float, met: bool | None) -> None:
    missed = met is False
    edge, width = (_UNMET, 1.2) if missed else ("#DDDDDD", 0.3)
    box = Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, facecolor=_SHADES(0.85 * shade), edgecolor=edge, linewidth=width)
    ax.add_patch(box)
    colour = "white" if shade > 0.6 else "black"
    ax.text(x - 0.05, y, _digits(value), ha="center", va="center", fontsize=6.5, color=colour)
    if met is not None:
        ax.text(x + 0.43, y, "✗" if missed else "✓", ha="right", va="center", fontsize=5.5, color=colour,
                alpha=1 if missed else 0.6, weight="bold" if missed else "normal")  # fmt: skip


def _digits(value: float) -> str:
    if np.isnan(value):
        return "n/a"
    if abs(value) >= 20:
        return f"{value:.0f}"
    text = f"{value:.1f}" if abs(value) >= 5 else f"{value:.2f}"
    return "0.00" if text == "-0.00" else text


def _frame(ax: Axes, metrics: Sequence[str], titles: Sequence[str], gap: float) -> None:
    heads = [*MODELS.values(), *("untrained" if arm == "untrained" else f"trained {arm}" for arm in ARMS)]
    ax.set_xticks([*range(len(MODELS)), *(gap + i for i in range(len(ARMS)))], heads, rotation=35, ha="left")
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(metrics)), titles)
    ax.set_xlim(-0.5, gap + len(ARMS) - 0.5)
    ax.set_ylim(len(metrics) - 0.5, -0.5)
    ax.tick_params(length=0, pad=2)
    for side in ax.spines.values():
        side.set_visible(False)
    families = [MEASURES[m].metric.family for m in metrics]
    for y in range(1, len(metrics)):
        if families[y] != families[y - 1]:
            ax.axhline(y - 0.5, color=GREY, linewidth=0.8, xmin=-0.4, clip_on=False)


def draw_doses(doses: Sequence[Dose], table: pd.DataFrame) -> Figure:
    """A dose a panel: above, what must follow it; below, how far strays what must not move."""
    columns = 3
    rows = -(-len(doses) // columns)
    with styled():
        figure = new_figure(PAGE, 2.75 * rows + 0.45)
        grid = figure.subplots(2 * rows, columns, gridspec_kw={"height_ratios": [3.4, 1] * rows}, squeeze=False)
        for i, dose in enumerate(doses):
            top, bottom = (grid[2 * (i // columns) + part, i % columns] for part in (0, 1))
            _follow(top, dose, where(table, dose=dose.name))
            _stay(bottom, dose, where(table, dose=dose.name))
        for i in range(len(doses), rows * columns):
            for part in (0, 1):
                grid[2 * (i // columns) + part, i % columns].set_axis_off()
        criteria = [c for dose in doses for c in dose_criteria(dose, table)]
        follow, stay = ([c.met for c in criteria if c.side == side] for side in ("at least", "at most"))
        figure.suptitle(
            f"Doses: {sum(follow)} of {len(follow)} metrics follow as they must, "
            f"{sum(stay)} of {len(stay)} stay as they must", x=0.01, ha="left", weight="bold",
        )  # fmt: skip
        figure.supxlabel(
            "Above: mean over seeds (markers) with their range (band), closed form (line; dotted: none, markers "
            "joined); ρ is the smallest rank correlation.\nBelow: shift from the lowest dose of every metric that must "
            "not move, in units of its margin (band: ±1). The closed form is that of endless items,\nwhich Procrustes "
            "approaches from below.", fontsize=6.5, color=GREY, x=0.01, ha="left",
        )  # fmt: skip
    return figure


def _follow(ax: Axes, dose: Dose, table: pd.DataFrame) -> None:
    levels = np.array(dose.levels, float)
    ends: list[tuple[float, str, str]] = []
    for metric in (*dose.up, *dose.down):
        label, unit, colour, marker = _CURVES[metric]
        rows = where(table, metric=metric)
        own, right = (by_level(dose, rows, name) / unit for name in ("value", "population"))
        ax.fill_between(levels, own.min(axis=1), own.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        known = not np.isnan(right).any()
        ax.plot(levels, own.mean(axis=1), color=colour, marker=marker, markersize=3, linewidth=0.8,
                linestyle="none" if known else ":")  # fmt: skip
        if known:
            ax.plot(levels, right.mean(axis=1), color=colour, linewidth=0.8)
        ends.append((float(own.mean(axis=1)[-1]), label, colour))
    ax.set_ylim(-0.04, 1.06)
    _same_span(ax, levels)
    _label_ends(ax, levels[-1], ends)
    least = min(c.value for c in dose_criteria(dose, table) if c.side == "at least")
    ax.set_title(f"{dose.name.capitalize()}  (ρ ≥ {np.floor(least * 1000) / 1000:.3f})", fontsize=7)
    ax.xaxis.set_major_formatter(NullFormatter())
    ax.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))


def _same_span(ax: Axes, levels: np.ndarray) -> None:
    ends = 0.05 * (levels[-1] - levels[0])
    ax.set_xlim(levels[0] - ends, levels[-1] + ends)


def _label_ends(ax: Axes, x: float, ends: list[tuple[float, str, str]]) -> None:
    """Names at the right ends of curves, moved apart where they would lie on each other."""
    least, order = 0.085, np.argsort([y for y, *_ in ends])
    places = np.array([ends[i][0] for i in order], float)
    for _ in range(200):
        for a in range(len(places) - 1):
            overlap = least - (places[a + 1] - places[a])
            if overlap > 0:
                places[a] -= overlap / 2
                places[a + 1] += overlap / 2
        places += max(0.0, -0.02 - places[0])
        places -= max(0.0, places[-1] - 1.04)
    for place, i in zip(places, order, strict=True):
        y, label, colour = ends[i]
        ax.annotate(
            label, (x, y), xytext=(1.05, place), textcoords=("axes fraction", "data"), fontsize=5.8, color=colour,
            va="center", arrowprops={"arrowstyle": "-", "color": LIGHT, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2},
            annotation_clip=False,
        )  # fmt: skip


def _stay(ax: Axes, dose: Dose, table: pd.DataFrame) -> None:
    levels = np.array(dose.levels, float)
    ax.axhspan(-1, 1, color=BAND, linewidth=0)
    largest, worst = 0.0, ""
    for metric in dose.stays:
        own = by_level(dose, where(table, metric=metric))
        strays = (own.mean(axis=1) - own[0].mean()) / band(metric, own[0])
        ax.plot(levels, strays, color=GREY, linewidth=0.7, alpha=0.8)
        if np.abs(strays).max() >= largest:
            largest, worst = float(np.abs(strays).max()), metric
    ax.set_ylim(-1.5, 1.5)
    _same_span(ax, levels)
    ax.set_yticks([-1, 0, 1])
    ax.set_xlabel(dose.title, labelpad=2, fontsize=6.5)
    if dose.stays:
        text = f"{len(dose.stays)} must stay:\nup to {largest:.2f}\n({_short(worst)})"
        ax.text(1.05, 0.5, text, transform=ax.transAxes, fontsize=5.8, color=GREY, va="center")
    else:
        ax.text(1.05, 0.5, "none must stay", transform=ax.transAxes, fontsize=5.8, color=GREY, va="center")


_SHORT = {"ccgp_concepts": "CCGP, concepts", "parallelism_concepts": "parallelism,\nconcepts",
          "dci_disentanglement": "disentanglement"}  # fmt: skip


def _short(metric: str) -> str:
    return _SHORT.get(metric) or _CURVES[metric][0].partition(" / ")[0]
