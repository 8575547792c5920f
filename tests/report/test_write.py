import errno
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mechdecouple.activations.store import locked
from mechdecouple.compare import Comparison
from mechdecouple.errors import BusyError, InputError, StoreError
from mechdecouple.report import write, write_report, write_results
from mechdecouple.report.write import SHEETS


@pytest.fixture
def quick(monkeypatch):
    """Only one figure, for tests of files alone."""
    monkeypatch.setattr(write, "SHEETS", {"gate": SHEETS["gate"]})


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_everything_is_there_and_reads_back(results, whole):
    figures = {f"figures/{name}.{kind}" for name in SHEETS for kind in ("pdf", "png")}
    tables = {f"tables/{name}.tex" for name in ("gate", "contrasts", "structure", "beliefs")}
    pages = {"report.html", "features.html"}
    numbers = {"comparison.json", "metrics.parquet", "items.parquet", "features.parquet", "parts.parquet"}
    numbers.add("evidence.parquet")
    assert names(results) == pages | numbers | figures | tables
    assert sorted(p.name for p in results.iterdir() if p.name.startswith(".")) == []
    back = Comparison.load(results)
    assert back.frame().equals(whole.frame())


def test_fonts_are_embedded_truetype(results):
    for name in SHEETS:
        raw = (results / "figures" / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in raw and b"/Type3" not in raw and b"CreationDate" not in raw, name


def test_figures_have_the_same_bytes_each_time(results, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "SHEETS", {name: SHEETS[name] for name in ("contrasts", "similarity", "beliefs")})
    write_report(whole, tmp_path)
    for path in sorted((tmp_path / "figures").iterdir()):
        assert path.read_bytes() == (results / "figures" / path.name).read_bytes(), path.name


@pytest.mark.usefixtures("quick")
def test_an_earlier_result_is_replaced_and_activations_stay(whole, little, tmp_path):
    (tmp_path / "activations").mkdir()
    (tmp_path / "activations" / "shard").write_text("kept")
    write_results(whole, tmp_path)
    (tmp_path / "figures" / "my_own.pdf").write_text("mine")
    (tmp_path / "figures" / "sae.pdf").write_text("of an earlier run")
    write_results(little, tmp_path)
    assert not Comparison.load(tmp_path).verdicts
    assert (tmp_path / "activations" / "shard").read_text() == "kept"
    assert (tmp_path / "figures" / "my_own.pdf").read_text() == "mine"
    assert not (tmp_path / "figures" / "sae.pdf").exists() and not (tmp_path / "tables" / "structure.tex").exists()


@pytest.mark.usefixtures("quick")
def test_a_directory_of_something_else_is_refused(whole, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"no comparison \('thesis.tex'\): name a new or an empty directory"):
        write_results(whole, tmp_path)
    assert names(tmp_path) == {"thesis.tex"}
    with pytest.raises(InputError, match="is a file: name a directory"):
        write_report(whole, tmp_path / "thesis.tex")


@pytest.mark.usefixtures("quick")
def test_a_full_disk_leaves_nothing_behind(whole, tmp_path, monkeypatch):
    def full(figure, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(write, "save_pdf", full)
    with pytest.raises(StoreError, match=r"cannot be written .No space left on device.*nothing was changed") as caught:
        write_results(whole, tmp_path / "deep" / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()


@pytest.mark.usefixtures("quick")
def test_failing_midway_puts_the_earlier_result_back(whole, little, tmp_path, monkeypatch):
    write_results(whole, tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    rename, calls = Path.rename, []

    def refuse(self, target):
        calls.append(target)
        if len(calls) == 5:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="Read-only file system"):
        write_results(little, tmp_path)
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(whole, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="Permission denied"):
        write_results(whole, tmp_path / "out")


@pytest.mark.usefixtures("quick")
def test_what_a_killed_run_left_is_swept(whole, tmp_path):
    (tmp_path / ".partial-dead").mkdir()
    write_results(whole, tmp_path)
    assert not list(tmp_path.glob(".partial-*"))


OWN = ("page.html", "figures/one.png", "figures/two.png", "comparison.json")


def _make(text):
    def make(folder):
        (folder / "figures").mkdir()
        for name in OWN:
            (folder / name).write_text(text)

    return make


def _killed(folder, step, text):
    """A process that writes and is gone, with nothing tidied up, before its ``step``-th change to the folder."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    steps = 0

    def watch(event, arguments):
        nonlocal steps
        if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    write.write_whole(folder, _make(text), OWN)
    os._exit(0)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_kill_at_any_step_leaves_a_directory_that_is_written_anew(tmp_path, earlier):
    for step in range(1, 100, 3 if earlier else 2):
        folder = tmp_path / str(step)
        if earlier:
            write.write_whole(folder, _make("earlier"), OWN)
        ended = _killed(folder, step, "killed")
        write.refuse_foreign(folder)
        if step % 3:
            _killed(folder, 3, "killed again")
        write.write_whole(folder, _make("whole"), OWN)
        assert names(folder) == set(OWN)
        assert {(folder / name).read_text() for name in OWN} == {"whole"}
        assert sorted(p.name for p in folder.iterdir()) == ["comparison.json", "figures", "page.html"]
        if ended == 0:
            break
    assert step > 10


def test_a_directory_that_another_process_writes_is_refused(tmp_path):
    write.write_whole(tmp_path, _make("whole"), OWN)
    busy = pytest.raises(BusyError, match=r"results folder .* is being written by another process")
    with ThreadPoolExecutor(1) as other, locked(tmp_path), busy:
        other.submit(write.write_whole, tmp_path, _make("other"), OWN).result()
    assert {(tmp_path / name).read_text() for name in OWN} == {"whole"}


def test_nothing_but_undefined_numbers_still_makes_a_report(undefined, little, tmp_path):
    for i, comparison in enumerate((undefined, little)):
        text = write_results(comparison, tmp_path / str(i)).read_text(encoding="utf-8")
        assert "<h2" in text
        assert not re.search(r">\s*(nan|None|NaT)\b", text)
    assert not (tmp_path / "0" / "figures" / "structure.pdf").exists()
    assert "No picture:" in (tmp_path / "0" / "report.html").read_text(encoding="utf-8")
