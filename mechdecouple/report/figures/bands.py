"""Picture of a calibration curve: what stated probabilities turn out to be, and what chance alone would show."""

from __future__ import annotations

from matplotlib.axes import Axes

from mechdecouple.behavior.bands import CalibrationCurve
from mechdecouple.report.style import COLOURS, GREY, say


def draw_calibration(curve: CalibrationCurve, ax: Axes) -> None:
    """Smoothed rate over the stated probability with its bootstrap band; grey: where a calibrated model would lie.

    Thin line along the axis: how many items state that probability.
    """
    t = curve.table
    if not t["rate"].notna().to_numpy().any():
        say(ax, "No stated probability has items near it.")
        return
    ax.plot(t["prob"], t["rate"], color=COLOURS[0], label="rate")
    bands = (
        ("low", "high", COLOURS[0], 0.25, "its band"),
        ("calibrated_low", "calibrated_high", GREY, 0.18, "if calibrated"),
    )
    for low, high, colour, alpha, label in bands:
        ax.fill_between(t["prob"], t[low], t[high], color=colour, alpha=alpha, linewidth=0, label=label, zorder=1)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    ax.plot(t["prob"], 0.12 * t["density"] / t["density"].max(), color=GREY, linewidth=0.7, label="where items are")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    ax.set_xlabel("stated probability")
    ax.set_ylabel("share that happened")
    error = curve.smooth_ece
    facts = f"smooth error {error.value:.3f}\ncalibrated: {error.null:.3f}\np = {error.p:.2g}"
    ax.text(0.97, 0.16, facts, ha="right", va="bottom", transform=ax.transAxes, fontsize="small")
    ax.set_title("Calibration")
    ax.legend(loc="upper left")
