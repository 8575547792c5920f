"""Pictures of belief trajectories: the truth that is read, and the truth that would be said, layer by layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mechdecouple.beliefs.trajectory import Trajectories, Trajectory
from mechdecouple.errors import InputError
from mechdecouple.report.style import COLOURS, COLUMN, GREY, LIGHT, MARKERS, PAGE, Drawing, new_figure, styled
from mechdecouple.stats import Replicates

_READ = ("-", "--", "-.")
_SAID = ":"


def draw_trajectory(found: Trajectory | Trajectories, ax: Axes, condition: str | None = None) -> None:
    """One condition, the honest one by default: AUROC over depth; colours are models, lines what is read and said.

    Raises:
        InputError: no such condition.
    """
    several = _models(found)
    condition = several[0].conditions[0] if condition is None else condition
    if condition not in several[0].conditions:
        known = ", ".join(several[0].conditions)
        raise InputError(f"condition {condition!r} is unknown; there are {known}")
    _draw(several, ax, condition)
    ax.legend(handles=_legend(several), loc="best")


def figure_trajectory(found: Trajectory | Trajectories) -> Drawing:
    """All conditions side by side, one panel each."""
    several = _models(found)
    conditions = several[0].conditions
    with styled():
        figure = new_figure(COLUMN if len(conditions) == 1 else PAGE, 2.6)
        axes = figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0]
        for ax, condition in zip(axes, conditions, strict=True):
            _draw(several, ax, condition)
        for ax in axes[1:]:
            ax.set_ylabel("")
        handles = _legend(several)
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 5 if len(axes) > 1 else 2))
    return figure


def _draw(several: tuple[Trajectory, ...], ax: Axes, condition: str) -> None:
    ax.axhline(0.5, color=LIGHT, linewidth=0.8, linestyle="--", zorder=0)
    for which, one in enumerate(several):
        for number, position in enumerate(one.positions):
            curve = one.represented[position, condition]
            _line(ax, one.depth, curve, which, _READ[number % len(_READ)])
        if condition in one.expressed:
            _line(ax, one.depth, one.expressed[condition], which, _SAID, hollow=True)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.04, 1.04)
    ax.set_xlabel("depth (0: embedding, 1: last layer)")
    ax.set_ylabel("AUROC of the truth")
    ax.set_title(condition or "Belief trajectory")


def _line(ax: Axes, depth: np.ndarray, curve: Replicates, which: int, style: str, hollow: bool = False) -> None:
    colour = COLOURS[which]
    low, high = curve.interval()
    ax.fill_between(depth, np.clip(low, 0, 1), np.clip(high, 0, 1), color=colour, alpha=0.15, linewidth=0)
    # the first model's lines are the wider ones, so that they show where the second's lie on them
    ax.plot(
        depth, curve.value, color=colour, linestyle=style, marker=MARKERS[which], linewidth=(2.6, 1.2)[which],
        markersize=(6, 3.5)[which], markerfacecolor="white" if hollow else colour, clip_on=False,
        zorder=2 + 2 * which + hollow,
    )  # fmt: skip


def _legend(several: tuple[Trajectory, ...]) -> list[Line2D]:
    models = [
        Line2D([], [], color=COLOURS[i], marker=MARKERS[i], linestyle="none", label=one.model)
        for i, one in enumerate(several)
    ]
    read = [
        Line2D([], [], color=GREY, linestyle=_READ[i % len(_READ)],
               label=f"read at {position.removeprefix('position_')}")
        for i, position in enumerate(several[0].positions)
    ]  # fmt: skip
    silent = [one.model for one in several if one.reason]
    label = f"would be said (not by {', '.join(silent)})" if silent else "would be said"
    if len(silent) == len(several):
        return [*models, *read]
    said = Line2D([], [], color=GREY, linestyle=_SAID, marker="o", markerfacecolor="white", label=label)
    return [*models, *read, said]


def _models(found: Trajectory | Trajectories) -> tuple[Trajectory, ...]:
    return (found.a, found.b) if isinstance(found, Trajectories) else (found,)
