"""Pictures of matched dictionaries: what becomes of each model's latents, beside what two seeds of one model show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, say
from mechdecouple.sae.matching import KINDS, SIDES, Matching, Sharing

_WORDS = {
    "shared": "shared",
    "split": "split in the other",
    "merged": "merged in the other",
    "only": "missing in the other",
}
_APART = 0.19


def draw_matching(matching: Matching, ax: Axes) -> None:
    """For each kind of latent how strong its counterpart is, A's above B's: median, middle half, 5 to 95 %.

    Percentages at the right are shares of the model's live latents; grey ticks are what chance gives.
    """
    sides = (matching.of_a, matching.of_b)
    if not all(len(kinds.latents) for kinds in sides):
        say(ax, f"Nothing to match: {matching.of_a.shares['shared'].reason}.")
        return
    lowest = 0.0
    for which, kinds in enumerate(sides):
        for row, kind in enumerate(KINDS):
            y = _height(row, which)
            chosen = kinds.kind == kind
            ax.text(1.03, y, f"{chosen.mean():.0%}", color=COLOURS[which], va="center", fontsize=6.5)
            if not chosen.any():
                continue
            strength = kinds.correlation[chosen]
            outer = np.quantile(strength, [0.05, 0.95])
            ax.hlines(y, *outer, color=COLOURS[which], linewidth=1)
            ax.hlines(y, *np.quantile(strength, [0.25, 0.75]), color=COLOURS[which], linewidth=4, alpha=0.4)
            ax.plot(np.median(strength), y, MARKERS[which], color=COLOURS[which], markersize=3.5)
            null = kinds.null[chosen].mean()
            lowest = min(lowest, outer[0], 0 if np.isnan(null) else null)
            if np.isfinite(null):
                ax.plot(null, y, "|", color=GREY, markersize=6)
    ax.axvline(matching.threshold, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    _kinds(ax)
    ax.set_xlim(lowest - 0.03, 1.02)
    ax.set_xlabel("correlation with its counterpart")
    ax.set_title("Matched latents")
    handles = [_handle(which, f"of {'AB'[which]}", filled=True) for which in (0, 1)]
    if np.isfinite(sides[0].null).any():
        handles.append(Line2D([], [], color=GREY, marker="|", linestyle="", markersize=6, label="chance"))
    _legend(ax, handles)


def draw_sharing(sharing: Sharing, ax: Axes) -> None:
    """Share of each model's latents of each kind, beside what another seed of the model itself would show (open)."""
    if not any(np.isfinite(found.share.value) for found in sharing.kinds.values()):
        say(ax, f"Nothing to match: {sharing.share.reason}.")
        return
    draw_kinds(ax, {key: (found.share, found.seed) for key, found in sharing.kinds.items()})


def draw_kinds(ax: Axes, kinds: Mapping[tuple[str, str], tuple[Any, Any]]) -> None:
    """Shares (value, low, high) by side and kind: in the other model, and in another seed of the model itself."""
    for (side, kind), (share, seed) in kinds.items():
        which, y = SIDES.index(side), _height(KINDS.index(kind), SIDES.index(side))
        _dot(ax, seed, y + 0.09, which, filled=False)
        _dot(ax, share, y - 0.02, which, filled=True)
    _kinds(ax)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of a model's live latents")
    ax.set_title("Latents of each kind")
    _legend(ax, [_handle(0, "A in B", True), _handle(1, "B in A", True), _handle(0, "A in A", False),
                 _handle(1, "B in B", False)])  # fmt: skip


def _height(row: int, which: int) -> float:
    return -row + _APART * (1 - 2 * which)


def _dot(ax: Axes, estimate: Any, y: float, which: int, filled: bool) -> None:
    whiskers = None
    if np.isfinite(estimate.low):
        whiskers = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    face = COLOURS[which] if filled else "white"
    ax.errorbar(
        [estimate.value], [y], xerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], markerfacecolor=face,
        markersize=3.5, capsize=1.5, linewidth=0.9,
    )  # fmt: skip


def _handle(which: int, label: str, filled: bool) -> Line2D:
    face = COLOURS[which] if filled else "white"
    return Line2D([], [], color=COLOURS[which], marker=MARKERS[which], markerfacecolor=face, linestyle="", label=label)


def _kinds(ax: Axes) -> None:
    for row in range(1, len(KINDS)):
        ax.axhline(0.5 - row, color=LIGHT, linewidth=0.4, zorder=0)
    ax.set_yticks(-np.arange(len(KINDS)), [_WORDS[kind] for kind in KINDS])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(0.5 - len(KINDS), 0.5)


def _legend(ax: Axes, handles: list[Line2D]) -> None:
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(handles), handletextpad=0.2,
        columnspacing=1.0, handlelength=1.2,
    )  # fmt: skip
