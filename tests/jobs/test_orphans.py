import pytest

from mechdecouple.jobs.orphans import clean, orphans
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit

DONE, STOPPED, OLD, BUSY = (Unit("extract", {"number": n}, {}, label=f"m{n}") for n in range(4))


@pytest.fixture
def store(tmp_path):
    """One unit done, one stopped, and one stopped that no job asks for any more; failures of both."""
    there = UnitStore(tmp_path)
    with there.work(DONE) as place:
        (place / "rows.txt").write_text("rows")
    for unit in (STOPPED, OLD):
        with pytest.raises(RuntimeError), there.work(unit) as place:
            (place / "half.txt").write_text("half")
            raise RuntimeError("no memory")
    return there


def test_what_the_job_goes_on_from_is_no_orphan(store):
    assert orphans(store, [DONE, STOPPED]) == (store.partial(OLD),)
    assert orphans(store, [DONE, STOPPED, OLD]) == ()
    assert orphans(UnitStore(store.folder / "none"), [DONE]) == ()


def test_cleaning_takes_orphans_alone(store):
    with store.work(BUSY) as place:
        (place / "half.txt").write_text("half")
        assert clean(store, [DONE, STOPPED]) == (store.partial(OLD),)
        assert (place / "half.txt").exists() and store.in_work(BUSY)
    assert store.fault(DONE) == "" == store.fault(BUSY)
    assert store.partial(STOPPED).is_dir() and "no memory" in store.failure(STOPPED)
    assert store.failure(OLD) == ""
    assert clean(store, [DONE, STOPPED]) == ()
    assert not list(store.folder.rglob("*.lock"))
