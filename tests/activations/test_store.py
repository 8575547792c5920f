"""Stores on disk: read back as written; damage is told by its file; a failed write leaves nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from mechdecouple.activations import Activations, store
from mechdecouple.errors import InputError, StoreError

N = 50


@pytest.fixture
def act():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(N, 3)), "b": rng.normal(size=(N, 4))}
    return Activations.from_arrays(arrays, [f"i{i}" for i in range(N)])


@pytest.fixture
def saved(act, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 12 * 7 * 4)
    return act.save(tmp_path / "store")


def test_saved_reads_back_over_several_shards(act, saved):
    assert len(saved.manifest["shards"]) == 5 and saved.path is not None
    for name in act:
        np.testing.assert_array_equal(saved[name], act[name])
        np.testing.assert_array_equal(np.concatenate(list(saved.batches(name, 7))), act[name])
    saved.check_aligned(act)
    chosen = saved.select(saved["a"][:, 0] > 0)
    np.testing.assert_array_equal(chosen["b"], act["b"][act["a"][:, 0] > 0])
    assert "read when asked for" in saved._repr_html_() and "store" in repr(saved)


def test_a_saved_selection_is_a_table_of_its_own(act, tmp_path):
    chosen = act.select([7, 3, 9])
    again = chosen.save(tmp_path / "chosen")
    assert again.ids.tolist() == ["i3", "i7", "i9"] and again.items.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(again["a"], act["a"][[3, 7, 9]])
    with pytest.raises(InputError, match="more than once"):
        act.select([1, 1]).save(tmp_path / "twice")


def test_token_rows_read_back(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    act = Activations.from_arrays({"a": values}, ["x", "x", "y", "z", "z", "z"], position="all")
    again = act.save(tmp_path / "store")
    np.testing.assert_array_equal(again["a"], values)
    assert again.items.tolist() == [0, 0, 1, 2, 2, 2]
    assert again.tokens is not None and again.tokens.tolist() == [0, 1, 0, 0, 1, 2]


def test_save_needs_a_new_folder(act, saved):
    with pytest.raises(StoreError, match="is not empty"):
        act.save(saved.path)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def _swap(path):
    other = path.with_name(store.shard_name(2))
    a, b = path.read_bytes(), other.read_bytes()
    path.write_bytes(b)
    other.write_bytes(a)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut, "has 621 bytes instead of 624"),
        (_flip, "does not match its checksum"),
        (_swap, "does not match its checksum"),
        (os.unlink, "is missing"),
    ],
)
def test_verify_names_the_damaged_shard(saved, damage, said):
    Activations.open(saved.path, verify=True)
    damage(saved.path / store.shard_name(1))
    with pytest.raises(StoreError, match=rf"shard-00001\.safetensors' {said}") as caught:
        Activations.open(saved.path, verify=True)
    assert "\n" not in str(caught.value)


def test_swapped_shards_still_give_the_right_rows(act, saved):
    _swap(saved.path / store.shard_name(1))
    np.testing.assert_array_equal(Activations.open(saved.path)["a"], act["a"])


def test_a_shard_in_place_of_another_is_noticed_on_reading(saved):
    data = (saved.path / store.shard_name(1)).read_bytes()
    (saved.path / store.shard_name(2)).write_bytes(data)
    with pytest.raises(StoreError, match="lack items or repeat them"):
        Activations.open(saved.path)["a"]


def test_a_shard_with_a_broken_head_is_named_on_reading(saved):
    path = saved.path / store.shard_name(1)
    data = bytearray(path.read_bytes())
    data[0:8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"shard-00001\.safetensors' cannot be read"):
        Activations.open(saved.path)["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "has no manifest.json"),
        ("{", "is damaged"),
        ("[]", "another format"),
        ('{"format": "x"}', "another format"),
    ],
)
def test_what_is_no_store_is_refused(saved, text, said):
    path = saved.path / store.MANIFEST
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(StoreError, match=said):
        Activations.open(saved.path)


def test_an_incomplete_store_is_not_read(saved):
    manifest = json.loads((saved.path / store.MANIFEST).read_text())
    manifest["complete"] = False
    manifest["shards"][3] = None
    (saved.path / store.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"incomplete \(4 of 5 shards\)"):
        Activations.open(saved.path)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    store.write_file(path, b"before")

    def full(descriptor, data):
        os.write(descriptor, bytes(data[:2]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_write", full)
    with pytest.raises(StoreError, match=r"writing .*file' failed: No space left on device; free some space"):
        store.write_file(path, b"after")
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_or_written(act, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"making the folder .* failed: Not a directory"):
        act.save(tmp_path / "file" / "store")

    def refuse(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(StoreError, match="Read-only file system; choose a folder you may write to"):
        store.write_file(tmp_path / "x", b"")


def test_a_second_writer_is_told(tmp_path):
    code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), 2); print('held', flush=True)"
    holder = subprocess.Popen([sys.executable, "-c", code + "; input()", str(tmp_path)], stdin=-1, stdout=-1, text=True)
    with holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="is being written by another process"), store.locked(tmp_path):
            pass
        holder.kill()
    with store.locked(tmp_path):
        pass


def test_shard_bytes_do_not_depend_on_the_order_of_tensors():
    a, item = torch.ones(2, 3), torch.arange(2)
    names = ["x", "y", "z", store.ITEM]
    made = {
        store.safetensors.torch.save({n: item if n == store.ITEM else a.clone() for n in order})
        for order in (names, names[::-1])
    }
    assert len(made) == 1
