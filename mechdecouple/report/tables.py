"""LaTeX tables (booktabs): what a paper prints of a comparison."""

from __future__ import annotations

import math

from mechdecouple.report.figures.beliefs import conditions
from mechdecouple.report.metrics import title
from mechdecouple.report.view import View, number

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": "$-$",
    "±": r"$\pm$",
    "ε": r"$\varepsilon$",
    "–": "--",
    "…": r"\dots{}",
    '"': r"\textquotedbl{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}

_STRUCTURE = ("probe_accuracy", "ccgp", "erasure_residual", "coding_overlap", "participation_ratio")
_BELIEFS = ("represented_auroc_selected", "expressed_auroc", "auroc_gap", "bullshit_index")


def escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_ESCAPES.get(c, c) for c in str(text).replace("\n", " "))


def tables(view: View) -> dict[str, str]:
    """File name -> LaTeX source; tables without a single number are left out."""
    made = {
        "gate.tex": gate(view),
        "contrasts.tex": contrasts(view),
        "structure.tex": structure(view),
        "beliefs.tex": beliefs(view),
    }
    return {name: text for name, text in made.items() if text}


def gate(view: View) -> str:
    """Performance of both models and their difference, over all items and by stratum."""
    g = view.comparison.gate
    rows = [["all items", number(g.a.value), number(g.b.value), *_two(g.difference), g.outcome]]
    rows += [[s.name, number(s.a), number(s.b), *_two(s.difference), s.outcome] for s in g.strata]
    return _table(["items", *view.names, "difference", "95 % interval", "outcome"], rows, "lrrrll")


def contrasts(view: View) -> str:
    """Every paired difference of a primary metric against its margin."""
    found = [r for r in view.contrasts.itertuples() if math.isfinite(r.value)]
    rows = [[f"{title(r.metric)}{', ' if r.context else ''}{r.context}", *_two(r), f"{r.margin:g}"] for r in found]
    return _table(["metric", "A − B", "95 % interval", "margin"], rows, "lrlr")


def structure(view: View) -> str:
    """The structural metrics of both models at every hook point."""
    metrics = [m for m in _STRUCTURE if view.rows(m).value.notna().any()]
    rows = []
    for model in view.names:
        concepts = [c for c in dict.fromkeys(c for m in metrics for c in view.concepts(m)) if c] or [""]
        for point in view.points(model):
            for concept in concepts:
                cells = [_cell(view, m, model, point, concept) for m in metrics]
                if any(cell != "–" for cell in cells):
                    rows.append([model, point, concept, *cells])
    return (
        _table(["model", "hook point", "concept", *map(title, metrics)], rows, "lll" + "r" * len(metrics))
        if metrics
        else ""
    )


def beliefs(view: View) -> str:
    """What each model represents and expresses, by condition."""
    rows = []
    for level in conditions(view):
        for model in view.names:
            at = {m: view.rows(m, model) for m in _BELIEFS}
            cells = [_first(table[table.context == level]) for table in at.values()]
            if any(cell != "–" for cell in cells):
                rows.append([level, model, *cells])
    return (
        _table(["condition", "model", "represented AUROC", "expressed AUROC", "gap", "Bullshit index"], rows, "llrrrr")
        if rows
        else ""
    )


def _cell(view: View, metric: str, model: str, point: str, concept: str) -> str:
    rows = view.rows(metric, model)
    return _first(rows[(rows.hook_point == point) & rows.concept.isin([concept, ""])])


def _first(rows) -> str:
    if not len(rows) or not math.isfinite(rows.value.iloc[0]):
        return "–"
    row = rows.iloc[0]
    half = f" ± {number((row.high - row.low) / 2, 2)}" if math.isfinite(row.low) else ""
    return number(row.value) + half


def _two(row) -> list[str]:
    if not math.isfinite(row.value):
        return ["–", "–"]
    return [number(row.value, signed=True), f"[{number(row.low, signed=True)}, {number(row.high, signed=True)}]"]


def _table(head: list[str], rows: list[list[str]], columns: str) -> str:
    if not rows:
        return ""
    lines = [" & ".join(map(escape, cells)) + r" \\" for cells in (head, *rows)]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs} and \\usepackage[T1]{fontenc}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
