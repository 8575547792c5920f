"""The HTML page of a job: its pairs, what failed, and trends; one file, no network, no script, everything escaped."""

from __future__ import annotations

import base64
import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from mechdecouple.compare.trends import Trends
from mechdecouple.report.figures.trends import CAPTION, figure
from mechdecouple.report.page import template
from mechdecouple.report.style import png

_GATE = {
    "equal": "yes",
    "different": "no, they differ",
    "undecided": "undecided",
    "chance": "both at chance",
    "unknown": "unknown",
}
_WORDS = {"sae": "features", "belief": "beliefs", "route": "route", "variables": "variables"}
_SAME = "same"
_CSS = 130
"""Pixels on the page an inch of the figure."""


@dataclasses.dataclass(frozen=True)
class Said:
    """A verdict of a comparison.

    Attributes:
        family: gate, structure, sae …; model: of whom, where it is on one model alone.
        flagged: whether a difference or a gap is claimed; None where the data cannot tell.
        outcome: of the gate, or ``same`` where two mechanisms are said to be the same.
        sentence: its words.
    """

    family: str
    flagged: bool | None
    sentence: str
    model: str = ""
    outcome: str = ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """A finished comparison: labels of its models and task, its verdicts, and where its report lies."""

    a: str
    b: str
    task: str
    said: tuple[Said, ...]
    link: str = ""

    @property
    def gate(self) -> str:
        outcome = next((one.outcome for one in self.said if one.family == "gate"), "unknown")
        return _GATE.get(outcome, outcome)

    @property
    def claimed(self) -> list[str]:
        """What a difference, or one model's gap, is claimed in."""
        return [_called(one) for one in self._verdicts if one.flagged]

    @property
    def none(self) -> list[str]:
        return [_called(one) for one in self._verdicts if one.flagged is False]

    @property
    def open(self) -> list[str]:
        return [_called(one) for one in self._verdicts if one.flagged is None]

    @property
    def sentences(self) -> list[str]:
        """The gate's words, and those of what is claimed."""
        return [one.sentence for one in self.said if one.family == "gate" or one.flagged]

    @property
    def _verdicts(self) -> list[Said]:
        return [one for one in self.said if one.family != "gate"]


@dataclasses.dataclass(frozen=True)
class Failed:
    """A unit that could not be done."""

    stage: str
    label: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Job:
    """What the page tells of a job as a whole: names of its tasks, numbers of models, of units and of those done."""

    name: str
    models: int
    tasks: tuple[str, ...]
    units: int
    done: int
    failed: tuple[Failed, ...] = ()


def render_job(job: Job, pairs: Sequence[Pair], trends: Trends | None = None) -> str:
    """The page, with a picture of the trends where there are any."""
    picture = None if trends is None else _picture(trends)
    return template("job.html.j2").render(
        job=job, pairs=pairs, cards=list(_cards(pairs)), trends=trends, picture=picture
    )  # fmt: skip


def _picture(trends: Trends) -> dict[str, Any]:
    drawn = figure(trends)
    width, height = drawn.get_size_inches()
    return {
        "data": Markup(base64.b64encode(png(drawn)).decode("ascii")), "width": round(width * _CSS),
        "height": round(height * _CSS), "caption": CAPTION,
    }  # fmt: skip


def _cards(pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """How often each verdict was given."""
    if not pairs:
        return
    gates = Counter(pair.gate for pair in pairs)
    words = "; ".join(f"{gate}: {_of(n, len(pairs))}" for gate, n in gates.most_common())
    style = "same" if set(gates) == {"yes"} else "unknown"
    yield _card(style, "Equally accurate?", f"{gates['yes']} of {len(pairs)} equal", words + ".", gate=True)
    families = dict.fromkeys(one.family for pair in pairs for one in pair.said if one.family != "gate")
    for family in families:
        said = [one for pair in pairs for one in pair.said if one.family == family]
        claimed, none, left = (sum(one.flagged is flag for one in said) for flag in (True, False, None))
        style = "differs" if claimed else "same" if none and not left else "unknown"
        words = f"Of {len(said)}: claimed in {claimed}, not claimed in {none}, cannot be told in {left}."
        yield _card(style, _WORDS.get(family, family).capitalize(), f"{claimed} claimed", words)


def _card(style: str, what: str, status: str, words: str, gate: bool = False) -> dict[str, Any]:
    return {"style": style, "what": what, "status": status, "words": words, "gate": gate}


def _of(n: int, total: int) -> str:
    return f"{n} pair{'s' * (n != 1)}" + (" (all)" if n == total else "")


def _called(said: Said) -> str:
    name = _WORDS.get(said.family, said.family)
    name = f"{name} (the same)" if said.outcome == _SAME else name
    return f"{name} of {said.model}" if said.model else name
