import dataclasses

import matplotlib
import numpy as np
import pytest

from mechdecouple.report.figures.evaluation import (
    draw_absorption,
    draw_evaluation,
    draw_perturbation,
    draw_probing,
    draw_spliced,
    draw_splitting,
)
from mechdecouple.report.style import COLUMN, new_figure, png, styled
from mechdecouple.results import Estimate
from mechdecouple.sae.concepts import absorption, sparse_probing, splitting, targeted_perturbation
from mechdecouple.sae.evaluate import evaluate
from mechdecouple.sae.spliced import Spliced


class Rectified:
    def encode(self, X):
        return X.clip(0.5) - 0.5

    def decode(self, z):
        return z


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (240, 2)).astype(float)
    codes = np.column_stack([y * (1 + rng.random((240, 2))), rng.random((240, 4)) * (rng.random((240, 4)) < 0.1)])
    decoder = np.linalg.qr(rng.normal(size=(8, 8)))[0][:6]
    X = codes @ decoder + 0.05 * rng.normal(size=(240, 8))
    return {"codes": codes, "labels": {"is <b>red</b> & $round$": y[:, 0], "blue": y[:, 1]}}, {"X": X}, decoder


def drawn(draw, result):
    """The texts of the picture; nothing of it lies outside."""
    with styled():
        figure = new_figure(COLUMN, 2.3)
        ax = figure.add_subplot()
        draw(result, ax)
        assert png(figure)[:4] == b"\x89PNG"
        figure.draw_without_rendering()
        (width, height), box = figure.get_size_inches(), figure.get_tightbbox()
    assert box.x0 > -0.02 and box.y0 > -0.02 and box.x1 < width + 0.02 and box.y1 < height + 0.02, box
    return ax, " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def test_frequencies():
    X = np.random.default_rng(0).normal(size=(500, 6))
    found = evaluate(Rectified(), X)
    ax, words = drawn(draw_evaluation, found)
    assert "6 latents, 0% dead" in words
    assert sum(bar.get_height() for bar in ax.containers[0]) == 6
    dead = dataclasses.replace(found, frequency=np.zeros(6))
    assert "No latent fires." in drawn(draw_evaluation, dead)[1]


def test_what_is_won_back():
    def spliced(**recovered):
        return Spliced({}, recovered, 10, "m", "blocks.0.hook_resid_post", "all")

    loss = {"mean": Estimate(value=0.8, low=0.7, high=0.9), "zero": Estimate(value=0.95)}
    ax, words = drawn(draw_spliced, spliced(loss=loss))
    assert "Spliced into the model" in words and "loss, above the mean" in words
    assert [line.get_xdata()[0] for line in ax.get_lines() if line.get_marker() == "o"] == [0.8, 0.95]
    nothing = {floor: Estimate.undefined("the ablation costs nothing") for floor in ("mean", "zero")}
    assert "The ablation costs nothing" in drawn(draw_spliced, spliced(loss=nothing))[1].replace("\n", " ")


def test_concepts(planted):
    given, activations, decoder = planted
    ax, words = drawn(draw_probing, sparse_probing(**given, **activations, k=(1, 2)))
    assert "dense" in words and "2 concepts" in words and "held-out AUROC" in words
    assert "dense" not in drawn(draw_probing, sparse_probing(**given, k=(1,)))[1]
    ax, words = drawn(draw_splitting, splitting(**given, most=3))
    dots = [tuple(float(v[0]) for v in line.get_data()) for line in ax.get_lines() if line.get_marker() == "o"]
    assert dots == [(1.0, pytest.approx(1.0, abs=0.01))] * 2
    _, words = drawn(draw_absorption, absorption(**given, **activations, decoder=decoder))
    assert "is <b>red</b> & $…" in words and "whole, by one latent" in words
    ax, words = drawn(draw_perturbation, targeted_perturbation(**given, **activations, decoder=decoder, k=(1,)))
    assert "1 latent taken out" in words
    assert ax.images[0].get_array().shape == (2, 2)
