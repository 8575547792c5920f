import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import StoreError
from mechdecouple.sae.training import checkpoint
from mechdecouple.sae.training.recipe import Recipe
from mechdecouple.sae.training.stream import ModelRows
from mechdecouple.sae.training.train import train, train_many
from mechdecouple.sae.training.trainer import Trainer

SETTINGS = {"width": 32, "k": 4, "steps": 24, "batch_size": 50}


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    """A state is written after every step."""
    monkeypatch.setattr(checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "_COST", 0)


@pytest.fixture
def killed_at(monkeypatch):
    """Makes the training die in the given step, once."""

    def killed_at(number):
        step = Trainer.step

        def dies(self, batch):
            if self.step_number == number:
                monkeypatch.setattr(Trainer, "step", step)
                raise Killed
            step(self, batch)

        monkeypatch.setattr(Trainer, "step", dies)

    return killed_at


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka", "jumprelu", "standard", "gated"])
def test_killed_and_called_again_gives_the_same_bytes(planted, tmp_path, killed_at, architecture):
    X, *_ = planted(n=320)
    settings = {**SETTINGS, "architecture": architecture}
    train(X, **settings, out=tmp_path / "whole")
    killed_at(13)
    with pytest.raises(Killed):
        train(X, **settings, out=tmp_path / "killed")
    assert set(digests(tmp_path / "killed")) == {"training.json", "state.safetensors"}
    sae = train(X, **settings, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert set(digests(tmp_path / "whole")) == {"training.json", "cfg.json", "sae_weights.safetensors"}
    assert np.array_equal(sae.decoder, train(X, **settings).decoder)


def test_the_shuffled_rows_in_waiting_are_not_forgotten(planted, tmp_path, killed_at):
    import pandas as pd
    import torch

    from mechdecouple.models import wrap
    from mechdecouple.tasks import Task

    X, *_ = planted(n=900)
    layer = torch.nn.Linear(32, 32, bias=False)
    torch.nn.init.eye_(layer.weight)
    task = Task.from_frame(pd.DataFrame({"id": np.arange(900).astype(str), "answer": 0}), inputs=X)
    rows = ModelRows(wrap(torch.nn.Sequential(layer)), task, ("0",), position="last", buffer_rows=400)
    train(rows, **SETTINGS, out=tmp_path / "whole")
    killed_at(13)
    with pytest.raises(Killed):
        train(rows, **SETTINGS, out=tmp_path / "killed")
    train(rows, **SETTINGS, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_several_go_on_together(planted, tmp_path, killed_at):
    X, *_ = planted(n=320)
    activations = Activations.from_arrays({"x": X, "y": X[:, ::-1] ** 2}, [str(i) for i in range(len(X))])
    recipes = [Recipe(width=32, k=4, hook_point="x"), Recipe("jumprelu", width=16, k=2, seed=1, hook_point="y")]
    options = {"steps": 20, "batch_size": 50}
    train_many(activations, recipes, **options, out=tmp_path / "whole")
    killed_at(7)
    with pytest.raises(Killed):
        train_many(activations, recipes, **options, out=tmp_path / "killed")
    again = train_many(activations, recipes, **options, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    assert (tmp_path / "killed" / "001" / "cfg.json").is_file()
    assert [sae.width for sae in again] == [32, 16]


def test_what_is_finished_is_read(planted, tmp_path, killed_at):
    X, *_ = planted(n=200)
    sae = train(X, **SETTINGS, out=tmp_path)
    killed_at(0)
    again = train(X, **SETTINGS, out=tmp_path)
    assert np.array_equal(sae.encode(X), again.encode(X))
    assert again.training == sae.training


def test_death_while_finishing_is_mended(planted, tmp_path, monkeypatch):
    from mechdecouple.sae.autoencoder import SparseAutoencoder

    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path / "whole")

    def dies(self, directory):
        (directory / "cfg.json").write_text("{")
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(SparseAutoencoder, "save", dies)
        train(X, **SETTINGS, out=tmp_path / "killed")
    train(X, **SETTINGS, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k": 5}, r"begun with recipes \(1\) k 4, now it is 5"),
        ({"steps": 30}, "begun with steps 24, now it is 30"),
        ({"seed": 1}, r"seed 0, now it is 1"),
        ({"batch_size": 40}, "batch_size 50, now it is 40"),
        ({"model": "other"}, "model '', now it is 'other'"),
    ],
)
def test_a_folder_of_other_settings_is_refused(planted, tmp_path, killed_at, change, words):
    X, *_ = planted(n=200)
    killed_at(3)
    with pytest.raises(Killed):
        train(X, **SETTINGS, out=tmp_path)
    before = digests(tmp_path)
    with pytest.raises(StoreError, match=words):
        train(X, **{**SETTINGS, **change}, out=tmp_path)
    assert digests(tmp_path) == before


def test_going_on_needs_the_same_arithmetic_and_reading_does_not(planted, tmp_path, killed_at, monkeypatch):
    from importlib import import_module

    X, *_ = planted(n=200)
    module = import_module("mechdecouple.sae.training.train")  # the package's name for it is the function
    killed_at(5)
    with pytest.raises(Killed):
        train(X, **SETTINGS, out=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_versions", lambda: {"torch": "1.0"})
        with pytest.raises(StoreError, match=r"versions torch .*, now it is '1\.0'; go on with the same set-up"):
            train(X, **SETTINGS, out=tmp_path)
    sae = train(X, **SETTINGS, out=tmp_path)
    monkeypatch.setattr(module, "_versions", lambda: {"torch": "1.0"})
    assert np.array_equal(train(X, **SETTINGS, out=tmp_path).decoder, sae.decoder)


def test_what_a_killed_write_left_is_cleared(planted, tmp_path):
    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path / "whole")
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "state.safetensors.part").write_text("half")
    train(X, **SETTINGS, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


@pytest.mark.parametrize("left", [".tmpHeFYSM", "000/.tmpa1B2c3"])
def test_what_a_killed_write_of_safetensors_left_is_cleared(planted, tmp_path, killed_at, left):
    X, *_ = planted(n=200)
    recipes = [Recipe(width=32, k=4)]
    train_many(X, recipes, steps=9, out=tmp_path / "whole")
    killed_at(3)
    with pytest.raises(Killed):
        train_many(X, recipes, steps=9, out=tmp_path / "killed")
    (tmp_path / "killed" / "000").mkdir()
    (tmp_path / "killed" / left).write_text("half")
    train_many(X, recipes, steps=9, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_a_folder_of_other_rows_is_refused(planted, tmp_path):
    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path)
    other = X.copy()
    other[150, 3] += 1e-3
    with pytest.raises(StoreError, match="begun with hashes"):
        train(other, **SETTINGS, out=tmp_path)
    with pytest.raises(StoreError, match="rows 200, now it is 100"):
        train(X[:100], **SETTINGS, out=tmp_path)


def test_folders_that_are_not_ours_are_refused(planted, tmp_path):
    X, *_ = planted(n=200)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds 'notes.txt', which is not of this training"):
        train(X, **SETTINGS, out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    other = tmp_path / "format"
    other.mkdir()
    (other / "training.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(StoreError, match="another format"):
        train(X, **SETTINGS, out=other)
    with pytest.raises(StoreError, match="notes"):
        train(X, **SETTINGS, out=tmp_path / "notes.txt" / "x")


def cut(path):
    path.write_bytes(path.read_bytes()[:500])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(("damage", "words"), [(cut, "cannot be read"), (flip, "does not match its checksum")])
def test_from_a_damaged_state_it_starts_over_and_ends_with_the_same_bytes(
    planted, tmp_path, killed_at, caplog, damage, words
):
    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path / "whole")
    killed_at(9)
    with pytest.raises(Killed):
        train(X, **SETTINGS, out=tmp_path / "killed")
    damage(tmp_path / "killed" / "state.safetensors")
    train(X, **SETTINGS, out=tmp_path / "killed")
    assert words in caplog.text and "training from the start" in caplog.text
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_a_state_that_a_kill_kept_from_going_goes(planted, tmp_path, monkeypatch):
    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path / "whole")

    def dies(self, missing_ok=False):
        if self.name == "state.safetensors":
            raise Killed
        unlink(self, missing_ok)

    unlink = Path.unlink
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "unlink", dies)
        train(X, **SETTINGS, out=tmp_path / "killed")
    assert (tmp_path / "killed" / "state.safetensors").exists()
    train(X, **SETTINGS, out=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_a_finished_sae_that_is_damaged_is_refused(planted, tmp_path, name):
    X, *_ = planted(n=200)
    train(X, **SETTINGS, out=tmp_path)
    flip(tmp_path / name)
    with pytest.raises(StoreError, match=rf"{name}' does not match its checksum; remove"):
        train(X, **SETTINGS, out=tmp_path)


def test_a_folder_in_use_is_refused(planted, tmp_path):
    X, *_ = planted(n=200)
    with (
        checkpoint.Checkpoint.at(tmp_path, {}, [""], {}),
        pytest.raises(StoreError, match="being written by another process"),
    ):
        train(X, **SETTINGS, out=tmp_path)


def test_states_are_rare_enough_to_cost_little(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_SECONDS", 60.0)
    monkeypatch.setattr(checkpoint, "_COST", 20)
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    with checkpoint.Checkpoint.at(tmp_path, {}, [""], {}) as there:
        save = checkpoint.safetensors.torch.save_file

        def slowly(*args):
            save(*args)
            now[0] += 10

        monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", slowly)
        assert not there.due
        now[0] = 60
        assert there.due
        there.write({})
        now[0] += 199
        assert not there.due
        now[0] += 1
        assert there.due


@pytest.mark.slow
def test_a_process_that_was_killed_goes_on(planted, tmp_path):
    X, *_ = planted(n=2000)
    np.save(tmp_path / "x.npy", X)
    code = (
        "import sys, numpy as np, torch\n"
        "torch.set_num_threads(1)\n"
        "from mechdecouple.sae.training import checkpoint\n"
        "from mechdecouple.sae.training.train import train\n"
        "checkpoint._SECONDS, checkpoint._COST = 0.0, 1\n"
        f"train(np.load({str(tmp_path / 'x.npy')!r}, mmap_mode='r'), width=128, k=4, steps=1500, out=sys.argv[1])\n"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=env)
    ends = []
    for _ in range(3):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], env=env)
        state = tmp_path / "killed" / "state.safetensors"
        before = state.stat().st_mtime_ns if state.exists() else 0
        while process.poll() is None and not (state.exists() and state.stat().st_mtime_ns != before):
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        ends.append(process.wait())
    assert -signal.SIGKILL in ends
    subprocess.run([*command, str(tmp_path / "killed")], check=True, env=env)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
