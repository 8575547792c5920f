import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import stats
from mechdecouple.compare.latents import effects
from mechdecouple.compare.latents.effects import measure_effects
from mechdecouple.interventions import splice
from mechdecouple.tasks import Task

DIRECTIONS = np.linalg.qr(np.random.default_rng(3).normal(size=(12, 12)))[0][:5]
READ = np.array([1.5, -1.0, 0.0, 0.3, 0.0])
"""Five latents of unit length: what the readout makes of each for class 1 against class 0; two are not read."""


class Readout(nn.Module):
    """Inputs as they are, and a linear readout of them."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(12, 12, bias=False), nn.Linear(12, 3, bias=False)
        with torch.no_grad():
            self.body.weight.copy_(torch.eye(12))
            gains = np.stack([-READ / 2, READ / 2, np.zeros(5)]) @ DIRECTIONS
            self.head.weight.copy_(torch.tensor(gains, dtype=torch.float32))

    def forward(self, x):
        return self.head(self.body(x))


@pytest.fixture(scope="module")
def linear(side_of):
    rng = np.random.default_rng(0)
    codes = np.maximum(rng.normal(size=(750, 5)), 0)
    answers = (codes @ READ > 0).astype(int)
    table = pd.DataFrame({"id": [f"x{i}" for i in range(750)], "answer": answers, "group": np.arange(750) // 2})
    task = Task.from_frame(table.astype({"group": str}), inputs=(codes @ DIRECTIONS).astype(np.float32))
    return side_of(Readout(), task, ("body",)), codes


def measured(linear, planted, lacking=(), **patches):
    side, _ = linear
    groups = np.unique(side.task.groups)[::3]
    mask = np.isin(np.arange(5), lacking)
    return measure_effects(side, "body", planted(DIRECTIONS), np.arange(5), mask, groups), groups


def expected(linear, groups):
    """What each latent adds to right minus mean of the others, on the items of these groups."""
    side, codes = linear
    rows = np.flatnonzero(np.isin(side.task.groups, groups))
    right = side.task.answers[rows]
    # logits -r/2, r/2, 0: right less the mean of the others
    gain = np.where(right == 1, 0.5 - (-0.5) / 2, -0.5 - 0.5 / 2)
    return codes[rows] * READ * gain[:, None], rows


def test_in_a_linear_readout_attribution_and_ablation_are_what_was_planted(linear, planted):
    found, groups = measured(linear, planted)
    per_item, rows = expected(linear, groups)
    np.testing.assert_allclose(found.attribution.value, per_item.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.ablation.value, per_item.mean(axis=0)[found.ablated], atol=1e-5)
    side = linear[0]
    blocks = stats.jackknife_blocks(side.task.groups[rows], side.config.blocks, side.config.seed)
    low, high = stats.jackknife(lambda r: per_item[r].mean(axis=0), blocks, len(groups)).interval()
    np.testing.assert_allclose(found.attribution.interval(), (low, high), atol=1e-5)
    assert found.attribution.n == len(groups)


def test_latents_that_nothing_reads_do_nothing_and_those_read_do_more_than_random_directions(linear, planted):
    found, _ = measured(linear, planted)
    by_latent = dict(zip(found.ablated.tolist(), found.beyond().tolist(), strict=True))
    assert by_latent[0] and not by_latent[2] and not by_latent[4]
    at = found.ablated.tolist()
    assert abs(found.ablation.value[at.index(2)]) < 1e-6
    assert (found.null > 0).all()
    assert found.matters[at.index(2)] == []


def test_the_null_is_what_random_directions_do(linear, planted, monkeypatch):
    monkeypatch.setattr(effects, "_DRAWS", 300)
    found, groups = measured(linear, planted)
    side, codes = linear
    rows = np.flatnonzero(np.isin(side.task.groups, groups))
    right = side.task.answers[rows]
    gradient = np.where(right == 1, 0.75, -0.75)[:, None] * (READ @ DIRECTIONS)
    # a direction of unit length at random in d dimensions holds 1/d of any other's square
    size = np.linalg.norm(codes[rows].T @ gradient / len(rows), axis=1) / np.sqrt(12)
    np.testing.assert_allclose(found.null, size[found.ablated], rtol=0.15)


def test_it_names_the_items_that_a_latent_moves_most(linear, planted):
    found, groups = measured(linear, planted)
    per_item, rows = expected(linear, groups)
    ids = np.asarray(linear[0].task.ids)[rows]
    for latent in (0, 1):
        named = found.matters[found.ablated.tolist().index(latent)]
        best = ids[np.argsort(-np.abs(per_item[:, latent]))[: effects.MATTERS]].tolist()
        assert named == best[: len(named)] and len(named) >= 4


def test_first_by_attribution_then_those_that_the_other_model_lacks(linear, planted, monkeypatch):
    monkeypatch.setattr(effects, "TOP", 1)
    assert measured(linear, planted, lacking=[2, 3])[0].ablated.tolist() == [0, 3, 2]
    monkeypatch.setattr(effects, "MOST", 2)
    found, _ = measured(linear, planted, lacking=[2, 3])
    assert found.ablated.tolist() == [0, 3]
    assert found.skipped == "ablation: not among the 2 latents that were ablated"
    monkeypatch.setattr(effects, "MOST_PLACES", 0)
    assert len(measured(linear, planted)[0].ablated) == 0


def test_all_that_the_other_model_lacks_at_once_is_their_sum_in_a_linear_readout(linear, planted):
    found, groups = measured(linear, planted, lacking=[0, 3])
    per_item, _ = expected(linear, groups)
    assert found.exclusive.value == pytest.approx(per_item[:, [0, 3]].sum(axis=1).mean(), abs=1e-5)
    assert found.exclusive.low < found.exclusive.value < found.exclusive.high
    none, _ = measured(linear, planted)
    assert np.isnan(none.exclusive.value) and "lacks a partner" in none.exclusive.reason


@pytest.mark.parametrize("position", ["last", "all"])
def test_in_a_language_model_it_is_what_splicing_the_latent_out_does(gpt2_dir, yes_no_csv, side_of, planted, position):
    point = "blocks.0.hook_resid_post"
    # at all tokens truth cannot be probed, and no beliefs are asked for here
    side = side_of(gpt2_dir, Task.from_file(yes_no_csv), (point,), position=position)
    one = planted(np.random.default_rng(0).normal(size=(3, 16)))
    groups = np.unique(side.task.groups)[::2]
    found = measure_effects(side, point, one, np.arange(3), np.zeros(3, bool), groups)

    def without(latent):
        def change(x):
            flat = x.reshape(-1, 16)
            codes = torch.tensor(one.encode_sparse(flat.numpy()).toarray()[:, [latent]], dtype=x.dtype)
            return (flat - codes * torch.tensor(one.decoder[latent], dtype=x.dtype)).reshape(x.shape)

        return lambda _, at: splice(change, at)

    subject = side.subject
    rows = np.flatnonzero(np.isin(subject.task.groups, groups))

    def lead(answers):
        right = np.array([c.index(a) for c, a in zip(subject.task.choices, subject.task.answers, strict=True)])
        return (answers.logp[np.arange(60), right] - answers.logp[np.arange(60), 1 - right])[rows]

    for i, latent in enumerate(found.ablated):
        effect = (lead(subject.baseline) - lead(subject.answers(point, without(latent)))).mean()
        assert found.ablation.value[i] == pytest.approx(effect, abs=2e-5)
    assert np.abs(found.ablation.value).max() > 0.005


def test_reasons(linear, planted, gpt2_dir, side_of):
    side, _ = linear
    none = measure_effects(side, "body", planted(DIRECTIONS), np.arange(5), np.zeros(5, bool), np.array(["?"]))
    assert "lies in groups held out" in none.reason and none.attribution is None
    empty = measure_effects(side, "body", planted(DIRECTIONS), np.arange(0), np.zeros(0, bool), side.task.groups)
    assert empty.reason == "no latent fires"
    texts = Task.from_frame(pd.DataFrame({"prompt": [f"w{i} w{i + 1} w3" for i in range(12)]}))
    point = "blocks.0.hook_resid_post"
    lm = side_of(gpt2_dir, texts, (point,), position="mean")
    one = planted(np.eye(16)[:2])
    found = measure_effects(lm, point, one, np.arange(2), np.ones(2, bool), texts.groups)
    assert "'loss'" in found.reason and found.exclusive.reason == found.reason
