"""Mechanisms in a comparison: what is kept of them, what is said before they run, and what where they cannot be."""

import copy
import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import zoo
from mechdecouple.compare import CompareConfig, Comparison, compare
from mechdecouple.compare.config import FAMILIES
from mechdecouple.compare.mechanism import axis_verdict, chosen, seed_rows
from mechdecouple.results import Estimate
from mechdecouple.structure.mechanism.evidence import Evidence
from mechdecouple.structure.mechanism.verdict import judge
from mechdecouple.tasks import Task

HIDDEN = 16


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.act, self.out = nn.Linear(4, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 4)

    def forward(self, x):
        return self.out(self.act(self.hidden(x)))


@pytest.fixture(scope="module")
def products():
    """Three signs and noise; the class says the product of the first two and the third."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1.0, 1.0], (120, 3))
    X = np.column_stack([signs, 0.1 * rng.standard_normal(120)]).astype(np.float32)
    table = pd.DataFrame(
        {
            "answer": 2 * (signs[:, 0] * signs[:, 1] > 0) + (signs[:, 2] > 0),
            "concept_first": signs[:, 0] > 0,
            "concept_third": signs[:, 2] > 0,
        }
    )
    return Task.from_frame(table, inputs=X, name="products")


@pytest.fixture(scope="module")
def net(products):
    torch.manual_seed(0)
    net = Net()
    x, y = torch.tensor(products.inputs), torch.tensor(products.answers.astype(np.int64))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net


@pytest.fixture(scope="module")
def permuted(net):
    """The same function with its hidden units in another order."""
    order, made = torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(0)), copy.deepcopy(net)
    made.load_state_dict(
        {
            "hidden.weight": net.hidden.weight[order],
            "hidden.bias": net.hidden.bias[order],
            "out.weight": net.out.weight[:, order],
            "out.bias": net.out.bias,
        }
    )
    return made


QUICK = {"progress": False, "permutations": 19, "bootstrap": 200, "blocks": 10, "probe_items": 64}


@pytest.fixture(scope="module")
def run(net, permuted, products):
    """The comparison with a permuted copy, and what was logged meanwhile."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger = logging.getLogger("mechdecouple")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        return compare(net, permuted, products, families=["mechanism"], **QUICK), said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_permuted_copy_has_the_same_route_and_variables(run):
    found, _ = run
    assert found.verdict("route").flagged is False and found.verdict("variables").flagged is False
    assert not found.differs("route") and not found.differs("variables")
    assert "[=] Route: same" in found.summary() and "[=] Variables: same" in found.summary()
    assert any(words.startswith("causal profile") for words in found.verdict("route").speaks_for)
    assert any("not measured" in words for words in found.verdict("route").silent)


def test_parts_stand_beside_each_other_and_a_copy_depends_on_them_alike(run):
    found, _ = run
    a, b = (chosen(found.parts[found.parts.model == name]) for name in (found.a, found.b))
    assert set(a.component) == {"hidden", "act"} and set(a.ablation) == {"resample"}
    np.testing.assert_allclose(a.share, b.share, atol=1e-5)
    shares = found.frame().query("metric == 'causal_share'")
    assert set(shares.concept) == {"hidden", "act"} and set(shares.context) == {"zero", "mean", "resample"}
    kept = found.parts[found.parts.ablation != "resample"]
    assert set(chosen(kept).ablation) == {"mean"}


def test_evidence_is_a_table_and_measurements(run):
    found, _ = run
    distances = found.frame().query("metric == 'mechanism_distance'")
    assert list(distances.concept) == list(found.evidence.evidence) and list(distances.context) == list(
        found.evidence.axis
    )
    assert distances.value.dropna().between(0, 0.01).all()


def test_everything_is_read_back(run, tmp_path):
    found, _ = run
    back = Comparison.load(found.save(tmp_path))
    pd.testing.assert_frame_equal(back.parts, found.parts)
    pd.testing.assert_frame_equal(back.evidence, found.evidence)
    assert back.verdict("route").speaks_for == found.verdict("route").speaks_for
    assert back.verdict("variables").silent == found.verdict("variables").silent
    assert back.summary() == found.summary()


def test_the_cost_is_said_before_anything_is_read(run):
    _, said = run
    costs = [i for i, words in enumerate(said) if "item passes at most" in words]
    reads = [i for i, words in enumerate(said) if "rows" in words]
    assert len(costs) == 1 and reads and costs[0] < reads[0]


def test_it_runs_only_where_it_is_asked_for():
    assert "mechanism" in FAMILIES and "mechanism" not in CompareConfig().families
    assert "mechanism" not in zoo.demo().options["families"]


def test_answers_without_options_give_a_reason_and_no_error(gpt2_dir, yes_no_items):
    texts = Task.from_frame(yes_no_items[["id", "prompt", "group"]], name="texts")
    found = compare(str(gpt2_dir), str(gpt2_dir), texts, families=["mechanism"], **QUICK)
    assert found.verdict("route").flagged is None and found.verdict("variables").flagged is None
    assert "have no few options" in found.verdict("route").sentence
    assert any(note.startswith("Mechanisms were not compared") for note in found.notes)
    row = found.frame().query("metric == 'mechanism_distance'").iloc[0]
    assert np.isnan(row.value) and "no few options" in row.reason
    assert not len(found.parts) and not len(found.evidence)


def test_one_class_gives_a_reason_and_no_error(net, permuted, products):
    table = pd.DataFrame({"answer": np.zeros(len(products), int)})
    constant = Task.from_frame(table, inputs=products.inputs, name="constant")
    found = compare(net, permuted, constant, families=["mechanism"], **QUICK)
    assert found.verdict("route").flagged is None and "one class" in found.verdict("route").sentence


def piece(axis, name, value, **bounds):
    return Evidence(axis=axis, name=name, distance=Estimate(value=value, low=value - 0.01, high=value + 0.01), **bounds)


def test_verdicts_say_what_speaks_for_and_against_and_what_is_silent():
    pieces = [
        piece("route", "one", 0.9, within=0.1, beyond=0.2),
        piece("route", "two", 0.8, within=0.1, beyond=0.2),
        piece("route", "three", 0.05, within=0.1, beyond=0.2),
        piece("route", "four", 0.15, within=0.1, beyond=0.2),
    ]
    verdict = axis_verdict(judge("route", pieces), ("a", "b"))
    assert verdict.family == "route" and verdict.subject == "pair" and verdict.flagged is True
    assert verdict.flags == {"one": True, "two": True, "three": False, "four": None}
    assert [words.split()[0] for words in (*verdict.speaks_for, *verdict.speaks_against, *verdict.silent)] == [
        "one", "two", "three", "four",
    ]  # fmt: skip
    assert {row.concept for row in verdict.evidence} == {"one", "two", "three", "four"}
    assert verdict.sentence.startswith("Route: other") and verdict.sentence.endswith(".")
    assert axis_verdict(judge("variables", pieces), ("a", "b")).flagged is None


def test_seeds_are_named_apart_from_the_pair(net, products):
    from mechdecouple.models import wrap
    from mechdecouple.structure.mechanism.rig import Rig
    from mechdecouple.structure.mechanism.signatures import signature

    told = signature(Rig(wrap(net, name="net"), products), limit=32)
    rows = seed_rows([told, dataclasses.replace(told)], "b")
    assert {row.model for row in rows} == {"net (seed 1 of B)", "net (seed 2 of B)"}
    assert {row.context for row in rows} == {"seed of b"}
    assert len(rows) == 2 * len(told)


@pytest.mark.slow
def test_clock_and_pizza_take_other_routes_whatever_their_seeds():
    found = compare(
        "zoo:clock", "zoo:pizza", "zoo:clock", families=["mechanism"], seeds_a=["zoo:clock@1"],
        seeds_b=["zoo:pizza@1"], **{**QUICK, "probe_items": 128},
    )  # fmt: skip
    assert found.differs("route")
    assert (found.evidence.query("axis == 'route'").pairs_of_seeds == 2).all()
    seeds = found.frame().query("metric == 'gradient_symmetry' and context.str.startswith('seed')")
    assert set(seeds.context) == {"seed of a", "seed of b"}
