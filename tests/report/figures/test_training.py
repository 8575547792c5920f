import numpy as np

from mechdecouple.report.figures.training import draw_training
from mechdecouple.report.style import new_figure, png, styled
from mechdecouple.sae import SparseAutoencoder, train


def drawn(sae):
    figure = new_figure(3.3, 2.4)
    with styled():
        ax = figure.subplots()
        draw_training(sae, ax)
        assert png(figure)
    return figure, ax


def test_the_curves_are_those_of_the_training():
    X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    sae = train(X, width=8, k=2, steps=20)
    figure, ax = drawn(sae)
    curve = sae.training["curve"]
    shown = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    assert np.array_equal(shown["variance unexplained"], [point["fvu"] for point in curve])
    assert shown["loss, share of its first"][-1] == curve[-1]["loss"] / curve[0]["loss"]
    (right,) = [other for other in figure.axes if other is not ax]
    assert np.array_equal(np.asarray(right.get_lines()[0].get_ydata()), [point["l0"] for point in curve])
    assert "topk, 8 latents" in ax.get_title(loc="left")
    top = ax.get_ylim()[1]
    assert all(values.max(initial=0) <= top for values in shown.values())


def test_one_trained_elsewhere_has_no_curve():
    import sae_lens

    sae = SparseAutoencoder(sae_lens.StandardSAE(sae_lens.StandardSAEConfig(d_in=4, d_sae=6)))
    _, ax = drawn(sae)
    assert "does not say how its training went" in ax.texts[0].get_text().replace("\n", " ")
