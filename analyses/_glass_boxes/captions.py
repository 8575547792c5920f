"""What the figures of the study of glass boxes show, with their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyses._arms import Arms
from analyses._study import column, seed_interval, where


def plane_caption(frontier: pd.DataFrame, names: Sequence[str], draws: int) -> str:
    """What the plane shows, with the numbers of the models of these names."""

    def told(split: str, name: str) -> str:
        row = where(frontier, split=split, model=name).iloc[0]
        accuracy, kappa = (
            f"{row[of]:.2f} [{row[of + '_low']:.2f}, {row[of + '_high']:.2f}]" for of in ("accuracy", "simulatability")
        )
        return f"{name} {accuracy} and {kappa}"

    def often(split: str) -> str:
        own = where(frontier, split=split)
        return ", ".join(own["model"][own["on_frontier"] >= 0.5])

    shown = "; ".join(told("test", name) for name in names)
    turned = "; ".join(told("shift", name) for name in names)
    return (
        f"Accuracy and simulatability in distribution: {shown}. On shift: {turned}. On the frontier in half of the "
        f"{draws} draws of seeds and items or more (filled): {often('test')}; on shift {often('shift')}. Bars: 95 % of "
        "the draws; dashed: always the likelier answer; line: the frontier of the means. Numbers in names are "
        "sizes: weights, terms, depth, rules, share of weights kept, width."
    )


def sizes_caption(table: pd.DataFrame, arms: Arms, dense: str, sparse: str, small: Sequence[str]) -> str:
    """What the figure of sizes shows, with its numbers; ``small`` are models of few weights by another way each."""

    def told(model: str, name: str, digits: int = 2) -> str:
        value, low, high = seed_interval(column(where(table, model=model), name))
        return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    def both(name: str, digits: int = 2) -> str:
        return f"{told(sparse, name, digits)} against {told(dense, name, digits)}"

    frame = arms.frame
    inside = []
    for metric in ("ccgp", "erasure_residual"):
        own = frame[(frame["metric"] == metric) & (frame["arm"] != "a - b")]
        means = {arm: float(np.nanmean(column(part, "value"))) for arm, part in own.groupby("arm")}
        if means:
            inside.append(f"{metric} {means['b']:.2f} against {means['a']:.2f}")
    few = " and ".join(
        f"{name} ({told(name, 'size', 0)} weights) {told(name, 'circuit_edges', 0)} edges at an accuracy of "
        f"{told(name, 'test_accuracy', 3)}" for name in small
    )  # fmt: skip
    return (
        f"{sparse} against {dense}: circuit of {both('circuit_edges', 0)} edges among {both('circuit_nodes', 0)} "
        f"nodes, a share of {both('circuit_share')} of its weights, which gives {both('circuit_on_fresh')} of its "
        f"answers to plants it was not found on. Of few weights, {few}. Weights"
        f" left by taking the small ones away afterwards {both('pruned', 0)}; accuracy "
        f"{both('test_accuracy', 3)}, at 80 % coverage {both('test_at_80', 3)}; excess area under risk and coverage "
        f"{both('test_excess_aurc', 3)}; a refitted head recovers {both('recoverable', 3)}; {'; '.join(inside)} (mean "
        "over concepts). Dots: seeds; lines: means; interval: 95 % over seeds."
    )
