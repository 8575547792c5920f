import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import mechdecouple as md
from mechdecouple.errors import InputError
from mechdecouple.models import wrap
from mechdecouple.structure.mechanism.component import Component, ablating, restoring, together
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import donors
from mechdecouple.tasks import Task


class Sum(nn.Module):
    """Logits [b, 3]: the sum of what two parts say."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 3, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, x):
        return self.left(x[:, :4]) + self.right(x[:, 4:])


def array_task(n=40, classes=3):
    inputs = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(n)], "answer": np.arange(n) % classes})
    return Task.from_frame(frame, name="sums", performance="class", inputs=inputs)


@pytest.fixture
def summed():
    torch.manual_seed(0)
    return Rig(wrap(Sum(), name="sum"), array_task())


@pytest.fixture(scope="module")
def words():
    return Rig(md.load("zoo:factored"), md.load_task("zoo:factored").select(np.arange(0, 1536, 24)))


def test_logits_are_those_of_the_model_less_their_mean(summed):
    logits = summed.model.module(torch.as_tensor(summed.task.inputs)).detach().double().numpy()
    centred = logits - logits.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(summed.clean.values, centred, atol=1e-5)
    right = summed.task.answers
    np.testing.assert_allclose(summed.clean.answer, centred[np.arange(40), right], atol=1e-5)
    others = np.array([np.delete(row, r).mean() for row, r in zip(logits, right, strict=True)])
    np.testing.assert_allclose(summed.clean.difference, logits[np.arange(40), right] - others, atol=1e-5)
    np.testing.assert_array_equal(summed.clean.correct, logits.argmax(axis=1) == right)


def test_wrong_options_are_centred_among_themselves(summed):
    wrong = summed.clean.wrong
    assert np.isnan(wrong[np.arange(40), summed.clean.right]).all()
    np.testing.assert_allclose(np.nanmean(wrong, axis=1), 0, atol=1e-12)
    kept = summed.clean.values - np.nan_to_num(wrong)
    for row, r in zip(kept, summed.clean.right, strict=True):
        assert np.ptp(np.delete(row, r)) < 1e-9


def test_classes_that_are_never_right_are_no_options():
    torch.manual_seed(0)
    task = array_task(classes=2)
    assert Rig(wrap(Sum(), name="sum"), task).clean.values.shape == (40, 2)


def test_ablating_one_of_two_summands_leaves_the_other(summed):
    tape = summed.tape(["left", "right"])
    left = Component("left", "module", "left", 0.0)
    x = torch.as_tensor(summed.task.inputs)
    module = summed.model.module
    with torch.no_grad():
        only_right = OptionLogits(_centred(module.right(x[:, 4:])), summed.clean.right)
        mean = OptionLogits(_centred(module.right(x[:, 4:]) + module.left(x[:, :4]).mean(0)), summed.clean.right)
    np.testing.assert_allclose(summed.read(ablating([left], tape, "zero")).values, only_right.values, atol=1e-5)
    np.testing.assert_allclose(summed.read(ablating([left], tape, "mean")).values, mean.values, atol=1e-5)


def test_restoring_every_part_undoes_an_ablation(words):
    tape = words.tape(["hook_embed", "blocks.0.hook_resid_post"])
    embedding = Component("embedding", "embedding", "hook_embed", 0.0)
    stream = Component("stream", "module", "blocks.0.hook_resid_post", 0.3)
    broken = words.read(ablating([embedding], tape, "zero"))
    mended = words.read(together(ablating([embedding], tape, "zero"), restoring([stream], tape)))
    assert np.abs(broken.values - words.clean.values).max() > 1
    np.testing.assert_allclose(mended.values, words.clean.values, atol=1e-4)


def test_a_tape_holds_what_came_before_the_edit(words):
    tape = words.tape(["hook_embed"])
    embedding = Component("embedding", "embedding", "hook_embed", 0.0)
    again = words.tape(["hook_embed"], ablating([embedding], tape, "zero"))
    torch.testing.assert_close(again.clean("hook_embed", 0), tape.clean("hook_embed", 0))


def test_resampling_gives_each_row_another_items_activation_once(words):
    tape = words.tape(["hook_embed", "blocks.0.attn.hook_pattern"])
    for point in tape.values:
        clean = torch.cat([tape.clean(point, c.number) for c in tape.chunks]).flatten(1).numpy()
        drawn = torch.cat([tape.reference(point, "resample", c.number) for c in tape.chunks]).flatten(1).numpy()
        np.testing.assert_array_equal(np.sort(clean.sum(1).round(3)), np.sort(drawn.sum(1).round(3)))
        assert (np.abs(clean - drawn).max(axis=1) > 0).mean() > 0.9


def test_the_mean_of_a_tape_is_that_of_each_position(words):
    tape = words.tape(["hook_embed"])
    clean = torch.cat([tape.clean("hook_embed", c.number) for c in tape.chunks])
    torch.testing.assert_close(tape.reference("hook_embed", "mean", 0)[0], clean.mean(0))


def test_lengths_are_kept_apart(yes_no_items, gpt2_dir):
    task = Task.from_frame(pd.DataFrame(yes_no_items), name="words")
    rig = Rig(md.load(str(gpt2_dir)), task)
    tape = rig.tape(["blocks.0.attn.hook_pattern", "blocks.0.hook_resid_post"])
    for point in tape.values:
        for chunk in tape.chunks:
            found = tape.reference(point, "mean", chunk.number)
            for row, length in enumerate(chunk.lengths):
                own, mean = tape.clean(point, chunk.number)[row], found[row]
                if point.endswith("pattern"):
                    torch.testing.assert_close(mean[:, :length].sum(-1), torch.ones(2, int(length)))
                # beyond the real tokens nothing is changed
                torch.testing.assert_close(
                    mean[:, length:] if point.endswith("pattern") else mean[length:],
                    own[:, length:] if point.endswith("pattern") else own[length:],
                )


def test_donors_are_a_permutation_that_keeps_no_item(words):
    rng = np.random.default_rng(0)
    items = np.repeat(np.arange(7), 3)
    found = donors(items, rng)
    assert sorted(found) == list(range(21))
    assert (items[found] != items).all()


def test_heads_and_directions_are_put_back_alone(words):
    tape = words.tape(["blocks.0.attn.hook_z"])
    x = tape.clean("blocks.0.attn.hook_z", 0)
    head = Component("L0H1", "head", "blocks.0.attn.hook_z", 0.1, -2, (1,))
    put = head.put(x, torch.zeros_like(x))
    assert not put[:, :, 1].any()
    torch.testing.assert_close(put[:, :, [0, 2, 3]], x[:, :, [0, 2, 3]])
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(x.shape[-1], 2)))[0].T
    turned = Component("plane", "latents", "blocks.0.attn.hook_z", 0.1, basis=basis).put(x, torch.zeros_like(x))
    q = torch.as_tensor(basis).to(x)
    torch.testing.assert_close(turned @ q.T, torch.zeros_like(turned @ q.T), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned + (x @ q.T) @ q, x)


def test_passes_count_items(summed):
    _ = summed.clean
    summed.read()
    assert summed.passes == 80
    assert summed.seconds_per_pass > 0


def test_answers_without_options_are_refused():
    frame = pd.DataFrame({"id": ["a", "b"], "answer": [1, 1]})
    task = Task.from_frame(frame, name="one", performance="class", inputs=np.zeros((2, 8), np.float32))
    with pytest.raises(InputError, match="one class"):
        _ = Rig(wrap(Sum(), name="sum"), task).clean


def test_a_part_of_the_items_keeps_the_classes_of_all(summed):
    rows = np.flatnonzero(summed.task.answers == 1)
    part = summed.select(rows)
    np.testing.assert_allclose(part.clean.values, summed.clean.values[rows], atol=1e-5)
    np.testing.assert_array_equal(part.clean.right, 1)


def _centred(logits):
    values = logits.double().numpy()
    return values - values.mean(axis=1, keepdims=True)
