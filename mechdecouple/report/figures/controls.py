"""Controls of what probes find: beside an untrained copy, the first hook point, and labels that mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.report.figures.layers import USED, layer_axis, layer_panel, markers, positions
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.metrics import title
from mechdecouple.report.style import COLOURS, GREY, LINES
from mechdecouple.report.view import View

_PROBE = "probe_accuracy_held_out"
_BASELINES: tuple[tuple[str, Any, str], ...] = (
    ("probe_accuracy_untrained", LINES[2], "untrained copy"),
    ("probe_accuracy_embedding", USED, "first hook point"),
)


def _missing(view: View) -> str:
    drawn = np.isfinite(view.rows(_PROBE).value.astype(float)).any()
    return "" if drawn else f"{title(_PROBE)}: {view.reason(_PROBE)}"


def _probe(view: View, ax: Axes) -> None:
    """The probe's curve, mean over concepts, with what it finds where nothing was learnt as thin lines."""
    concepts = view.concepts(_PROBE)
    for which, model in enumerate(view.names):
        where = positions(view, which)
        own = view.mean_curve(_PROBE, model)
        x = np.array([where[p] for p in own.points])
        ax.fill_between(x, own.low, own.high, color=COLOURS[which], alpha=0.18, linewidth=0)
        ax.plot(x, own.value, color=COLOURS[which])
        markers(ax, x, own, which)
        for metric, style, _ in _BASELINES:
            base = view.mean_curve(metric, model)
            at = np.array([where[p] for p in base.points])
            ax.plot(at, base.value, color=COLOURS[which], linestyle=style, linewidth=0.8)
    ax.axhline(0.5, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    ax.set_title("Probe beside its baselines")
    ax.set_ylabel("AUROC, held out" if len(concepts) < 2 else f"AUROC, mean of {len(concepts)} concepts")
    layer_axis(view, ax)


def _styles(view: View) -> list[Line2D]:
    return [Line2D([], [], color=GREY, linestyle=style, linewidth=0.8, label=name) for _, style, name in _BASELINES]


def panels(view: View) -> list[Panel]:
    others = ("probe_accuracy_above_baseline", "probe_selectivity", "probe_compression")
    return [
        Panel("probe_baselines", _probe, _missing, legend=_styles),
        *(layer_panel(metric, mean=True) for metric in others),
    ]


SHEET = Sheet(
    "controls",
    panels,
    "What the accuracy of probes means: held-out AUROC beside that in an untrained copy (dotted) and at the first hook "
    "point (dash-dotted), and how far it lies above the higher of the two; accuracy above that on random labels of the "
    "same kind (selectivity); and how many times shorter an online code makes the labels (compression). Dashed: "
    "nothing gained. Of several concepts the mean is drawn, of one its 95 % band as well.",
    columns=2,
)
