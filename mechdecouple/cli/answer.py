"""Answer: what a command has found, as text for people or, with ``--json``, as one JSON object for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mechdecouple.cli.logs import to_text
from mechdecouple.errors import InputError, StoreError

SCHEMA = 1
FAIL_ON = (
    "gate", "structure", "robustness", "sae", "belief", "calibration", "route", "variables", "faithfulness",
)  # fmt: skip
_FAMILY = {"belief": "beliefs", "route": "mechanism", "variables": "mechanism"}
_GATE = ("outcome", "unit", "margin", "sentence")
_VERDICT = ("family", "subject", "flagged", "sentence")
DONE, FAILED, BAD_INPUT, DIFFERENT = 0, 1, 2, 3


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command has found.

    Attributes:
        text: for people.
        code: exit code: 0 done, 1 units of a job failed, 2 bad input, 3 a difference named by ``--fail-on``.
        error: the line on stderr, of bad input.
        out: the directory of the results; report: their page.
        comparisons: each as :func:`told` gives it; differs: as :func:`differences` gives them.
        failed: units that could not be done: stage, label, key, reason.
        result: what this command alone has to say.
    """

    text: str = ""
    code: int = DONE
    error: str | None = None
    out: Path | None = None
    report: Path | None = None
    comparisons: Sequence[Mapping[str, Any]] = ()
    differs: Sequence[Mapping[str, Any]] = ()
    failed: Sequence[Mapping[str, Any]] = ()
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def json(self, command: str, seconds: float) -> str:
        """The same keys whatever the command; undefined numbers are null."""
        from mechdecouple import __version__

        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "text"}
        head = {"schema": SCHEMA, "command": command, "version": __version__, "exit": fields.pop("code")}
        return to_text({**head, "seconds": round(seconds, 3), **fields}, indent=2)


def told(folder: Path, a: str, b: str, task: str) -> dict[str, Any]:
    """A finished comparison in brief: references, gate, verdicts, notes, and its report.

    Raises:
        StoreError: ``folder`` holds no readable comparison.
    """
    try:
        record = json.loads((folder / "comparison.json").read_bytes())
        gate = record["gate"]
        numbers = {name: gate["difference"][name] for name in ("low", "high")}
        facts = {"a": gate["a"]["value"], "b": gate["b"]["value"], "difference": gate["difference"]["value"], **numbers}
        return {
            "a": a, "b": b, "task": task,
            "gate": {**{name: gate[name] for name in _GATE}, **facts},
            "verdicts": [{name: verdict[name] for name in _VERDICT} for verdict in record["verdicts"]],
            "notes": record["notes"],
            "report": folder / "report.html",
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{str(folder)!r} holds no readable comparison ({error}): run the same command again"
        ) from None


def differences(comparisons: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, str]]:
    """Where a pair differs in what ``--fail-on`` named: a gate with the outcome ``different``, or a flagged verdict."""
    found = []
    for one in comparisons:
        pair = {name: one[name] for name in ("a", "b", "task")}
        gate = one["gate"]
        said = [("gate", gate["sentence"])] if gate["outcome"] == "different" else []
        said += [(v["family"], v["sentence"]) for v in one["verdicts"] if v["flagged"]]
        found += [{"on": family, **pair, "sentence": text} for family, text in said if family in names]
    return found


def check_fail_on(names: Sequence[str], families: Sequence[str], where: str = "--families") -> None:
    """Refuse to fail on what is not measured.

    Raises:
        InputError: it names the family to add.
    """
    for name in names:
        if name not in ("gate", "calibration") and _FAMILY.get(name, name) not in families:
            raise InputError(f"--fail-on {name}: it is not measured; add {_FAMILY.get(name, name)} to {where}")
