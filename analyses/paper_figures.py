"""Every figure for a paper, from what the studies left.

    python -m analyses.paper_figures [--results out] [--out out/paper] [--readme]

Reads the directories that ``python -m analyses run`` and ``all`` wrote and trains nothing. For each venue a folder of
vector PDFs in its widths, fonts embedded as TrueType (which is checked); ``captions.tex``, which defines the caption of
each figure, numbers and verdict included, as a macro (``\\captionIndifference`` for the figure ``indifference`` of the
study of that name). With ``--readme`` also ``analyses/README.md``: claim, verdict and figure of every study in one
table.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from analyses.__main__ import FOLDER, OUT, studies
from analyses._study import Study
from analyses._venues import VENUES, check_pdf
from mechdecouple.errors import InputError
from mechdecouple.report.tables import escape

_SYMBOLS = {
    "≥": r"$\geq$", "≤": r"$\leq$", "×": r"$\times$", "·": r"$\cdot$", "→": r"$\to$", "Δ": r"$\Delta$",
    "α": r"$\alpha$", "β": r"$\beta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "ρ": r"$\rho$", "σ": r"$\sigma$",
    "τ": r"$\tau$", "φ": r"$\varphi$", "½": r"$\frac{1}{2}$", "²": r"$^2$", "∝": r"$\propto$", "é": r"\'e",
}  # fmt: skip
_WORDS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
_DIGITS = {str(i): word for i, word in enumerate(_WORDS)}


def read(found: Mapping[str, Study], results: Path) -> dict[str, dict[str, Any]]:
    """What each study that was run wrote into its ``result.json``, in the order of the studies.

    Raises:
        InputError: a result that does not parse, or is not of the study whose directory holds it.
    """
    read = {}
    for name in found:
        path = results / name / "result.json"
        if not path.is_file():
            continue
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path} does not parse: run the study again") from None
        if not isinstance(facts, dict) or facts.get("name") != name or "figures" not in facts:
            raise InputError(f"{path} is not a result of the study {name!r}: run the study again")
        read[name] = facts
    return read


def collect(found: Mapping[str, Study], results: Path, out: Path) -> dict[str, float]:
    """Write the PDFs of every venue and the captions into ``out``; returns each PDF's width in inches.

    Raises:
        InputError: no study of a finding was run, a figure was not saved for a venue, or its fonts are not embedded.
    """
    facts = {name: f for name, f in read(found, results).items() if found[name].finding}
    if not facts:
        raise InputError(f"{str(results)!r} holds no result of a finding: python -m analyses all")
    widths, macros = {}, []
    for name, result in facts.items():
        for figure in result["figures"]:
            label = name if figure == name else f"{name}-{figure}"
            for venue in VENUES:
                source = results / name / venue / f"{figure}.pdf"
                if not source.is_file():
                    raise InputError(f"{source} is missing: run the study {name} again")
                target = out / venue / f"{label}.pdf"
                widths[f"{venue}/{label}.pdf"] = check_pdf(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            macros.append(rf"\newcommand{{\{macro(label)}}}{{{tex(caption(result, figure))}}}  % {label}.pdf")
    out.mkdir(parents=True, exist_ok=True)
    (out / "captions.tex").write_text("\n".join(macros) + "\n", encoding="utf-8")
    return widths


def caption(result: Mapping[str, Any], figure: str) -> str:
    """What the study says of its figure (its claim where it says nothing), its verdict and the criteria it rests on."""
    told = result.get("captions", {}).get(figure) or result["claim"]
    return f"{told} {sentence(result)}"


def sentence(result: Mapping[str, Any]) -> str:
    """The verdict and how many criteria it rests on."""
    return f"{result['verdict'].capitalize()}: {result['met']} of {result['of']} criteria met."


def macro(label: str) -> str:
    """The name of a caption's macro, which may hold letters alone."""
    words = "".join(_DIGITS.get(c, c if c.isalpha() else " ") for c in label).split()
    return "caption" + "".join(word[0].upper() + word[1:] for word in words)


def tex(text: str) -> str:
    """Text that LaTeX prints as it stands, mathematical signs and Greek letters included.

    Raises:
        InputError: a character of which no LaTeX form is known.
    """
    strange = sorted({c for c in text if not c.isascii() and escape(c) == c} - set(_SYMBOLS))
    if strange:
        raise InputError(f"no LaTeX form is known of {' '.join(strange)}: add it to _SYMBOLS in {Path(__file__).name}")
    return "".join(_SYMBOLS.get(c) or escape(c) for c in text)


def readme(found: Mapping[str, Study], results: Path, folder: Path) -> str:
    """The text of ``README.md``; the figures it shows are copied into ``folder/figures/studies``."""
    facts = read(found, results)
    rows, unmet = [], []
    for name, study in found.items():
        if not study.finding and name not in facts:
            continue
        kind = f"finding {study.finding}" if study.finding else "check"
        cells = [f"`{name}` ({kind})", f"{study.claim} ({study.source})", "not run", "", ""]
        if name in facts:
            result = facts[name]
            size = "full" if result["full"] else "quick"
            cells[2:] = [f"**{result['verdict']}**", f"{result['met']} of {result['of']}, {size}", ""]
            if study.finding:
                cells[4] = " ".join(_shown(results / name, figure, name, folder) for figure in result["figures"])
            unmet += [f"* `{name}`: {told(c)}" for c in result["criteria"] if not c["met"]]
        rows.append("| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |")
    table = ["| study | claim | verdict | criteria met | figure |", "| --- | --- | --- | --- | --- |", *rows]
    missed = ["", "Not met:", "", *unmet] if unmet else []
    return "\n".join([_HEAD, *table, *missed]) + "\n"


def told(criterion: Mapping[str, Any]) -> str:
    """A criterion with what was measured and what was expected."""
    value = "undefined" if criterion["value"] is None else f"{criterion['value']:.3g}"
    if criterion["low"] is not None:
        value += f" [{criterion['low']:.3g}, {criterion['high']:.3g}]"
    side = {"both": "", "at least": "at least ", "at most": "at most "}[criterion["side"]]
    within = f" (±{criterion['tolerance']:.2g})" if criterion["tolerance"] else ""
    return f"{criterion['group']}, {criterion['name']}: {value}; expected {side}{criterion['expected']:.4g}{within}"


def _shown(source: Path, figure: str, study: str, folder: Path) -> str:
    target = folder / "figures" / "studies" / (f"{study}.png" if figure == study else f"{study}-{figure}.png")
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source / f"{figure}.png") as image:
        # 256 colours are enough for few lines on white, and a third of the bytes.
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(target, optimize=True)
    return f"[![{figure}]({(path := target.relative_to(folder).as_posix())})]({path})"


_HEAD = """# Studies

Each study states its claim and its criteria before it is run, trains what it needs, measures with the public API
where it has the measure, and says *reproduced* (every criterion met), *partly* (at least half) or *not reproduced*. A
criterion is met by the mean over seeds; its interval, which can cross the bound, stands in `result.json`. Where a
finding names no bound, a study's notes say that the bound is its own, and when it was set.

```
python -m analyses list                      # every study, and the verdict of its last run
python -m analyses run NAME [--full]         # result.json, tables and figures in out/NAME
python -m analyses all                       # the study of every finding
python -m analyses.paper_figures --readme    # figures and captions for a paper in out/paper, and this table
```

The table is made by the last of these from result files, and not by hand.
"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m analyses.paper_figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=OUT, help="where each study has a directory (default: out)")
    parser.add_argument("--out", type=Path, help="where figures and captions go (default: RESULTS/paper)")
    parser.add_argument("--readme", action="store_true", help="write analyses/README.md, too")
    options = parser.parse_args(argv)
    out, found = options.out or options.results / "paper", studies()
    try:
        for name, width in collect(found, options.results, out).items():
            print(f"{width:.2f} in  {name}")
        print(f"written to {out}")
        if options.readme:
            (FOLDER / "README.md").write_text(readme(found, options.results, FOLDER), encoding="utf-8")
            print(f"written to {FOLDER / 'README.md'}")
    except InputError as error:
        print(f"paper_figures: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
