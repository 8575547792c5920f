"""Planted models: five classes by one linear map of the input, carried through a hidden layer or around it."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple.models import wrap
from mechdecouple.structure.mechanism.compare import compare_mechanisms, compare_portraits
from mechdecouple.structure.mechanism.cost import mechanism_cost
from mechdecouple.structure.mechanism.portrait import portray
from mechdecouple.tasks import Task

D, CLASSES, HIDDEN = 6, 5, 24
SMALL = {"limit": 64, "budget": 3000}
READOUT = torch.randn(CLASSES, D, generator=torch.Generator().manual_seed(7))


class Planted(nn.Module):
    """Logits by ``readout``; the hidden layer carries them (``through``), or idles beside a skip path (``around``)."""

    def __init__(self, way, seed=0, hidden=HIDDEN, readout=READOUT):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.into, self.act, self.out = nn.Linear(D, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES)
        self.around = nn.Linear(D, CLASSES)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        mix = torch.randn(hidden // 2, CLASSES, generator=rng)
        with torch.no_grad():
            if way == "through":
                back = torch.linalg.pinv(mix)
                self.into.weight.copy_(torch.cat([mix @ readout, -mix @ readout]))
                self.out.weight.copy_(torch.cat([back, -back], dim=1))
            else:
                self.into.weight.copy_(torch.randn(hidden, D, generator=rng))
                self.around.weight.copy_(readout)

    def forward(self, x):
        return self.out(self.act(self.into(x))) + self.around(x)


def model(way, seed=0, **facts):
    return wrap(Planted(way, seed, **facts), name=f"{way} {seed}")


@pytest.fixture(scope="module")
def task():
    x = np.random.default_rng(0).normal(size=(120, D)).astype(np.float32)
    return Task.from_frame(pd.DataFrame({"answer": (x @ READOUT.numpy().T).argmax(axis=1)}), inputs=x, name="planted")


@pytest.fixture(scope="module")
def portrait(task):
    """Portraits by name, each made once."""
    made = {}

    def of(way, seed=0, **facts):
        key = (way, seed, *facts)
        if key not in made:
            made[key] = portray(model(way, seed, **facts), task, limit=64, budget=750)
        return made[key]

    return of


@pytest.fixture(scope="module")
def both_ways(portrait):
    return compared(portrait("through"), portrait("around"))


def compared(a, b, **options):
    return compare_portraits(a, b, budget=SMALL["budget"], **options)


def answers(found):
    return found.route.answer, found.variables.answer


def test_the_same_variables_by_another_route(both_ways):
    assert answers(both_ways) == ("other", "same")
    assert [piece.name for piece in both_ways.route.evidence_for] == ["causal profile"]


def test_hidden_units_in_another_basis_change_nothing(portrait):
    assert answers(compared(portrait("through"), portrait("through", 1))) == ("same", "same")


def test_twice_as_many_units_change_nothing(portrait):
    assert answers(compared(portrait("through"), portrait("through", hidden=48))) == ("same", "same")


def test_either_order_gives_the_same_verdict(portrait):
    assert answers(compared(portrait("around"), portrait("through"))) == ("other", "same")


def test_seeds_of_one_recipe_that_go_both_ways_leave_no_other_route(portrait):
    found = compared(portrait("through"), portrait("around"), seeds_a=[portrait("around", 3)])
    assert found.route.answer != "other"
    assert max(found.evidence[0].spread) == pytest.approx(1.0)


def test_a_model_that_cannot_answer_has_no_mechanism_to_tell(portrait):
    found = compared(portrait("through"), portrait("through", readout=-READOUT))
    assert answers(found) == ("cannot tell", "cannot tell")
    assert "guessing" in found.route.sentence


def test_models_without_parts_in_common_are_not_told_apart_by_their_parts(task, portrait):
    deep = wrap(nn.Sequential(nn.Linear(D, D), nn.Linear(D, CLASSES, bias=False)), name="deep")
    with torch.no_grad():
        nn.init.eye_(deep.module[0].weight)
        nn.init.zeros_(deep.module[0].bias)
        deep.module[1].weight.copy_(READOUT)
    found = compared(portray(deep, task, limit=64, budget=750), portrait("around"))
    assert answers(found) == ("cannot tell", "same")
    assert "no part" in found.evidence[0].sentence


def test_it_says_beforehand_what_it_takes_and_takes_no_more(task):
    pair, seeds = (model("through"), model("around")), [model("around", 3)]
    cost = mechanism_cost(*pair, task, seeds_a=seeds, timed=False, **SMALL)
    found = compare_mechanisms(*pair, task, seeds_a=seeds, progress=False, **SMALL)
    assert 0.4 * cost.total <= found.passes <= cost.total


def test_the_table_and_the_page_hold_every_piece(both_ways):
    assert list(both_ways.frame().evidence) == [piece.name for piece in both_ways.evidence]
    assert set(both_ways.frame().axis) == {"route", "variables"}
    page = both_ways._repr_html_()
    assert all(piece.name in page for piece in both_ways.evidence)
    assert both_ways.sentence.startswith("route: other")
