"""How a command speaks: one JSON object on stdout, errors alone or JSON lines on stderr, nothing of other packages."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import warnings

import pytest

from mechdecouple.cli import main
from mechdecouple.cli.answer import Answer
from mechdecouple.cli.logs import JsonLines

KEYS = [
    "schema", "command", "version", "exit", "seconds", "error", "out", "report", "comparisons", "differs", "failed",
    "result",
]  # fmt: skip
ARGV = ["compare", "A", "B", "--task", "T.csv", "--out", "o"]
_log = logging.getLogger("mechdecouple.tests")


def parsed(text: str) -> dict:
    """Strict JSON: NaN is none."""

    def refuse(name: str):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def noisy(monkeypatch):
    """A comparison that logs, while every package around it talks."""

    def run(*_):
        sys.stdout.write("a package prints\n")
        os.write(1, b"a package prints below Python\n")
        subprocess.run([sys.executable, "-c", "print('a process prints')"], check=True)
        logging.getLogger("fontTools.subset").error("a font was cut")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a package warns", UserWarning, stacklevel=1)
        _log.info("what is done", extra={"stage": "extract", "seconds": math.nan, "facts": {"tokens": 7}})
        _log.warning("what is mended")
        _log.error("what failed")
        return Answer("for people", result={"value": math.inf, "parts": (1.5, math.nan)})

    monkeypatch.setattr("mechdecouple.cli.commands._run", run)


def test_json_is_alone_on_stdout_whatever_else_prints(noisy, capfd):
    assert main([*ARGV, "--json"]) == 0
    shown = capfd.readouterr()
    found = parsed(shown.out)
    assert list(found) == KEYS
    assert (found["schema"], found["command"], found["exit"], found["error"]) == (1, "compare", 0, None)
    assert found["result"] == {"value": None, "parts": [1.5, None]}
    assert "a package prints below Python" in shown.err and "a process prints" in shown.err
    assert "for people" not in shown.out


def test_stdout_is_as_it_was_afterwards(noisy, capfd):
    main([*ARGV, "--json"])
    capfd.readouterr()
    sys.stdout.write("mine\n")
    os.write(1, b"mine too\n")
    sys.stdout.flush()
    assert sorted(capfd.readouterr().out.split("\n")) == ["", "mine", "mine too"]


def test_plain_lines_for_people(noisy, capfd):
    assert main(ARGV) == 0
    shown = capfd.readouterr()
    assert shown.out.endswith("for people\n")
    lines = [line for line in shown.err.splitlines() if line.startswith("what ")]
    assert lines == ["what is done", "what is mended", "what failed"]
    assert "a font was cut" not in shown.err


def test_quiet_leaves_errors_alone(noisy, capfd):
    assert main([*ARGV, "--quiet", "--json"]) == 0
    shown = capfd.readouterr()
    assert shown.err == "what failed\n"
    assert parsed(shown.out)["exit"] == 0


def test_log_json_is_one_object_a_line_with_its_fields(noisy, capfd):
    assert main([*ARGV, "--log-json", "--json"]) == 0
    lines = [parsed(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["what is done", "what is mended", "what failed"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert {line["logger"] for line in lines} == {"mechdecouple.tests"}
    assert all(line["time"].endswith("Z") and "T" in line["time"] for line in lines)
    first = {key: value for key, value in lines[0].items() if key not in ("time", "level", "logger", "message")}
    assert first == {"stage": "extract", "seconds": None, "facts": {"tokens": 7}}


def test_quiet_and_log_json_together(noisy, capfd):
    assert main([*ARGV, "--log-json", "--quiet"]) == 0
    assert [parsed(line)["message"] for line in capfd.readouterr().err.splitlines()] == ["what failed"]


@pytest.mark.parametrize("flags", [(), ("--quiet",), ("--log-json",)])
def test_other_packages_are_not_heard_where_nobody_listens_to_their_logs(flags):
    """In a process of its own: in this one pytest listens to every log, and Python does not speak up in its stead."""
    code = """
import logging, sys
from mechdecouple.cli import Answer, gap, main

def run(*_):
    logging.getLogger("fontTools.subset").error("a font was cut")
    logging.getLogger("mechdecouple").error("what failed")
    return Answer()

gap.run = run
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "gap", "s.csv", "--out", "o", *flags], capture_output=True, text=True, check=True
    )
    (line,) = done.stderr.splitlines()
    assert "what failed" in line


def test_a_message_of_two_lines_and_its_traceback_are_one_line():
    try:
        raise ValueError("a\nb")
    except ValueError:
        record = logging.makeLogRecord({"msg": "two\nlines", "exc_info": sys.exc_info(), "odd": object})
    (line,) = JsonLines().format(record).splitlines()
    found = parsed(line)
    assert found["message"] == "two\nlines"
    assert "ValueError: a\nb" in found["traceback"]
    assert found["odd"] == "<class 'object'>"


def test_own_warnings_are_log_lines(monkeypatch, capfd):
    def run(*_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn_explicit("a cache cannot be written", UserWarning, _OWN, 1)
        return Answer()

    import mechdecouple

    _OWN = mechdecouple.__file__
    monkeypatch.setattr("mechdecouple.cli.commands._run", run)
    main([*ARGV, "--log-json"])
    (line,) = capfd.readouterr().err.splitlines()
    assert parsed(line)["message"] == "a cache cannot be written"


def test_nothing_of_it_outlives_the_command(noisy, capfd):
    logger, root, show = logging.getLogger("mechdecouple"), logging.getLogger(), warnings.showwarning
    before = logger.level, list(logger.handlers), list(root.handlers), dict(os.environ)
    main([*ARGV, "--log-json", "--json", "--quiet"])
    assert (logger.level, logger.handlers, root.handlers, dict(os.environ)) == before
    assert warnings.showwarning is show


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["compare", "A", "--task", "T.csv", "--out", "o"], "no B given"),
        (["compare", "A", "B", "--marign", "1"], "did you mean --margin"),
        (["comapre"], "'comapre'"),
        (["gap", "none.csv", "--out", "o"], "none.csv"),
    ],
)
def test_bad_input_is_json_too(argv, said, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main([*argv, "--json"]) == 2
    shown = capfd.readouterr()
    found = parsed(shown.out)
    assert list(found) == KEYS
    assert found["exit"] == 2
    assert said in found["error"] and shown.err == f"mechdecouple: {found['error']}\n"
    assert main([*argv, "--log-json"]) == 2
    shown = capfd.readouterr()
    assert (parsed(shown.err)["level"], parsed(shown.err)["message"]) == ("error", found["error"])
    assert shown.out == ""


def test_extract_speaks_json(gpt2_dir, yes_no_csv, tmp_path, capfd):
    argv = ["extract", str(gpt2_dir), "--task", str(yes_no_csv), "--out", str(tmp_path / "o"), "--json", "--log-json"]
    assert main([*argv, "--hook-points", "blocks.0.hook_resid_post"]) == 0
    shown = capfd.readouterr()
    found = parsed(shown.out)
    assert list(found) == KEYS
    assert found["out"] == str(tmp_path / "o")
    assert (found["result"]["rows"], found["result"]["hook_points"]) == (60, ["blocks.0.hook_resid_post"])
    assert [parsed(line)["logger"] for line in shown.err.splitlines()] == ["mechdecouple.extract"] * 2
