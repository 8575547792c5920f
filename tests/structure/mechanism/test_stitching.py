import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError, MismatchError, ModelError
from mechdecouple.models import build, wrap
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._driving import Side, driving
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.stitched import Direction
from mechdecouple.structure.mechanism.stitching import plan_stitching
from mechdecouple.structure.mechanism.stitching import stitch as stitch_within
from mechdecouple.tasks import Task

P = 17
A, B = np.divmod(np.arange(P * P), P)
ONE_HOT = np.eye(P, dtype=np.float32)
POINTS = ("embed", "hidden")


def stitch(*args, budget=3500, **options):
    return stitch_within(*args, budget=budget, **options)


def waves(frequencies):
    """[P, 2k] cosine and sine of each value at k frequencies."""
    x = np.arange(P)[:, None] * 2 * np.pi / P * np.array(frequencies)
    return torch.tensor(np.concatenate([np.cos(x), np.sin(x)], axis=1), dtype=torch.float32)


class Cyclic(nn.Module):
    """a + b (mod P) from its waves at some frequencies: x [b, 2P] one-hot -> logits [b, P].

    Both hook points also hold, where nothing reads it, a code of their values in which every value has a dimension of
    its own: any table can be looked up in it. ``seed`` writes both in another basis, at another place and scale;
    ``twice`` widens the first. ``around`` is how much of the embedding reaches the sum past the hook point.
    """

    def __init__(self, frequencies, seed=None, twice=False, around=0.0):
        super().__init__()
        table = torch.cat([waves(frequencies), 0.3 * torch.eye(P)], dim=1)
        table = torch.cat([table, table], dim=1) if twice else table
        width, self.k, self.around = table.shape[1], 2 * len(frequencies), around
        self.turn, self.shift, self.back = changed(width, seed)
        self.hidden_turn, self.hidden_shift, self.hidden_back = changed(self.k + P, seed)
        self.embed = nn.Linear(2 * P, 2 * width)
        with torch.no_grad():
            moved = table @ self.turn
            self.embed.weight[:] = torch.block_diag(moved, moved).T
            self.embed.bias[:] = self.shift.repeat(2)
        self.hidden, self.unembed, self.waves = Same(), Same(), waves(frequencies)

    def forward(self, x):
        at_point = self.embed(x).unflatten(1, (2, -1))
        past = nn.functional.linear(x, self.embed.weight, self.embed.bias).unflatten(1, (2, -1))
        code = ((1 - self.around) * at_point + self.around * past - self.shift) @ self.back
        cos, sin = code[..., : self.k // 2], code[..., self.k // 2 : self.k]
        cosine, sine = cos[:, 0] * cos[:, 1] - sin[:, 0] * sin[:, 1], sin[:, 0] * cos[:, 1] + cos[:, 0] * sin[:, 1]
        summed = torch.cat([cosine, sine], dim=1)
        seen = nn.functional.one_hot((summed @ self.waves.T).argmax(dim=1), P)
        h = self.hidden(torch.cat([summed, 0.3 * seen], dim=1) @ self.hidden_turn + self.hidden_shift)
        return self.unembed(((h - self.hidden_shift) @ self.hidden_back)[:, : self.k] @ self.waves.T)


class Same(nn.Module):
    """A name for what passes."""

    def forward(self, x):
        return x + 0


def changed(width, seed):
    """An invertible matrix, a shift, and the inverse."""
    if seed is None:
        return torch.eye(width), torch.zeros(width), torch.eye(width)
    rng = np.random.default_rng(seed)
    q = np.linalg.qr(rng.normal(size=(width, width)))[0] * rng.uniform(0.5, 2, width)
    tensors = (torch.tensor(x, dtype=torch.float32) for x in (q, rng.normal(size=width), np.linalg.inv(q)))
    return tuple(tensors)


def sums(groups=None, answer=None, inputs=None):
    frame = {"id": [f"i{i}" for i in range(P * P)], "answer": (A + B) % P if answer is None else answer}
    frame |= {"concept_a": A.astype(float), "concept_b": B.astype(float)}
    if groups is not None:
        frame["group"] = groups
    x = np.concatenate([ONE_HOT[A], ONE_HOT[B]], axis=1) if inputs is None else inputs
    return Task.from_frame(pd.DataFrame(frame), name="sums", performance="class", inputs=x)


def rig(*args, name="net", task=None, **kwargs):
    return Rig(wrap(Cyclic(*args, **kwargs), name=name), task or sums())


@pytest.fixture(scope="module")
def first():
    return rig([1, 2, 5], name="first")


@pytest.fixture(scope="module")
def copied(first):
    return stitch(first, rig([1, 2, 5], seed=3, name="copy"), POINTS, POINTS)


def test_a_copy_in_another_basis_is_driven_as_well_as_by_itself(first, copied):
    assert first.clean.correct.all()
    for direction in copied.directions:
        on = np.eye(2, dtype=bool)
        assert (direction.accuracy.value[on] > 0.85).all() and (direction.kept.value[on] > 0.8).all()
        assert direction.ceiling.value.min() > 0.85 and direction.clean.value == 1.0
        assert direction.floor.value.max() < 0.3
        assert direction.informative.all() and direction.works[on].all()
        assert direction.transfer[0, 0].value == pytest.approx(1, abs=0.15)
        assert "evidence of shared variables" in direction.sentence


def test_what_is_not_there_yet_or_no_longer_there_cannot_be_given(copied):
    """The sum is no affine function of a and b, nor they of it."""
    for direction in copied.directions:
        assert not direction.works_partly[0, 1] and not direction.works_partly[1, 0]


@pytest.fixture(scope="module")
def other():
    return rig([3, 4, 7], name="other")


def test_other_variables_drive_nothing_on_values_that_were_never_fitted(first, other):
    made = stitch(first, other, POINTS, POINTS)
    assert made.holdout.held == ("a", "b", "answer")
    for direction in made.directions:
        assert direction.accuracy.value.max() < 0.35 and direction.ceiling.value.min() > 0.85
        assert direction.informative.all() and not direction.works_partly.any()
        assert "no evidence either way" in direction.sentence
    assert "no evidence of another mechanism" in made.sentence


def test_the_trap_without_held_out_values_is_seen_by_the_controls(first, other):
    """On values seen while fitting, tables are looked up: other variables seem to do, and so do fresh weights at the
    embedding and the mere name of the answer behind it. No pair is then informative."""
    made = stitch(first, other, POINTS, POINTS, by="groups")
    for direction in made.directions:
        assert (direction.accuracy.value[np.eye(2, dtype=bool)] > 0.9).all()
        assert direction.random[0].value > 0.9 and direction.answer[1].value > 0.9
        assert not direction.informative.any() and direction.best is None
        assert np.isnan(direction.transfer.value).all() and np.isnan(direction.p).all()
        assert "no pair of layers is informative" in direction.sentence


def test_models_of_other_width_are_stitched(first):
    made = stitch(first, rig([1, 2, 5], seed=4, twice=True, name="wide"), POINTS, ("embed",))
    assert made.forward.accuracy.shape == (2, 1) and made.backward.accuracy.shape == (1, 2)
    assert made.forward.works[0, 0] and made.backward.works[0, 0]


def test_a_hook_point_that_is_bypassed_is_not_informative(first):
    made = stitch(first, rig([1, 2, 5], around=0.9, name="around"), ("embed",), ("embed",))
    assert made.forward.accuracy.value.item() > 0.9 and made.forward.floor.value.item() > 0.9
    assert not made.forward.informative.any()
    assert made.backward.informative.all()


class Larger(nn.Module):
    """Whether a < b: x [b, 2P] one-hot -> logits [b, 2]."""

    def __init__(self):
        super().__init__()
        self.hidden, self.unembed = nn.Linear(2 * P, 2), Same()
        ramp = torch.arange(P) - (P - 1) / 2
        with torch.no_grad():
            self.hidden.weight[:] = torch.stack([torch.cat([ramp, -ramp]), torch.cat([-ramp, ramp])])
            self.hidden.bias[:] = torch.tensor([0.25, -0.25])

    def forward(self, x):
        return self.unembed(self.hidden(x))


def test_a_binary_answer_cannot_be_held_out_and_its_name_is_enough_at_the_end():
    one = Rig(wrap(Larger(), name="larger"), sums(answer=(A < B).astype(int)))
    assert one.clean.correct.all()
    made = stitch(one, one)
    assert made.forward.target_points == ("hidden",)
    assert made.holdout.held == ("a", "b") and made.holdout.seen == ("answer",)
    assert made.forward.answer[0].value > 0.9 and not made.forward.informative.any()


def test_the_cost_is_stated_before_and_kept(first):
    twin = rig([1, 2, 5], seed=3)
    before = first.passes + twin.passes
    plan = plan_stitching(first, twin, POINTS, POINTS, by="groups", budget=2000)
    assert first.passes + twin.passes == before
    made = stitch(first, twin, POINTS, POINTS, by="groups", budget=2000)
    assert first.passes + twin.passes - before == made.passes == plan.passes <= 2000
    assert made.forward.accuracy.n == len(plan.holdout.test)
    with pytest.raises(InputError, match=r"budget 100 .* fewer points"):
        plan_stitching(first, twin, POINTS, POINTS, budget=100)


def test_constant_activations_drive_nothing(first):
    dead = rig([1, 2, 5], name="dead")
    with torch.no_grad():
        dead.model.module.embed.weight.zero_()
    made = stitch(dead, first, ("embed",), ("embed",))
    assert made.forward.accuracy.value.item() < 0.35 and not made.forward.works_partly.any()
    assert np.isnan(made.backward.kept.value.item()) or not made.backward.informative.any()
    assert "vary" in " ".join(made.frame()["reason"])


class Fixed(nn.Module):
    """A linear layer without parameters."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias)


def test_where_no_weights_can_be_drawn_anew_items_are_shuffled_and_it_is_said(first):
    module = Cyclic([1, 2, 5])
    module.embed = Fixed(module.embed.weight.detach(), module.embed.bias.detach())
    made = stitch(Rig(wrap(module, name="bare"), sums()), first, ("embed",), ("embed",))
    assert any("shuffled" in note for note in made.notes) and "shuffled" in made.sentence
    assert made.forward.works[0, 0] and made.forward.random[0].value < 0.35


def test_groups_are_resampled_whole(first):
    groups = np.array([f"g{i % 40}" for i in A * P + B])
    made = stitch(Rig(first.model, sums(groups)), Rig(first.model, sums(groups)), ("embed",), ("embed",))
    accuracy = made.forward.accuracy
    assert accuracy.n == len(np.unique(groups[made.holdout.test])) < len(made.holdout.test)
    low, high = accuracy[0, 0].interval()
    assert low < accuracy[0, 0].value and high > low


def test_frames_name_every_pair_and_every_control(copied):
    table = copied.frame()
    driven = table[table["context"] == "driven"]
    assert len(driven) == 2 * 4 * 2 and set(driven["metric"]) == {"stitched_accuracy", "stitched_variance"}
    assert set(table["context"]) == {"driven", "fresh weights", "answer alone", "itself"}
    assert (table["family"] == "mechanism").all() and driven["low"].notna().all()
    assert "no evidence of another mechanism" in copied._repr_html_()


def test_items_must_be_the_same(first):
    with pytest.raises(MismatchError, match="from row 1 on"):
        stitch(first, first.select(np.arange(1, 200)))


def test_weights_that_are_not_finite_are_refused(first):
    broken = rig([1, 2, 5], name="broken")
    with torch.no_grad():
        broken.model.module.embed.weight[0] = np.nan
    with pytest.raises(ModelError, match="broken"):
        stitch(first, broken, ("embed",), ("embed",))


def test_one_group_is_too_few(first):
    one = Rig(first.model, sums(np.full(P * P, "all"), answer=(A < B).astype(int)))
    with pytest.raises(InputError, match="3 groups"):
        stitch(one, one, ("embed",), ("embed",))


def words(n=200, length=3, vocabulary=12):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, vocabulary, (n, length))
    frame = {"id": [f"i{i}" for i in range(n)], "tokens": list(tokens), "answer": tokens[:, 0]}
    return Task.from_frame(pd.DataFrame(frame), name="words", performance="class")


def transformer(layers):
    config = dict(
        n_layers=layers, d_model=16, n_ctx=8, d_head=8, n_heads=2, d_mlp=16, d_vocab=12, act_fn="relu",
        normalization_type=None,
    )  # fmt: skip
    return wrap(build(config, layers), name=f"layers {layers}")


def test_transformers_of_unequal_depth_are_stitched_between_and_inside_their_layers():
    small, large = (Rig(transformer(layers), words()) for layers in (1, 2))
    plan = plan_stitching(small, large)
    assert [len(plan.points_a), len(plan.points_b)] == [3, 5]
    assert plan.points_a[1] == "blocks.0.hook_resid_mid"
    made = stitch(small, large, plan.points_a[:1], plan.points_b[:2], by="groups", budget=2000)
    for direction, other in zip(made.directions, made.directions[::-1], strict=True):
        assert direction.accuracy.shape == other.accuracy.shape[::-1]
        assert direction.ceiling[0].value == pytest.approx(direction.clean.value, abs=0.03)
    # The embedding of the one gives that of the other exactly, at all three positions.
    assert made.forward.kept[0, 0].value > 0.999 and made.backward.kept[0, 0].value > 0.999


def test_global_generators_are_left_alone(first):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    stitch(first, first, ("embed",), ("embed",), by="groups", budget=1500)
    assert torch.equal(torch.rand(1), expected)


def ragged():
    """Prompts of 3 to 5 tokens that begin alike, so that the last 3 hold all that differs."""
    base = words()
    frame = base.frame.copy()
    frame["tokens"] = [np.r_[np.full(i % 3, 11), tokens] for i, tokens in enumerate(base.tokens or [])]
    return Task.from_frame(frame, name="ragged", performance="class")


def test_prompts_of_unequal_length_are_driven_at_their_ends_and_it_is_said():
    one = Rig(transformer(1), ragged())
    made = stitch(one, one, ("blocks.0.hook_resid_pre",), ("blocks.0.hook_resid_pre",), budget=2000)
    assert "last 3 tokens are driven" in made.sentence
    # Positions are part of the embedding, and a constant is all that they add to each prompt of one length.
    assert made.forward.kept[0, 0].value > 0.9


def test_driving_the_ends_of_prompts_gives_what_is_put_there():
    one = Rig(transformer(1), ragged())
    side = Side(one, ("blocks.0.hook_resid_post",), np.arange(len(one)), 0)
    point, values = next(iter(side.values.items()))
    same = one.read(driving(point, values, side.stretch))
    np.testing.assert_allclose(same.values, one.clean.values, atol=1e-5)
    shifted = one.read(driving(point, values.roll(1, dims=0), side.stretch))
    np.testing.assert_allclose(shifted.values, np.roll(one.clean.values, 1, axis=0), atol=1e-5)
    rows = np.arange(7, 90, 4)
    some = one.select(rows).read(driving(point, values[rows], side.stretch.select(rows)))
    np.testing.assert_allclose(some.values, one.clean.values[rows], atol=1e-5)


def direction(driven, ceiling, random=0.1, answer=0.1, spread=0.01):
    """One pair of layers; numbers with a small jackknife spread."""
    around = spread * np.linspace(-1, 1, 10)

    def replicates(value, shape):
        return Replicates(np.full(shape, value), (value + around).reshape(10, *[1] * len(shape)), "jackknife", 40)

    pair, one = (1, 1), (1,)
    return Direction(
        "a", "b", ("x",), ("y",), accuracy=replicates(driven, pair), kept=replicates(0.5, pair),
        random=replicates(random, one), answer=replicates(answer, one), ceiling=replicates(ceiling, one),
        clean=replicates(1.0, ()),
    )  # fmt: skip


def test_how_far_a_stitch_gets_decides_what_it_says():
    assert direction(0.95, 1.0).works.all() and direction(0.95, 1.0).works_partly.all()
    assert not direction(0.5, 1.0).works.any() and direction(0.5, 1.0).works_partly.all()
    assert not direction(0.2, 1.0).works_partly.any()
    assert direction(0.55, 1.0, answer=0.1).transfer.value.item() == pytest.approx(0.5)
    assert direction(0.55, 1.0, random=0.3, answer=0.1).floor.value.item() == pytest.approx(0.3)


@pytest.mark.parametrize(("ceiling", "answer", "spread"), [(0.6, 0.5, 0.01), (1.0, 1.0, 0.01), (0.9, 0.5, 5.0)])
def test_a_self_stitch_near_the_controls_is_not_informative(ceiling, answer, spread):
    one = direction(1.0, ceiling, answer=answer, spread=spread)
    # Replicates that move together would cancel.
    flipped = dataclasses.replace(
        one, ceiling=Replicates(one.ceiling.value, one.ceiling.replicates[::-1], "jackknife", 40)
    )
    assert not flipped.informative.any() and not flipped.works.any()
