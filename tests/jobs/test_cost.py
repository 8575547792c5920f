"""What a plan says it takes against what running it takes."""

import shutil

import pandas as pd
import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.config import Budget, make_job
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.cost import PlanCost, UnitCost, plan_cost
from mechdecouple.jobs.plan import plan_job
from mechdecouple.jobs.run import run_job
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.models import HookedModel

SAE = {"steps": 2, "width": [128, 256]}


@pytest.fixture
def counted(monkeypatch):
    """Sequences that went through any model so far, by the call."""
    seen, forward = [], HookedModel.forward

    def run(self, batch, **options):
        seen.append(len(batch))
        return forward(self, batch, **options)

    monkeypatch.setattr(HookedModel, "forward", run)
    return seen


@pytest.fixture
def wide(yes_no_items, tmp_path):
    """The items of the tests six times over."""
    parts = [yes_no_items.assign(id=yes_no_items.id + f"-{i}", group=yes_no_items.group + f"-{i}") for i in range(6)]
    pd.concat(parts).to_csv(tmp_path / "wide.csv", index=False)
    return str(tmp_path / "wide.csv")


def size(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("items", "position"),
    [
        ("few", "last"),
        ("many", "all"),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in (("few", "mean"), ("few", "all"), ("many", "last"))),
    ],
)
def test_extractions_and_dictionaries_take_what_is_told(
    gpt2_dir, llama_dir, yes_no_csv, wide, tmp_path, counted, items, position
):
    entries = {
        "models": [str(gpt2_dir), str(llama_dir)], "task": str(yes_no_csv) if items == "few" else wide,
        "stages": ["extract", "sae"] if items == "few" else ["extract"], "sae": SAE,
        "compare": {"position": position, "dtype": "bfloat16"},
    }  # fmt: skip
    job = make_job(entries)
    store = UnitStore(tmp_path / "out")
    told = plan_cost(plan_job(job), store)
    assert (told.there, [one.reason for one in told.units]) == (0, [""] * len(told.units))
    assert set(counted) == {1}  # looking for widths takes single items
    counted.clear()
    run_job(job, tmp_path / "out", progress=False)
    taken = {one.unit.key: size(store.place(one.unit)) for one in told.units}
    for one in told.units:
        assert one.bytes == pytest.approx(taken[one.unit.key], rel=0.05), one.unit.stage
    assert told.bytes == pytest.approx(sum(taken.values()), rel=0.05)
    assert sum(counted) <= told.passes <= 1.03 * sum(counted) + 4


@pytest.mark.slow
def test_a_comparison_takes_about_the_bytes_and_at_most_the_passes_told(gpt2_dir, llama_dir, wide, tmp_path, counted):
    families = {"families": ["robustness", "sae"], "permutations": 19, "bootstrap": 200, "probe_items": 32}
    job = make_job({"models": [str(gpt2_dir), str(llama_dir)], "task": wide, "compare": families})
    store = UnitStore(tmp_path / "out")
    told = plan_cost(plan_job(job), store)
    counted.clear()
    run_job(job, tmp_path / "out", progress=False)
    assert sum(counted) <= told.passes
    last = told.units[-1]
    assert last.bytes == pytest.approx(size(store.place(last.unit)), rel=0.3)


def test_what_is_there_costs_nothing_more(gpt2_dir, llama_dir, yes_no_csv, tmp_path):
    def job(*models):
        return make_job({"models": [str(m) for m in models], "task": str(yes_no_csv), "stages": ["extract"]})

    store = UnitStore(tmp_path / "out")
    run_job(job(gpt2_dir), tmp_path / "out", progress=False)
    both = plan_cost(plan_job(job(gpt2_dir, llama_dir)), store)
    fresh = plan_cost(plan_job(job(llama_dir)), UnitStore(tmp_path / "none"))
    assert [one.there for one in both.units] == [True, False]
    assert (both.passes, both.bytes) == (fresh.passes, fresh.bytes)
    assert both.units[0].bytes == pytest.approx(size(store.place(both.units[0].unit)), rel=0.05)
    assert both.there == 1
    assert both.frame().there.tolist() == [True, False]
    text = both.summary()
    assert text.startswith("job: 2 units, 1 there; to do: ")
    assert "[there] extract tiny-gpt2" in text and "[to do] extract tiny-llama" in text


def test_checkpoints_of_one_run_are_loaded_once(gpt2_dir, yes_no_csv, tmp_path, monkeypatch):
    from mechdecouple.jobs import cost

    loaded, load = [], cost.load
    monkeypatch.setattr(cost, "load", lambda ref, **options: loaded.append(ref) or load(ref, **options))
    for step in range(4):
        shutil.copytree(gpt2_dir, tmp_path / f"step-{step}")
        with open(tmp_path / f"step-{step}" / "model.safetensors", "r+b") as file:
            file.seek(-1, 2)
            file.write(bytes([step]))
    job = make_job({"models": ["step-*"], "task": str(yes_no_csv), "pairs": "consecutive", "compare": {"families": []}})
    found = plan_cost(plan_job(job, tmp_path), UnitStore(tmp_path / "out"), Contents())
    assert len(loaded) == 1
    table = found.frame()
    assert table[table.stage == "extract"].passes.nunique() == 1
    assert table[table.stage == "compare"].passes.tolist() == [2 * 60 + 4] * 3


def test_a_comparison_counts_its_seeds_and_families(gpt2_dir, yes_no_csv, tmp_path):
    def passes(**compare):
        entries = {"models": [str(gpt2_dir), str(copy)], "task": str(yes_no_csv), "stages": ["compare"]}
        found = plan_cost(plan_job(make_job({**entries, "compare": {"families": [], **compare}})), UnitStore(tmp_path))
        return found.units[-1].passes

    copy = tmp_path / "copy"
    shutil.copytree(gpt2_dir, copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    bare = passes()
    assert bare == 2 * 60 + 4
    assert passes(families=["robustness"]) > passes(families=["similarity"]) > bare
    assert passes(seeds_a=[str(gpt2_dir)]) == bare + 2 + 60 + 62  # its answers, and its own extraction


def test_what_cannot_be_done_is_told_and_the_rest_is_counted(gpt2_dir, yes_no_csv, tmp_path):
    entries = {"models": [str(gpt2_dir)], "task": str(yes_no_csv), "stages": ["extract", "sae"]}
    job = make_job({**entries, "sae": {"hook_points": ["nowhere"]}})
    found = plan_cost(plan_job(job), UnitStore(tmp_path))
    assert [bool(one.reason) for one in found.units] == [False, True]
    assert "'nowhere' of [sae] is not extracted" in found.units[1].reason
    assert "[cannot] sae" in found.summary()
    bad = make_job({**entries, "stages": ["extract"], "compare": {"hook_points": ["nowhere"]}})
    assert "nowhere" in plan_cost(plan_job(bad), UnitStore(tmp_path)).units[0].reason


def told(passes, size):
    unit = Unit("extract", {}, {}, label="<b>m</b>")
    return PlanCost("sweep", (UnitCost(unit, False, passes, size), UnitCost(unit, True, 0, 10**9)))


def test_a_plan_beyond_its_budget_is_refused():
    cost = told(1000, 3_000_000)
    assert (cost.passes, cost.bytes) == (1000, 3_000_000)
    cost.check(Budget())
    cost.check(Budget(passes=1000, disk="3 MB"))
    with pytest.raises(InputError, match=r"up to 1,000 forward passes and its budget is 999: raise passes") as caught:
        cost.check(Budget(passes=999))
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"about 3.0 MB on disk and its budget is 2.9 MB: raise disk"):
        cost.check(Budget(disk="2.9 MB"))


def test_words_are_escaped():
    assert "<b>m" not in told(1, 1)._repr_html_()


def test_nothing_is_written(gpt2_dir, yes_no_csv, tmp_path):
    job = make_job({"models": [str(gpt2_dir)], "task": str(yes_no_csv), "stages": ["extract"]})
    plan_cost(plan_job(job), UnitStore(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
