"""Similarity: debiased linear CKA of every hook point of A with every one of B."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import GREY
from mechdecouple.report.view import View, shorten

_MAX_NUMBERS = 9


def matrix(view: View) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """CKA [hook points of A, hook points of B], NaN where undefined, and the hook points."""
    rows = view.pairs("cka")
    a, b = tuple(dict.fromkeys(rows.hook_point)), tuple(dict.fromkeys(rows.hook_point_b))
    table = rows.pivot(index="hook_point", columns="hook_point_b", values="value")
    return table.reindex(index=list(a), columns=list(b)).to_numpy(dtype=float), a, b


def _missing(view: View) -> str:
    rows = view.pairs("cka")
    return "" if np.isfinite(rows.value).any() else f"Similarity: {view.reason('cka')}"


def _heat(view: View, ax: Axes) -> None:
    values, a, b = matrix(view)
    # debiased values stray a little below 0: they are drawn as 0 and printed as they are
    image = ax.imshow(np.clip(values, 0, 1), vmin=0, vmax=1, cmap="cividis", origin="lower", aspect="equal")
    ax.set_facecolor("#DDDDDD")
    for axis, points, name in ((ax.xaxis, b, view.names[1]), (ax.yaxis, a, view.names[0])):
        step = -(-len(points) // 14)
        labels = shorten(points)
        axis.set_ticks(range(0, len(points), step), [labels[i] for i in range(0, len(points), step)])
        axis.set_label_text(name if len(name) < 34 else f"{name[:31]}…")
    _slant(ax, shorten(b))
    for spine in ax.spines.values():
        spine.set_visible(False)
    if max(values.shape) <= _MAX_NUMBERS:
        for (i, j), value in np.ndenumerate(values):
            shown = (
                "–" if np.isnan(value) else f"{value:.2f}".replace("-0.", "−.").lstrip("0") if value < 0.995 else "1"
            )
            ax.text(
                j,
                i,
                shown,
                ha="center",
                va="center",
                fontsize=7,
                color="black" if np.isnan(value) or value > 0.55 else "white",
            )
    ax.set_title("Debiased linear CKA")
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, shrink=0.75, pad=0.03, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2)


def _profile(view: View, ax: Axes) -> None:
    """At paired hook points: the value with its interval, and the level of unrelated representations."""
    rows, (_, a, b) = view.pairs("cka"), matrix(view)
    at = rows.set_index(["hook_point", "hook_point_b"]).loc[list(zip(a, b, strict=True))]
    x = np.arange(len(at))
    ax.fill_between(x, at.low.to_numpy(float), at.high.to_numpy(float), color=GREY, alpha=0.2, linewidth=0)
    ax.plot(x, at.value.to_numpy(float), "-D", color=GREY)
    if np.isfinite(at.null).any():
        ax.plot(x, at.null.to_numpy(float), color=GREY, linestyle=(0, (4, 3)), linewidth=0.8)
        ax.annotate(
            "null",
            (x[-1], at.null.iloc[-1]),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            color=GREY,
            fontsize=7,
        )
    labels, step = shorten(a), -(-len(a) // 8)
    ax.set_xticks(x[::step], labels[::step])
    _slant(ax, labels)
    ax.set_ylim(min(0, np.nanmin(at.low.to_numpy(float), initial=0)) - 0.03, 1.03)
    ax.set_title("At paired hook points")
    ax.set_ylabel("CKA")
    ax.set_xlabel(f"hook point of {view.names[0]}"[:36])


def _slant(ax: Axes, labels: list[str]) -> None:
    """Long labels are set at a slant."""
    if max(map(len, labels)) > 3:
        ax.tick_params(axis="x", labelrotation=45)
        for label in ax.get_xticklabels():
            label.set(horizontalalignment="right", rotation_mode="anchor")


def _height(view: View) -> float:
    return 2.9


def _unpaired(view: View) -> str:
    if _missing(view):
        return _missing(view)
    _, a, b = matrix(view)
    return "" if len(a) == len(b) > 1 else "The models have unequally many hook points, or one."


def panels(view: View) -> list[Panel]:
    return [
        Panel("cka", _heat, _missing, weight=1.15, height=_height, models=False),
        Panel("cka_profile", _profile, _unpaired, height=_height, models=False),
    ]


SHEET = Sheet(
    "similarity",
    panels,
    "Debiased linear CKA of every hook point of one model with every one of the other on identical items: 1 means "
    "equal up to rotation "
    "and scale, 0 unrelated; and at paired hook points with 95 % band and the permutation null (dashed).",
)
