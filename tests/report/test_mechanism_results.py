"""Each result of mechanism is drawn by itself, the comparison of two mechanisms with all of them."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from mechdecouple.errors import InputError
from mechdecouple.models import wrap
from mechdecouple.report import plot
from mechdecouple.structure.mechanism import compare_mechanisms
from mechdecouple.tasks import Task


def drawn(figure):
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


@pytest.fixture(scope="module")
def found():
    """A network and its copy, called alike: the class is the sign of the first input."""
    rng = np.random.default_rng(0)
    X = rng.choice([-1.0, 1.0], (60, 3)).astype(np.float32)
    table = pd.DataFrame({"answer": (X[:, 0] > 0).astype(int), "concept_first": X[:, 0] > 0})
    task = Task.from_frame(table, inputs=X, name="signs")
    nets = [nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)) for _ in range(2)]
    with torch.no_grad():
        for net in nets:
            net[0].weight.copy_(torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]))
            net[2].weight.copy_(torch.tensor([[-3.0, 3.0, 0, 0], [3.0, -3.0, 0, 0]]))
            net[0].bias.zero_()
            net[2].bias.zero_()
    return compare_mechanisms(wrap(nets[0], name="net"), wrap(nets[1], name="net"), task, limit=32, progress=False)


def test_a_comparison_of_models_called_alike_draws_both(found):
    words = drawn(plot(found))
    assert "net (A)" in words and "net (B)" in words and "Route: same" in words
    assert "Share of the answer that depends on a part" in words and "Signature" in words


@pytest.mark.parametrize("kind", ["evidence", "mechanism", "signature"])
def test_sheets_of_a_comparison(found, kind):
    assert len(drawn(plot(found, kind))) > 50
    ax = Figure().add_subplot()
    assert plot(found, "evidence_route", ax) is ax
    with pytest.raises(InputError, match=r"'evidenc' is unknown \(did you mean evidence"):
        plot(found, "evidenc")


def test_profiles_signatures_stitches_and_maps(found):
    assert "not taken out" not in drawn(plot(found.profiles[0]))
    assert "Effective numbers" in drawn(plot(found.signatures[0]))
    assert drawn(plot(found.stitching)).count("net drives net") == 2
    assert "ceiling: net itself" in drawn(plot(found.stitching.backward))
    assert "swapped concept" in drawn(plot(found.interchange.maps[0]))
    for result in (found.profiles[0], found.signatures[0], found.stitching, found.interchange.maps[0]):
        ax = Figure(figsize=(6, 4)).add_subplot()
        assert plot(result, ax=ax) is ax
