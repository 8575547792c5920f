import numpy as np
import pytest

from mechdecouple.report.figures.matching import draw_matching, draw_sharing
from mechdecouple.report.style import new_figure, styled
from mechdecouple.sae import match, matched_share_excess


@pytest.fixture
def ax():
    with styled():
        yield new_figure(3.3, 2.3).add_subplot()


def latents(seed, extra):
    """Ten latents of both models, and five of one only."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng(100 + extra)
    draw = [r.random((500, m)) * (r.random((500, m)) < 0.1) for r, m in ((np.random.default_rng(0), 10), (own, 5))]
    return np.hstack(draw) * (1 + 0.1 * rng.normal(size=(500, 15)))


def texts(ax):
    return [t.get_text() for t in ax.texts]


def markers(ax):
    """Points drawn: x by (rounded y, filled)."""
    return {
        (round(float(line.get_ydata()[0]), 2), line.get_markerfacecolor() != "white"): float(line.get_xdata()[0])
        for line in ax.lines
        if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 1
    }


def test_matching_shows_strength_and_share_of_each_kind(ax):
    found = match(latents(1, 1), latents(2, 2), n_permutations=3)
    draw_matching(found, ax)
    assert texts(ax) == ["67%", "0%", "0%", "33%"] * 2
    shown = markers(ax)
    assert shown[0.19, True] == pytest.approx(np.median(found.of_a.correlation[found.of_a.kind == "shared"]))
    assert shown[-3.19, True] == pytest.approx(np.median(found.of_b.correlation[found.of_b.kind == "only"]))
    assert len(shown) == 4
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["of A", "of B", "chance"]
    low, high = ax.get_xlim()
    assert low < found.of_a.correlation.min() and high >= 1


def test_matching_without_permutations_shows_no_chance(ax):
    draw_matching(match(latents(1, 1), latents(2, 2), n_permutations=0), ax)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["of A", "of B"]


def test_sharing_shows_each_kind_beside_its_baseline(ax):
    found = matched_share_excess([latents(s, 1) for s in (1, 2)], [latents(s, 2) for s in (3, 4)], n_permutations=0)
    draw_sharing(found, ax)
    shown = markers(ax)
    assert len(shown) == 16
    assert shown[0.17, True] == pytest.approx(10 / 15) and shown[0.28, False] == pytest.approx(1)
    assert shown[-3.21, True] == pytest.approx(5 / 15) and shown[-3.1, False] == 0


def test_dead_dictionaries_are_said_to_be(ax):
    dead = np.zeros((500, 15))
    draw_matching(match(latents(1, 1), dead), ax)
    draw_sharing(matched_share_excess([latents(1, 1)] * 2, [dead] * 2), ax)
    assert all("no latent firing" in " ".join(t.split()) for t in texts(ax)) and len(texts(ax)) == 2
