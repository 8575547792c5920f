"""`mechdecouple run` and `mechdecouple status` as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from mechdecouple.cli import main
from mechdecouple.jobs.status import status
from mechdecouple.jobs.store import UnitStore

COMPARE = '[compare]\nfamilies = ["similarity"]\npermutations = 19\nblocks = 5\nprobe_items = 32\n'


def damage(model: Path) -> None:
    """Weights are kept aside, with one of them changed, so that the mended model is one of its own."""
    state = load_file(model / "model.safetensors")
    state["transformer.wte.weight"] *= 1.5
    save_file(state, model / "mended", metadata={"format": "pt"})
    (model / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not the header")


@pytest.fixture(scope="module")
def place(gpt2_dir, llama_dir, yes_no_items, tmp_path_factory):
    """A directory with three models, the last of which cannot be loaded, and items that the first two score apart."""
    folder = tmp_path_factory.mktemp("jobs")
    for name, source in (("one", gpt2_dir), ("two", llama_dir), ("broken", gpt2_dir)):
        shutil.copytree(source, folder / "models" / name)
    damage(folder / "models" / "broken")
    scores = pd.DataFrame({"score_a": [int(i % 10 > 0) for i in range(60)], "score_b": 0})
    yes_no_items[["id", "prompt", "group"]].join(scores).to_csv(folder / "items.csv", index=False)
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Only the comparison itself is written: figures take seconds and have tests of their own."""
    monkeypatch.setattr("mechdecouple.jobs.work.write_results", lambda comparison, out: comparison.save(out))


def job(place: Path, models: str = '["models/one", "models/two"]', more: str = "", name: str = "job.toml") -> str:
    text = f'name = "pairs"\nmodels = {models}\ntask = "items.csv"\n{more}\n{COMPARE}'
    (place / name).write_text(text)
    return str(place / name)


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    """The directory of a finished job; copy it before changing it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mechdecouple.jobs.work.write_results", lambda comparison, out: comparison.save(out))
        assert main(["run", job(place), "--out", str(out), "--quiet"]) == 0
    return out


def told(capfd) -> dict:
    return json.loads(capfd.readouterr().out)


def test_a_job_is_done_and_its_results_are_there(finished):
    import mechdecouple as md

    assert status(finished).share == 1
    found = md.open_results(finished).verdicts()
    assert (Path(found.ref[0]).name, Path(found.ref_b[0]).name, found.gate[0]) == ("one", "two", "different")


def test_done_again_it_makes_nothing_and_says_the_same(place, finished, capfd):
    assert main(["run", job(place), "--out", str(finished), "--json", "--quiet"]) == 0
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert shown.err == ""
    assert found["result"]["units"] == {"asked": 3, "there": 3, "made": 0, "failed": 0}
    assert found["report"] == str(finished / "index.html") and (finished / "index.html").is_file()
    (pair,) = found["comparisons"]
    assert [Path(pair[name]).name for name in ("a", "b", "task")] == ["one", "two", "items.csv"]
    assert (pair["gate"]["outcome"], pair["gate"]["a"], pair["gate"]["b"]) == ("different", 0.9, 0)
    assert {verdict["family"] for verdict in pair["verdicts"]} == {"calibration", "similarity"}
    assert Path(pair["report"]).parent.joinpath("comparison.json").is_file()


def test_fail_on_names_the_pair(place, finished, capfd):
    assert main(["run", job(place), "--out", str(finished), "--fail-on", "gate", "--fail-on", "calibration"]) == 3
    said = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("["))
    assert said.startswith("[gate] ") and "models/one against" in said and "Different in score" in said
    assert main(["run", job(place), "--out", str(finished), "--fail-on", "gate", "--json"]) == 3
    (differs,) = told(capfd)["differs"]
    assert (differs["on"], Path(differs["a"]).name, Path(differs["b"]).name) == ("gate", "one", "two")
    assert main(["run", job(place), "--out", str(finished), "--fail-on", "calibration"]) == 0


def test_a_shard_fails_on_its_own_pairs_alone(place, finished, capfd):
    argv = ["run", job(place), "--out", str(finished), "--fail-on", "gate", "--json"]
    codes = [main([*argv, "--shard", f"{i}/2"]) for i in (0, 1)]
    assert sorted(codes) == [0, 3]


def test_a_unit_that_fails_is_named_and_the_rest_is_done(place, finished, tmp_path, capfd):
    three = job(place, '["models/one", "models/two", "models/broken"]', 'pairs = "consecutive"', name="three.toml")
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(out / "units" / "compare")
    argv = ["run", three, "--out", str(out), "--json", "--quiet", "--fail-on", "gate"]
    assert main(argv) == 1
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert found["result"]["units"] == {"asked": 5, "there": 2, "made": 1, "failed": 2}
    assert [(one["stage"], Path(one["label"].split()[0]).name) for one in found["failed"]] == [
        ("extract", "broken"), ("compare", "two"),
    ]  # fmt: skip
    assert "cannot be loaded" in found["failed"][0]["reason"]
    assert found["failed"][1]["reason"] == "needs extract of broken on items.csv, which failed"
    assert [one["on"] for one in found["differs"]] == ["gate"]  # what is known is said, whatever failed
    assert [line.split(" failed: ")[0] for line in shown.err.splitlines()] == [
        "extract broken on items.csv", "compare two against broken on items.csv",
    ]  # fmt: skip

    assert main(["status", str(out), "--json"]) == 0
    state = told(capfd)
    assert state["result"]["counts"] == {"done": 3, "in work": 0, "stopped": 0, "failed": 1, "waiting": 1}
    assert [one["stage"] for one in state["failed"]] == ["extract"]

    # Mended, it is that unit alone which is done again, with what waited for it.
    before = UnitStore(out)
    made = {path: path.stat().st_mtime_ns for path in before.folder.glob("units/*/*/unit.json")}
    (place / "models" / "broken" / "mended").rename(place / "models" / "broken" / "model.safetensors")
    assert main(["run", three, "--out", str(out), "--json"]) == 0
    assert told(capfd)["result"]["units"] == {"asked": 5, "there": 3, "made": 2, "failed": 0}
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_dry_run_shows_the_units_and_writes_nothing(place, finished, tmp_path, capfd):
    out = tmp_path / "out"
    assert main(["run", job(place), "--out", str(out), "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert "3 units" in said and "one against two on items.csv" in said
    assert list(tmp_path.iterdir()) == []
    assert main(["run", job(place), "--out", str(out), "--dry-run", "--json"]) == 0
    units = told(capfd)["result"]["units"]
    assert [(unit["stage"], unit["there"]) for unit in units] == [
        ("extract", False), ("extract", False), ("compare", False),
    ]  # fmt: skip
    assert main(["run", job(place), "--out", str(finished), "--dry-run", "--json"]) == 0
    assert [unit["there"] for unit in told(capfd)["result"]["units"]] == [True] * 3


def test_a_plan_beyond_its_budget_is_shown_and_refused(place, tmp_path, capfd):
    small = job(place, more="[budget]\npasses = 10\n", name="small.toml")
    argv = ["run", small, "--out", str(tmp_path / "out")]
    assert main([*argv, "--dry-run", "--json"]) == 2
    shown = capfd.readouterr()
    found = json.loads(shown.out)
    assert found["result"]["passes"] > 10 and len(found["result"]["units"]) == 3
    assert shown.err == f"mechdecouple: {found['error']}\n" and "its budget is 10" in found["error"]
    assert main(argv) == 2
    assert capfd.readouterr().err == shown.err
    assert not list(tmp_path.glob("out/units"))


def test_the_log_is_json_with_stage_key_and_seconds(place, tmp_path, capfd):
    assert main(["run", job(place), "--out", str(tmp_path / "out"), "--log-json"]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    units = [line for line in lines if "key" in line]
    assert [line["stage"] for line in units] == ["extract", "extract", "compare"]
    assert all(line["seconds"] > 0 and line["made"] and len(line["key"]) == 32 for line in units)
    assert units[0]["facts"]["tokens_per_second"] > 0
    assert lines[0]["units"] == 3


def test_status_in_words(finished, capfd):
    assert main(["status", str(finished)]) == 0
    said = capfd.readouterr().out
    assert said.startswith("pairs: 3 of 3 units done")


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ("", ("--shard", "2/2"), ("--shard", "'2/2'", "from 0 to n - 1")),
        ("", ("--shard", "one"), ("'one'", "i/n")),
        ("", ("--workers", "4"), ("workers = 4", "'serial'", "processes")),
        ("", ("--executor", "processes", "--workers", "0"), ("workers = 0", "1 or more")),
        ("", ("--address", "auto"), ("'auto'", "ray")),
        ("", ("--executor", "slurm"), ("'slurm'", "processes")),
        ("", ("--fail-on", "sae"), ("--fail-on sae", "families of [compare]")),
        ('stages = ["extract"]', ("--fail-on", "gate"), ("--fail-on gate", "add 'compare' to its stages")),
        ("modls = 3", (), ("'modls'", "did you mean 'models'")),
        ('stages = ["extrakt"]', (), ("extrakt",)),
        ('pairs = [["models/one", "models/nine"]]', (), ("'models/nine'", "add it to models")),
    ],
)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(place, tmp_path, change, words, said, capfd):
    argv = ["run", job(place, more=change, name="bad.toml"), "--out", str(tmp_path / "out"), *words]
    assert main(argv) == 2
    shown = capfd.readouterr()
    (line,) = shown.err.splitlines()
    assert shown.out == "" and [text for text in said if text not in line] == [], line
    assert list(tmp_path.iterdir()) == []


def test_no_job_file_and_no_job(tmp_path, capfd):
    assert main(["run", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "'" + str(tmp_path / "none.toml") + "' cannot be read" in capfd.readouterr().err
    assert main(["status", str(tmp_path)]) == 2
    assert "holds no job that was begun" in capfd.readouterr().err


@pytest.mark.slow
def test_processes_keep_to_the_same_lines_and_the_same_object(place, tmp_path):
    """From a terminal: nothing but JSON on either stream, although workers are started that print and warn."""
    code = "import sys; from mechdecouple.cli import main; sys.exit(main())"
    words = ["run", job(place), "--out", str(tmp_path / "out"), "--executor", "processes", "--workers", "2"]
    flags = ["--json", "--log-json", "--fail-on", "gate"]
    done = subprocess.run([sys.executable, "-c", code, *words, *flags], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["result"]["units"]["made"] == 3
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"extract", "compare"} <= {line.get("stage") for line in lines}
    assert (tmp_path / "out" / "units").is_dir()
