import errno
import multiprocessing
import os
import signal
import threading
import time

import pytest

from mechdecouple.errors import StoreError
from mechdecouple.jobs import locks
from mechdecouple.jobs.locks import alone, hold, is_held, sweep, write_alone

FORK = multiprocessing.get_context("fork")


def _hold(lock, begun):
    with alone(lock):
        begun.set()
        time.sleep(60)


@pytest.fixture
def killed(tmp_path):
    """A lock file that a killed process held."""
    lock, begun = tmp_path / "unit.lock", FORK.Event()
    process = FORK.Process(target=_hold, args=(lock, begun))
    process.start()
    assert begun.wait(20)
    assert is_held(lock)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return lock


def test_a_lock_goes_when_its_holder_ends(tmp_path):
    lock = tmp_path / "unit.lock"
    with alone(lock) as mine:
        assert mine and is_held(lock)
        with alone(lock, wait=False) as also:
            assert not also
        assert is_held(lock), "who could not have it does not remove it"
    assert not is_held(lock) and not lock.exists()
    with pytest.raises(RuntimeError), alone(lock):
        raise RuntimeError
    assert not lock.exists()


def test_a_killed_holder_holds_nothing(killed):
    assert killed.exists() and not is_held(killed)
    with alone(killed, wait=False) as mine:
        assert mine
    assert not killed.exists()


def test_what_a_killed_holder_left_is_swept(killed):
    sweep(killed)
    assert not killed.exists()


def test_a_lock_in_use_is_not_swept(tmp_path):
    lock = tmp_path / "a.json.lock"
    with alone(lock):
        (tmp_path / "a.json.part").write_text("half")
        sweep(lock)
        assert is_held(lock) and (tmp_path / "a.json.part").exists()
    lock.touch()
    sweep(lock)
    assert not list(tmp_path.iterdir())


def _count(folder, times):
    for _ in range(times):
        with alone(folder / "count.lock"):
            number = int((folder / "count").read_text())
            time.sleep(0.0002)
            (folder / "count").write_text(str(number + 1))


def test_nobody_is_alone_twice(tmp_path):
    """Each turn ends with the file removed, which those who wait have open: the moment to go wrong."""
    (tmp_path / "count").write_text("0")
    processes = [FORK.Process(target=_count, args=(tmp_path, 25)) for _ in range(4)]
    threads = [threading.Thread(target=_count, args=(tmp_path, 25)) for _ in range(2)]
    for one in (*processes, *threads):
        one.start()
    for one in (*processes, *threads):
        one.join(60)
    assert (tmp_path / "count").read_text() == str(6 * 25)
    assert not (tmp_path / "count.lock").exists()


def test_readers_exclude_who_removes_and_not_each_other(tmp_path):
    path = tmp_path / "unit.json"
    with hold(path, exclusive=False) as held:
        assert not held
    path.write_text("{}")
    with hold(path, exclusive=False) as one, hold(path, exclusive=False) as other, hold(path, exclusive=True) as third:
        assert (one, other, third) == (True, True, False)
    with hold(path, exclusive=True) as one, hold(path, exclusive=False) as other:
        assert (one, other) == (True, False)


def test_a_file_replaced_while_it_is_opened_is_not_held(tmp_path, monkeypatch):
    path = tmp_path / "unit.json"
    path.write_text("old")
    taken = locks._taken

    def late(*args, **options):
        path.with_name("new").write_text("new")
        path.with_name("new").replace(path)
        return taken(*args, **options)

    monkeypatch.setattr(locks, "_taken", late)
    with hold(path, exclusive=False) as held:
        assert not held


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(locks.fcntl, "flock", without)
    with pytest.raises(StoreError, match=r"cannot be locked .* file system with locks"), alone(tmp_path / "unit.lock"):
        pass
    with pytest.raises(StoreError, match="locking"), alone(tmp_path / "no" / "unit.lock"):
        pass


def _write(path, number):
    for _ in range(40):
        write_alone(path, f"{number}".encode() * 5000)


def test_many_writers_of_one_file(tmp_path):
    path = tmp_path / "job.json"
    writers = [FORK.Process(target=_write, args=(path, number)) for number in range(3)]
    for one in writers:
        one.start()
    while any(one.is_alive() for one in writers):
        if path.exists():
            text = path.read_text()
            assert len(text) == 5000 and len(set(text)) == 1
    assert [one.exitcode for one in writers] == [0, 0, 0]
    assert [p.name for p in tmp_path.iterdir()] == ["job.json"]
