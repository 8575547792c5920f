"""Tokens as a reader wants them: the marks of tokenizers become the text they stand for, what is invisible shows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

Spelling = Literal["bytes", "wordpiece", "words", "plain"]
"""How tokens stand for text: GPT-2's letters for bytes; ``##`` where a word goes on; whole words; as they are.

SentencePiece's ``▁`` and ``<0x0A>`` are read in every spelling but the first.
"""

_SPACE, _LINE, _BLOCK = "Ġ", "Ċ", "▁"
_KEPT = "\u200c\u200d"
"""Joiners: without them emoji and some scripts fall apart, and they reorder nothing."""
_SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍"}
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def visible(text: object) -> str:
    """Text with what cannot be seen made visible: line ends and tabs as signs, the rest by its code (``⟨202E⟩``).

    Characters that reorder or hide others, control characters and lone surrogates are of that kind.
    """
    return "".join(map(_visible, str(text)))


def _visible(char: str) -> str:
    if char.isprintable() or char in _KEPT:
        return char
    if char in _SIGNS:
        return _SIGNS[char]
    hidden = unicodedata.category(char) in _HIDDEN or ord(char) & 0xFFFE == 0xFFFE
    return f"⟨{ord(char):02X}⟩" if hidden else char


def spelling(tokens: Iterable[str]) -> Spelling:
    """How the tokens of one tokenizer are spelled, told from all that are at hand."""
    seen = set(tokens)
    spaced = sum(token.startswith(" ") for token in seen)
    if sum(token.startswith((_SPACE, _LINE)) for token in seen) > spaced:
        return "bytes"
    if spaced or any(_BLOCK in token or any(map(str.isspace, token)) for token in seen):
        return "plain"
    return "wordpiece" if any(token.startswith("##") and len(token) > 2 for token in seen) else "words"


def pieces(tokens: Sequence[str], strengths: Sequence[float], how: Spelling) -> list[tuple[str, float]]:
    """The text that each token stands for, with its strength.

    Tokens that are bytes of one character make one piece, of the largest strength among them; bytes that make no
    character are given by their codes.
    """
    made: list[tuple[str, float]] = []
    open_bytes, largest = b"", 0.0
    for token, strength in zip(tokens, strengths, strict=True):
        raw = _bytes(token, how)
        if raw is None:
            made += _codes(open_bytes, largest)
            made.append((_text(token, how, first=not made), strength))
            open_bytes, largest = b"", 0.0
            continue
        if open_bytes and not _goes_on(open_bytes + raw):
            made += _codes(open_bytes, largest)
            open_bytes, largest = b"", 0.0
        largest = max(largest, strength) if open_bytes else strength
        open_bytes += raw
        try:
            made.append((open_bytes.decode("utf-8"), largest))
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                continue
            made += _codes(open_bytes, largest)
        open_bytes, largest = b"", 0.0
    return made + _codes(open_bytes, largest)


def _text(token: str, how: Spelling, first: bool) -> str:
    if how == "wordpiece" and token.startswith("##") and len(token) > 2:
        return token[2:]
    apart = how in ("wordpiece", "words") and not first
    text = token if how == "bytes" else token.replace(_BLOCK, " ")
    return f" {text}" if apart else text


def _bytes(token: str, how: Spelling) -> bytes | None:
    """The bytes that a token stands for; None where it is text already."""
    if how == "bytes":
        codes = [_CODES.get(char) for char in token]
        return bytes(code for code in codes if code is not None) if None not in codes else None
    found = _BYTE.fullmatch(token)
    return bytes([int(found.group(1), 16)]) if found else None


def _goes_on(raw: bytes) -> bool:
    """Whether bytes are text, or the beginning of it."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def _codes(raw: bytes, strength: float) -> list[tuple[str, float]]:
    return [("".join(f"⟨{byte:02X}⟩" for byte in raw), strength)] if raw else []


def _letters() -> dict[str, int]:
    """GPT-2's letter of each byte: printable ones stand for themselves, the others are counted up from 256."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(own)]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


_CODES = _letters()
