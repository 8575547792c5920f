import pandas as pd
import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.config import make_job
from mechdecouple.jobs.plan import plan_job

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
