import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.errors import InputError, MismatchError, ModelError
from mechdecouple.models import build, wrap
from mechdecouple.structure.mechanism import _rotation, _stage
from mechdecouple.structure.mechanism._swap_scores import scores
from mechdecouple.structure.mechanism.interchange import SCORES, interchange, interchange_cost
from mechdecouple.structure.mechanism.interchange_map import default_points, interchanges
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.shared_variables import shared_variables
from mechdecouple.tasks import Task

WIDTH = 24


class Planted(nn.Module):
    """Two bits in the first two inputs, noise in the others; classes 2c + d.

    ``code`` turns all of it, so that each bit has one direction of it. ``skip`` hands the input on as it is. The bits
    are read off one or the other: by ``through_c`` and ``through_d``, the weights of ``code`` for each.
    """

    def __init__(self, through_c=1.0, through_d=1.0, uses_d=True):
        super().__init__()
        turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
        self.code, self.skip = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.read = nn.Linear(2, 4)
        self.code.weight.data, self.skip.weight.data = turn.clone(), torch.eye(WIDTH)
        self.register_buffer("axes", turn[:, :2].T.clone())
        self.through, self.uses_d = (through_c, through_d), uses_d
        signs = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
        self.read.weight.data, self.read.bias.data = 2 * signs, -signs.sum(dim=1)

    def forward(self, x):
        coded, skipped = self.code(x) @ self.axes.T, self.skip(x)[:, :2]
        through = torch.tensor(self.through)
        bits = through * coded + (1 - through) * skipped
        return self.read(bits if self.uses_d else torch.stack([bits[:, 0], torch.zeros(len(x))], dim=1))


def bits_task(n=320, loud=0.3):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (n, 2))
    inputs = np.concatenate([bits, loud * rng.normal(size=(n, WIDTH - 2))], axis=1).astype(np.float32)
    frame = pd.DataFrame(
        {"answer": 2 * bits[:, 0] + bits[:, 1], "concept_c": bits[:, 0], "concept_d": bits[:, 1].astype(float)}
    )
    frame["group"] = [f"g{i // 2}" for i in range(n)]
    return Task.from_frame(frame, name="bits", performance="class", inputs=inputs)


def planted(*args, **options):
    return Rig(wrap(Planted(*args, **options), name="planted"), bits_task())


@pytest.mark.parametrize("method", ["mean_difference", "rotation"])
def test_a_planted_axis_is_followed_and_random_directions_are_not(method):
    found = interchange(planted(), "c", "code", method=method, limit=60)
    assert found.k == 1 and found.held == ("d",)
    assert found["follows"] == 1.0 and found["nothing"] == 0.0
    assert found["random"] < 0.1
    assert found["everything"] == 0.0  # brings the other bit of the source, too
    assert found["ceiling"] == 1.0 and found["share"] == 1.0
    assert found.causal is True and "is a variable" in found.sentence
    low, high = found.score("share").interval()
    assert 0.8 < low < 1 <= high  # that all follow is no certainty


def test_principal_directions_of_matched_differences_find_an_axis_that_stands_out():
    rig = Rig(wrap(Planted(), name="planted"), bits_task(loud=0.05))
    found = interchange(rig, "c", "code", method="pca", k=1, limit=60)
    assert found["follows"] == 1.0 and found["random"] < 0.1


def test_a_direction_that_noise_turns_away_is_followed_less_and_training_turns_it_back():
    rig = Rig(wrap(Planted(), name="planted"), bits_task(loud=1.0))
    rough, trained = (interchange(rig, "c", "code", method=m, limit=60) for m in ("mean_difference", "rotation"))
    assert trained["follows"] > rough["follows"] > rough["random"] + 0.2


def test_a_decodable_copy_that_nothing_reads_is_not_causal():
    rig = planted(through_c=0.0)  # c is read off the skip path; its copy in the code stands idle
    idle, used = (interchange(rig, "c", point, limit=60) for point in ("code", "skip"))
    assert idle.readable == 1.0 and used.readable == 1.0
    assert idle["follows"] == 0.0 and idle.causal is False
    assert "can be read (100 % right) but answers do not follow" in idle.sentence
    assert used.causal is True


class Either(nn.Module):
    """Whether one of two bits is set: c by the skip path, d through ``code``, which also has a loud idle copy of c."""

    def __init__(self):
        super().__init__()
        turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
        self.code, self.skip = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.code.weight.data = turn @ torch.diag(torch.tensor([5.0] + [1.0] * (WIDTH - 1)))
        self.skip.weight.data = torch.eye(WIDTH)
        self.register_buffer("axis", turn[:, 1].clone())

    def forward(self, x):
        z = 4 * (self.skip(x)[:, 0] + self.code(x) @ self.axis) - 2
        return torch.stack([-z, z], dim=1)


def test_a_trained_rotation_does_not_couple_an_idle_copy_to_what_drives_the_answer():
    task = bits_task()
    bits = task.inputs[:, :2]
    frame = task.frame.assign(answer=bits.max(axis=1).astype(int))
    rig = Rig(wrap(Either(), name="either"), Task.from_frame(frame, performance="class", inputs=task.inputs))
    assert rig.clean.correct.all()
    found = interchange(rig, "c", "code", method="rotation", limit=60)
    assert found.readable == 1.0 and found.causal is False, found.sentence
    assert interchange(rig, "d", "code", method="rotation", limit=60).causal is True


def test_a_concept_that_the_model_ignores_is_not_followed():
    rig = planted(uses_d=False)
    assert rig.clean.correct.mean() < 0.8
    found = interchange(rig, "d", "code", limit=60)
    assert found.readable == 1.0 and found["follows"] <= found["nothing"] + 0.05
    assert found.causal is not True


def test_half_of_a_variable_is_followed_in_part():
    # Half of c comes by each way: swapping one of them leaves the bit in the middle, and the answer open.
    found = interchange(planted(through_c=0.45), "c", "code", limit=60)
    assert found["share"] < 0.5 and found.causal is not True
    assert interchange(planted(through_c=0.55), "c", "code", limit=60).causal is True


class Clock(nn.Module):
    """(a + b) mod p from a turn for each: cos and sin of both in four directions of ``code``, or one for each value."""

    def __init__(self, p, circle=True):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        turn = 2 * math.pi * torch.arange(p) / p
        table = torch.stack([turn.cos(), turn.sin()]) if circle else torch.eye(p)
        k = len(table)
        self.p, self.k, self.circle = p, k, circle
        axes = torch.linalg.qr(torch.randn(3 * p, 2 * k, generator=generator))[0]
        self.code, self.read = nn.Linear(2 * p, 3 * p, bias=False), nn.Linear(2 if circle else p, p, bias=False)
        both = torch.zeros(2 * k, 2 * p)
        both[:k, :p], both[k:, p:] = table, table
        self.code.weight.data = axes @ both
        self.read.weight.data = table.T.contiguous()
        self.register_buffer("axes", axes.T.contiguous())

    def forward(self, x):
        a, b = (self.code(x) @ self.axes.T).split(self.k, dim=1)
        if self.circle:
            return self.read(
                torch.stack([a[:, 0] * b[:, 0] - a[:, 1] * b[:, 1], a[:, 0] * b[:, 1] + a[:, 1] * b[:, 0]], 1)
            )
        return self.read(torch.stack([(a * b.flip(1).roll(i + 1, 1)).sum(dim=1) for i in range(self.p)], dim=1))


def sums_task(p, copies=4, names=False):
    a, b = np.divmod(np.tile(np.arange(p * p), copies), p)
    inputs = np.concatenate([np.eye(p)[a], np.eye(p)[b]], axis=1).astype(np.float32)
    called = np.array([f"n{v:02d}" for v in range(p)])
    frame = pd.DataFrame({"answer": (a + b) % p, "concept_a": called[a] if names else a, "concept_b": b})
    frame["concept_sum"] = (a + b) % p
    return Task.from_frame(frame, name="sums", performance="class", inputs=inputs)


@pytest.mark.parametrize("names", [False, True])
def test_cyclic_values_stand_in_two_directions_that_hold_values_never_seen(names):
    rig = Rig(wrap(Clock(7), name="clock"), sums_task(7, names=names))
    assert rig.clean.correct.all()
    found = interchange(rig, "a", "code", limit=60)
    assert (found.k, found.n_levels, found.held, found.moved) == (2, 7, ("b",), ("sum",))
    assert found["follows"] == 1.0 and found["unseen"] == 1.0 and found["random"] < 0.3
    assert found["keeps"] != found["keeps"]  # every swap changes the answer
    assert found.causal is True


def test_values_with_a_direction_each_are_followed_but_not_to_values_never_seen():
    rig = Rig(wrap(Clock(7, circle=False), name="table"), sums_task(7))
    assert rig.clean.correct.all()
    found = interchange(rig, "a", "code", limit=60)
    assert found.k == 6 and found["follows"] == 1.0 and found.causal is True
    assert found["unseen"] < 0.2


def test_a_concept_that_settles_the_answer_needs_more_than_most_of_the_activations():
    task = sums_task(7)
    task = Task.from_frame(task.frame.drop(columns=["concept_a", "concept_b"]), performance="class", inputs=task.inputs)
    rig = Rig(wrap(Clock(7), name="clock"), task)
    early = interchange(rig, "sum", "code", k=4, limit=60)  # all that varies in the code of a and b
    assert early["follows"] == 1.0 and early["random"] > 0.9
    assert early.causal is None and early.pure < 0.2
    late = interchange(rig, "sum", "read", limit=60)
    assert late["follows"] == 1.0 and late["random"] < 0.9 and late.pure > 0.9
    assert late.causal is True


def test_scores_are_means_over_pairs_with_jackknife_errors():
    rng = np.random.default_rng(0)
    outcomes = rng.random((6, 40)) < np.array([0.8, 0.1, 0.0, 0.5, 0.6, 1.0])[:, None]
    changes, unseen = np.arange(40) % 4 > 0, np.arange(40) % 2 > 0
    found = dict(zip(SCORES, scores(outcomes, changes, unseen, np.arange(40).astype(str)), strict=True))
    x = outcomes.astype(float)
    assert found["follows"].value == pytest.approx(x[0, changes].mean())
    assert found["keeps"].value == pytest.approx(x[0, ~changes].mean())
    assert found["unseen"].value == pytest.approx(x[4, changes & unseen].mean())
    gain = (x[0] - x[1])[changes]
    assert found["gain"].value == pytest.approx(gain.mean())
    assert found["gain"].standard_error() == pytest.approx(gain.std(ddof=1) / np.sqrt(len(gain)), rel=0.25)
    room = (x[5] - x[1])[changes].mean()
    assert found["share"].value == pytest.approx(gain.mean() / room)
    # All alike is no certainty.
    assert found["ceiling"].standard_error() == pytest.approx(2 / 30)


def test_cost_is_stated_and_kept():
    rig = planted()
    before = rig.passes
    found = interchange(rig, "c", "code", limit=50)
    assert rig.passes - before == interchange_cost(rig.task, "c", limit=50) == 320 + 3 * 50
    assert found.scores.n <= 50
    before = rig.passes
    interchange(rig, "c", "code", limit=50, method="rotation")
    assert rig.passes - before == interchange_cost(rig.task, "c", limit=50, method="rotation")
    assert interchange_cost(rig.task, "c", limit=50, method="rotation") == 320 + 3 * 50 + _rotation.COST


def test_same_seed_same_numbers_and_global_generators_untouched():
    rig, state = planted(), torch.get_rng_state()
    one, other = (interchange(rig, "c", "code", limit=40, method="rotation", seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.scores.replicates, other.scores.replicates)
    assert torch.equal(torch.get_rng_state(), state)


class Tokens:
    """A transformer that attends to all tokens alike: a and b in two directions, answers read at the last token."""

    END = 4

    def __new__(cls):
        model = build(
            {
                "n_layers": 1, "d_model": 8, "d_head": 8, "n_heads": 1, "n_ctx": 6, "d_vocab": 8, "act_fn": "relu",
                "attn_only": True, "normalization_type": None,
            }
        )  # fmt: skip
        state = {k: v if k.endswith(("mask", "IGNORE")) else torch.zeros_like(v) for k, v in model.state_dict().items()}
        turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0]
        for token, (axis, sign) in enumerate([(0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0)]):
            state["embed.W_E"][token] = sign * turn[axis]
        state["blocks.0.attn.W_V"][0] = torch.eye(8)
        state["blocks.0.attn.W_O"][0] = 3 * torch.eye(8)
        for i, (a, b) in enumerate(itertools.product((-1, 1), repeat=2)):
            state["unembed.W_U"][:, i] = a * turn[0] + b * turn[1]
        model.load_state_dict(state)
        return wrap(model, name="tokens")


def tokens_task(n=160, pad=False):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, n))
    tokens = [
        [*([5] if pad and i % 2 else []), x, 2 + y, Tokens.END] for i, (x, y) in enumerate(zip(a, b, strict=True))
    ]
    frame = pd.DataFrame({"tokens": tokens, "answer": 2 * a + b, "concept_a": a, "concept_b": b})
    frame["position_b"] = [len(t) - 2 for t in tokens]
    return Task.from_frame(frame, name="tokens", performance="class")


def test_swaps_act_where_the_concept_stands():
    rig = Rig(Tokens(), tokens_task())
    assert rig.clean.correct.all()

    def follows(concept, point, position):
        return interchange(rig, concept, point, position=position, limit=40)

    assert follows("a", "hook_embed", "all")["follows"] == 1.0
    assert follows("a", "hook_embed", "0").causal is True
    assert follows("b", "hook_embed", "position_b").causal is True
    elsewhere = follows("a", "hook_embed", "1")
    assert elsewhere.causal is not True and "nothing moves with the concept here" in elsewhere.reason
    assert follows("a", "blocks.0.hook_resid_post", "last").causal is True
    idle = follows("a", "blocks.0.hook_resid_post", "0")  # a is there, but nothing reads it
    assert idle.readable == 1.0 and idle.causal is False


def test_prompts_that_differ_in_length_are_swapped_at_named_tokens():
    rig = Rig(Tokens(), tokens_task(pad=True))
    assert rig.clean.correct.all()
    assert interchange(rig, "b", "hook_embed", position="position_b", limit=40)["follows"] == 1.0
    assert interchange(rig, "b", "blocks.0.hook_resid_post", position="last", limit=40)["follows"] == 1.0
    with pytest.raises(InputError, match="differ in length"):
        interchange(rig, "b", "hook_embed")
    found = interchanges(rig, points=["hook_embed", "blocks.0.hook_resid_post"], limit=40)
    assert {c.place.position for c in found.cells} == {"last", "position_b"}


def test_a_map_finds_where_each_concept_is_a_variable():
    rig = Rig(Tokens(), tokens_task())
    found = interchanges(rig, points=["hook_embed", "blocks.0.hook_resid_post"], limit=40)
    assert found.concepts == ("a", "b") and found.points == ("hook_embed", "blocks.0.hook_resid_post")
    assert found.causal("a") is True and found.causal("b") is True
    singles = {(c.concept, str(c.place)) for c in found.cells if c.causal and c.place.position != "all"}
    post = "blocks.0.hook_resid_post at 2"
    assert singles == {("a", "hook_embed at 0"), ("a", post), ("b", "hook_embed at 1"), ("b", post)}
    np.testing.assert_array_equal(found.grid("follows"), np.ones((2, 2)))
    assert "answers follow 'a' at hook_embed" in found.sentence("a")
    assert found.passes <= 8000 and not found.left_out
    table = found.frame()
    assert len(table) == 4 * len(found.cells) and set(table["position"]) == {"all", "0", "1", "2"}
    assert "interchange_share" in found._repr_html_()


def test_a_budget_is_kept_and_what_it_leaves_out_is_said():
    rig = planted()
    before, cost = rig.passes, interchange_cost(rig.task, "c", limit=50)
    found = interchanges(rig, points=["code", "skip", "read"], limit=50, budget=cost + 3 * 150)
    assert rig.passes - before == found.passes <= cost + 3 * 150
    assert len(found.cells) == 4 and len(found.left_out) == 2
    assert found.causal("c") is True
    with pytest.raises(InputError, match="a budget of 300 item passes is used up"):
        interchanges(planted(), limit=50, budget=300)


def test_what_does_not_fit_memory_is_recorded_one_after_the_other(monkeypatch):
    points = ["hook_embed", "blocks.0.hook_resid_post"]
    whole = interchanges(Rig(Tokens(), tokens_task()), points=points, limit=40)
    monkeypatch.setattr(_stage, "_BYTES", 160 * 3 * 8 * 4)
    rig = Rig(Tokens(), tokens_task())
    found = interchanges(rig, points=points, limit=40)
    assert {c.place.position for c in found.cells} == {"all"}
    assert found.passes == rig.passes == 2 * 160 + 4 * 3 * 40
    np.testing.assert_array_equal(found.grid("follows"), whole.grid("follows"))


def test_open_questions_are_not_answered_with_no():
    rig = planted(through_c=0.0)
    full = interchanges(rig, ["c"], ["code"], limit=50)
    assert full.causal("c") is False
    part = interchanges(rig, ["c"], ["code", "skip"], limit=50, budget=interchange_cost(rig.task, "c", limit=50))
    assert part.causal("c") is (None if part.cells[0].place.hook_point == "code" else True)


def test_concepts_without_counterfactuals_have_a_reason():
    task = bits_task()
    frame = task.frame.assign(concept_level=np.linspace(0, 1, len(task)), concept_one=1.0)
    rig = Rig(wrap(Planted(), name="planted"), Task.from_frame(frame, performance="class", inputs=task.inputs))
    found = interchanges(rig, points=["code"], limit=50)
    reasons = {c.concept: c.reason for c in found.cells if c.reason}
    assert "320 values on 320 items" in reasons["level"] and "one value" in reasons["one"]
    assert found.causal("level") is None and found.best("level") is None
    assert math.isnan(found.of("one")[0]["share"])
    assert found.frame().query("concept == 'one'")["reason"].str.contains("one value").all()


def test_two_models_share_what_is_causal_in_both():
    direct, around = (interchanges(planted(through_c=t), ["c", "d"], ["code"], limit=50) for t in (1.0, 0.0))
    found = shared_variables(direct, around)
    assert found["d"].answer == "same" and found["c"].answer == "other"
    assert found["c"].causal == (True, False) and found.named("same") == ("d",)
    assert found["c"].difference.value > 0.9 and abs(found["d"].difference.value) < 0.05
    assert "of planted alone follow 'c'" in found["c"].sentence
    both = [interchanges(planted(through_c=t), ["c"], ["code", "skip"], limit=50) for t in (1.0, 0.0)]
    assert shared_variables(*both)["c"].answer == "same"
    assert len(found.frame()) == 2 and "alone" in found._repr_html_()
    with pytest.raises(MismatchError, match="swapped on other items"):
        shared_variables(direct, interchanges(planted(), ["c"], ["code"], limit=50, seed=1))


def test_bad_input_is_refused():
    rig = planted()
    for options, words in (
        ({"concept": "z"}, "declares no concept 'z'"),
        ({"position": "last"}, "tensor inputs have no tokens"),
        ({"k": 0}, "k is 0"),
    ):
        with pytest.raises(InputError, match=words):
            interchange(rig, **({"concept": "c", "point": "code", "limit": 20} | options))
    with pytest.raises(ModelError, match="no hook point 'cod'"):
        interchange(rig, "c", "cod")
    tokens = Rig(Tokens(), tokens_task())
    for position, words in (("7", "beyond the 3 tokens"), ("first", "position 'first' is unknown")):
        with pytest.raises(InputError, match=words):
            interchange(tokens, "a", "hook_embed", position=position)
    with pytest.raises(InputError, match="pairs of tokens"):
        interchange(tokens, "a", "blocks.0.attn.hook_pattern")
    one = bits_task()
    one = Task.from_frame(one.frame.assign(group="g"), performance="class", inputs=one.inputs)
    with pytest.raises(InputError, match="at least two groups"):
        interchange(Rig(rig.model, one), "c", "code")


def test_models_that_are_constant_or_broken():
    still = Planted()
    still.code.weight.data.zero_()
    found = interchange(Rig(wrap(still, name="still"), bits_task()), "c", "code", limit=40)
    assert "do not differ between levels" in found.reason and found.causal is None
    broken = Planted()
    broken.code.weight.data.fill_(math.nan)
    with pytest.raises(ModelError, match="NaN or infinite logits"):
        interchange(Rig(wrap(broken, name="broken"), bits_task()), "c", "code", limit=40)


def test_the_logits_of_a_plain_module_are_no_default_place():
    assert default_points(planted().model) == ("code", "skip")
    tokens = Tokens()
    assert set(tokens.layer_points) <= set(default_points(tokens))
