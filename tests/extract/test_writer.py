"""Writer: killed, damaged, full or shared, a store ends with the same bytes or says in one line why not."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import mechdecouple
from mechdecouple.activations import Activations, store
from mechdecouple.errors import BusyError, StoreError
from mechdecouple.extract import extract, plan
from mechdecouple.models import build, wrap

OPTIONS = {"position": "all", "batch_tokens": 40}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 8000)


@pytest.fixture
def whole(hooked, task, tmp_path):
    extract(hooked, task, out=tmp_path / "whole", **OPTIONS)
    return tmp_path / "whole"


def _run(code: str, folder: Path, number: int = 0, prefix: Sequence[str] = ()) -> str:
    """What a script prints that is given this folder's conftest.py, a folder to work in and a number."""
    environment = os.environ | {"PYTHONPATH": str(Path(mechdecouple.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    arguments = [str(Path(__file__).with_name("conftest.py")), str(folder), str(number)]
    done = subprocess.run(
        [*prefix, sys.executable, "-W", "ignore", "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# One process builds the model once; each extraction runs in a fork of it that kills itself at one step of its writing.
KILLED = """
import os, runpy, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote; only a power cut would
made = runpy.run_path(sys.argv[1])
from mechdecouple.activations import store
from mechdecouple.extract import extract
from mechdecouple.models import wrap

store.SHARD_BYTES = 16000
model, tokenizer = made["make_gpt2"]()
model, task = wrap(model, name="gpt2", tokenizer=tokenizer), made["make_task"]()

def run(out, last_step):
    pid = os.fork()
    if pid == 0:
        steps = 0
        def step():
            nonlocal steps
            steps += 1
            if steps == last_step:
                os.kill(os.getpid(), signal.SIGKILL)
        write, replace = store._write, os.replace
        def slow_write(descriptor, data):
            step()
            write(descriptor, data[: len(data) // 2])
            step()
            write(descriptor, data[len(data) // 2 :])
        def watched_replace(a, b):
            step()
            replace(a, b)
            step()
        store._write, os.replace = slow_write, watched_replace
        try:
            extract(model, task, out=out, position="all", batch_tokens=40)
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

root = Path(sys.argv[2])
assert run(root / "whole", 0) == 0
step, stride = 0, int(sys.argv[3])
while True:
    step += stride
    out = root / f"killed-{step}"
    ended = run(out, step)
    if ended == 0:
        break
    assert os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGKILL, ended
    if step % 3 == 0:
        run(out, 5)  # and once more, soon after it was taken up
    assert run(out, 0) == 0
print(step)
"""


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_killed_while_it_writes_it_ends_with_the_same_bytes(tmp_path, digests, stride):
    said = _run(KILLED, tmp_path, stride)
    steps = int(said)
    whole = digests(tmp_path / "whole")
    assert len([name for name in whole if name.startswith("shard")]) >= 4 and steps > 40
    for step in range(stride, steps, stride):
        assert digests(tmp_path / f"killed-{step}") == whole, f"killed at step {step}"
    Activations.open(tmp_path / f"killed-{stride}", verify=True)


def test_what_is_complete_is_opened_and_not_made_again(hooked, task, whole, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    monkeypatch.setattr(type(hooked), "forward", _only_one_item(type(hooked).forward))
    extract(hooked, task, out=whole, **OPTIONS)
    assert {path.name: path.stat().st_mtime_ns for path in whole.iterdir()} == before


def _only_one_item(forward):
    def checked(self, batch, **options):
        assert len(batch) == 1
        return forward(self, batch, **options)

    return checked


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))


def _swap(path):
    other = path.with_name(store.shard_name(2))
    data = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _flip, _swap, os.unlink])
def test_a_damaged_shard_is_made_again(hooked, task, whole, digests, damage, caplog):
    expected = digests(whole)
    damage(whole / store.shard_name(1))
    assert digests(whole) != expected
    extract(hooked, task, out=whole, **OPTIONS)
    assert digests(whole) == expected
    assert "shard-00001.safetensors" in caplog.text and "made again" in caplog.text


@pytest.mark.parametrize("name", [store.IDS, store.BATCHES])
def test_a_damaged_list_is_made_again(hooked, task, whole, digests, name):
    expected = digests(whole)
    (whole / name).write_text("[]")
    extract(hooked, task, out=whole, **OPTIONS)
    assert digests(whole) == expected


def test_other_arguments_are_refused_by_the_first_that_differs(hooked, task, task_of, whole, digests):
    before = digests(whole)
    config = hooked.module.cfg.to_dict()
    other = wrap(build(config, seed=1, tokenizer=hooked.tokenizer), name="other")
    tries = [
        ((other, task), {}, "weight hash"),
        ((hooked, task_of(22)), {}, "task fingerprint"),
        (
            (hooked, task, hooked.layer_points[:2]),
            {},
            r"hook points 'blocks\.1\.hook_resid_post' \(number 3, width 16\)",
        ),
        ((hooked, task), {"position": "last"}, "position 'all', now it is 'last'"),
        ((hooked, task), {"dtype": "bfloat16"}, "dtype 'float32', now it is 'bfloat16'"),
        ((hooked, task), {"special": True}, "special False, now it is True"),
        ((hooked, task), {"batch_tokens": 41}, "batch_tokens 40, now it is 41"),
    ]
    for arguments, options, said in tries:
        with pytest.raises(StoreError, match=f"were made with {said}") as caught:
            extract(*arguments, out=whole, **(OPTIONS | options))
        assert "\n" not in str(caught.value)
    assert digests(whole) == before


def test_half_of_it_made_by_another_version_is_not_finished(hooked, task, whole):
    manifest = json.loads((whole / store.MANIFEST).read_text())
    manifest["model"]["versions"]["torch"] = "1.0"
    (whole / store.MANIFEST).write_text(json.dumps(manifest))
    extract(hooked, task, out=whole, **OPTIONS)
    (whole / store.shard_name(0)).unlink()
    with pytest.raises(StoreError, match=r"made with torch version '1\.0', now it is"):
        extract(hooked, task, out=whole, **OPTIONS)


def test_disk_full_in_the_middle_is_one_line_and_goes_on_later(hooked, task, whole, tmp_path, digests, monkeypatch):
    write, written = store._write, []

    def full(descriptor, data):
        written.append(len(data))
        if len(written) > 8:
            write(descriptor, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write(descriptor, data)

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(StoreError, match="No space left on device; free some space and run the same") as caught:
        extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(store, "_write", write)
    with pytest.raises(StoreError, match="incomplete"):
        Activations.open(tmp_path / "out")
    extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert digests(tmp_path / "out") == digests(whole)


def test_a_file_cut_short_by_the_system_is_one_line_and_goes_on_later(hooked, task, whole, tmp_path, digests):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in whole.glob("shard-*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 100, hard))
    try:
        with pytest.raises(StoreError, match=r"File too large; raise the limit .* and run the same command") as caught:
            extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    _check_half_done(tmp_path / "out")
    extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert digests(tmp_path / "out") == digests(whole)


def _check_half_done(folder):
    """What is there is sound: a manifest that parses, the shards that it lists, and nothing half-written."""
    manifest = store.read_manifest(folder)
    listed = [entry for entry in manifest["shards"] if entry]
    assert not manifest["complete"] and len(listed) < len(manifest["shards"])
    assert not any(store.fault(folder, entry) for entry in [*listed, *manifest["files"].values()])
    assert not list(folder.glob("*.part"))
    with pytest.raises(StoreError, match=rf"incomplete \({len(listed)} of"):
        Activations.open(folder)


# A file system of so many bytes of its own, as an ordinary user may mount it in a namespace of its own.
FULL = """
import os, pathlib, runpy, shutil, sys
import torch
torch.set_num_threads(1)
made = runpy.run_path(sys.argv[1])
from mechdecouple.activations import store
from mechdecouple.errors import StoreError
from mechdecouple.extract import extract
from mechdecouple.models import wrap

store.SHARD_BYTES = 16000
shutil.disk_usage = lambda path: type("Usage", (), {"free": 10**12})  # what was free is taken while it runs
root = pathlib.Path(sys.argv[2])
model, tokenizer = made["make_gpt2"]()
model, task = wrap(model, name="gpt2", tokenizer=tokenizer), made["make_task"]()
options = {"position": "all", "batch_tokens": 40}
extract(model, task, out=root / "whole", **options)
for taken in range(8, 200, 16):  # kB left to the extraction
    full = root / "disk" / str(taken)
    ballast = root / "disk" / "ballast"
    with open(ballast, "wb") as file:
        facts = os.statvfs(root / "disk")
        file.write(bytes(facts.f_bavail * facts.f_frsize - taken * 1024))
    try:
        extract(model, task, out=full, **options)
    except StoreError as error:
        said = str(error)
        assert "No space left on device; free some space and run the same command again to go on" in said, said
        print(taken, sum(1 for _ in full.glob("shard-*")) if full.exists() else -1, flush=True)
        if (full / "manifest.json").exists():
            manifest = store.read_manifest(full)
            for entry in [*manifest["files"].values(), *filter(None, manifest["shards"])]:
                assert not store.fault(full, entry), (taken, entry)
    else:
        print("fits", taken, flush=True)
    ballast.unlink()
    extract(model, task, out=full, **options)
    for path in (root / "whole").iterdir():
        assert path.name == "times.json" or path.read_bytes() == (full / path.name).read_bytes(), (taken, path)
    shutil.rmtree(full)
"""


@pytest.mark.slow
def test_a_full_file_system_leaves_what_can_be_gone_on_with(tmp_path):
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "disk")]
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*inside, *mount], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    code = f"import subprocess; subprocess.run({mount!r}, check=True)\n" + FULL
    said = _run(code, tmp_path, prefix=inside)
    lines = said.splitlines()
    assert sum(line.startswith("fits") for line in lines) >= 1
    assert len({line.split()[1] for line in lines if not line.startswith("fits")}) >= 4, said


def test_a_disk_too_small_is_told_before_anything_is_made(hooked, task, tmp_path, monkeypatch):
    needed = plan(hooked, task, **OPTIONS).bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: types.SimpleNamespace(free=1234))
    with pytest.raises(StoreError, match=f"need {needed:,} bytes and .* has 1,234 free"):
        extract(hooked, task, out=tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_folders_of_others_are_left_alone(hooked, task, tmp_path):
    (tmp_path / "thesis.tex").write_text("work of years")
    with pytest.raises(StoreError, match=r"holds 'thesis\.tex', which is not ours"):
        extract(hooked, task, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match=r"making the folder .*Not a directory"):
        extract(hooked, task, out=tmp_path / "thesis.tex" / "out")
    with pytest.raises(StoreError, match=r"making the folder .*File exists"):
        extract(hooked, task, out=tmp_path / "thesis.tex")


def test_a_folder_that_may_not_be_written(hooked, task, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def refuse(_descriptor, _data):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(store, "_write", refuse)
    with pytest.raises(StoreError, match="Permission denied; choose a folder you may write to"):
        extract(hooked, task, out=out)
    assert not any(out.iterdir())


@pytest.fixture
def held_elsewhere(tmp_path):
    """A folder that another process is writing to."""
    folder = tmp_path / "held"
    folder.mkdir()
    code = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print('held', flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        yield folder
        holder.kill()


def test_a_folder_in_use_is_told(hooked, task, held_elsewhere):
    with pytest.raises(BusyError, match="is being written by another process"):
        extract(hooked, task, out=held_elsewhere, **OPTIONS)


def test_what_is_complete_is_opened_while_another_holds_it_and_its_damage_is_not(hooked, task, whole, held_elsewhere):
    for path in whole.iterdir():
        shutil.copy(path, held_elsewhere)
    found = extract(hooked, task, out=held_elsewhere, **OPTIONS)
    point = hooked.layer_points[0]
    np.testing.assert_array_equal(found[point], extract(hooked, task, **OPTIONS)[point])
    with pytest.raises(StoreError, match="were made with position"):
        extract(hooked, task, out=held_elsewhere, **OPTIONS | {"position": "last"})
    _flip(held_elsewhere / store.shard_name(1))
    with pytest.raises(BusyError):
        extract(hooked, task, out=held_elsewhere, **OPTIONS)


@pytest.mark.parametrize("part", ["files", "shards", "rows", "complete"])
def test_a_manifest_that_lacks_something_is_refused_in_one_line(hooked, task, whole, part):
    text = (whole / store.MANIFEST).read_text()
    (whole / store.MANIFEST).write_text(text.replace(f'"{part}"', f'"{part[:-1]}"', 1))
    for refused in (lambda: extract(hooked, task, out=whole, **OPTIONS), lambda: Activations.open(whole)):
        with pytest.raises(StoreError, match=f"is damaged .'{part}' is missing") as caught:
            refused()
        assert "\n" not in str(caught.value)


def test_the_times_stand_apart(whole):
    times = json.loads((whole / store.TIMES).read_text())
    assert [next(iter(note)) for note in times] == ["started", "finished"]
    assert times[0]["started"] not in (whole / store.MANIFEST).read_text()


MEMORY = """
import os, runpy, sys, resource
import torch
torch.set_num_threads(1)
made = runpy.run_path(sys.argv[1])
from mechdecouple.activations import Activations, store
from mechdecouple.extract import extract
from mechdecouple.models import wrap

store.SHARD_BYTES = 2**20
model, tokenizer = made["make_gpt2"](width=128)
model = wrap(model, name="gpt2", tokenizer=tokenizer)

def peak(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_maxrss / 1024

ends = ("hook_resid_post", "hook_mlp_out", "hook_attn_out", "ln1.hook_out", "ln2.hook_out")
names = [name for name in model.hook_points if name.endswith(ends)]
for n in (2000, 5000):  # past the growth of the allocator itself
    task, out = made["make_task"](n), f"{sys.argv[2]}/{n}"
    writing = peak(lambda: extract(model, task, names, "all", out=out, batch_tokens=2048))
    def read():
        for batch in Activations.open(out).batches(names[0], 512):
            batch.sum()
    print(n, writing, peak(read), sum(os.path.getsize(f"{out}/{f}") for f in os.listdir(out)) / 2**20)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    said = _run(MEMORY, tmp_path)
    small, large = np.array([line.split() for line in said.splitlines()], dtype=float)
    assert large[3] - small[3] > 100
    assert large[1] - small[1] < 30 and large[2] - small[2] < 10, said
