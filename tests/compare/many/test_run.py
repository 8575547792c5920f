import copy
import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import load
from mechdecouple.compare.many.comparison import ManyComparison
from mechdecouple.compare.many.run import compare_many
from mechdecouple.errors import InputError
from mechdecouple.results import COLUMNS
from mechdecouple.tasks import Task

D = 8


class Planted(nn.Module):
    """Two concepts held along one direction each, or along directions of their own in each of two contexts; turned by
    a seed. The answer is the first concept, and every run gives the same logits."""

    def __init__(self, fractured: bool, seed: int) -> None:
        super().__init__()
        self.code = Code(fractured, seed)
        self.head = nn.Linear(D, 2)
        with torch.no_grad():
            read = torch.zeros(2, D)
            read[1, [0, 2] if fractured else [0]] = 4.0
            self.head.weight.copy_(read @ self.code.turn.T)
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(self.code(x))


class Code(nn.Module):
    def __init__(self, fractured: bool, seed: int) -> None:
        super().__init__()
        self.fractured = fractured
        turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))[0]
        self.turn = nn.Parameter(torch.tensor(turn, dtype=torch.float32))

    def forward(self, x):
        concepts, second, noise = x[:, :2], x[:, 2:3], x[:, 3:]
        own = torch.cat([concepts * (1 - second), concepts * second], dim=1)
        held = own if self.fractured else torch.cat([concepts, 0 * concepts], dim=1)
        return torch.cat([held, noise], dim=1) @ self.turn.T


class Spare(Planted):
    """The same with a layer that nothing reads, drawn anew for every run."""

    def __init__(self, fractured: bool, seed: int) -> None:
        super().__init__(fractured, seed)
        torch.manual_seed(seed)
        self.spare = nn.Linear(D, D)

    def forward(self, x):
        held = self.code(x)
        self.spare(held.tanh())
        return self.head(held)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    n = 160
    concepts, second = rng.choice([-1.0, 1.0], (n, 2)), rng.integers(0, 2, (n, 1)).astype(float)
    X = np.concatenate([concepts + 0.05 * rng.standard_normal((n, 2)), second, 0.1 * rng.standard_normal((n, 4))], 1)
    table = pd.DataFrame(
        {
            "id": [f"i{i}" for i in range(n)], "answer": (concepts[:, 0] > 0).astype(int),
            "context": [f"c{int(s)}" for s in second[:, 0]], "concept_first": (concepts[:, 0] > 0).astype(int),
            "concept_other": (concepts[:, 1] > 0).astype(int),
        }
    )  # fmt: skip
    return Task.from_frame(table, inputs=X.astype(np.float32), name="planted")


OPTIONS = {"progress": False, "permutations": 19, "bootstrap": 200, "blocks": 5, "probe_items": 64, "margin": 0.1}


def runs(n, start=0):
    return {
        "tidy": [Planted(False, start + s) for s in range(n)],
        "fractured": [Planted(True, start + 100 + s) for s in range(n)],
    }


@pytest.fixture(scope="module")
def many(task):
    return compare_many(runs(2), task, hook_points=["code"], **OPTIONS)


def test_arms_that_differ_in_how_a_concept_is_held(many):
    assert many.gate.outcome == "equal" and many.gate.n_equal == many.gate.n_pairs == 6
    ccgp = many.contrast("ccgp")
    assert ccgp.mean("tidy") > 0.95 and 0.3 < ccgp.mean("fractured") < 0.7
    assert ccgp.p == pytest.approx(1 / 3) == pytest.approx(ccgp.smallest_p)
    assert many.contrast("erasure_residual").mean("fractured") > many.contrast("erasure_residual").mean("tidy")
    assert set(many.flags.values()) == {None}, "two runs an arm can show nothing"


def test_the_summary_says_what_the_unit_is_and_what_it_would_take(many):
    text = many.summary()
    assert "The unit is the model" in text and "2 + 2 runs give p = 0.33 at best" in text
    assert "[=] All 4 runs are equal in accuracy within 0.1" in text
    assert "it takes 6 runs an arm" in text or "it takes 5 runs an arm" in text
    html = many._repr_html_()
    assert "CCGP" in html and "unit is the model" in html


def test_distances_see_the_recipe_and_not_the_turn(many):
    d = many.distance
    assert many.labels == ("tidy[0]", "tidy[1]", "fractured[0]", "fractured[1]")
    assert d[0, 1] < 0.01 and d[2, 3] < 0.01 and (d[:2, 2:] > 0.3).all()
    assert many.distance_share.value > 0.99 and many.distance_share.p == pytest.approx(1 / 3)
    assert "between runs of one arm" in many.summary()


def test_a_pair_against_the_spread_of_seeds(many):
    across = many.pair("tidy[0]", "fractured[1]").set_index("metric")
    assert across.loc["ccgp", "larger"] and across.loc["ccgp", "p"] == pytest.approx(1 / 3)
    assert across.loc["model_distance", "larger"] and not across.loc["performance", "larger"]
    within = many.pair("tidy[0]", "tidy[1]").set_index("metric")
    assert within.loc["ccgp", "n_pairs"] == 1
    with pytest.raises(InputError, match="run 'x' is unknown; there are tidy"):
        many.pair("x", "tidy[0]")
    with pytest.raises(InputError, match="'nothing' was not compared"):
        many.contrast("nothing")


def test_the_table_is_tidy(many):
    table = many.frame()
    assert list(table.columns) == [*COLUMNS, "arm"]
    own = table[(table.metric == "ccgp") & (table.model_b == "")]
    assert own[own.unit == "groups"].model.tolist() == list(many.labels)
    assert own[own.unit == "models"].model.tolist() == ["tidy", "fractured"]
    assert own.arm.tolist() == ["tidy", "tidy", "fractured", "fractured", "tidy", "fractured"]
    difference = table[(table.metric == "ccgp") & (table.model == "tidy") & (table.model_b == "fractured")].iloc[0]
    assert difference.unit == "models" and difference.n == 4 and difference.p == pytest.approx(1 / 3)
    assert (table[table.metric == "model_distance"].model_b != "").all()
    shares = table[table.metric == "arm_share"]
    assert set(shares.concept) >= {"ccgp", "model_distance"} and np.allclose(shares.null.dropna(), 1 / 3)


def test_what_is_saved_is_read_back(many, tmp_path):
    again = ManyComparison.load(many.save(tmp_path / "many"))
    assert again.summary() == many.summary()
    pd.testing.assert_frame_equal(again.frame(), many.frame())
    assert np.allclose(again.distance, many.distance)
    assert set(path.suffix for path in (tmp_path / "many").iterdir()) == {".json", ".parquet"}


def test_what_cannot_be_read_back(many, tmp_path):
    with pytest.raises(InputError, match="no readable comparison of many runs"):
        ManyComparison.load(tmp_path)
    folder = many.save(tmp_path / "many")
    record = json.loads((folder / "many.json").read_text())
    (folder / "many.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(InputError, match="format 99, this version reads 1"):
        ManyComparison.load(folder)


def test_provenance_names_every_run(many):
    assert set(many.provenance["models"]) == set(many.labels)
    assert len({facts["weight_hash"] for facts in many.provenance["models"].values()}) == 4


def test_order_and_names_of_arms_do_not_matter(task, many):
    arms = runs(2)
    swapped = {"b": arms["fractured"][::-1], "a": arms["tidy"]}
    again = compare_many(swapped, task, hook_points=["code"], families=["similarity"], **OPTIONS)
    assert again.labels[0] == "b[0]"
    assert np.allclose(np.sort(again.distance, axis=None), np.sort(many.distance, axis=None), atol=1e-4)


def test_a_copy_is_no_second_seed(task):
    one = Planted(False, 0)
    with pytest.raises(InputError, match="a copy is no second run"):
        compare_many({"a": [one, copy.deepcopy(one)], "b": [Planted(True, 1)]}, task, **OPTIONS)


@pytest.mark.parametrize(
    ("arms", "match"),
    [
        ({"a": [1]}, "two names or more"),
        ([["zoo:factored"]], "two names or more"),
        ({"a": "zoo:factored", "b": ["zoo:fractured"]}, "arm 'a' holds 'zoo:factored': give a list"),
        ({"a": [], "b": ["zoo:fractured"]}, "give a list with at least one model"),
    ],
)
def test_arms_that_are_none(arms, match, task):
    with pytest.raises(InputError, match=match):
        compare_many(arms, task, **OPTIONS)


def test_options_that_mean_nothing_here(task):
    with pytest.raises(InputError, match="option seeds_a is for two models"):
        compare_many(runs(1), task, seeds_a=("x",), **OPTIONS)
    with pytest.raises(InputError, match="of many runs structure, similarity, robustness are measured"):
        compare_many(runs(1), task, families=["sae"], **OPTIONS)


def test_one_run_that_fails_is_named(task):
    bad = Planted(False, 3)
    with torch.no_grad():
        bad.head.weight.mul_(-1)
    found = compare_many(
        {"a": [Planted(False, 0), bad], "b": [Planted(True, 1)]}, task, families=["similarity"], **OPTIONS
    )
    assert found.gate.outcome == "different" and "a[1]" in found.gate.worst
    assert found.summary().splitlines()[2].startswith("[!] Not all 3 runs are equal")


def test_hook_points_that_nothing_reads_are_left_out(task, many):
    arms = {"tidy": [Spare(False, s) for s in (0, 1)], "fractured": [Spare(True, s) for s in (100, 101)]}
    found = compare_many(arms, task, hook_points=["code", "spare"], families=["similarity"], **OPTIONS)
    assert np.allclose(found.distance, many.distance, atol=1e-4)
    only = compare_many(arms, task, hook_points=["spare"], families=["similarity"], **OPTIONS)
    assert only.distance is None and "Distances inside are not compared" in only.summary()
    assert any("no hook point looked at has an effect on the answers of every run" in note for note in only.notes)


@pytest.mark.slow
def test_the_twins_of_the_zoo_are_farther_apart_than_slightly_changed_copies():
    def changed(name, seed):
        module = copy.deepcopy(load(f"zoo:{name}").module)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for key, p in module.named_parameters():
                if "mlp.W" in key:
                    p.add_(0.03 * p.std() * torch.randn(p.shape, generator=generator))
        return module

    arms = {name: [f"zoo:{name}", changed(name, seed)] for seed, name in enumerate(("factored", "fractured"))}
    found = compare_many(arms, "zoo:factored", **{**OPTIONS, "margin": 0.02, "position": "position_statement"})
    assert found.gate.outcome == "equal"
    assert found.contrast("ccgp").mean("factored") > 0.95 and found.contrast("ccgp").mean("fractured") < 0.7
    assert found.distance[0, 1] < 0.2 and found.distance[0, 2] > 1
    assert found.pair("factored[0]", "fractured[0]").set_index("metric").loc["shift_performance", "larger"]


@pytest.mark.slow
def test_six_runs_an_arm_show_the_difference(task):
    found = compare_many(runs(6), task, hook_points=["code"], **OPTIONS)
    assert found.flags["ccgp"] is True and "tidy is the tidier" in found.summary()
    assert found.contrast("ccgp").p == pytest.approx(2 / 924)
    same = {"a": [Planted(False, s) for s in range(6)], "b": [Planted(False, 50 + s) for s in range(6)]}
    assert not any(compare_many(same, task, hook_points=["code"], **OPTIONS).flags.values())
