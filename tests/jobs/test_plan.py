import json
import shutil

import numpy as np
import pandas as pd
import pytest

from mechdecouple.compare.config import make_config
from mechdecouple.errors import InputError, ModelError
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.plan import comparing, plan_job, reading
from mechdecouple.jobs.units import Unit
from mechdecouple.sae import make_suite

MODELS = ["zoo:planted-factored", "zoo:planted-rotated", "zoo:planted-oblique"]


def plan(**entries):
    return plan_job(make_job({"models": MODELS, "task": "zoo:planted-factored", **entries}))


def test_one_extraction_a_model_serves_all_pairs():
    found = plan()
    assert found.frame().stage.tolist() == ["extract"] * 3 + ["compare"] * 3
    extractions = {u.key for u in found.units if u.stage == "extract"}
    comparisons = [u for u in found.units if u.stage == "compare"]
    assert {key for u in comparisons for key in u.needs} == extractions
    assert len({u.key for u in found.units}) == 6


def test_units_come_after_what_they_need():
    found = plan(stages=["extract", "sae", "compare"], sae={"width": 64})
    seen = set()
    for unit in found.units:
        assert set(unit.needs) <= seen
        seen.add(unit.key)
    assert found.frame().stage.value_counts().to_dict() == {"extract": 3, "sae": 3, "compare": 3}


def test_what_does_not_change_the_result_does_not_change_the_key():
    keys = [u.key for u in plan().units]
    assert [u.key for u in plan(name="other", budget={"passes": 10}).units] == keys
    renamed = plan_job(make_job({"models": [f"{m}@0" for m in MODELS], "task": "zoo:planted-factored"}))
    assert [u.key for u in renamed.units] == keys
    for entries in ({"threads": 2}, {"compare": {"position": "mean"}}, {"compare": {"dtype": "float16"}}):
        assert not set(keys) & {u.key for u in plan(**entries).units}


def test_options_of_comparisons_leave_extractions_alone():
    before, after = plan(), plan(compare={"margin": 0.05})
    same = {u.key for u in before.units} & {u.key for u in after.units}
    assert same == {u.key for u in before.units if u.stage == "extract"}


def test_a_task_beside_the_job_file(tmp_path, yes_no_items):
    pd.DataFrame(yes_no_items).to_csv(tmp_path / "items.csv", index=False)
    job = make_job({"models": MODELS[:1], "task": "items.csv", "stages": ["extract"]})
    (unit,) = plan_job(job, tmp_path).units
    assert unit.where["task"] == str(tmp_path / "items.csv")
    with pytest.raises(InputError, match=r"items\.csv"):
        plan_job(job, tmp_path.parent)


def only(found, stage):
    return [unit for unit in found.units if unit.stage == stage]


def test_a_comparison_always_has_its_extractions():
    found, whole = plan(stages=["compare"]), plan()
    assert [u.key for u in found.units] == [u.key for u in whole.units]
    few = plan(stages=["compare"], pairs=[MODELS[:2]])
    assert {u.where["model"] for u in only(few, "extract")} == set(MODELS[:2])
    assert {u.where["model"] for u in only(plan(pairs=[MODELS[:2]]), "extract")} == set(MODELS)


def test_hook_points_of_the_second_model_are_extracted_for_it():
    names = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"]
    options = {"hook_points": names[:1], "hook_points_b": names[1:]}
    found = plan(stages=["compare"], pairs="consecutive", compare=options)
    made = {(u.where["model"], *u.spec["hook_points"]): u.key for u in only(found, "extract")}
    first, middle, last = MODELS
    assert set(made) == {(first, names[0]), (middle, names[1]), (middle, names[0]), (last, names[1])}
    assert [u.needs for u in only(found, "compare")] == [
        (made[first, names[0]], made[middle, names[1]]),
        (made[middle, names[0]], made[last, names[1]]),
    ]


def test_further_seeds_count_by_their_content():
    def seeded(*seeds):
        (unit,) = only(plan(models=MODELS[:2], compare={"seeds_a": seeds[:1], "seeds_b": seeds[1:]}), "compare")
        return unit

    one = seeded("zoo:planted-oblique", "zoo:planted-rotated")
    assert one.key == seeded("zoo:planted-oblique@0", "zoo:planted-rotated").key
    assert one.key != seeded("zoo:planted-rotated", "zoo:planted-rotated").key
    assert one.key != seeded("zoo:planted-rotated", "zoo:planted-oblique").key
    assert not {"seeds_a", "seeds_b"} & set(one.spec["options"])
    assert comparing(one)["seeds_a"] == ("zoo:planted-oblique",)
    assert comparing(one)["seeds_b"] == ("zoo:planted-rotated",)
    assert comparing(only(plan(models=MODELS[:2]), "compare")[0])["seeds_a"] == ()


def test_seeds_that_are_not_there_are_refused():
    with pytest.raises(ModelError, match="no-such"):
        plan(compare={"seeds_a": ["./no-such"]})


def test_a_comparison_takes_what_the_plan_says():
    unit = only(plan(compare={"margin": 0.05}), "compare")[0]
    settings = make_config({**comparing(unit), **reading(unit)})
    assert settings == make_config({"margin": 0.05})


def test_an_array_of_inputs_counts_by_its_content_and_not_by_its_place(tmp_path):
    pd.DataFrame({"id": [f"i{i}" for i in range(8)], "answer": [0, 1] * 4}).to_csv(tmp_path / "items.csv", index=False)
    for name, seed in (("x", 0), ("same", 0), ("other", 1)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(seed).normal(size=(8, 3)).astype(np.float32))

    def planned(name):
        return plan_job(make_job({"models": MODELS[:2], "task": "items.csv", "compare": {"inputs": name}}), tmp_path)

    found, same, other = (planned(f"{name}.npy") for name in ("x", "same", "other"))
    assert [u.key for u in found.units] == [u.key for u in same.units]
    assert not {u.key for u in found.units} & {u.key for u in other.units}
    assert {reading(u)["inputs"] for u in same.units} == {str(tmp_path / "same.npy")}


def test_autoencoders_of_every_extraction():
    found = plan(stages=["sae"], sae={"width": [64, 128]})
    assert found.frame().stage.tolist() == ["extract"] * 3 + ["sae"] * 3
    assert Unit.of(json.loads(json.dumps(found.units[-1].record()))) == found.units[-1]


def test_revisions_are_told_apart_by_their_commits(gpt2_dir, yes_no_csv, tmp_path, monkeypatch):
    from huggingface_hub import constants

    root = tmp_path / "models--lab--tiny"
    commits = {"main": "b" * 40, "step1": "a" * 40, "step2": "b" * 40}
    for name, commit in commits.items():
        shutil.copytree(gpt2_dir, root / "snapshots" / commit, dirs_exist_ok=True)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / name).write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("mechdecouple.models.hub.offline", lambda: True)
    monkeypatch.setattr("mechdecouple.jobs.content.load", None)  # nothing is loaded

    def planned(*models):
        return plan_job(make_job({"models": models, "task": str(yes_no_csv), "stages": ["extract"]})).units

    one, two, main = (planned(ref)[0] for ref in ("lab/tiny@step1", "lab/tiny@step2", "lab/tiny"))
    assert one.key != two.key
    assert two.key == main.key == planned(f"lab/tiny@{'b' * 40}")[0].key
    assert one.label.startswith("tiny@step1 on ")
    assert one.where["model"] == "lab/tiny@step1"


def test_one_value_and_a_list_of_it_are_the_same_autoencoders():
    keys = [
        [u.key for u in plan(stages=["sae"], sae=sae).units]
        for sae in ({"width": 64}, {"width": [64]}, {"width": 64, "seed": 0, "architecture": "topk"}, {"width": 128})
    ]
    assert keys[0] == keys[1] == keys[2] != keys[3]
    assert make_suite(plan(stages=["sae"], sae={"width": 64}).units[-1].spec["sae"]).width == (64,)
