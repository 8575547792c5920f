import dataclasses

import numpy as np
import pytest

import mechdecouple as md
from mechdecouple.compare.config import make_config
from mechdecouple.compare.side import make_side
from mechdecouple.compare.units import measure_units
from mechdecouple.zoo import planted_task


def side(name):
    config = make_config({"probe_items": 512})
    return make_side(
        md.load(f"zoo:{name}"), planted_task(1024), ("representation",), config, slot="a", loss_unit="token",
        store=None, progress=False,
    )  # fmt: skip


def units(name):
    one = side(name)
    return {m.metric.name: m for m in measure_units(one.subject, one.gradients, "representation")}


# four copies of each factor among 128 units: 1 - ln 4 / ln 128
@pytest.mark.parametrize(
    ("name", "disentangled", "complete"),
    [("planted-factored", 1.0, 1.0), ("planted-duplicated", 1.0, 1 - np.log(4) / np.log(128))],
)
def test_units_of_planted_codes(name, disentangled, complete):
    found = units(name)
    d, c = found["dci_disentanglement"], found["dci_completeness"]
    assert d.replicates.value == pytest.approx(disentangled, abs=1e-3)
    assert c.replicates.value == pytest.approx(complete, abs=5e-3)
    assert d.null < 0.3 and c.null < 0.3


def test_a_rotation_takes_units_to_the_level_of_their_null():
    for one in units("planted-rotated").values():
        assert one.replicates.value == pytest.approx(one.null, abs=0.03)


def test_without_the_asked_concept_there_is_nothing_to_say():
    one = side("planted-factored")
    blind = dataclasses.replace(one.subject.task, frame=one.subject.task.frame.drop(columns="asks"))
    subject = dataclasses.replace(one.subject, task=blind)
    assert all("no column asks" in m.reason for m in measure_units(subject, one.gradients, "representation"))
    assert all("no right answer" in m.reason for m in measure_units(None, None, "representation"))
