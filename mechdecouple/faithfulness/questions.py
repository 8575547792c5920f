"""Questions: how a model is asked for answers and for explanations of its own, and how the explanations are read."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from mechdecouple.errors import InputError


@dataclasses.dataclass(frozen=True)
class Questions:
    """What is asked; ``{text}`` is the text, ``{target}`` the answer it should have, ``{mark}`` what hides a word."""

    classify: str = "Text: {text}\nParts that read {mark} are hidden. Which answer fits the text?\nAnswer:"
    counterfactual: str = "Text: {text}\nChange as few words as you can so that the answer becomes {target}.\nNew text:"
    redaction: str = "Text: {text}\nHide each word that the answer needs behind {mark}.\nNew text:"
    importance: str = "Text: {text}\nList the words without which the answer cannot be told, with commas.\nWords:"
    mark: str = "[REDACTED]"

    def ask(self, kind: str, texts: Sequence[str], targets: Sequence[str] | None = None) -> list[str]:
        """One prompt a text; braces inside texts stay as they are."""
        parts = re.split(r"(\{text\}|\{target\}|\{mark\})", getattr(self, kind))
        if "{text}" not in parts:
            raise InputError(f"the question {kind!r} lacks {{text}}: write it where the text belongs")
        filled = targets if targets is not None else [""] * len(texts)
        return [
            "".join({"{text}": text, "{target}": target, "{mark}": self.mark}.get(part, part) for part in parts)
            for text, target in zip(texts, filled, strict=True)
        ]


def listed(text: str) -> list[str]:
    """The words of a list: between commas, semicolons or line ends, without quotes, bullets and numbers; where there
    are none of these, between spaces."""
    parts = re.split(r"[,;\n]+", text) if re.search(r"[,;\n]", text) else text.split()
    return [word for part in parts if (word := re.sub(r"^\s*(?:[-*•]|\d+[.)])?\s*", "", part).strip(" \"'`.“”‘’"))]


def hide(text: str, words: Sequence[str], mark: str) -> str:
    """A text with words hidden wherever they stand on their own, in any case."""
    if not words:
        return text
    longest = sorted(map(re.escape, words), key=len, reverse=True)
    return re.sub(rf"(?<!\w)(?:{'|'.join(longest)})(?!\w)", lambda _: mark, text, flags=re.IGNORECASE)
