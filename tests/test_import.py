"""The public face: light to import, every name there, no module in the way of a function."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

import mechdecouple

HEAVY = ("torch", "pandas", "transformer_lens", "sae_lens", "transformers", "matplotlib", "scipy")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_is_quick_and_light():
    code = f"""
import sys, time
start = time.perf_counter()
import mechdecouple
seconds = time.perf_counter() - start
print(seconds, *(set({HEAVY}) & set(sys.modules)))
"""
    found = [run(code).split() for _ in range(3)]
    assert all(heavy == [] for _, *heavy in found)
    assert min(float(seconds) for seconds, *_ in found) < 0.3


def test_the_parser_is_built_without_torch():
    code = f"""
import sys
from mechdecouple.cli.arguments import parser
parser(["--help"]).format_help()
print(*(set({HEAVY}) & set(sys.modules)))
"""
    assert run(code).split() == []


@pytest.mark.parametrize("name", mechdecouple.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mechdecouple, name) is not None
    assert name in dir(mechdecouple)


def test_a_subpackage_does_not_hide_the_function_of_its_name():
    code = """
import mechdecouple.compare
import mechdecouple.extract
import mechdecouple
print(callable(mechdecouple.compare), callable(mechdecouple.extract))
from mechdecouple import compare, extract
print(callable(compare), callable(extract))
"""
    assert run(code).split() == ["True"] * 4
    assert isinstance(importlib.import_module("mechdecouple.compare"), types.ModuleType)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mechdecouple' has no attribute 'comapre'"):
        _ = mechdecouple.comapre
