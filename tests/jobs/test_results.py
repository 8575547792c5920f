import dataclasses
import hashlib
import json
import math
import multiprocessing
import shutil

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mechdecouple.errors import InputError, StoreError
from mechdecouple.jobs.plan import JobPlan
from mechdecouple.jobs.result_set import COLUMNS, open_results
from mechdecouple.jobs.results import SCHEMA, write_results
from mechdecouple.jobs.store import UnitStore
from mechdecouple.results import COLUMNS as OF_MEASUREMENTS


def sums(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.parquet")}


@pytest.fixture(scope="module")
def original(make_checkpoints, made, tmp_path_factory):
    plan, store, folder = make_checkpoints(tmp_path_factory.mktemp("original"))
    acts, saes = made.sae_units(store)
    plan = dataclasses.replace(plan, units=(*plan.units, acts, saes))
    write_results(plan, store, folder)
    return plan, folder


@pytest.fixture
def written(original, tmp_path):
    plan, folder = original
    shutil.copytree(folder, tmp_path / "job")
    return plan, UnitStore(tmp_path / "job"), tmp_path / "job"


def test_every_measurement_is_a_row_with_its_place(written):
    plan, store, folder = written
    frame = open_results(folder).frame()
    assert tuple(frame.columns) == COLUMNS
    unit = plan.units[3]
    rows = frame[(frame.key == unit.key) & (frame.metric != "verdict")].reset_index(drop=True)
    was = pd.read_parquet(store.place(unit) / "metrics.parquet")
    pd.testing.assert_frame_equal(rows[list(OF_MEASUREMENTS)], was, check_dtype=False)
    assert set(rows.job) == {"sweep"} and set(rows.stage) == {"compare"} and set(rows.pair) == {3}
    of_a = rows[rows.model == "step-400"]
    assert set(of_a.ref) == {"runs/a/step-400"} and set(of_a.step) == {400}
    pair = rows[rows.metric == "cka"].iloc[0]
    assert (pair.ref_b, pair.step_b, pair.task) == ("runs/a/step-500", 500, "items.csv")
    alone = rows[rows.metric == "ccgp"]
    assert set(alone.ref_b) == {""} and alone.step_b.isna().all()


def test_verdicts_are_rows_too(written):
    plan, _, folder = written
    rows = open_results(folder).frame(where=ds.field("key") == plan.units[5].key)
    said = rows[rows.metric == "verdict"].set_index("concept")
    assert said.loc["gate", "context"] == "equal" and said.loc["gate", "value"] == 0
    assert said.loc["structure", "value"] == 1 and said.loc["structure", "model_b"] == "step-700"
    assert said.loc["belief", "model"] == "step-600" and said.loc["belief", "model_b"] == ""
    assert math.isnan(said.loc["sae", "value"]) and said.loc["sae", "reason"] == "Features are not compared."
    assert said.loc["route", "context"] == "same"


def test_verdicts_as_a_table_of_pairs(written):
    table = open_results(written[2]).verdicts()
    assert len(table) == 11 and list(table.pair) == list(range(11))
    assert table.structure.tolist() == [i == 5 for i in range(11)]
    assert table.sae.isna().all() and not table.route.any() and set(table.gate) == {"equal"}
    assert "belief" not in table  # that one is on a single model


def test_dictionaries_have_the_same_columns(written):
    frame = open_results(written[2]).frame(where=ds.field("stage") == "sae")
    assert list(frame.metric) == ["sae_l0"] and frame.context[0] == "topk seed0/000"
    assert frame.ref[0] == "runs/a/step-1" and frame.step[0] == 1 and frame.pair.isna().all()


def test_a_pair_has_one_number_on_all_tasks(tmp_path, made):
    store = UnitStore(tmp_path)
    units = [
        made.finish(store, made.compare_unit(a, "b", task), made.comparison(a, "b", {"ccgp": 1}, {"ccgp": 1}))
        for task in ("one.csv", "two.csv")
        for a in ("x", "y")
    ]
    write_results(JobPlan("job", ("x", "y", "b"), ("one.csv", "two.csv"), tuple(units)), store, tmp_path)
    table = open_results(tmp_path).verdicts()
    numbered = {(r.ref, r.task): r.pair for r in table.itertuples()}
    assert numbered == {("x", "one.csv"): 0, ("y", "one.csv"): 1, ("x", "two.csv"): 0, ("y", "two.csv"): 1}


def test_every_file_has_one_schema_even_where_columns_are_empty(tmp_path, written, made):
    store = UnitStore(tmp_path / "bare")
    bare = made.comparison("a", "b", {}, {})
    bare = dataclasses.replace(bare, measurements=(), verdicts=())
    unit = made.finish(store, made.compare_unit("a", "b"), bare)
    write_results(JobPlan("bare", ("a", "b"), ("items.csv",), (unit,)), store, tmp_path / "bare")
    files = [*(tmp_path / "bare").rglob("*/stage=*/*.parquet"), *written[2].rglob("*/stage=*/*.parquet")]
    assert len(files) == 13 and all(pq.read_schema(file).equals(SCHEMA) for file in files)


def test_undefined_numbers_are_null_with_their_reason(tmp_path, made):
    store = UnitStore(tmp_path)
    found = made.comparison("a", "b", {"ccgp": math.nan}, {"ccgp": 1.0})
    unit = made.finish(store, made.compare_unit("a", "b"), found)
    write_results(JobPlan("job", ("a", "b"), ("items.csv",), (unit,)), store, tmp_path)
    table = open_results(tmp_path).table(where=(ds.field("metric") == "ccgp") & (ds.field("model") == "a"))
    assert table["value"].null_count == 1 and table["reason"][0].as_py() == "one class only"
    pytest.importorskip("duckdb")
    assert open_results(tmp_path).sql("select avg(value) as m from results where metric = 'ccgp'").m[0] == 1.0


class TestReadInPlace:
    """By other libraries, from the folder, without this package."""

    def test_pandas(self, written):
        table = pd.read_parquet(written[2] / "results")
        assert set(COLUMNS) == set(table.columns)
        assert table.query("metric == 'ccgp' and model_b == '' and step == 700").value.between(0.5, 0.6).all()
        assert sorted(table.job.unique()) == ["sweep"] and sorted(table.stage.unique()) == ["compare", "sae"]

    def test_polars(self, written):
        polars = pytest.importorskip("polars")
        table = polars.read_parquet(written[2] / "results" / "**" / "*.parquet", hive_partitioning=True)
        assert set(COLUMNS) == set(table.columns) and table.schema["step"] == polars.Int64
        found = table.filter((polars.col("metric") == "ccgp") & (polars.col("step") <= 600))["value"]
        assert len(found) == 11 and found.min() > 0.9

    def test_duckdb(self, written):
        duckdb = pytest.importorskip("duckdb")
        source = f"read_parquet('{written[2]}/results/**/*.parquet', hive_partitioning = true)"
        with duckdb.connect() as connection:
            query = f"""
                select step, avg(value) as ccgp from {source}
                where job = 'sweep' and stage = 'compare' and metric = 'ccgp' and model_b = ''
                group by step order by step
            """
            rows = connection.sql(query).fetchall()
        assert [step for step, _ in rows] == list(range(100, 1300, 100))
        assert all((value > 0.9) == (step <= 600) for step, value in rows)

    def test_sql_of_a_result_set(self, written):
        pytest.importorskip("duckdb")
        found = open_results(written[2]).sql("select distinct ref from results where metric = 'verdict' and value = 1")
        assert "runs/a/step-600" in set(found.ref)
        with pytest.raises(InputError, match=r"sql: .*nosuch"):
            open_results(written[2]).sql("select nosuch from results")


def test_writing_again_changes_nothing(written):
    plan, store, folder = written
    before, times = sums(folder / "results"), [p.stat().st_mtime_ns for p in (folder / "results").rglob("*.parquet")]
    write_results(plan, store, folder)
    assert sums(folder / "results") == before
    assert [p.stat().st_mtime_ns for p in (folder / "results").rglob("*.parquet")] == times
    for path in (folder / "results").rglob("*.parquet"):
        path.unlink()
    write_results(plan, store, folder)
    assert sums(folder / "results") == before


def test_a_damaged_file_is_named_and_then_made_anew(written):
    plan, store, folder = written
    before = sums(folder / "results")
    path = next((folder / "results").rglob(f"{plan.units[0].key}.parquet"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreError, match=rf"{plan.units[0].key}.*run the job again"):
        open_results(folder)
    write_results(plan, store, folder)
    assert sums(folder / "results") == before


def test_damage_inside_is_named_when_it_is_read(written):
    plan, _, folder = written
    path = next((folder / "results").rglob(f"{plan.units[0].key}.parquet"))
    whole = bytearray(path.read_bytes())
    whole[4:900] = bytes(b ^ 0xFF for b in whole[4:900])
    path.write_bytes(whole)
    with pytest.raises(StoreError, match="run the job again"):
        open_results(folder).frame()


def test_rows_of_units_that_left_the_job_go_and_what_a_killed_writer_left(written):
    plan, store, folder = written
    place = folder / "results" / "job=sweep" / "stage=compare"
    (place / ".abc.part").write_bytes(b"half")
    write_results(dataclasses.replace(plan, units=plan.units[:4]), store, folder)
    assert {p.name for p in place.iterdir()} == {f"{u.key}.parquet" for u in plan.units[:4]}
    assert not list((folder / "results" / "job=sweep" / "stage=sae").iterdir())


def test_units_still_to_be_done_have_no_rows(checkpoints):
    plan, store, folder = checkpoints()
    store.discard(plan.units[2])
    write_results(plan, store, folder)
    assert len(open_results(folder).files) == 10


def test_a_unit_whose_tables_cannot_be_read_is_named(checkpoints):
    plan, store, folder = checkpoints(n=3)
    (store.place(plan.units[0]) / "metrics.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StoreError, match=r"metrics.parquet.*run the job again"):
        write_results(plan, store, folder)


def _write(plan, folder):
    write_results(plan, UnitStore(folder), folder)


def test_several_processes_may_write_at_once(checkpoints):
    plan, _, folder = checkpoints(n=4)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write, args=(plan, folder)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert sorted(p.name for p in (folder / "results").rglob("*") if p.is_file()) == sorted(
        f"{u.key}.parquet" for u in plan.units
    )


def test_several_jobs_are_one_table(checkpoints, tmp_path):
    for name in ("first", "second"):
        plan, store, folder = checkpoints(tmp_path / "runs" / name, name, n=3)
        write_results(plan, store, folder)
    results = open_results(tmp_path / "runs" / "*")
    assert set(results.frame().job) == {"first", "second"}
    only = open_results(tmp_path / "runs" / "*" / "results" / "job=second" / "**" / "*.parquet")
    assert set(only.frame().job) == {"second"} and len(only) * 2 == len(results)
    assert "ResultSet of" in repr(only) and "<table" in only._repr_html_()


def test_what_is_no_result_is_refused(tmp_path):
    with pytest.raises(InputError, match="no results match"):
        open_results(tmp_path / "nothing*")
    other = tmp_path / "stage=x"
    other.mkdir()
    pd.DataFrame({"x": np.arange(3)}).to_parquet(other / "other.parquet")
    with pytest.raises(InputError, match=r"other\.parquet.*no column 'key'"):
        open_results(tmp_path)


def test_records_are_read_as_json_alone(checkpoints):
    plan, store, folder = checkpoints(n=3)
    path = store.place(plan.units[0]) / "comparison.json"
    path.write_text(json.dumps({"a": "x"}))
    with pytest.raises(StoreError, match=r"comparison.json.*no 'b'"):
        write_results(plan, store, folder)
