import multiprocessing
import time

import pytest

from mechdecouple.errors import StoreError
from mechdecouple.jobs import store
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit

UNIT = Unit("extract", {"model": "abc"}, {"model": "/here"}, label="abc on items")


def make(store, unit=UNIT, text="rows"):
    with store.work(unit) as folder:
        if folder is not None:
            (folder / "rows.txt").write_text(text)
            (folder / "times.json").write_text(str(time.time()))
    return folder


def test_a_unit_is_made_once(tmp_path):
    store = UnitStore(tmp_path)
    assert not store.done(UNIT)
    assert make(store) is not None
    assert store.done(UNIT)
    assert make(store, text="others") is None
    assert (store.place(UNIT) / "rows.txt").read_text() == "rows"
    assert [p.name for p in store.place(UNIT).parent.iterdir()] == [UNIT.key]


def test_a_block_that_raises_leaves_its_folder_to_go_on_from(tmp_path):
    store = UnitStore(tmp_path)
    with pytest.raises(RuntimeError), store.work(UNIT) as folder:
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert not store.done(UNIT)
    with store.work(UNIT) as folder:
        assert (folder / "half.txt").read_text() == "half"
    assert store.done(UNIT)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda p: p.write_text("rowz"), "checksum"),
        (lambda p: p.write_text("row"), "3 bytes instead of 4"),
        (lambda p: p.unlink(), "missing"),
        (lambda p: (p.parent / "unit.json").write_text("{"), "cannot be read"),
    ],
)
def test_damage_is_found_and_mended_by_making_it_again(tmp_path, damage, words):
    store = UnitStore(tmp_path)
    make(store)
    assert store.fault(UNIT) == ""
    damage(store.place(UNIT) / "rows.txt")
    assert words in store.fault(UNIT)
    store.discard(UNIT)
    make(store)
    assert store.fault(UNIT) == ""


def test_two_runs_differ_in_their_times_alone(tmp_path):
    one, other = UnitStore(tmp_path / "1"), UnitStore(tmp_path / "2")
    make(one)
    make(other)
    assert (one.place(UNIT) / "unit.json").read_bytes() == (other.place(UNIT) / "unit.json").read_bytes()


def test_a_failure_is_remembered_until_the_unit_is_done(tmp_path):
    store = UnitStore(tmp_path)
    store.fail(UNIT, "no memory")
    assert store.failure(UNIT) == "no memory"
    make(store)
    assert store.failure(UNIT) == ""


def _slow(folder, started, made):
    store = UnitStore(folder)
    with store.work(UNIT) as place:
        started.set()
        if place is not None:
            time.sleep(0.5)
            (place / "rows.txt").write_text("rows")
        made.put(place is not None)


def test_a_second_process_waits_for_the_first(tmp_path):
    context = multiprocessing.get_context("fork")
    started, made = context.Event(), context.Queue()
    first = context.Process(target=_slow, args=(tmp_path, started, made))
    first.start()
    started.wait(10)
    second = context.Process(target=_slow, args=(tmp_path, started, made))
    second.start()
    found = [made.get(timeout=20), made.get(timeout=20)]
    first.join()
    second.join()
    assert sorted(found) == [False, True]
    assert UnitStore(tmp_path).fault(UNIT) == ""
    assert [p.name for p in UnitStore(tmp_path).place(UNIT).parent.iterdir()] == [UNIT.key]


def test_a_unit_finished_between_the_look_and_the_lock_is_not_made_again(tmp_path, monkeypatch):
    there, late = UnitStore(tmp_path), store.locked

    def finished_first(folder, what):
        monkeypatch.setattr(store, "locked", late)
        make(there)
        folder.mkdir()
        return late(folder, what)

    monkeypatch.setattr(store, "locked", finished_first)
    assert make(there, text="others") is None
    assert there.fault(UNIT) == ""
    assert [p.name for p in there.place(UNIT).parent.iterdir()] == [UNIT.key]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "units").write_text("a file")
    with pytest.raises(StoreError, match="failed"):
        make(UnitStore(tmp_path))
