"""Write the tables of the README that are made by the code: ``python analyses/readme.py`` (or ``make readme``)."""

from __future__ import annotations

import re
from pathlib import Path

from analyses.benchmarks import table
from mechdecouple.report.metrics import markdown

README = Path(__file__).resolve().parents[1] / "README.md"
TABLES = {"metrics": markdown, "speed": table.markdown, "growth": table.exponents}


def written(text: str) -> str:
    """The README's text with every table made anew between its marks ``<!-- NAME -->`` and ``<!-- end NAME -->``."""
    for name, make in TABLES.items():
        marks = rf"(<!-- {name}:.*?-->\n).*?(\n<!-- end {name} -->)"
        text, found = re.subn(marks, lambda m, make=make: m[1] + make() + m[2], text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"{README.name} holds {found} places for the table {name!r}: expected one")
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{README.name}: {', '.join(TABLES)}")
