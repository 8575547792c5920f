"""Pictures of the causal checks of beliefs: steering, erasing, and subspaces of growing rank."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from mechdecouple.beliefs.erasing import Erasure
from mechdecouple.beliefs.steering import Steering
from mechdecouple.beliefs.subspace import SubspaceAblation
from mechdecouple.report.style import COLOURS, GREY, LIGHT, MARKERS, say
from mechdecouple.results import Estimate


def draw_steering(found: Steering, ax: Axes) -> None:
    """Both effects with their intervals; grey ticks are random directions of equal length."""
    if np.isnan(found.nie.value):
        say(ax, found.sentence)
        return
    for x in (0, 1):
        ax.axvline(x, color=LIGHT, linewidth=0.8, linestyle="--", zorder=0)
    for row, (effect, random) in enumerate(((found.nie, found.random), (found.mirror, found.random_mirror))):
        ax.plot(random, np.full(len(random), -row - 0.22), "|", color=GREY, label=None if row else "random directions")
        _point(ax, effect, -row, "represented truth" if row == 0 else None)
    ax.set_yticks([0, -1], ["false steered\nto true", "true steered\nto false"])
    ax.set_ylim(-1.6, 0.9)
    ax.set_xlabel("0: nothing moves, 1: said like the other kind")
    ax.set_title("Steering along the truth")
    ax.legend(loc="upper center", ncols=2, columnspacing=1.0)


def draw_erasure(found: Erasure, ax: Axes) -> None:
    """Right claims on held-out statements, untouched and after each kind of erasure."""
    if np.isnan(found.drop.value):
        say(ax, found.sentence)
        return
    table = found.claims.set_index("kind").loc[["clean", "random labels", "erased", "independent"]]
    y = -np.arange(len(table))
    whiskers = np.stack([table.accuracy - table.accuracy_low, table.accuracy_high - table.accuracy]).clip(min=0)
    for at, row in enumerate(y):
        shade = COLOURS[0] if table.index[at] == "erased" else GREY
        ax.errorbar(table.accuracy.iloc[at], row, xerr=whiskers[:, [at]], fmt=MARKERS[0], color=shade, capsize=2.5)
    ax.axvline(0.5, color=LIGHT, linewidth=0.8, linestyle="--", zorder=0)
    names = ["untouched", "random labels erased", "truth erased", "truth erased,\nlayers on their own"]
    ax.set_yticks(y, names)
    ax.set_ylim(y[-1] - 0.6, 0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of right claims")
    ax.set_title("Erasing the truth at every layer")


def draw_subspace(found: SubspaceAblation, ax: Axes) -> None:
    """Fall of the claim's probability without the subspace and with it alone, by rank; dashed: random subspaces."""
    if np.isnan(found.ceiling.value):
        say(ax, found.sentence)
        return
    for which, (estimates, random, label) in enumerate(
        (
            (found.comprehensiveness, found.random_comprehensiveness, "without the subspace"),
            (found.sufficiency, found.random_sufficiency, "with nothing else"),
        )
    ):
        value, low, high = (np.array([getattr(e, name) for e in estimates]) for name in ("value", "low", "high"))
        ax.errorbar(
            found.ranks, value, yerr=np.stack([value - low, high - value]).clip(min=0), color=COLOURS[which],
            marker=MARKERS[which], capsize=2.5, label=label,
        )  # fmt: skip
        ax.plot(found.ranks, random.mean(axis=0), color=COLOURS[which], linestyle="--", linewidth=0.9)
    ax.axhline(found.ceiling.value, color=LIGHT, linewidth=0.8, linestyle=":", zorder=0)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(found.ranks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda rank, _: f"{rank:g}")
    _room(ax, [found.ceiling, *found.comprehensiveness, *found.sufficiency])
    ax.set_xlabel("rank (dashed: random subspaces)")
    ax.set_ylabel("fall of the claim's probability")
    ax.set_title("Directions that tell the truth")
    ax.legend(loc="upper left", borderaxespad=0.2)


def _point(ax: Axes, e: Estimate, y: float, label: str | None) -> None:
    whiskers = [[max(0.0, e.value - e.low)], [max(0.0, e.high - e.value)]] if np.isfinite(e.low) else None
    ax.errorbar([e.value], [y], xerr=whiskers, fmt=MARKERS[0], color=COLOURS[0], capsize=2.5, label=label)


def _room(ax: Axes, estimates: Sequence[Estimate]) -> None:
    """Leave a third above the highest value for the legend."""
    top, bottom = max(e.value for e in estimates), min(0.0, *(e.value for e in estimates))
    ax.set_ylim(bottom - 0.05 * max(top - bottom, 0.02), bottom + 1.5 * max(top - bottom, 0.02))
