"""extract: the right rows of the right tokens, whatever the batch; what is not finite is refused by its item."""

from __future__ import annotations

import contextlib
import io
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.errors import InputError, TaskError
from mechdecouple.extract import extract
from mechdecouple.models import wrap
from mechdecouple.tasks import Task

POSITIONS = ("last", "mean", "all")


@pytest.fixture(params=["gpt2", "bert", "hooked"])
def model(request):
    if request.param == "hooked":
        return request.getfixturevalue("hooked")
    return wrap(*request.getfixturevalue(request.param)[:1], name=request.param, tokenizer=_tokenizer(request))


def _tokenizer(request):
    return request.getfixturevalue(request.param)[1]


@pytest.mark.parametrize("position", POSITIONS)
def test_batched_is_one_by_one(model, task, position):
    together = extract(model, task, position=position, batch_tokens=10_000)
    alone = extract(model, task, position=position, batch_tokens=1)
    together.check_aligned(alone)
    for name in model.layer_points:
        np.testing.assert_allclose(together[name], alone[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_rows_are_those_of_transformers_hidden_states(request, task, kind, special):
    raw, tokenizer = request.getfixturevalue(kind)
    model = wrap(raw, name=kind, tokenizer=tokenizer)
    n_layers = raw.config.num_hidden_layers
    # The last entry of transformers' hidden states has been through GPT-2's final norm; those before it are compared.
    names = [f"blocks.{i}.hook_resid_post" for i in range(n_layers if kind == "bert" else n_layers - 1)]
    found = {p: extract(model, task, names, p, special=special, batch_tokens=100) for p in POSITIONS}
    row = 0
    for i, prompt in enumerate(task.prompts):
        encoding = tokenizer(prompt, return_tensors="pt", return_special_tokens_mask=True)
        marks = encoding.pop("special_tokens_mask")[0].bool()
        encoding.pop("token_type_ids", None)
        kept = torch.arange(len(marks)) if special else torch.nonzero(~marks)[:, 0]
        assert special or len(kept) == len(prompt.split())
        with torch.no_grad():
            hidden = raw(**encoding, output_hidden_states=True).hidden_states
        for layer, name in enumerate(names, start=1):
            values = hidden[layer][0][kept].numpy()
            np.testing.assert_allclose(found["last"][name][i], values[-1], atol=1e-5)
            np.testing.assert_allclose(found["mean"][name][i], values.mean(axis=0), atol=1e-5)
            np.testing.assert_allclose(found["all"][name][row : row + len(kept)], values, atol=1e-5)
        tokens = found["all"].tokens
        assert tokens is not None and tokens[row : row + len(kept)].tolist() == kept.tolist()
        assert set(found["all"].ids[row : row + len(kept)]) == {task.ids[i]}
        row += len(kept)
    assert row == len(found["all"]) and found["last"].ids.tolist() == list(task.ids)


def test_position_column_by_index_and_by_text(gpt2):
    raw, tokenizer = gpt2
    model = wrap(raw, name="gpt2", tokenizer=tokenizer)
    frame = pd.DataFrame({"prompt": ["w1 w2 w3", "w4 w5", "w2 w6 w2 w7"], "position_i": [2, 0, 4]})
    frame["position_word"] = ["w2", "w4", "w2"]
    task = Task.from_frame(frame)
    every = extract(model, task, ["blocks.1.hook_resid_post"], "all", special=True)["blocks.1.hook_resid_post"]
    starts = np.array([0, 4, 7])
    by_index = extract(model, task, ["blocks.1.hook_resid_post"], "position_i")["blocks.1.hook_resid_post"]
    np.testing.assert_allclose(by_index, every[starts + np.array([2, 0, 4])], atol=1e-6)
    by_word = extract(model, task, ["blocks.1.hook_resid_post"], "position_word")["blocks.1.hook_resid_post"]
    np.testing.assert_allclose(by_word, every[starts + np.array([2, 1, 3])], atol=1e-6)
    with pytest.raises(TaskError, match="'position_far'"):
        extract(model, Task.from_frame(frame.assign(position_far=[1, 9, 1])), position="position_far")


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_disk_and_memory_hold_the_same(hooked, task, tmp_path, position, dtype):
    exact = extract(hooked, task, position=position, batch_tokens=60)
    memory = extract(hooked, task, position=position, batch_tokens=60, dtype=dtype)
    disk = extract(hooked, task, position=position, batch_tokens=60, dtype=dtype, out=tmp_path / "out")
    disk.check_aligned(memory)
    step = {"float32": 0, "float16": 2**-11, "bfloat16": 2**-8}[dtype]
    for name in hooked.layer_points:
        assert disk[name].dtype == np.float32
        np.testing.assert_array_equal(disk[name], memory[name])
        np.testing.assert_allclose(disk[name], exact[name], rtol=step, atol=1e-7)
    assert (disk.dtype, disk.position, disk.path) == (dtype, position, tmp_path / "out")
    assert (disk.tokens is None) == (position != "all")


def test_models_of_tensors():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(36, 2))
    inputs = torch.randn(300, 1, 5, 5)
    task = Task.from_frame(pd.DataFrame({"answer": [0, 1] * 150}), inputs=inputs.numpy())
    model = wrap(module, name="cnn")
    with torch.no_grad():
        conv = torch.relu(module[0](inputs))
    flat = extract(model, task, ["1", "3"])
    np.testing.assert_allclose(flat["1"], conv.flatten(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(extract(model, task, ["1"], "mean")["1"], conv.mean(dim=(2, 3)).numpy(), atol=1e-5)
    assert flat.width("3") == 2 and flat.ids.tolist() == list(task.ids)


def test_an_activation_changed_in_place_later_keeps_the_value_it_had():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(inplace=True), torch.nn.Linear(8, 2))
    inputs = torch.randn(6, 4)
    task = Task.from_frame(pd.DataFrame({"answer": [0, 1] * 3}), inputs=inputs.numpy())
    found = extract(wrap(module, name="mlp"), task, ["0", "2"])
    with torch.no_grad():
        np.testing.assert_allclose(found["0"], module[0](inputs).numpy(), atol=1e-6)


def test_it_runs_no_deeper_than_asked_and_computes_no_logits(gpt2, task):
    raw, tokenizer = gpt2
    model, ran = wrap(raw, name="gpt2", tokenizer=tokenizer), []
    modules = {"block 1": raw.transformer.h[1], "block 2": raw.transformer.h[2], "head": raw.lm_head}
    handles = [m.register_forward_hook(lambda *_, k=k: ran.append(k)) for k, m in modules.items()]
    extract(model, task, ["blocks.1.hook_resid_post", "blocks.0.hook_resid_post"], batch_tokens=10_000)
    assert set(ran) <= {"block 1"}
    extract(model, task, batch_tokens=10_000)
    assert "head" not in ran
    for handle in handles:
        handle.remove()


def test_what_is_not_finite_is_named(hooked, task_of, tmp_path, monkeypatch):
    task = task_of(9)
    forward = type(hooked).forward
    bad = len(task.prompts[4].split()) + 1

    def broken(self, batch, **options):
        out = forward(self, batch, **options)
        for row, length in enumerate(batch.mask.sum(dim=1)):
            if length == bad and batch.tokens[row, 1:bad].tolist() == wanted:
                out.activations["blocks.0.hook_resid_post"][row] = float("nan")
        return out

    wanted = hooked.tokenizer(task.prompts[4])["input_ids"][1:]
    monkeypatch.setattr(type(hooked), "forward", broken)
    for position in POSITIONS:
        for out in (None, tmp_path / position):
            with pytest.raises(InputError, match=r"item 'item-4' has nan at hook point 'blocks\.0\.hook_resid_post'"):
                extract(hooked, task, position=position, out=out)
        assert not (tmp_path / position).exists()


def test_values_too_large_for_the_storage_are_told_apart(hooked, task, monkeypatch):
    forward = type(hooked).forward

    def large(self, batch, **options):
        out = forward(self, batch, **options)
        out.activations[first] += 1e5
        return out

    first = hooked.layer_points[0]
    monkeypatch.setattr(type(hooked), "forward", large)
    with pytest.raises(InputError, match=f"at hook point '{first}', too large for float16; use bfloat16 or float32"):
        extract(hooked, task, dtype="float16")
    extract(hooked, task, dtype="bfloat16")


def test_it_is_silent_but_for_the_log(hooked, task, tmp_path, caplog):
    said = io.StringIO()
    caplog.set_level(logging.INFO, "mechdecouple")
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        extract(hooked, task, out=tmp_path / "out")
    assert said.getvalue() == ""
    assert "kB to write to" in caplog.text


def test_the_progress_bar_counts_tokens_on_a_terminal(hooked, task, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    extract(hooked, task, batch_tokens=20)
    assert "extract hooked" in terminal.getvalue() and "tok/s" in terminal.getvalue()
    quiet = Terminal()
    monkeypatch.setattr("sys.stderr", quiet)
    extract(hooked, task, progress=False)
    assert quiet.getvalue() == ""
