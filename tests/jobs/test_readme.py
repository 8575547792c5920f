"""What the README says of jobs is so: its job file is one, its commands are commands, its SQL runs."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from mechdecouple.cli import main
from mechdecouple.cli.answer import Answer
from mechdecouple.cli.arguments import parser
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.results import write_results

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## Jobs at scale\n")[1].split("\n## ")[0]


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", SECTION, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_the_job_file_is_one():
    (text,) = blocks("toml")
    job = make_job(tomllib.loads(text))
    assert (job.pairs, job.reference, job.budget.disk) == ("reference", job.models[0], 10**9)
    assert job.comparison.families == ("structure", "similarity")


def test_every_command_is_one():
    said = re.findall(r"^(?:\$ |srun )?(mechdecouple [^#\n]*)", "\n".join(blocks("") + blocks("bash")), re.MULTILINE)
    table = re.findall(r"^\| `((?:serial|processes|ray|--shard)[^`]*)`", SECTION, re.MULTILINE)
    said += [f"mechdecouple run j.toml --out o {'' if '--shard' in words else '--executor'} {words}" for words in table]
    assert len(said) == 8
    for line in said:
        words = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID", "7"))[1:]
        assert parser(words).parse_args(words).command in ("run", "status")


def test_the_keys_of_the_json_object_are_those():
    table = re.findall(r"^\| (`.*?) \|", SECTION.split("| key | what |")[1], re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(table))
    assert named == list(json.loads(Answer().json("run", 0.0)))


def test_the_sql_runs_on_what_jobs_write(make_checkpoints, tmp_path, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    (query,) = blocks("sql")
    plan, store, folder = make_checkpoints(tmp_path / "out" / "sweep", name="readouts")
    write_results(plan, store, folder)
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        found = connection.sql(query).df()
    assert found.model.to_list() == [f"runs/a/step-{100 * i}" for i in range(2, 13)]
    assert set(found.accuracy) == {"equal"}
    assert found.structure_differs.to_list() == [i == 5 for i in range(11)]


def test_the_output_that_is_shown_is_what_it_prints(tmp_path, monkeypatch, capfd):
    (text,) = blocks("toml")
    (shown,) = [block for block in blocks("") if "--dry-run" in block]
    monkeypatch.chdir(tmp_path)
    Path("readouts.toml").write_text(text)
    assert main(["run", "readouts.toml", "--out", "out/readouts", "--dry-run"]) == 0
    printed, said = (re.sub(r"[\d.]+ [kM]B", "… MB", text) for text in (capfd.readouterr().out, shown))
    assert printed.strip() in said
