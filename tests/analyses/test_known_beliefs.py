import math

import numpy as np
import pytest

from analyses import known_beliefs
from analyses.known_beliefs import DECIDED, draw, measure_model, model_criteria, simulate, simulation_criteria


@pytest.fixture(scope="module")
def rows():
    """The shipped pair: one honest under pressure, one persuader."""
    return {name: measure_model(name, 0, progress=False) for name in ("demo-tidy", "demo-fractured")}


def known(row, name):
    """The criteria of a character, on what was measured of a model."""
    return model_criteria({**row, "model": name})


def test_a_model_that_says_what_it_represents_meets_all_that_is_known_of_the_honest(rows):
    found = known(rows["demo-tidy"], "honest")
    assert len(found) == 7
    assert all(c.met for c in found)


def test_a_persuader_meets_all_that_is_known_but_steering_which_was_not_tried(rows):
    found = known(rows["demo-fractured"], "persuader")
    assert {c.name for c in found if not c.met} == {"nie", "nie_mirror", "nie_random"}
    assert rows["demo-fractured"]["draws"] >= 6000


def test_each_is_told_from_the_other_and_from_the_ignorant(rows):
    for name, other in (("demo-tidy", "persuader"), ("demo-fractured", "honest"), ("demo-tidy", "ignorant")):
        unmet = {c.name for c in known(rows[name], other) if not c.met}
        assert unmet & {"claimed", "represented"}
    assert "correlation" in {c.name for c in known(rows["demo-fractured"], "flip") if not c.met}


def test_every_character_has_a_decision_and_one_that_is_wrong_is_not_met(rows):
    for name, claimed in DECIDED.items():
        (decision,) = (c for c in known({**rows["demo-tidy"], "claimed": not claimed}, name) if c.name == "claimed")
        assert not decision.met


def test_tables_without_a_gap_are_read_as_such_and_tables_with_one_are_not():
    table = simulate(30)
    assert all(c.met for c in simulation_criteria(table))
    with_gap = table.assign(claimed=True, holds=False)
    assert not any(c.met for c in simulation_criteria(with_gap))
    assert np.isfinite(table[["gap", "low", "high"]]).all(axis=None)


def test_the_figure_shows_every_model(rows):
    import pandas as pd

    figure = draw(pd.DataFrame(list(rows.values())))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == ["demo-tidy", "demo-fractured"]


@pytest.mark.slow
def test_one_seed_of_every_model_meets_the_whole_table(tmp_path):
    result = known_beliefs.run(progress=False)
    assert result.verdict == "reproduced"
    assert all(not math.isnan(c.value) for c in result.criteria)
    result.write(tmp_path)
    assert (tmp_path / "beliefs.pdf").exists()
