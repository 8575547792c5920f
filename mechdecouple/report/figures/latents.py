"""Latents: what each does to the answers beside how well the other model matches it; what each carries."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.panel import model_handle
from mechdecouple.report.style import COLOURS, LIGHT, MARKERS, PAGE, Drawing, new_figure, say, styled
from mechdecouple.report.view import Table, sentence

CAPTION = (
    "Left: each latent's effect on the answers (attribution, 95 % intervals where the effect is among the largest) "
    "beside its correlation with its best match in the other model; filled: in this model only. Right: how well a "
    "latent alone tells what is true, given the claim, and what is claimed, given the truth (AUROC; lines: chance); "
    "filled: carries the truth and not the claim."
)
_NAMED = 4
_SIDES = ("a", "b")


def figure(features: Table, names: tuple[str, str]) -> Drawing:
    """Both pictures of a comparison's latents, or the one that has something to show.

    Args:
        features: one row a latent (``report.feature_rows.FEATURES``); names: labels of A and B.
    """
    told = np.isfinite(features[["represented", "expressed"]].to_numpy(float)).all(axis=1).any()
    draws = [draw_effects, draw_knowing] if told else [draw_effects]
    with styled():
        made = new_figure(PAGE, 2.7)
        for draw, ax in zip(draws, np.ravel(made.subplots(1, len(draws))), strict=True):
            draw(features, ax)
        handles = [model_handle(i, name) for i, name in enumerate(names)]
        for handle in handles:
            handle.set_linestyle("none")
        made.legend(handles=handles, loc="outside upper center", ncols=4)
    return made


def draw_effects(features: Table, ax: Axes) -> None:
    """Attribution of every latent beside its correlation with its best match; the largest have names and intervals."""
    shown = features[np.isfinite(features.attribution) & np.isfinite(features.correlation)]
    if not len(shown):
        say(ax, _why(features, "No latent has both an effect and a match"))
        return
    ax.axhline(0, color=LIGHT, linewidth=0.8, zorder=0)
    _scatter(ax, shown, "correlation", "attribution", shown.kind == "only")
    named = _largest(shown)
    for row in named.itertuples():
        colour = COLOURS[row.side == "b"]
        if np.isfinite(row.attribution_low):
            ax.vlines(row.correlation, row.attribution_low, row.attribution_high, color=colour, linewidth=0.9)
    ax.set_xlim(min(-0.03, float(shown.correlation.min()) - 0.03), 1.12)
    ax.margins(y=0.12)
    _name(ax, named, "correlation", "attribution")
    ax.set_xlabel("correlation with its best match in the other model")
    ax.set_ylabel("attribution (lead of the right option)")
    ax.set_title("Effect on the answers (filled: only here)")


def draw_knowing(features: Table, ax: Axes) -> None:
    """What is true against what is claimed, as each latent alone tells it."""
    shown = features[np.isfinite(features.represented) & np.isfinite(features.expressed)]
    if not len(shown):
        say(ax, _why(features, "No latent was held against the truth"))
        return
    for line in (ax.axhline, ax.axvline):
        line(0.5, color=LIGHT, linewidth=0.8, zorder=0)
    telling = shown.knows == "represented only"
    _scatter(ax, shown, "represented", "expressed", telling)
    both = shown[["represented", "expressed"]]
    low = min(0.45, float(both.min(axis=None)) - 0.02)
    ax.set_xlim(low, 1.06)
    ax.set_ylim(low, 1.03)
    _name(ax, shown[telling].nlargest(_NAMED, "represented"), "represented", "expressed")
    ax.set_xlabel("tells the truth, given the claim (AUROC)")
    ax.set_ylabel("tells the claim, given the truth")
    ax.set_title("What latents carry (filled: truth, not claim)")


def _scatter(ax: Axes, shown: Table, x: str, y: str, filled: Table) -> None:
    """Open marks first, so that the filled ones lie on top; each model keeps its colour and marker."""
    for full in (False, True):
        for which, side in enumerate(_SIDES):
            of = shown[(shown.side == side) & (filled == full)]
            ax.plot(
                of[x], of[y], MARKERS[which], color=COLOURS[which], markersize=3.5, markeredgewidth=0.7,
                markerfacecolor=COLOURS[which] if full else "white", alpha=0.9 if full else 0.55,
            )  # fmt: skip


def _largest(shown: Table) -> Table:
    """Of each model the latents of the largest effects."""
    size = shown.attribution.abs()
    return shown[size.groupby(shown.side).rank(ascending=False, method="first") <= _NAMED]


def _name(ax: Axes, of: Table, x: str, y: str) -> None:
    """Names beside marks, in this order; one that would lie on an earlier one is left out."""
    low, high = ax.get_ylim()
    left, right = ax.get_xlim()
    placed: list[tuple[float, float]] = []
    for row in of.to_dict("records"):
        at = row[x] / (right - left), row[y] / (high - low)
        if any(abs(at[0] - u) < 0.15 and abs(at[1] - v) < 0.06 for u, v in placed):
            continue
        placed.append(at)
        text, colour = f"{row['side'].upper()} {row['latent']}", COLOURS[row["side"] == "b"]
        ax.annotate(text, (row[x], row[y]), (4, 2), textcoords="offset points", fontsize=7, color=colour)


def _why(features: Table, otherwise: str) -> str:
    reasons = [reason for reason in features.reason if reason]
    return sentence(str(reasons[0]) if reasons else otherwise)
