"""The HTML page: one file, no network, no script; everything in it that comes from a task or a model is escaped."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from mechdecouple.compare import Comparison, Gate, Verdict
from mechdecouple.report.figures.panel import Sheet
from mechdecouple.report.items import PROMPT, most_different
from mechdecouple.report.metrics import title
from mechdecouple.report.numbers import contrast_table, metric_notes, number_tables, pair_tables
from mechdecouple.report.sections import SECTIONS, Section, labels_wanted
from mechdecouple.report.view import View, interval, is_difference, number, sentence
from mechdecouple.structure.mechanism.evidence import AXES

FEATURES = "features.html"
"""The page of latents, beside this one."""
MAX_ROWS = 600
_GATE = {
    "equal": ("same", "=", "Equal"),
    "different": ("differs", "≠", "Different"),
    "undecided": ("unknown", "?", "Undecided"),
    "chance": ("unknown", "?", "Both at chance"),
    "unknown": ("unknown", "?", "Unknown"),
}
_FAMILIES = {
    "sae": "Features", "belief": "Beliefs", "ancestry": "Base against tuned", "route": "Mechanism: route",
    "variables": "Mechanism: variables",
}  # fmt: skip
_ANSWERS = {
    True: ("differs", "≠", "Other"), False: ("same", "=", "Same"), None: ("unknown", "?", "Cannot tell")
}  # fmt: skip
LABELLED = "structure"
"""The section in which a reader looks for what labels would add."""
_DESCRIBING = ("similarity", "ancestry")
_ITEM_NUMBERS = ("correct", "score", "margin", "confidence", "belief", "expressed", "claim")


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawn sheet: PNG bytes, its size on the page in CSS pixels, and its caption."""

    sheet: Sheet
    png: bytes
    width: int
    height: int

    def facts(self, view: View) -> dict[str, Any]:
        panels = ", ".join(p.name.replace("_", " ") for p in self.sheet.panels(view) if not p.missing(view))
        return {
            "name": self.sheet.name,
            "caption": self.sheet.caption,
            "alt": f"{self.sheet.caption} Panels: {panels}.",
            # base64 holds nothing to escape, and escaping megabytes takes its time
            "data": Markup(base64.b64encode(self.png).decode("ascii")),
            "width": self.width,
            "height": self.height,
        }


def render(view: View, pictures: Mapping[str, Picture], missing: Mapping[str, str]) -> str:
    """The page.

    Args:
        pictures: drawn sheets by name; missing: why the others have nothing to draw.
    """
    comparison = view.comparison
    shown = {name: picture.facts(view) for name, picture in pictures.items()}
    sections = [_section(view, section, shown, missing) for section in SECTIONS]
    table = view.table
    return template("page.html.j2").render(
        c=comparison,
        limit=PROMPT,
        cards=[_gate_card(comparison.gate), *(_card(v, view.names) for v in _ordered(comparison.verdicts))],
        seeds=_has_seeds(comparison),
        whole=shown.get("contrasts"),
        gate_figure=shown.get("gate"),
        gate_rows=list(_gate_rows(comparison.gate)),
        all_contrasts=[row for section in SECTIONS for row in contrast_table(view, section)],
        gate_words=_gate_words(comparison.gate),
        sections=[s for s in sections if s],
        items=list(_items(comparison)),
        undefined=_undefined(view),
        table=[_row(r) for r in table.head(MAX_ROWS).itertuples()],
        total=len(table),
        provenance=list(flat(comparison.provenance)),
    )


def template(name: str) -> jinja2.Template:
    """A page of this package, with everything that is put into it escaped."""
    folder = resources.files("mechdecouple.report")
    loader = jinja2.FunctionLoader(lambda file: folder.joinpath(file).read_text(encoding="utf-8"))
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, loader=loader).get_template(name)


def _section(
    view: View, section: Section, shown: Mapping[str, dict], missing: Mapping[str, str]
) -> dict[str, Any] | None:
    numbers, contrasts, pairs = number_tables(view, section), contrast_table(view, section), pair_tables(view, section)
    said = [_card(v, view.names) for v in view.comparison.verdicts if v.family in section.verdicts]
    figures = [shown[name] for name in section.sheets if name in shown]
    if not (numbers or contrasts or pairs or said or figures):
        return None
    absent = [] if figures else [missing[name] for name in section.sheets[:1] if name in missing]
    wanted = labels_wanted(view.comparison.notes) if section.name == LABELLED else []
    return {
        "name": section.name,
        "label": section.title.partition(":")[0].partition(" of ")[0],
        "title": section.title,
        "reading": section.reading,
        "said": said,
        "figures": figures,
        "missing": absent,
        "page": FEATURES if section.name == "sae" and len(view.comparison.features) else "",
        "wanted": wanted,
        "places": section.places,
        "contrasts": contrasts,
        "numbers": numbers,
        "pairs": pairs,
        "metrics": metric_notes(view, section),
    }


def _gate_card(gate: Gate) -> dict[str, Any]:
    style, mark, status = _GATE[gate.outcome]
    return {
        "style": style,
        "mark": mark,
        "status": status,
        "what": "Equally accurate?",
        "sentence": gate.sentence,
        "gate": True,
        "pieces": [],
    }


def _ordered(verdicts: tuple[Verdict, ...]) -> list[Verdict]:
    """In the order of the page's sections."""
    order = [family for section in SECTIONS for family in section.verdicts]
    return sorted(verdicts, key=lambda v: order.index(v.family) if v.family in order else len(order))


def _card(verdict: Verdict, names: tuple[str, str]) -> dict[str, Any]:
    what = _FAMILIES.get(verdict.family, verdict.family.capitalize())
    thing = "difference" if verdict.subject == "pair" else "gap"
    if verdict.subject != "pair":
        what = f"{what} of {'AB'[verdict.subject == 'b']}, {names[verdict.subject == 'b']}"
    if verdict.family in AXES:
        style, mark, status = _ANSWERS[verdict.flagged]
    elif verdict.flagged is None:
        style, mark, status = "unknown", "?", "Unknown"
    elif verdict.family in _DESCRIBING and not verdict.flagged:
        # without a margin it describes, and 'no difference' would say more than it can
        style, mark, status = "unknown", "·", "Described"
    elif verdict.flagged:
        style, mark, status = "differs", "⚑", f"{thing.capitalize()} claimed"
    else:
        style, mark, status = "same", "–", f"No {thing} claimed"
    return {
        "style": style, "mark": mark, "status": status, "what": what, "sentence": verdict.sentence, "gate": False,
        "pieces": _pieces(verdict),
    }  # fmt: skip


def _pieces(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    """What speaks for and against a verdict, under the heads that say so."""
    heads = ("Speaks for the same", "Speaks for another") if verdict.flagged is None else ("For it", "Against it")
    said = zip((*heads, "Says nothing"), (verdict.speaks_for, verdict.speaks_against, verdict.silent), strict=True)
    return [(head, words) for head, words in said if words]


def _has_seeds(comparison: Comparison) -> bool:
    options = comparison.provenance.get("options") or {}
    return bool(options.get("seeds_a") or options.get("seeds_b"))


def _gate_words(gate: Gate) -> str:
    if not math.isfinite(gate.difference.value):
        return ""
    words = []
    if math.isfinite(gate.supported_margin):
        words.append(f"These items could have supported a margin of {number(gate.supported_margin)} at 90 % power.")
    if math.isfinite(gate.chance):
        words.append(f"Guessing scores {number(gate.chance)}.")
    if math.isfinite(gate.agreement.value):
        null = (
            f", against {number(gate.agreement.null)} if they erred independently"
            if math.isfinite(gate.agreement.null)
            else ""
        )
        words.append(f"They give the same answer on {gate.agreement.value:.1%} of the items{null}.")
    words.append(
        f"p of the test of equality {number(gate.p_equal)}, of the test of a difference {number(gate.p_different)}."
    )
    return " ".join(words)


def _gate_rows(gate: Gate) -> Iterator[dict[str, str]]:
    if not math.isfinite(gate.difference.value):
        return
    yield {
        "name": "all items",
        "a": interval(gate.a),
        "b": interval(gate.b),
        "difference": interval(gate.difference, signed=True),
        "outcome": gate.outcome,
        "note": "",
    }
    for s in gate.strata:
        note = "" if math.isfinite(s.difference.value) else s.difference.reason
        yield {
            "name": s.name,
            "a": number(s.a),
            "b": number(s.b),
            "difference": interval(s.difference, signed=True),
            "outcome": s.outcome,
            "note": note,
        }


def _items(comparison: Comparison) -> Iterator[dict[str, Any]]:
    found = most_different(comparison.items, comparison.a, comparison.b)
    columns = [n for n in _ITEM_NUMBERS if f"{n}_a" in found and found[[f"{n}_a", f"{n}_b"]].notna().any(axis=None)]
    if "correct" in columns and "score" in columns:
        columns.remove("score")
    for item in found.to_dict("records"):
        truth = item.get("truth")
        facts = {
            "condition": item.get("condition"),
            "context": item.get("context"),
            "split": item.get("split"),
            "expected": item.get("expected"),
            "truth": "" if truth is None or math.isnan(truth) else f"{truth:g}",
        }
        about = " · ".join([f"item {item['id']}", *(f"{k} {v}" for k, v in facts.items() if v)])
        rows = [
            {
                "side": side,
                "model": name,
                "answer": _clip(str(item[f"answer_{side}"])),
                "numbers": [_cell(n, item[f"{n}_{side}"]) for n in columns],
            }
            for side, name in (("a", comparison.a), ("b", comparison.b))
        ]
        yield {"about": about, "prompt": str(item.get("prompt") or ""), "columns": columns, "rows": rows}


def _cell(name: str, value: float) -> str:
    if name in ("correct", "claim") and value in (0.0, 1.0):
        return "yes" if value else "no"
    return number(float(value))


def _clip(text: str) -> str:
    return text if len(text) <= PROMPT else text[:PROMPT] + "…"


def _undefined(view: View) -> list[tuple[str, str, int]]:
    """Metrics that are undefined somewhere, with reason and how often."""
    nothing = view.table[view.table.value.isna()]
    counts = nothing.groupby(["metric", "reason"], sort=False).size()
    return [(title(metric), sentence(reason), int(n)) for (metric, reason), n in counts.items()]


def _row(r) -> dict[str, str]:
    join = {"model": (r.model, r.model_b), "place": (r.hook_point, r.hook_point_b), "of": (r.concept, r.context)}
    facts = {
        key: (" − " if key == "model" and is_difference(r) else " · ").join(dict.fromkeys(x for x in xs if x))
        for key, xs in join.items()
    }
    return facts | {
        "metric": r.metric,
        "value": interval(r, signed=is_difference(r)),
        "null": number(r.null),
        "p": number(r.p),
        "n": str(int(r.n)),
        "direction": r.direction,
        "reason": r.reason,
    }


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested provenance as dotted keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
