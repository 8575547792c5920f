"""Questions that raters are asked of each text, on a scale of whole numbers."""

from __future__ import annotations

import dataclasses

from mechdecouple.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Attributes:
        name: the column of the sheet; text: what is asked.
        low, high: what 1 and ``levels`` mean.
    """

    name: str
    text: str
    low: str
    high: str
    levels: int = 5

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name in RESERVED or not 2 <= self.levels <= 11:
            raise InputError(
                f"question {self.name!r} with {self.levels} levels: expected a name other than "
                f"{', '.join(RESERVED)}, and 2 to 11 levels"
            )


RESERVED = ("code", "prompt", "text", "answer")
"""The other columns of a sheet."""

QUESTIONS = (
    Question(
        name="interpretability", text="How well can you follow, step by step, how the text comes to its answer?",
        low="not at all", high="completely",
    ),
    Question(
        name="cognitive load", text="How much effort does it take to read and check the text?",
        low="hardly any", high="very much",
    ),
)  # fmt: skip
"""What traces were rated by in arXiv:2505.13792, in our words, on five levels."""
