"""Similarity of every hook point of A with every one of B, by each measure, with its null."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import GREY
from mechdecouple.report.view import View, shorten

MAPS = ("cka", "functional_cka", "mutual_knn", "r2_cca", "procrustes")
_DISTANCES = ("procrustes",)
_TITLES = {"functional_cka": "CKA of what is used", "mutual_knn": "Mutual neighbours", "r2_cca": "Canonical corr. R²"}
"""Those that are too long for a map."""
_MAX_NUMBERS = 7
_ALPHA = 0.05
_HEIGHT = 2.25


def matrix(view: View, metric: str = "cka") -> tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Values and adjusted p [hook points of A, hook points of B], NaN where undefined, and the hook points."""
    rows = view.pairs(metric)
    a, b = tuple(dict.fromkeys(rows.hook_point)), tuple(dict.fromkeys(rows.hook_point_b))
    values, p = (
        rows.pivot(index="hook_point", columns="hook_point_b", values=name)
        .reindex(index=list(a), columns=list(b))
        .to_numpy(dtype=float)
        for name in ("value", "p")
    )
    return values, p, a, b


def similarity_map(metric: str) -> Panel:
    """The layer × layer map of one measure; cells that its null explains are crossed out."""

    def missing(view: View) -> str:
        drawn = np.isfinite(view.pairs(metric).value.astype(float)).any()
        return "" if drawn else f"{title(metric)}: {view.reason(metric)}"

    return Panel(
        metric, lambda view, ax: _heat(view, ax, metric), missing, weight=1.0, height=lambda _: _HEIGHT, models=False
    )


def _heat(view: View, ax: Axes, metric: str) -> None:
    values, p, a, b = matrix(view, metric)
    distance = metric in _DISTANCES
    top = np.pi / 2 if distance else 1.0
    # debiased values stray a little below 0: they are drawn as 0 and printed as they are
    colours = "cividis_r" if distance else "cividis"
    image = ax.imshow(np.clip(values, 0, top), vmin=0, vmax=top, cmap=colours, origin="lower", aspect="equal")
    ax.set_facecolor("#DDDDDD")
    for axis, points, name in ((ax.xaxis, b, view.names[1]), (ax.yaxis, a, view.names[0])):
        step = -(-len(points) // 14)
        labels = shorten(points)
        axis.set_ticks(range(0, len(points), step), [labels[i] for i in range(0, len(points), step)])
        axis.set_label_text(name if len(name) < 30 else f"{name[:27]}…")
    _slant(ax, shorten(b))
    for spine in ax.spines.values():
        spine.set_visible(False)
    shown = max(values.shape) <= _MAX_NUMBERS
    for (i, j), value in np.ndenumerate(values):
        dark = np.isfinite(value) and (value > 0.5 * top if distance else value < 0.55 * top)
        ink = "white" if dark else "black"
        if p[i, j] > _ALPHA:
            ax.plot([j - 0.42, j + 0.42], [i - 0.42, i + 0.42], color=ink, linewidth=0.5, alpha=0.7)
        if shown:
            ax.text(j, i, _cell(value), ha="center", va="center", fontsize=7, color=ink)
    ax.set_title(_TITLES.get(metric, title(metric)))
    figure = ax.get_figure()
    assert figure is not None
    # as high as the map itself, which its equal sides keep smaller than its place
    bar = figure.colorbar(image, cax=ax.inset_axes((1.04, 0, 0.05, 1)), ticks=[0, top / 2, top])
    if distance:
        bar.ax.set_yticklabels(["0", "π/4", "π/2"])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)


def _cell(value: float) -> str:
    if np.isnan(value):
        return "–"
    return "1" if 0.995 <= value < 1.005 else f"{value:.2f}".replace("-0.", "−.").removeprefix("0")


def _missing(view: View) -> str:
    return similarity_map("cka").missing(view)


def _profile(view: View, ax: Axes) -> None:
    """At paired hook points: CKA with its interval, of all and of what is used, and its null."""
    _, _, a, b = matrix(view)
    x = np.arange(len(a))
    for metric, style, label in (("cka", "-D", "all"), ("functional_cka", "--o", "what is used")):
        rows = view.pairs(metric)
        if not len(rows):
            continue
        at = rows.set_index(["hook_point", "hook_point_b"]).reindex(list(zip(a, b, strict=True)))
        low, high, value = (at[c].to_numpy(float) for c in ("low", "high", "value"))
        ax.fill_between(x, low, high, color=GREY, alpha=0.2, linewidth=0)
        ax.plot(x, value, style, color=GREY, label=label, markerfacecolor=GREY if metric == "cka" else "white")
    ax.axhline(0, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
    labels, step = shorten(a), -(-len(a) // 8)
    ax.set_xticks(x[::step], labels[::step])
    _slant(ax, labels)
    ax.set_ylim(min(-0.03, ax.get_ylim()[0]), 1.03)
    ax.set_title("At paired hook points")
    ax.set_ylabel("debiased CKA")
    ax.set_xlabel(f"hook point of {view.names[0]}"[:36])
    if len(view.pairs("functional_cka")):
        ax.legend(loc="best")


def _slant(ax: Axes, labels: list[str]) -> None:
    """Long labels are set at a slant."""
    if max(map(len, labels)) > 3:
        ax.tick_params(axis="x", labelrotation=45)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")


def _unpaired(view: View) -> str:
    if _missing(view):
        return _missing(view)
    _, _, a, b = matrix(view)
    return "" if len(a) == len(b) > 1 else "The models have unequally many hook points, or one."


def panels(view: View) -> list[Panel]:
    maps = [similarity_map(metric) for metric in MAPS]
    return [
        maps[0],
        maps[1],
        Panel("cka_profile", _profile, _unpaired, height=lambda _: _HEIGHT, models=False),
        *maps[2:],
    ]


SHEET = Sheet(
    "similarity",
    panels,
    "Every hook point of one model with every one of the other on identical items: debiased linear CKA of the whole "
    "activations and of the part that the answers depend on, mutual nearest neighbours, canonical correlation, and the "
    "angular Procrustes distance (dark: far). Cells struck through are not told apart from unrelated representations "
    "(permutation null, adjusted over all cells); grey: undefined, as where activations are constant.",
)
