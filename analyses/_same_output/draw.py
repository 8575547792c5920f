"""The figure of the study: two networks' pictures and units, and how even units of each arm are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses._same_output.networks import Network, grid
from analyses._study import column, seed_interval, where
from mechdecouple.report.style import COLOURS, GREY, PAGE, new_figure, styled

_SHADES = {"composed": COLOURS[0], "traced": COLOURS[1], "fresh, same wiring": GREY, "fresh, all wired": GREY}
_SIGNS = {"composed": "o", "traced": "s", "fresh, same wiring": "^", "fresh, all wired": "v"}
_SIDE, _LAYER = 96, 3
"""Pixels a side, and the hidden layer whose units are shown (from 1)."""
_MEASURES = {"even": "of energy", "even_variance": "of variance"}


def draw(table: pd.DataFrame, sides: pd.DataFrame, composed: Network, traced: Network) -> Figure:
    """Image and units of one face's twins; even shares and transfer between the sides, a dot a face."""
    with styled():
        figure = new_figure(PAGE, 2.6)
        left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
        axes = left.subplots(2, 2, width_ratios=(1, 2.05))
        for row, (name, net) in enumerate({"composed": composed, "traced": traced}.items()):
            _picture(axes[row, 0], net, name, _SHADES[name])
            _units(axes[row, 1], net)
        axes[0, 0].set_title("image")
        axes[0, 1].set_title(f"units of hidden layer {_LAYER}")
        top, bottom = right.subplots(2, 1)
        _even(top, table)
        _transfer(bottom, sides)
    return figure


def caption(table: pd.DataFrame, sides: pd.DataFrame, gates: pd.DataFrame) -> str:
    """What the figure shows, with its numbers."""

    def told(arm: str, name: str = "even") -> str:
        value, low, high = seed_interval(column(where(table, arm=arm), name), 0, 1)
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    ends, begins = (column(where(table, arm=arm), "even") for arm in ("traced", "fresh, all wired"))
    risen = seed_interval(ends - begins)
    layer = where(sides, hook_point=f"layers.{_LAYER - 1}")
    transfer = {arm: column(where(layer, arm=arm), "value").mean() for arm in ("composed", "traced")}
    return (
        f"Two networks draw one image (accuracy over pixels {column(gates, 'a').mean():.3f} and "
        f"{column(gates, 'b').mean():.3f}). Units of the composed one are even to {told('composed')}, those of the one "
        f"traced by gradient descent to {told('traced')}; fresh weights in the composed network's wiring reach "
        f"{told('fresh, same wiring')}, all wired {told('fresh, all wired')}, from where training changes it by "
        f"{risen[0]:+.2f} [{risen[1]:+.2f}, {risen[2]:+.2f}]. With each unit's mean taken out: "
        f"{told('composed', 'even_variance')} and {told('traced', 'even_variance')}. A reading of hidden layer "
        f"{_LAYER} fitted at one side of the face is right at the other at {transfer['composed']:.2f} and "
        f"{transfer['traced']:.2f}. Dots are faces, lines their means; intervals are 95 % over faces; pictures are of "
        "the first face, each unit scaled by its largest value, orange below zero and purple above."
    )


def _picture(ax: Axes, network: Network, name: str, shade: str) -> None:
    image = _maps(network)[-1]
    image = np.exp(image - image.max(axis=-1, keepdims=True))
    colour = np.argmax(image, axis=-1)
    ax.imshow(np.array([1.0, 0.75, 0.2])[colour], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set_ylabel(name, color=shade, fontweight="bold")
    _bare(ax)


def _units(ax: Axes, network: Network) -> None:
    maps = _maps(network)[_LAYER]
    n = maps.shape[-1]
    columns, gap = n // 2, 6
    board = np.full((2 * _SIDE + gap, columns * (_SIDE + gap) - gap), np.nan)
    for unit in range(n):
        r, c = divmod(unit, columns)
        shown = maps[..., unit]
        board[r * (_SIDE + gap) : r * (_SIDE + gap) + _SIDE, c * (_SIDE + gap) : c * (_SIDE + gap) + _SIDE] = (
            shown / max(float(np.abs(shown).max()), 1e-9)
        )
    ax.imshow(board, cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
    _bare(ax)


def _bare(ax: Axes) -> None:
    ax.set_anchor("N")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def _maps(network: Network) -> list[np.ndarray]:
    return [x.numpy().reshape(_SIDE, _SIDE, -1) for x in network.maps(grid(_SIDE))]


def _even(ax: Axes, table: pd.DataFrame) -> None:
    for j, (arm, shade) in enumerate(_SHADES.items()):
        for i, measure in enumerate(_MEASURES):
            x, values = i + 0.19 * (j - 1.5), column(where(table, arm=arm), measure)
            ax.plot(np.full(len(values), x), values, _SIGNS[arm], color=shade, markersize=3.5, markerfacecolor="none",
                    label=arm if i == 0 else None)  # fmt: skip
            ax.plot([x - 0.07, x + 0.07], [values.mean()] * 2, color=shade)
    ax.set_xticks(range(len(_MEASURES)), list(_MEASURES.values()))
    ax.set_xlim(-0.5, 1.5)
    ax.set_ylim(0.3, 1.02)
    ax.set_title("even share of a unit")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=1)


def _layer(point: str) -> int:
    """The number of ``layers.3``, from 0."""
    return int(point.rsplit(".", 1)[1])


def _transfer(ax: Axes, sides: pd.DataFrame) -> None:
    points = sorted(set(sides["hook_point"]), key=_layer)
    at = [_layer(point) + 1 for point in points]
    for arm in ("composed", "traced"):
        own = where(sides, arm=arm)
        values = np.array([column(where(own, hook_point=point), "value") for point in points])
        ax.plot(np.repeat(at, values.shape[1]), values.ravel(), _SIGNS[arm], color=_SHADES[arm], markersize=3.5,
                markerfacecolor="none")  # fmt: skip
        ax.plot(at, values.mean(axis=1), color=_SHADES[arm])
    ax.set_xticks(at)
    ax.set_ylim(0.45, 1.02)
    ax.set_xlabel("hidden layer")
    ax.set_title("read at one side, right at the other")
    ax.set_ylabel("CCGP")
