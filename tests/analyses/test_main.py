import json

import pytest

from analyses import __main__ as command
from analyses._study import Criterion, Result, Study


def result(value):
    return Result(
        name="tiny", claim="c", source="s", full=False, tables={}, figures={},
        criteria=(Criterion(group="g", name="n", value=value, expected=1.0, side="at least"),),
    )  # fmt: skip


@pytest.fixture
def two(monkeypatch):
    def made(name, finding, value):
        return Study(name=name, finding=finding, claim=f"claim of {name}", source="s",
                     run=lambda full, progress: result(value + full))  # fmt: skip

    found = {"tiny": made("tiny", 3, 1.0), "check": made("check", 0, 0.0)}
    monkeypatch.setattr(command, "studies", lambda: found)
    return found


def test_the_real_studies_are_found_and_named_as_their_modules():
    found = command.studies()
    assert {"known_beliefs", "planted_truth", "same_or_different"} <= set(found)
    assert all((command.FOLDER / f"{name}.py").is_file() and study.name == name for name, study in found.items())
    numbers = [s.finding or 99 for s in found.values()]
    assert numbers == sorted(numbers)


def test_run_says_the_claim_and_writes_the_verdict(two, tmp_path, capsys):
    assert command.main(["run", "check", "--out", str(tmp_path)]) == 0
    assert "claim of check" in capsys.readouterr().out
    assert json.loads((tmp_path / "check" / "result.json").read_text())["verdict"] == "not reproduced"
    assert command.main(["run", "check", "--full", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "check" / "result.json").read_text())["verdict"] == "reproduced"


def test_all_runs_the_findings_and_list_shows_their_verdicts(two, tmp_path, capsys):
    assert command.main(["all", "--out", str(tmp_path)]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["tiny"]
    capsys.readouterr()
    assert command.main(["list", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0][21:32].strip(), lines[0][33:48].strip()] == ["finding 3", "reproduced"]
    assert lines[1].split()[:3] == ["check", "check", "-"]


def test_an_unknown_study_is_told_in_one_line(two, capsys):
    assert command.main(["run", "tinyy"]) == 2
    assert "did you mean tiny?" in capsys.readouterr().err
