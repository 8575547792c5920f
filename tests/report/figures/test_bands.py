import numpy as np

from mechdecouple.behavior.bands import calibration_curve
from mechdecouple.report.figures.bands import draw_calibration
from mechdecouple.report.style import new_figure, png, styled


def drawn(curve):
    figure = new_figure(3.3, 3.0)
    with styled():
        ax = figure.subplots()
        draw_calibration(curve, ax)
        assert png(figure)
    return ax


def test_the_line_is_the_curve_and_the_error_is_told():
    rng = np.random.default_rng(0)
    p = rng.random(300)
    curve = calibration_curve(p**2, (rng.random(300) < p).astype(float), n_resamples=20)
    ax = drawn(curve)
    (rate,) = [line for line in ax.get_lines() if line.get_label() == "rate"]
    np.testing.assert_array_equal(np.asarray(rate.get_ydata()), curve.table["rate"])
    assert f"smooth error {curve.smooth_ece.value:.3f}" in ax.texts[0].get_text()


def test_points_without_items_leave_a_gap():
    ax = drawn(calibration_curve(np.full(40, 0.3), np.arange(40) < 12, n_resamples=20))
    (rate,) = [line for line in ax.get_lines() if line.get_label() == "rate"]
    assert np.isnan(np.asarray(rate.get_ydata(), float)).sum() > 50


def test_without_any_point_near_an_item_it_says_so():
    ax = drawn(calibration_curve(np.full(2, 0.5), np.array([0.0, 1.0]), n_resamples=20, n_points=2))
    assert "No stated probability" in ax.texts[0].get_text()
