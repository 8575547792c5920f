"""Examples on the feature page: tokens marked by strength, cut to what fits."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from markupsafe import escape

from mechdecouple.report.tokens import Spelling, pieces, spelling, visible
from mechdecouple.report.view import Table, number

LEVELS = 9
"""Steps of the marker: the strongest is that of a latent's strongest token on the page."""
FAINT = 0.05
"""Tokens below this share of the strongest stay plain."""
_TOKEN, _PROMPT, _WORDS = 48, 300, 300
"""How long a token, a prompt, and a name or reason may be."""
_MARK, _EXAMPLE = 32, 88
"""Bytes of the markup around a marked token, and around an example, or a few more."""

Facts = dict[str, Any]


def short(text: object) -> str:
    """A name or a reason: nothing invisible in it, and no longer than a table bears."""
    shown = visible(text)
    return shown if len(shown) <= _WORDS else shown[:_WORDS] + "…"


@dataclasses.dataclass(frozen=True)
class Strip:
    """An example made ready to be cut: pieces [n] of (level, text, strength in words).

    Attributes:
        pieces: of the item, or of a part of it; peak: the one that the item was ranked by.
        facts: item and activation in words; before, after: whether the item goes on beyond the pieces.
        bytes: what the first pieces take on the page, summed up [n + 1].
    """

    pieces: list[tuple[int, str, str]]
    peak: int
    facts: Facts
    before: bool
    after: bool
    bytes: np.ndarray

    def window(self, most: int) -> tuple[int, int]:
        """First and last of at most ``most`` pieces around the one that the item was ranked by."""
        start = max(0, min(self.peak - most // 2, len(self.pieces) - most))
        return start, min(start + most, len(self.pieces))

    def size(self, most: int) -> int:
        """Bytes that so many pieces take on the page, or a few more."""
        start, end = self.window(most)
        return int(self.bytes[end] - self.bytes[start]) + self.facts["bytes"]

    def cut(self, most: int) -> Facts:
        """The example of so many pieces; plain neighbours are one, and a space before a token is not marked."""
        start, end = self.window(most)
        runs: list[tuple[int, str, str]] = []
        for level, text, tip in self.pieces[start:end]:
            bare = (text.lstrip(" ") or text) if level else ""
            plain = text.removesuffix(bare)
            if plain and runs and not runs[-1][0]:
                runs[-1] = (0, runs[-1][1] + plain, "")
            elif plain:
                runs.append((0, plain, ""))
            if bare:
                runs.append((level, bare, tip))
        return {
            **self.facts,
            "text": runs,
            "before": self.before or start > 0,
            "after": self.after or end < len(self.pieces),
        }


def strips(examples: Table, most: int, longest: int) -> dict[tuple[str, int], list[Strip]]:
    """The first ``most`` examples of each latent, the strongest first, of at most ``longest`` tokens or a few more."""
    how: dict[Any, Spelling] = {
        side: spelling(t for row in of.tokens for t in row) for side, of in examples.groupby("side")
    }
    rows: dict[tuple[str, int], list[Any]] = {}
    for row in examples.sort_values("rank", kind="stable").itertuples():
        own = rows.setdefault((row.side, row.latent), [])
        if len(own) < most:
            own.append(row)
    made = {}
    for key, own in rows.items():
        strengths = [[s if 0 < s < math.inf else 0.0 for s in row.strengths] for row in own]
        top = max((max(of, default=0.0) for of in strengths), default=0.0)
        made[key] = [_strip(row, of, top, how[key[0]], longest) for row, of in zip(own, strengths, strict=True)]
    return made


def _strip(row, strengths: list[float], top: float, how: Spelling, longest: int) -> Strip:
    facts: Facts = {"id": short(row.id), "activation": number(row.activation, 2)}
    facts["bytes"] = _taken(facts["id"]) + _EXAMPLE
    if not strengths:
        text = visible(str(row.prompt or "")[:_PROMPT])
        return Strip([(0, text, "")], 0, facts, False, len(row.prompt or "") > _PROMPT, np.array([0, _taken(text)]))
    middle = _ranked_by(strengths, row.activation)
    start, end = max(0, middle - longest), min(len(strengths), middle + longest)
    before = pieces(list(row.tokens[start:middle]), strengths[start:middle], how)
    made = pieces(list(row.tokens[start:end]), strengths[start:end], how)
    shown = [_piece(text, strength, strength / top if top > 0 else 0.0) for text, strength in made]
    taken = [_taken(text) + (_MARK + len(tip) if level else 0) for level, text, tip in shown]
    return Strip(shown, min(len(before), len(made) - 1), facts, start > 0, end < len(strengths), np.cumsum([0, *taken]))


def _ranked_by(strengths: list[float], activation: float) -> int:
    """The token that the item was ranked by: the latent may fire more strongly where its model was not read."""
    near = min(range(len(strengths)), key=lambda i: abs(strengths[i] - activation))
    return near if abs(strengths[near] - activation) <= 0.01 * activation else strengths.index(max(strengths))


def _piece(text: str, strength: float, share: float) -> tuple[int, str, str]:
    """How strongly a token is marked (0: not), what is shown of it, and its strength in words."""
    level = min(LEVELS, math.ceil(LEVELS * share)) if share >= FAINT else 0
    shown = visible(text if len(text) <= _TOKEN else text[:_TOKEN] + "…")
    return level, shown, f"{strength:.3g}" if level else ""


def _taken(text: str) -> int:
    return len(escape(text).encode("utf-8"))
