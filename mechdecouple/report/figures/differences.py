"""The map of differences: every measure of structure at every pair of hook points, A against B."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import FUNCTIONAL, METRICS, title
from mechdecouple.report.style import COLOURS, GREY
from mechdecouple.report.view import Table, View, shorten

_ALPHA = 0.05
_MOST_ROWS = 36
_MOST_NUMBERS = 8
_REACH = 10.0


def table(view: View) -> Table:
    """value, t (difference over its standard error) and p of every row (metric, concept) at every hook point of A.

    A metric of more concepts than there is room for is shown for the concept in which the models differ most.
    """
    rows = view.differences().copy()
    half = (rows.high - rows.low) / 2
    rows["t"] = np.where(half > 0, 2 * rows.value / half, np.where(rows.value == 0, 0.0, np.sign(rows.value) * _REACH))
    if rows.groupby(["metric", "concept"]).ngroups > _MOST_ROWS:
        strength = rows.assign(t=rows.t.abs()).groupby(["metric", "concept"], sort=False).t.mean()
        kept = set(strength.groupby("metric", sort=False).idxmax())
        rows = rows[[(m, c) in kept for m, c in zip(rows.metric, rows.concept, strict=True)]]
    return rows


def _missing(view: View) -> str:
    return "" if len(view.differences()) else "No measure of structure is defined at paired hook points of both models."


def _draw(view: View, ax: Axes) -> None:
    rows = table(view)
    points = tuple(dict.fromkeys(rows.hook_point))
    names = list(dict.fromkeys(zip(rows.metric, rows.concept, strict=True)))
    order = {metric: i for i, metric in enumerate(METRICS)}
    names.sort(key=lambda name: order.get(name[0], len(order)))
    at = {(m, c, p): (v, t, q) for m, c, p, v, t, q in zip(
        rows.metric, rows.concept, rows.hook_point, rows.value, rows.t, rows.p, strict=True
    )}  # fmt: skip
    grid = np.array([[at.get((m, c, p), (np.nan,) * 3) for p in points] for m, c in names], dtype=float)
    colours = LinearSegmentedColormap.from_list("pair", [COLOURS[1], "white", COLOURS[0]])
    shown = np.where(grid[..., 2] <= _ALPHA, np.clip(grid[..., 1], -_REACH, _REACH), 0.0)
    ax.imshow(
        np.ma.masked_invalid(np.where(np.isnan(grid[..., 0]), np.nan, shown)),
        cmap=colours, vmin=-_REACH, vmax=_REACH, aspect="auto",
    )  # fmt: skip
    ax.set_facecolor("#DDDDDD")
    if len(points) <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(grid[..., 0]):
            if np.isfinite(value):
                clear = grid[i, j, 2] <= _ALPHA
                dark = abs(shown[i, j]) > 0.75 * _REACH
                ink = "white" if dark else "black" if clear else GREY
                text = f"{value:+z.2f}".replace("-", "−")
                ax.text(j, i, text, ha="center", va="center", fontsize=7, color=ink)
    raw = sum(metric not in FUNCTIONAL for metric, _ in names)
    if 0 < raw < len(names):
        ax.axhline(raw - 0.5, color=GREY, linewidth=0.6)
    ax.set_yticks(range(len(names)), [f"{title(m)}{f', {c}' if c else ''}" for m, c in names])
    inert = view.inert
    ax.set_xticks(
        range(len(points)),
        [
            f"{label}\n(inert)" if (view.names[0], point) in inert else label
            for label, point in zip(shorten(points), points, strict=True)
        ],
    )
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel(f"hook point of {view.names[0]}")
    ax.set_title(f"A − B; coloured where adjusted p ≤ {_ALPHA:g}: blue A above, orange B above")


def _height(view: View) -> float:
    rows = table(view)
    return 0.8 + 0.17 * max(1, rows.groupby(["metric", "concept"]).ngroups)


def panels(view: View) -> list[Panel]:
    return [Panel("differences", _draw, _missing, height=_height, wide=True, models=False)]


SHEET = Sheet(
    "differences",
    panels,
    "Every measure of structure at every pair of hook points: A less B on the measure's own scale. Coloured cells "
    "stand out at a false-discovery rate of 5 % over the whole map (Benjamini-Hochberg); below the line, of what the "
    "answers depend on (functional); grey: not compared; inert: the answers do not depend on it. Where concepts are "
    "too many for the page, each metric is shown for the one in which the models differ most. The map describes; "
    "verdicts rest on the primary metrics.",
)
