"""How every figure looks: colours, sizes, fonts; and figures that show and save themselves in that style."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.style.core import STYLE_BLACKLIST

COLUMN, PAGE = 3.3, 6.9
"""Widths in inches: one column of a paper, and two."""
DPI = 200

# Okabe and Ito's palette: told apart with every kind of colour vision, and in grey by their markers.
COLOURS = ("#0072B2", "#D55E00")
MARKERS = ("o", "s")
GREY, LIGHT, BAND = "#555555", "#BBBBBB", "#EDEDED"
LINES = ("-", "--", ":")

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "figure.dpi": 110,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "mechdecouple",
    # names of models and concepts are text: a dollar sign in one starts no formula
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


@contextmanager
def styled() -> Iterator[None]:
    """Matplotlib's defaults with this package's style on top; the user's settings are back afterwards."""
    settings: Any = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in STYLE_BLACKLIST} | _RC
    with warnings.catch_warnings():
        # settings that matplotlib itself has deprecated, and characters in names that no font here draws
        warnings.simplefilter("ignore", matplotlib.MatplotlibDeprecationWarning)
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        with matplotlib.rc_context(settings):
            yield


class Drawing(Figure):
    """A figure apart from pyplot: a notebook shows it, and saves itself in this style whatever the user's settings."""

    def savefig(self, fname: Any, **options: Any) -> None:
        with styled():
            super().savefig(fname, **options)

    def _repr_png_(self) -> bytes:
        return png(self)


def new_figure(width: float, height: float) -> Drawing:
    """An empty figure, sizes in inches."""
    return Drawing(figsize=(width, height), layout="constrained")


def png(figure: Figure) -> bytes:
    """The figure as PNG: the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save_pdf(figure: Figure, path: Path) -> None:
    """The figure as PDF with TrueType fonts and without dates: the same bytes for the same figure."""
    figure.savefig(path, format="pdf", metadata={"CreationDate": None})


def say(ax: Axes, sentence: str) -> None:
    """A sentence in place of a picture that cannot be drawn."""
    import textwrap

    ax.set_axis_off()
    figure = ax.get_figure(root=True)
    assert figure is not None
    width = max(18, int(ax.get_position().width * figure.get_figwidth() * 14))
    ax.text(0.5, 0.5, textwrap.fill(sentence, width), ha="center", va="center", color=GREY, transform=ax.transAxes)
