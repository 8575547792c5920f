"""The workflow for other repositories: it parses, its commands are commands, and its steps do what they say."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mechdecouple.cli.arguments import parser

WORKFLOW = Path(__file__).resolve().parents[2] / "analyses" / "ci" / "model-diff.yml"


@pytest.fixture(scope="module")
def workflow() -> dict:
    return yaml.load(WORKFLOW.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # 'on' is no boolean


@pytest.fixture(scope="module")
def scripts(workflow) -> dict[str, str]:
    (work,) = workflow["jobs"].values()
    return {step["name"]: step["run"] for step in work["steps"] if "run" in step}


def commands(script: str) -> list[list[str]]:
    lines = script.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("mechdecouple ")]


def test_it_runs_on_pull_requests_and_may_only_read(workflow):
    assert set(workflow["on"]) == {"pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    (work,) = workflow["jobs"].values()
    assert all(("uses" in step) != ("run" in step) for step in work["steps"])
    assert all(re.search(r"@v\d+$", step["uses"]) for step in work["steps"] if "uses" in step)


def test_every_command_in_it_is_one(scripts):
    found = [argv for script in scripts.values() for argv in commands(script)]
    assert [argv[0] for argv in found] == ["compare"]
    for argv in found:
        words = argv[: argv.index(">")]
        options = parser(words).parse_args(words)
        assert options.fail_on == ["gate", "structure", "belief"] and options.json and options.log_json


def test_what_comes_from_outside_reaches_no_script_as_text(workflow, scripts):
    assert not [name for name, script in scripts.items() if "${{" in script]
    used = set(re.findall(r"\$([A-Z_]+)", " ".join(scripts.values()))) - {"GITHUB_STEP_SUMMARY"}
    assert used <= set(workflow["env"])


def summary(script: str, found: dict, folder: Path) -> str:
    (folder / "summary.json").write_text(json.dumps(found))
    page = folder / "page.md"
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(page)}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, check=True)
    return page.read_text()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq, which is on the runners, is not here")
def test_the_summary_says_what_was_found(scripts, tmp_path):
    verdicts = [
        {"family": "structure", "flagged": True, "sentence": "Differently | organised."},
        {"family": "belief", "flagged": None, "sentence": "No truth."},
        {"family": "sae", "flagged": False, "sentence": "Shared."},
    ]
    pair = {"gate": {"sentence": "Equal in accuracy."}, "verdicts": verdicts}
    found = {"error": None, "differs": [{"on": "structure"}], "comparisons": [pair]}
    said = summary(scripts["Summary"], found, tmp_path)
    assert said.startswith("## Model diff\n**Fails on structure**\n")
    assert "| structure | differs | Differently   organised. |\n| belief | cannot be told | No truth. |" in said
    assert "| sae | no difference shown | Shared. |" in said


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq, which is on the runners, is not here")
def test_the_summary_of_bad_input_is_its_error(scripts, tmp_path):
    said = summary(scripts["Summary"], {"error": "no such file", "differs": [], "comparisons": []}, tmp_path)
    assert said == "## Model diff\n**Not compared:** no such file\n"


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_the_steps_from_the_comparison_to_the_summary(scripts, same, gpt2_dir, llama_dir, yes_no_items, tmp_path):
    command = tmp_path / "bin" / "mechdecouple"
    command.parent.mkdir()
    code = "import sys; from mechdecouple.cli import main; sys.exit(main())"
    command.write_text(f"#!/bin/bash\nexec {sys.executable} -c '{code}' \"$@\"\n")
    command.chmod(0o755)
    items = yes_no_items[["id", "prompt", "group"]].assign(score_a=1)
    items["score_b"] = 1 if same else [int(i % 4 == 0) for i in range(len(items))]
    items.to_csv(tmp_path / "items.csv", index=False)
    environment = {
        **os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "REFERENCE": str(gpt2_dir),
        "CANDIDATE": str(llama_dir), "TASK": "items.csv", "OUT": "model-diff", "PYTHONPATH": str(WORKFLOW.parents[2]),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-e", "-c", scripts["Compare"]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    found = json.loads((tmp_path / "summary.json").read_text())
    assert done.returncode == found["exit"] == (0 if same else 3), done.stderr
    assert [one["on"] for one in found["differs"]] == ([] if same else ["gate"])
    assert all(json.loads(line)["level"] for line in done.stderr.splitlines())
    assert (tmp_path / "model-diff" / "report.html").is_file()
    assert found["comparisons"][0]["gate"]["sentence"] in summary(scripts["Summary"], found, tmp_path)
