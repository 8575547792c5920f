"""The tables of the README that the code makes are those that it makes now."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_generated_tables_are_current():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "analyses" / "readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert module.written(text) == text, "run `make readme`"
    assert "| `ccgp` |" in text
