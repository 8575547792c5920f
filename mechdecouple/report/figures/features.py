"""Features: latents of sparse autoencoders that the models share, beside what two seeds of one model share."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mechdecouple.report.figures.latents import CAPTION, draw_effects, draw_knowing
from mechdecouple.report.figures.matching import draw_kinds
from mechdecouple.report.figures.panel import Panel, Sheet
from mechdecouple.report.style import COLOURS, GREY, MARKERS
from mechdecouple.report.view import View
from mechdecouple.sae import KIND_SEEDS, KIND_SHARES
from mechdecouple.sae.matching import KINDS, SIDES

_QUALITY = (("sae_explained_variance", "explained variance"), ("sae_dead_latents", "dead latents"))


def _missing(view: View) -> str:
    return (
        ""
        if np.isfinite(view.pairs("matched_share").value).any()
        else f"Features: {view.reason('matched_share', 'matched_share_excess')}"
    )


def _shares(view: View, ax: Axes) -> None:
    across = view.pairs("matched_share").iloc[0]
    rows = [("A with B", across, "black", "D")]
    for which, model in enumerate(view.names):
        of = view.rows("matched_share_seed", model)
        if len(of) and np.isfinite(of.value.iloc[0]):
            rows.append((f"two seeds of {'AB'[which]}", of.iloc[0], COLOURS[which], MARKERS[which]))
    for i, (_, e, colour, marker) in enumerate(rows):
        whiskers = None if not np.isfinite(e.low) else [[e.value - e.low], [e.high - e.value]]
        ax.errorbar([e.value], [-i], xerr=whiskers, fmt=marker, color=colour, capsize=2.5)
    if np.isfinite(across.null):
        ax.axvline(across.null, color=GREY, linestyle=(0, (4, 3)), linewidth=0.8, zorder=0)
    ax.set_yticks(-np.arange(len(rows)), [name for name, *_ in rows])
    ax.set_ylim(-len(rows) + 0.4, 0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("share of live latents matched one-to-one")
    ax.set_title("Shared features")


def _quality_missing(view: View) -> str:
    names = [name for name, _ in _QUALITY]
    return "" if any(np.isfinite(view.rows(n).value).any() for n in names) else f"Autoencoders: {view.reason(*names)}"


def _quality(view: View, ax: Axes) -> None:
    for which, model in enumerate(view.names):
        for i, (metric, _) in enumerate(_QUALITY):
            of = view.rows(metric, model)
            if len(of) and np.isfinite(of.value.iloc[0]):
                e, y = of.iloc[0], -(i + 0.13 * (2 * which - 1))
                whiskers = None if not np.isfinite(e.low) else [[e.value - e.low], [e.high - e.value]]
                ax.errorbar([e.value], [y], xerr=whiskers, fmt=MARKERS[which], color=COLOURS[which], capsize=2.5)
    ax.set_yticks(-np.arange(len(_QUALITY)), [words for _, words in _QUALITY])
    ax.set_ylim(-len(_QUALITY) + 0.4, 0.6)
    shown = view.rows("sae_explained_variance").value
    ax.set_xlim(min(-0.02, float(np.nanmin(shown)) - 0.05 if np.isfinite(shown).any() else 0), 1.02)
    ax.set_xlabel("share, on held-out items")
    ax.set_title("Autoencoders")


def _kinds(view: View, ax: Axes) -> None:
    found = {}
    for which, side in enumerate(SIDES):
        for kind in KINDS:
            across = view.pairs(KIND_SHARES[kind].name)
            share, seed = across[across.model == view.names[which]], view.rows(KIND_SEEDS[kind].name, view.names[which])
            if len(share) and len(seed):
                found[side, kind] = share.iloc[0], seed.iloc[0]
    draw_kinds(ax, found)


def _unmatched(view: View) -> str:
    names = [metric.name for metric in KIND_SHARES.values()]
    return "" if any(np.isfinite(view.pairs(n).value).any() for n in names) else f"Latents: {view.reason(*names)}"


def _undescribed(view: View) -> str:
    return "" if len(view.comparison.features) else f"Latents: {view.reason('matched_share', 'matched_share_excess')}"


def _untold(view: View) -> str:
    table = view.comparison.features
    known = len(table) and np.isfinite(table[["represented", "expressed"]].to_numpy(float)).all(axis=1).any()
    return "" if known else f"Latents: {view.reason('knowing_latents', 'matched_share', 'matched_share_excess')}"


def _height(view: View) -> float:
    return 1.55


def _tall(view: View) -> float:
    return 2.4


def panels(view: View) -> list[Panel]:
    return [
        Panel("shares", _shares, _missing, height=_height),
        Panel("autoencoders", _quality, _quality_missing, height=_height),
        Panel("kinds", _kinds, _unmatched, height=_tall),
    ]


def latent_panels(view: View) -> list[Panel]:
    return [
        Panel("effects", lambda view, ax: draw_effects(view.comparison.features, ax), _undescribed, height=_tall),
        Panel("knowing", lambda view, ax: draw_knowing(view.comparison.features, ax), _untold, height=_tall),
    ]


SHEET = Sheet(
    "sae",
    panels,
    "Share of latents matched one-to-one between the models, beside two autoencoders of different seeds on one model "
    "(bars: 95 % over items; dashed: chance); how good the autoencoders are; and what becomes of each model's latents "
    "in the other (filled) and in another autoencoder of its own (open).",
)

LATENTS_SHEET = Sheet("latents", latent_panels, CAPTION)
