import json
import math
import multiprocessing
import os
import signal
import time

import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.status import JOB, UnitStatus, status, unit_status
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit


def unit(number, stage="extract", needs=()):
    return Unit(stage, {"number": number}, {"model": f"/m{number}"}, needs, label=f"m{number} on items")


def written(folder, units, **further):
    (folder / JOB).write_text(json.dumps({"name": "sweep", "units": [u.record() for u in units], **further}))
    return folder


def finish(store, one, seconds=None):
    with store.work(one) as place:
        if seconds is not None:
            (place / "times.json").write_text(json.dumps({"seconds": seconds}))


def begin(store, one):
    with pytest.raises(RuntimeError), store.work(one) as place:
        (place / "half.txt").write_text("half")
        raise RuntimeError


def _hold(folder, one, begun):
    with UnitStore(folder).work(one) as place:
        (place / "half.txt").write_text("half")
        begun.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """A process that works on a unit until it is killed."""
    context = multiprocessing.get_context("fork")
    started = []

    def start(one):
        begun = context.Event()
        process = context.Process(target=_hold, args=(tmp_path, one, begun))
        process.start()
        started.append(process)
        assert begun.wait(20)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_every_state_is_told(tmp_path, holder):
    done, held, killed, failed, _ = units = [unit(n) for n in range(5)]
    store = UnitStore(tmp_path)
    finish(store, done, seconds=2.0)
    holder(held)
    process = holder(killed)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    begin(store, failed)
    store.fail(failed, "no memory")
    found = status(written(tmp_path, units))
    assert [one.state for one in found.units] == ["done", "in work", "stopped", "failed", "waiting"]
    assert [one.reason for one in found.units] == ["", "", "", "no memory", ""]
    assert found.counts == {"done": 1, "in work": 1, "stopped": 1, "failed": 1, "waiting": 1}
    assert found.frame().state.tolist() == [one.state for one in found.units]
    assert found.units[0].seconds == 2.0
    text = found.summary()
    assert text.startswith("sweep: 1 of 5 units done (20%, about 6 s left)")
    assert "[failed] extract m3 on items" in text and "no memory" in text
    assert "<script" not in found._repr_html_()


def test_looking_takes_nothing_from_a_process_at_work(tmp_path, holder):
    one = unit(0)
    process = holder(one)
    for _ in range(3):
        assert unit_status(UnitStore(tmp_path), one).state == "in work"
    process.kill()
    process.join()
    assert unit_status(UnitStore(tmp_path), one).state == "stopped"
    with UnitStore(tmp_path).work(one) as place:  # the look left no lock
        assert (place / "half.txt").read_text() == "half"


def test_a_failed_unit_that_is_tried_again_is_in_work(tmp_path, holder):
    one = unit(0)
    UnitStore(tmp_path).fail(one, "no memory")
    assert unit_status(UnitStore(tmp_path), one) == UnitStatus(
        one, "failed", "no memory", pytest.approx(math.nan, nan_ok=True)
    )
    holder(one)
    assert unit_status(UnitStore(tmp_path), one).state == "in work"


def test_looking_changes_no_file(tmp_path):
    units = [unit(n) for n in range(3)]
    store = UnitStore(tmp_path)
    finish(store, units[0])
    begin(store, units[1])
    written(tmp_path, units)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    status(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


def test_a_unit_finished_during_the_look_is_done(tmp_path, monkeypatch):
    one, store = unit(0), UnitStore(tmp_path)

    def late(store, unit):
        monkeypatch.undo()
        finish(store, unit)
        return False

    monkeypatch.setattr(UnitStore, "in_work", late)
    assert unit_status(store, one).state == "done"


def test_time_left_comes_from_the_seconds_of_the_stage(tmp_path, holder):
    firsts, last = [unit(n) for n in range(4)], unit(9, "compare")
    store = UnitStore(tmp_path)
    finish(store, firsts[0], seconds=10.0)
    finish(store, firsts[1], seconds=30.0)
    alone = status(written(tmp_path, firsts))
    assert alone.seconds_left == pytest.approx(2 * 20)
    assert alone.share == pytest.approx(0.5)
    assert "nothing is in work" in alone.summary()
    holder(firsts[2])
    holder(firsts[3])
    assert status(tmp_path).seconds_left == pytest.approx(20)
    unknown = status(written(tmp_path, [*firsts, last]))
    assert math.isnan(unknown.seconds_left)
    assert unknown.share == pytest.approx(2 / 5)
    assert "left" not in unknown.summary()
    finish(store, last, seconds=60.0)
    assert status(tmp_path).seconds_left == pytest.approx(20)


def test_a_finished_job(tmp_path):
    one = unit(0)
    finish(UnitStore(tmp_path), one)
    found = status(written(tmp_path, [one]))
    assert found.summary().splitlines()[0] == "sweep: 1 of 1 unit done"
    assert (found.share, found.seconds_left) == (1.0, 0.0)
    assert math.isnan(found.units[0].seconds)


def test_units_in_a_shared_store(tmp_path):
    one = unit(0)
    finish(UnitStore(tmp_path / "shared"), one)
    (tmp_path / "job").mkdir()
    found = status(written(tmp_path / "job", [one], store=str(tmp_path / "shared")))
    assert found.counts["done"] == 1


def test_what_is_left_over_is_told_but_of_a_shared_store(tmp_path):
    one, old = unit(0), unit(1)
    begin(UnitStore(tmp_path), one)
    begin(UnitStore(tmp_path), old)
    found = status(written(tmp_path, [one]))
    assert found.orphans == (UnitStore(tmp_path).partial(old),)
    assert "[left over] 1 partial folder of units" in found.summary()
    begin(UnitStore(tmp_path / "shared"), old)
    assert status(written(tmp_path, [one], store=str(tmp_path / "shared"))).orphans == ()
    assert "left over" not in status(tmp_path).summary()


def test_reasons_and_labels_are_escaped(tmp_path):
    bad = Unit("extract", {"n": 1}, {}, label="<script>x</script>")
    UnitStore(tmp_path).fail(bad, "<b>no</b>")
    shown = status(written(tmp_path, [bad]))._repr_html_()
    assert "<script>" not in shown and "<b>" not in shown


def test_folders_without_a_job(tmp_path):
    with pytest.raises(InputError, match="holds no job"):
        status(tmp_path)
    with pytest.raises(InputError, match="holds no job"):
        status(tmp_path / "none")
    for text in ("{", "[]", '{"name": "x", "units": [1]}', '{"name": "x", "units": [{}]}'):
        (tmp_path / JOB).write_text(text)
        with pytest.raises(InputError, match="no plan of a job"):
            status(tmp_path)


def test_units_that_need_what_failed_say_so(tmp_path):
    bad = unit(0)
    middle = unit(1, "sae", needs=(bad.key,))
    last, other = unit(2, "compare", needs=(middle.key,)), unit(3)
    store = UnitStore(tmp_path)
    store.fail(bad, "no memory")
    finish(store, other, seconds=5.0)
    found = status(written(tmp_path, [bad, middle, other, last]))
    assert [one.state for one in found.units] == ["failed", "waiting", "done", "waiting"]
    assert {one.reason for one in found.units[1::2]} == {"needs extract of m0 on items, which failed"}
    assert found.seconds_left == 0  # of this run: what failed is tried by the next one
    assert "[waiting] 2 units for what failed" in found.summary()
