import json
import multiprocessing
import os
import threading
import time

import pytest

from mechdecouple.errors import BusyError, StoreError
from mechdecouple.jobs import locks, store
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit

UNIT = Unit("extract", {"model": "abc"}, {"model": "/here"}, label="abc on items")
OTHER = Unit("extract", {"model": "def"}, {"model": "/there"}, label="def on items")


def make(store, unit=UNIT, text="rows"):
    with store.work(unit) as folder:
        if folder is not None:
            (folder / "rows.txt").write_text(text)
            (folder / "more").mkdir(exist_ok=True)
            (folder / "more" / "rows.txt").write_text(text[::-1])
            (folder / "times.json").write_text(str(time.time()))
    return folder


def names(store):
    return sorted(p.name for p in store.place(UNIT).parent.iterdir())


def test_a_unit_is_made_once(tmp_path):
    store = UnitStore(tmp_path)
    assert not store.done(UNIT)
    assert make(store) is not None
    assert store.done(UNIT)
    assert make(store, text="others") is None
    assert (store.place(UNIT) / "rows.txt").read_text() == "rows"
    assert names(store) == [UNIT.key]


def test_a_block_that_raises_leaves_its_folder_to_go_on_from(tmp_path):
    store = UnitStore(tmp_path)
    with pytest.raises(RuntimeError), store.work(UNIT) as folder:
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert not store.done(UNIT) and names(store) == [f"{UNIT.key}.partial"]
    with store.work(UNIT) as folder:
        assert (folder / "half.txt").read_text() == "half"
    assert store.done(UNIT)


def test_a_block_that_raises_at_once_leaves_no_folder(tmp_path):
    store = UnitStore(tmp_path)
    with pytest.raises(RuntimeError), store.work(UNIT):
        raise RuntimeError
    assert names(store) == []


def exchange(path, other):
    aside = path.with_name("aside")
    os.rename(path, aside)
    os.rename(other, path)
    os.rename(aside, other)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def others_record(place):
    record = json.loads((place / "unit.json").read_bytes())
    (place / "unit.json").write_text(json.dumps({**record, "spec": {"model": "xyz"}}))


DAMAGE = {
    "flipped": (lambda p: flip(p / "rows.txt"), "rows.txt does not match its checksum"),
    "cut short": (lambda p: (p / "rows.txt").write_text("row"), "3 bytes instead of 4"),
    "missing": (lambda p: (p / "more" / "rows.txt").unlink(), r"more/rows.txt is missing"),
    "swapped": (lambda p: exchange(p / "rows.txt", p / "more" / "rows.txt"), "does not match its checksum"),
    "record cut short": (lambda p: (p / "unit.json").write_text("{"), "unit.json cannot be read"),
    "record of another kind": (lambda p: (p / "unit.json").write_text("[1]"), "unit.json cannot be read"),
    "record without sizes": (
        lambda p: (p / "unit.json").write_text((p / "unit.json").read_text().replace("bytes", "byte")),
        "unit.json cannot be read",
    ),
    "record altered": (others_record, "unit.json is of another unit"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended_by_making_it_again(tmp_path, kind):
    store, (damage, words) = UnitStore(tmp_path), DAMAGE[kind]
    make(store)
    assert store.fault(UNIT) == "" == store.mend(UNIT)
    before = (store.place(UNIT) / "unit.json").read_bytes()
    damage(store.place(UNIT))
    with pytest.raises(StoreError, match=rf"{words}; run the job again"), store.reading("extract", UNIT.key):
        pass
    assert words in store.mend(UNIT)
    assert not store.done(UNIT) and names(store) == []
    make(store)
    assert store.fault(UNIT) == ""
    assert (store.place(UNIT) / "unit.json").read_bytes() == before


def test_units_that_changed_places_are_found(tmp_path):
    store = UnitStore(tmp_path)
    make(store)
    make(store, OTHER, "wors")
    exchange(store.place(UNIT), store.place(OTHER))
    assert store.mend(UNIT) == store.mend(OTHER) == "unit.json is of another unit"
    assert names(store) == []


def test_a_unit_that_is_read_stays(tmp_path):
    store = UnitStore(tmp_path)
    make(store)
    with store.reading("extract", UNIT.key) as place, store.reading("extract", UNIT.key):
        with pytest.raises(BusyError, match="being read by another process"):
            store.discard(UNIT)
        assert store.mend(UNIT) == ""
        flip(place / "rows.txt")
        with pytest.raises(BusyError, match="being read"):
            store.mend(UNIT)
        assert store.done(UNIT)
    assert "checksum" in store.mend(UNIT)
    with pytest.raises(StoreError, match="not there"), store.reading("extract", UNIT.key):
        pass
    store.discard(UNIT)  # of what is gone


def test_a_unit_mended_by_another_process_stays(tmp_path, monkeypatch):
    """Between the look at the damage and the lock, another run made it anew."""
    there = UnitStore(tmp_path)
    make(there)
    flip(there.place(UNIT) / "rows.txt")
    hold = locks.hold

    def late(path, **options):
        monkeypatch.setattr(store, "hold", hold)
        assert there.mend(UNIT)
        make(there)
        return hold(path, **options)

    monkeypatch.setattr(store, "hold", late)
    assert there.mend(UNIT) == ""
    assert there.done(UNIT) and there.fault(UNIT) == ""


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
    assert store.failure(UNIT) == "" and not list((tmp_path / "failed").iterdir())
    store.fail(UNIT, "said too late")
    assert store.failure(UNIT) == ""


def test_a_failure_has_its_place_in_the_program(tmp_path):
    store = UnitStore(tmp_path)
    for error, reason in (
        (StoreError("no\n  room"), "no room"),
        (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0"),
    ):
        with pytest.raises(type(error)), store.work(UNIT):
            raise error
        assert store.failure(UNIT) == reason
        record = json.loads((tmp_path / "failed" / f"{UNIT.key}.json").read_bytes())
        assert record["label"] == UNIT.label and record["stage"] == "extract"
        assert __file__ in record["traceback"] and "raise error" in record["traceback"]


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
    assert names(UnitStore(tmp_path)) == [UNIT.key]


def test_threads_make_a_unit_once(tmp_path):
    there, made = UnitStore(tmp_path), []
    threads = [threading.Thread(target=lambda: made.append(make(there))) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(20)
    assert len(made) == 6 and sum(place is not None for place in made) == 1
    assert names(there) == [UNIT.key]


def test_a_unit_finished_between_the_look_and_the_lock_is_not_made_again(tmp_path, monkeypatch):
    there, late = UnitStore(tmp_path), store.alone

    def finished_first(lock):
        monkeypatch.setattr(store, "alone", late)
        make(there)
        return late(lock)

    monkeypatch.setattr(store, "alone", finished_first)
    assert make(there, text="others") is None
    assert there.fault(UNIT) == ""
    assert names(there) == [UNIT.key]


def test_a_folder_without_a_record_makes_way(tmp_path):
    there = UnitStore(tmp_path)
    there.place(UNIT).mkdir(parents=True)
    (there.place(UNIT) / "rows.txt").write_text("of a removal by hand")
    assert make(there) is not None
    assert there.fault(UNIT) == "" and names(there) == [UNIT.key]


def test_half_a_record_of_a_killed_process_is_no_part_of_the_unit(tmp_path):
    there = UnitStore(tmp_path)
    with there.work(UNIT) as partial:
        (partial / "unit.json.part").write_text("half")
    assert there.fault(UNIT) == ""
    assert [p.name for p in there.place(UNIT).iterdir()] == ["unit.json"]


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path):
    there = UnitStore(tmp_path)
    make(there)
    units = there.place(UNIT).parent
    (units / f"{UNIT.key}.gone-123").mkdir()
    (units / f"{UNIT.key}.gone-123" / "rows.txt").write_text("half")
    (units / f"{UNIT.key}.lock").touch()
    (tmp_path / "failed").mkdir()
    for name in ("x.json.part", "x.json.lock"):
        (tmp_path / "failed" / name).touch()
    with there.work(OTHER) as partial:
        there.sweep()
        assert there.in_work(OTHER) and partial.is_dir()
    assert names(there) == sorted([UNIT.key, OTHER.key])
    assert not list((tmp_path / "failed").iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "units").write_text("a file")
    with pytest.raises(StoreError, match="failed"):
        make(UnitStore(tmp_path))
