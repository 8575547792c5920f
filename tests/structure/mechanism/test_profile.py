from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import load_pretrained, wrap
from mechdecouple.results import frame
from mechdecouple.structure.mechanism import _schedule
from mechdecouple.structure.mechanism._schedule import profile_items
from mechdecouple.structure.mechanism._scores import Scorer, sampled, share_changed
from mechdecouple.structure.mechanism.component import Component, combined
from mechdecouple.structure.mechanism.options import OptionLogits
from mechdecouple.structure.mechanism.profile import METRICS, causal_profile, profile_cost
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import donors
from mechdecouple.tasks import Task

PIZZA = Path(__file__).parents[4] / "shared/data/pizza"
K = 4


class Two(nn.Module):
    """Logits [b, 4] = gain · table[first input] + other table[second input]; a third part says nothing."""

    def __init__(self, gain=1.0, rotation=None):
        super().__init__()
        rng = np.random.default_rng(0)
        tables = rng.normal(size=(2, K, K))
        tables -= tables.mean(axis=2, keepdims=True)
        tables -= tables.mean(axis=1, keepdims=True)
        self.tables = [gain * tables[0], tables[1]]
        turn = np.eye(K) if rotation is None else np.linalg.qr(np.random.default_rng(rotation).normal(size=(K, K)))[0]
        self.left, self.right, self.idle = nn.Linear(K, K, bias=False), nn.Linear(K, K, bias=False), nn.Linear(K, K)
        self.turn = torch.as_tensor(turn, dtype=torch.float32)
        with torch.no_grad():
            self.left.weight.copy_(torch.as_tensor((self.tables[0] @ turn.T).T))
            self.right.weight.copy_(torch.as_tensor(self.tables[1].T))

    def forward(self, x):
        return self.left(x[:, :K]) @ self.turn + self.right(x[:, K:]) + 0 * self.idle(x[:, :K])


def factorial(copies=4, right=None, groups=None):
    """All pairs of two inputs with K values each, one-hot, several times over."""
    a, b = np.divmod(np.tile(np.arange(K * K), copies), K)
    inputs = np.concatenate([np.eye(K)[a], np.eye(K)[b]], axis=1).astype(np.float32)
    answer = (a + b) % K if right is None else right(a, b)
    frame = pd.DataFrame({"id": [f"i{i}" for i in range(len(a))], "answer": answer})
    if groups is not None:
        frame["group"] = groups
    return Task.from_frame(frame, name="factorial", performance="class", inputs=inputs)


def two(gain=1.0, rotation=None, name="two", **task):
    return Rig(wrap(Two(gain, rotation), name=name), factorial(**task))


def test_shares_of_independent_summands_are_their_shares_of_the_variance():
    rig = two(gain=2.0)
    left, right = (np.array(t) for t in rig.model.module.tables)
    s = (left**2).mean() / ((left**2).mean() + (right**2).mean())
    profile = causal_profile(rig)
    share = dict(zip(profile.names, profile.share.value, strict=True))
    assert profile.names == ("left", "right", "idle") and profile.ablations == ("zero", "mean", "resample")
    np.testing.assert_allclose(share["left"][:2], s / (2 - s), atol=1e-5)
    np.testing.assert_allclose(share["right"][:2], (1 - s) / (1 + s), atol=1e-5)
    # Resampling draws once an item: its mean over draws is the share of the variance.
    drawn = [causal_profile(rig, ablations=["resample"], seed=i).share.value[:2, 0] for i in range(12)]
    np.testing.assert_allclose(np.mean(drawn, axis=0), [s, 1 - s], atol=0.04)
    np.testing.assert_array_equal(share["idle"], 0)


def test_the_effect_is_what_the_part_says_for_the_right_option():
    rig = two()
    a, b = np.divmod(np.tile(np.arange(K * K), 4), K)
    left, right = rig.model.module.tables
    profile = causal_profile(rig, ablations=["mean"])
    np.testing.assert_allclose(profile.effect[0, 0], left[a, (a + b) % K], atol=1e-5)
    np.testing.assert_allclose(profile.effect[1, 0], right[b, (a + b) % K], atol=1e-5)
    m = K / (K - 1)
    np.testing.assert_allclose(profile.difference.value[0, 0], m * right[b, (a + b) % K].mean(), atol=1e-5)
    np.testing.assert_allclose(profile.accuracy.value[0, 0], (right[b].argmax(1) == (a + b) % K).mean())
    clean = (left[a] + right[b]).argmax(1) == (a + b) % K
    np.testing.assert_allclose(profile.clean_accuracy.value, clean.mean())


def test_the_basis_of_a_part_does_not_count():
    plain, turned = causal_profile(two()), causal_profile(two(rotation=3))
    np.testing.assert_allclose(plain.effect, turned.effect, atol=1e-4)
    np.testing.assert_allclose(plain.share.value, turned.share.value, atol=1e-4)


class BackUp(nn.Module):
    """The spare part speaks only where the first one is silent."""

    def __init__(self):
        super().__init__()
        self.first, self.spare = nn.Linear(2 * K, 2 * K, bias=False), nn.Linear(2 * K, 2 * K, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(2 * K))
            self.spare.weight.copy_(torch.eye(2 * K))

    def forward(self, x):
        first, spare = self.first(x), self.spare(x)
        silent = (first.abs().sum(1, keepdim=True) < 0.5).float()
        said = first + silent * spare
        return 5 * said[:, :K]


def test_a_part_that_is_backed_up_has_no_effect_alone():
    rig = Rig(wrap(BackUp(), name="spare"), factorial(right=lambda a, b: a))
    parts = [Component(name, "module", name, 0.0) for name in ("first", "spare")]
    profile = causal_profile(rig, [*parts, combined("both", "module", parts)], ablations=["zero"])
    np.testing.assert_allclose(profile.share.value[:, 0], [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(profile.accuracy.value[:, 0], [1, 1, 1 / K])
    assert profile.clean_accuracy.value == 1 and profile.whole("module") == 2
    # No error among n items is no certainty.
    assert profile.clean_accuracy.interval()[0] < 1


def random_logits(n, m, seed):
    x = np.random.default_rng(seed).normal(size=(n, m))
    return x - x.mean(axis=1, keepdims=True)


def test_share_changed_has_its_closed_forms():
    x, y = random_logits(20_000, 5, 0), random_logits(20_000, 5, 1)
    assert share_changed(x, x) == 0 and share_changed(x, 0 * x) == pytest.approx(1)
    assert share_changed(x, y) == pytest.approx(1, abs=0.02)
    for s in (0.1, 0.5):
        mixed = np.sqrt(1 - s) * x + np.sqrt(s) * y
        z = random_logits(20_000, 5, 2)
        assert share_changed(mixed, np.sqrt(1 - s) * x + np.sqrt(s) * z) == pytest.approx(s, abs=0.01)
        assert share_changed(mixed, np.sqrt(1 - s) * x) == pytest.approx(s / (2 - s), abs=0.01)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0]
    assert share_changed(7 * x @ turn, 7 * (x + y) @ turn) == pytest.approx(share_changed(x, x + y))
    assert share_changed(x, -x) == 1
    assert np.isnan(share_changed(np.ones((4, 2)), np.ones((4, 2))))


def test_missing_options_do_not_count():
    x, y = random_logits(50, 3, 0), random_logits(50, 3, 1)
    pad = np.full((50, 2), np.nan)
    assert share_changed(np.hstack([x, pad]), np.hstack([y, pad])) == pytest.approx(share_changed(x, y))


def test_intervals_leave_out_blocks_of_groups():
    x, y = random_logits(60, 3, 0), random_logits(60, 3, 1)
    groups = np.arange(60) // 3
    clean, edited = (OptionLogits(v, np.zeros(60, np.int64)) for v in (x, 0.5 * x + y))
    scorer = Scorer(clean, groups)
    share = scorer.share([scorer.score(edited)])
    by_hand = np.sort([share_changed(x[groups != g], (0.5 * x + y)[groups != g]) for g in range(20)])
    np.testing.assert_allclose(np.sort(share.replicates[:, 0]) - share.value, by_hand - by_hand.mean(), atol=1e-12)
    assert share.n == 20 and share.replicates.shape == (20, 1)
    correct = scorer.mean(clean.correct, share_of_items=True)
    np.testing.assert_allclose(
        np.sort(correct.replicates), np.sort([clean.correct[groups != g].mean() for g in range(20)])
    )


def test_a_share_at_its_bound_is_not_certain_unless_it_would_be_far_beyond():
    x, y = random_logits(60, 3, 0), random_logits(60, 3, 1)
    scorer = Scorer(OptionLogits(x, np.zeros(60, np.int64)), np.arange(60))
    y = y - x * (x * y).sum() / (x**2).sum()
    edits = [y, 0 * x, x + 50 * np.array([1.0, -1.0, 0.0])]
    share = scorer.share([scorer.score(OptionLogits(v, np.zeros(60, np.int64))) for v in edits])
    np.testing.assert_allclose(share.value, 1)
    low = share.interval()[0]
    assert 0.7 < low[0] < 1 and low[0] < low[1] and low[2] == 1


def test_items_of_a_length_of_their_own_are_reported(gpt2_dir, yes_no_items):
    rig = Rig(load_pretrained(str(gpt2_dir)), Task.from_frame(yes_no_items.head(9), name="words"))
    lengths = rig.encoded.lengths
    alone = np.mean([(lengths == n).sum() == 1 for n in lengths])
    profile = causal_profile(rig, ablations=["zero", "mean"])
    assert profile.alone == pytest.approx(alone) and 0 < alone < 1
    rows = frame(profile.measurements())
    said = rows.reason.str.contains("no other of their length")
    assert said[rows.context == "mean"].all() and not said[rows.context == "zero"].any()


def test_shares_are_unbiased_over_the_ways_of_drawing_another_item():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 7))
    left, right = np.stack([a, -a, 0 * a, 0 * a], axis=1), np.stack([0 * b, 0 * b, b, -b], axis=1)
    left, right = (2 * left, right) if a.var() < b.var() else (left, 2 * right)
    scorer = Scorer(OptionLogits(left + right, np.zeros(7, np.int64)), np.arange(7))
    rolled = [OptionLogits(np.roll(left, k, axis=0) + right, np.zeros(7, np.int64)) for k in range(1, 7)]
    shares = scorer.share([scorer.score(edited, drawn=True) for edited in rolled]).value
    s = left.var(axis=0).sum() / (left.var(axis=0).sum() + right.var(axis=0).sum())
    assert shares.max() < 1 and shares.mean() == pytest.approx(s)


def coverage(n, m, s, simulations):
    """How often the interval of a resampled share holds the share of the variance; mean share."""
    rng, held, shares = np.random.default_rng(0), 0, []
    for _ in range(simulations):
        a, b = np.sqrt([[[s]], [[1 - s]]]) * rng.normal(size=(2, n, m))
        a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
        right, drawn = np.zeros(n, np.int64), a[donors(np.arange(n), rng)]
        scorer = Scorer(OptionLogits(a + b, right), np.arange(n))
        share = scorer.share([scorer.score(OptionLogits(drawn + b, right), drawn=True)])
        low, high = share.interval()
        held += low[0] <= s <= high[0]
        shares.append(share.value[0])
    return held / simulations, np.mean(shares)


def test_intervals_of_resampled_shares_hold_what_they_say():
    held, share = coverage(100, 10, 0.5, 150)
    assert 0.9 <= held <= 0.99 and share == pytest.approx(0.5, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("m", [2, 10])
@pytest.mark.parametrize("s", [0.1, 0.5, 0.9])
def test_coverage_of_resampled_shares(m, s):
    held, share = coverage(100, m, s, 1000)
    assert 0.925 <= held <= 0.975 and share == pytest.approx(s, abs=0.02)


def test_the_budget_is_kept_and_spent_on_what_matters():
    rig = two(gain=3.0)
    parts = [Component(n, "module", n, 0.0) for n in ("idle", "right", "left")]
    whole = causal_profile(rig, parts, ablations=["mean"])
    assert whole.passes == profile_cost(rig, parts, ablations=["mean"]) == 64 * 4 and whole.exact.all()
    budget = 64 * 6 - 1
    some = causal_profile(rig, parts, ablations=["mean", "zero"], budget=budget + 1)
    assert some.passes == profile_cost(rig, parts, ablations=["mean", "zero"], budget=budget + 1) == budget + 1
    assert some.exact.tolist() == [False, False, True] and some.names == ("idle", "right", "left")
    np.testing.assert_array_equal(some.effect[2, 0], whole.effect[2, 0])
    assert np.isnan(some.effect[:2]).all() and np.isnan(some.share.value[:2]).all()
    np.testing.assert_allclose(some.attributed[1:], whole.effect[1:, 0], atol=1e-5)
    table = frame(some.measurements())
    assert table.loc[table.position == "right", "reason"].str.contains("budget was spent").all()
    assert not some.frame().exact[0] and "attributed" in some.frame()
    with pytest.raises(InputError, match="give 384 or more"):
        causal_profile(rig, parts, ablations=["mean", "zero"], budget=budget)


def test_parts_that_other_models_have_come_first():
    rig = two(gain=3.0)
    coarse = Component("idle", "module", "idle", 0.0)
    fine = [Component(f"{side} {i}", "units", side, 0.0, index=(i,)) for side in ("left", "right") for i in range(K)]
    profile = causal_profile(rig, [*fine, coarse], ablations=["mean"], budget=64 * 6)
    assert profile.exact.sum() == 2 and profile.exact[-1]


def test_items_are_whole_groups_and_the_same_for_every_model():
    groups = [f"g{i // 2}" for i in range(64)]
    a, b = (causal_profile(r, limit=20) for r in (two(groups=groups), two(gain=4.0, groups=groups)))
    np.testing.assert_array_equal(a.ids, b.ids)
    assert len(a.ids) == 20 and a.share.n == 10
    assert (np.unique(a.groups, return_counts=True)[1] == 2).all()
    assert not np.array_equal(sampled(np.array(groups), 20, seed=1), sampled(np.array(groups), 20, seed=2))
    assert profile_items([Component("x", "module", "x", 0.0)] * 40, budget=12_000) == 12_000 // (5 + 120) == 96


def test_memory_bounds_what_is_recorded_at_once(monkeypatch):
    whole = causal_profile(two())
    monkeypatch.setattr(_schedule, "_TAPE_BYTES", 1)
    assert profile_cost(two()) == whole.passes + 2 * 64
    pieces = causal_profile(two())
    np.testing.assert_array_equal(whole.effect, pieces.effect)
    assert pieces.passes == whole.passes + 2 * 64


def test_results_answer_as_tables():
    profile = causal_profile(two())
    rows = frame(profile.measurements())
    assert set(rows.metric) == {m.name for m in METRICS} and len(rows) == 3 * 3 * 3
    assert (rows.family == "mechanism").all() and set(rows.context) == {"zero", "mean", "resample"}
    table = profile.frame()
    assert len(table) == 9 and ((table.share_low <= table.share) & (table.share <= table.share_high)).all()
    assert "left" in profile._repr_html_()
    part = profile.select([profile.index("right")])
    assert part.names == ("right",) and part.share.value.tolist() == profile.share.value[1:2].tolist()
    with pytest.raises(InputError, match="no component 'up'"):
        profile.index("up")
    with pytest.raises(InputError, match="no ablation 'knock'"):
        profile.column("knock")


def test_bad_input_is_named():
    with pytest.raises(InputError, match="ablations of zero, mean, resample"):
        causal_profile(two(), ablations=[])
    with pytest.raises(InputError, match="0 components"):
        causal_profile(two(), [])
    with pytest.raises(InputError, match="the same name"):
        causal_profile(two(), [Component("x", "module", "left", 0.0)] * 2)
    with pytest.raises(InputError, match="one class"):
        causal_profile(two(right=lambda a, b: 0 * a))
    broken = two()
    with torch.no_grad():
        broken.model.module.left.weight[0, 0] = np.nan
    with pytest.raises(ModelError, match="NaN or infinite"):
        causal_profile(broken)


def test_constant_answers_have_no_share_and_say_why():
    rig = two()
    with torch.no_grad():
        rig.model.module.left.weight.zero_()
        rig.model.module.right.weight.zero_()
    profile = causal_profile(rig, ablations=["zero"])
    assert np.isnan(profile.share.value).all() and profile.exact.all()
    rows = frame(profile.measurements())
    assert rows.loc[rows.metric == "causal_share", "reason"].str.contains("the same on all items").all()


def test_two_options_in_words(gpt2_dir, yes_no_items):
    rig = Rig(load_pretrained(str(gpt2_dir)), Task.from_frame(yes_no_items.head(20), name="words"))
    profile = causal_profile(rig, ablations=["mean"])
    assert profile.exact.all() and np.isfinite(profile.share.value).all()
    # With two options the centred logit of the right one is half the difference.
    np.testing.assert_allclose(
        2 * (rig.clean.answer.mean() - profile.effect.mean(2)), profile.difference.value, rtol=1e-4
    )


@pytest.mark.skipif(not PIZZA.exists(), reason="published nets are not here")
@pytest.mark.parametrize(("net", "left"), [("l8k1hzciux", 0.55), ("p99zdpze5l", 1.0)])
def test_the_published_clock_needs_its_attention_patterns_and_the_pizza_does_not(net, left):
    a, b = np.divmod(np.arange(59**2), 59)
    items = pd.DataFrame({"id": np.arange(59**2).astype(str), "answer": (a + b) % 59})
    items["tokens"] = [[int(x), int(y)] for x, y in zip(a, b, strict=True)]
    rig = Rig(load_pretrained(PIZZA / f"model_{net}.pt"), Task.from_frame(items, name="sums", performance="class"))
    patterns = Component("L0 patterns", "pattern", "blocks.0.attn.hook_pattern", 0.0)
    profile = causal_profile(rig, [patterns], ablations=["mean"], limit=59**2)
    assert profile.clean_accuracy.value == 1.0
    assert profile.accuracy.value[0, 0] == pytest.approx(left, abs=0.01)
