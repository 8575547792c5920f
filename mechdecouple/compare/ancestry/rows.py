"""Tuned: where two models with one ancestor differ, from their mean states, their weights, and grafted blocks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from mechdecouple import stats
from mechdecouple.compare.ancestry.grafting import GRAFT_CLOSED, GRAFT_EFFECT, GRAFT_PERFORMANCE, Graft, graft
from mechdecouple.compare.ancestry.mean_state import MEAN_COSINE, MEAN_SHIFT, MeanState
from mechdecouple.compare.ancestry.shared import ANCESTRY, ancestry
from mechdecouple.compare.ancestry.weight_change import (
    CHANGE_RANK,
    CHANGE_SPIKES,
    CHANGE_STABLE_RANK,
    WEIGHT_CHANGE,
    WEIGHT_COSINE,
    weight_change,
)
from mechdecouple.compare.ancestry.weight_parts import blocks, weights
from mechdecouple.compare.side import Pair
from mechdecouple.compare.verdict import Verdict
from mechdecouple.progress import bar
from mechdecouple.results import Estimate, Measurement, Metric


def ancestry_rows(pair: Pair, progress: bool) -> list[Measurement]:
    """Where two models with a shared ancestor differ; empty where none is found.

    For each hook point the shift and the cosine of the mean states; for each part of the model the size and the rank of
    the change of its weights (under ``hook_point`` its name); for each block the effect of putting the other model's
    into this one (``model`` is the one that was changed).
    """
    found = ancestry(pair.a.model, pair.b.model)
    if not found.shared:
        return []
    n = sum(t.numel() for own in weights(pair.a.model).values() for t in own)
    shared = Estimate(value=found.cosine, null=0.0, n=n, unit="weights", reason=found.sentence)
    return [_row(pair, ANCESTRY, shared), *_states(pair), *_weights(pair), *_grafts(pair, progress)]


def ancestry_verdict(rows: list[Measurement]) -> Verdict | None:
    """Where the change lives, in words; None where there is no shared ancestor. It describes and never flags."""
    if not rows:
        return None
    names = rows[0].model, rows[0].model_b
    said = [rows[0].estimate.reason]
    changes = _defined(rows, WEIGHT_CHANGE)
    if changes:
        most = max(changes, key=lambda row: row.estimate.value)
        rank = next((r for r in _defined(rows, CHANGE_RANK) if r.hook_point == most.hook_point), None)
        spread = f", over {rank.estimate.value:.1f} directions" if rank else ""
        same = sum(row.estimate.value == 0 for row in changes)
        unchanged = f" {same} of {len(changes)} parts have the same weights." if same else ""
        said.append(
            f"Weights changed most in {most.hook_point} ({most.estimate.value:.1%} of their norm{spread}).{unchanged}"
        )
    shifts = _defined(rows, MEAN_SHIFT)
    if shifts:
        most = max(shifts, key=lambda row: row.estimate.value)
        said.append(f"The mean state shifts most at {most.hook_point} ({most.estimate} of the rms spread).")
    for host, donor in (names, names[::-1]):
        grafts = [row for row in _defined(rows, GRAFT_EFFECT) if row.model == host]
        if grafts:
            most = max(grafts, key=lambda row: row.estimate.value)
            place = host, most.hook_point
            closed = next((r for r in _defined(rows, GRAFT_CLOSED) if (r.model, r.hook_point) == place), None)
            way = f", {closed.estimate.value:.0%} of the way to {donor}" if closed else ""
            said.append(
                f"Of {donor}'s blocks in {host}, {most.hook_point} moves the answers most: by {most.estimate}{way}."
            )
    return Verdict("ancestry", "pair", False, " ".join(said), tuple(rows))


def _defined(rows: list[Measurement], metric: Metric) -> list[Measurement]:
    return [row for row in rows if row.metric == metric.name and math.isfinite(row.estimate.value)]


def _states(pair: Pair) -> list[Measurement]:
    groups, blocks_, n_groups = pair.a.labels.groups, pair.a.labels.blocks, pair.a.labels.n_groups
    rows = []
    for site in pair.sites:
        if site.a != site.b:
            continue
        found = MeanState(pair.a.structural[site.a], pair.b.structural[site.b], groups)
        values, p = stats.jackknife(found, blocks_, n_groups), found.p_shift(pair.a.config.seed)
        for i, (metric, null, p_) in enumerate(((MEAN_SHIFT, 0.0, p), (MEAN_COSINE, 0.0, math.nan))):
            estimate = (
                values[i].estimate(metric, null=null, p=p_)
                if np.isfinite(values.value[i])
                else Estimate.undefined(MeanState.reason)
            )
            rows.append(_row(pair, metric, estimate, site.a, hook_point_b=site.b, position=pair.a.acts.position))
    return rows


def _weights(pair: Pair) -> list[Measurement]:
    rows = []
    theirs = weights(pair.b.model)
    for part, own in weights(pair.a.model).items():
        found = weight_change([_array(t) for t in own], [_array(t) for t in theirs[part]], rounding=_eps(own[0]))
        n = sum(t.numel() for t in own)
        for metric, value, reason in (
            (WEIGHT_CHANGE, found.change, ""),
            (WEIGHT_COSINE, found.cosine, "the weights are 0 in one of the models"),
            (CHANGE_RANK, found.rank, found.reason),
            (CHANGE_STABLE_RANK, found.stable_rank, found.reason),
            (CHANGE_SPIKES, found.spikes, found.no_spikes),
        ):
            undefined = math.isnan(value)
            estimate = Estimate(value=value, n=n, unit="weights", reason=reason if undefined else "")
            rows.append(_row(pair, metric, estimate, part))
    return rows


def _grafts(pair: Pair, progress: bool) -> list[Measurement]:
    a, b = pair.a.subject, pair.b.subject
    if a is None or b is None:
        reason = pair.a.answers.reason or pair.b.answers.reason or "there are no answers to read"
        return [_row(pair, metric, Estimate.undefined(reason)) for metric in (GRAFT_EFFECT, GRAFT_PERFORMANCE)]
    parts = blocks(pair.a.model)
    rows = []
    with bar(total=2 * len(parts), progress=progress, unit="graft") as grafts:
        for host, donor, turned in ((a, b, False), (b, a, True)):
            for block, names in parts.items():
                found = graft(host, donor, block, names)
                rows += _graft_rows(pair, found, turned)
                grafts.update()
    return rows


def _graft_rows(pair: Pair, found: Graft, turned: bool) -> list[Measurement]:
    method = {"method": "its weights are the same in both"} if found.same else {}
    rows = []
    for metric, values in (
        (GRAFT_EFFECT, found.effect),
        (GRAFT_PERFORMANCE, found.performance),
        (GRAFT_CLOSED, found.closed),
    ):
        if values is None or not np.isfinite(values.value):
            estimate = Estimate.undefined(found.reason or "undefined: an item's score is not finite")
        else:
            # an effect is never below 0, so that no test against 0 is made of it
            p = float(values.p_differs(0.0)) if metric is GRAFT_PERFORMANCE and not found.same else math.nan
            estimate = dataclasses.replace(values.estimate(metric, null=0.0, p=p), **method)
        rows.append(_row(pair, metric, estimate, found.block, turned))
    return rows


def _row(
    pair: Pair, metric: Metric, estimate: Estimate, place: str = "", turned: bool = False, **more: str
) -> Measurement:
    """A row of the pair; ``turned``: B is the model that was changed."""
    model, other = pair.names[::-1] if turned else pair.names
    at = {"metric": metric.name, "family": metric.family, "model": model, "model_b": other, "hook_point": place}
    return Measurement(**at, **more, estimate=estimate)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _eps(tensor: Tensor) -> float:
    return float(torch.finfo(tensor.dtype).eps)
