"""The feature page: latents of both models, searched and sorted without a server; everything in it is escaped.

Its one script orders, hides and opens what the page already holds. It makes no element out of text, which the page's
own policy forbids it (Trusted Types), and no other script can run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from mechdecouple.compare import Comparison
from mechdecouple.errors import InputError, StoreError
from mechdecouple.report.feature_examples import short, strips
from mechdecouple.report.feature_rows import (
    KINDS,
    KNOWS,
    SIDES,
    check,
    chosen,
    common_reasons,
    latent_rows,
)
from mechdecouple.report.figures.latents import CAPTION, figure
from mechdecouple.report.page import template
from mechdecouple.report.style import png
from mechdecouple.report.tokens import visible
from mechdecouple.report.view import Table, sentence

PAGE = "features.html"
LATENTS = 512
"""Latents on the page; the table holds all."""
BYTES = 2_000_000
_WINDOWS = (96, 72, 56, 44, 36, 30, 24, 20, 16, 12)
_FITTING = (*((8, window) for window in _WINDOWS), (6, 12), (4, 12), (3, 10), (2, 8), (1, 6), (0, 0))
"""Examples a latent and tokens an example, tried in turn until the page is small enough."""
_CSS = 130


class Drawn(NamedTuple):
    """A picture as PNG, with its size on the page in CSS pixels and what it shows."""

    png: bytes
    width: int
    height: int
    caption: str


def write_features(comparison: Comparison, directory: str | Path) -> Path:
    """Write ``features.html`` of a comparison's ``features`` and ``examples`` into a directory; returns the page.

    The same comparison gives the same bytes.

    Raises:
        InputError: the tables cannot be read as latents and examples.
        StoreError: the page cannot be written; an earlier one is as it was.
    """
    names = comparison.a, comparison.b
    picture = None
    if len(comparison.features):
        check(comparison.features, comparison.examples)
        made = figure(comparison.features, names)
        width, height = made.get_size_inches()
        picture = Drawn(png(made), round(width * _CSS), round(height * _CSS), CAPTION)
    text = render_features(
        comparison.features, comparison.examples, names, comparison.notes, task=comparison.task, picture=picture
    )
    path = Path(directory) / PAGE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=path.parent) as partial:
            made_at = Path(partial) / PAGE
            made_at.write_text(text, encoding="utf-8")
            os.replace(made_at, path)
    except OSError as error:
        raise StoreError(
            f"{str(path)!r} cannot be written ({error.strerror}): make room or name another directory"
        ) from None
    return path


def render_features(
    features: pd.DataFrame,
    examples: pd.DataFrame,
    names: tuple[str, str],
    notes: Sequence[str] = (),
    *,
    task: str = "",
    picture: Drawn | None = None,
) -> str:
    """The page: one file, no network, at most ``BYTES`` long; it says what it leaves out to be so.

    Args:
        features: one row a latent (``feature_rows.FEATURES``); examples: one row a latent and item, rank 1 the
            strongest (``feature_rows.EXAMPLES``).
        names: labels of A and B; notes: what could not be compared, and why; picture: drawn above the latents.

    Raises:
        InputError: a table lacks a column, holds a latent twice or a word that is not known, or an example has other
            tokens than strengths; names and notes are so long that no page of this size holds them.
    """
    if len(features):
        check(features, examples)
    shown = chosen(features, examples, LATENTS) if len(features) else features
    kept = examples.merge(shown[["side", "latent"]]) if len(shown) and len(examples) else examples
    made = strips(kept, *_FITTING[0]) if len(kept) else {}
    said = common_reasons(features) if len(features) else {}
    script = resources.files("mechdecouple.report").joinpath("features.js").read_text(encoding="utf-8")
    facts: dict[str, Any] = {
        "a": visible(names[0]),
        "b": visible(names[1]),
        "task": visible(task),
        "notes": [visible(note) for note in notes],
        "counts": _counts(features),
        "total": len(features),
        "said": [(side, short(sentence(reason))) for side, reasons in said.items() for reason in reasons],
        "choices": _choices(shown, names),
        "picture": picture and {**picture._asdict(), "data": Markup(base64.b64encode(picture.png).decode("ascii"))},
        "script": Markup(script),
        "script_hash": Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")),
    }
    longest = (0, 0)
    if len(kept):
        longest = max(Counter(zip(kept.side, kept.latent, strict=True)).values()), max(map(len, kept.tokens))

    def text(most: int, window: int) -> str:
        cut = {key: [strip.cut(window) for strip in own[:most]] for key, own in made.items()}
        less = [given if given < there else None for there, given in zip(longest, (most, window), strict=True)]
        rows = latent_rows(shown, cut, said) if len(shown) else []
        return template("features.html.j2").render(**facts, rows=rows, less=less)

    room = BYTES - len(text(0, 0).encode("utf-8"))
    if room < 0:
        raise InputError(
            f"the page takes {BYTES - room} bytes without any example, more than {BYTES}: shorten the notes"
        )
    sizes = (sum(s.size(window) for own in made.values() for s in own[:most]) for most, window in _FITTING)
    return text(*next(fit for fit, size in zip(_FITTING, sizes, strict=True) if size <= room))


def _counts(features: Table) -> list[dict[str, Any]]:
    """How many latents of each model are of which kind, and know what."""
    if not len(features):
        return []
    return [
        {
            "side": side,
            "total": len(of),
            "kinds": [int((of.kind == kind).sum()) for kind in KINDS],
            "knows": [int((of.knows == word).sum()) for word in KNOWS],
        }
        for side in SIDES
        for of in [features[features.side == side]]
    ]


def _choices(shown: Table, names: tuple[str, str]) -> list[dict[str, Any]]:
    """What the reader can choose by: for each column its values on the page, with their number."""
    if not len(shown):
        return []
    labels = {side: f"{side.upper()}, {short(name)}" for side, name in zip(SIDES, names, strict=True)}
    return [
        {
            "name": column,
            "label": label,
            "values": [(v, labels.get(v, v or "neither"), int((shown[column] == v).sum())) for v in values],
        }
        for column, label, values in (
            ("side", "model", SIDES), ("kind", "kind", KINDS), ("knows", "carries", (*KNOWS, "")),
        )
    ]  # fmt: skip
