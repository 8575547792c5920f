"""compare: the main job. Two models and a task in, one Comparison out."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mechdecouple.compare.alignment import aligned_sites, alignment_note, alignment_rows
from mechdecouple.compare.ancestry.rows import ancestry_verdict
from mechdecouple.compare.belief import model_verdict
from mechdecouple.compare.comparison import Comparison
from mechdecouple.compare.config import CompareConfig, make_config
from mechdecouple.compare.families import MEASURES, Findings, measure_calibration
from mechdecouple.compare.features import describe_features
from mechdecouple.compare.gate import equal_performance
from mechdecouple.compare.labels import unmeasured, wanted
from mechdecouple.compare.latents import Described
from mechdecouple.compare.pairing import Site, choose_points, comparability, pair
from mechdecouple.compare.preflight import (
    check_features,
    check_items,
    check_named_site,
    check_reading,
    check_stores,
    state_cost,
)
from mechdecouple.compare.provenance import provenance
from mechdecouple.compare.seeds import with_spread
from mechdecouple.compare.side import Pair, Side, make_side
from mechdecouple.compare.similarity import similarity_verdict
from mechdecouple.compare.verdict import Contrast, Verdict, difference_verdict, flag
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel
from mechdecouple.progress import bar
from mechdecouple.refs import load, load_task
from mechdecouple.results import Measurement
from mechdecouple.tasks import Task

ACTIVATIONS = "activations"
STRUCTURE = ("geometry", "fracture", "entanglement")

SMALL = 5_000_000


def compare(
    a: Any,
    b: Any,
    task: Any,
    *,
    out: str | Path | None = None,
    activations: tuple[str | Path, str | Path] | None = None,
    progress: bool = True,
    config: CompareConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Compare two models: are they equally accurate, how do they differ inside, does each say what it represents?

    Args:
        a, b: models, see :func:`mechdecouple.load`.
        task: the items, see :func:`mechdecouple.load_task`; both models see the same ones.
        out: folder in which activations are stored (``out/activations``), so that an interrupted job goes on; in memory
            without it. The report is written by :func:`mechdecouple.write_report`.
        activations: folders of A's and of B's activations in place of those below ``out``: what was extracted for one
            pair serves all pairs that the model is in.
        progress: show what is being done.
        config, options: see :class:`mechdecouple.CompareConfig`; ``options`` win.

    Raises:
        MechDecoupleError: an input cannot be used; one line says which and how to mend it.

    Example:
        >>> options = {"position": "position_statement"}
        >>> comparison = compare("zoo:factored", "zoo:fractured", "zoo:factored", **options)  # doctest: +SKIP
        >>> print(comparison.summary())  # doctest: +SKIP
    """
    given = config.model_dump() if isinstance(config, CompareConfig) else dict(config or {})
    settings = make_config({**given, **options})
    items = load_task(task, **task_options(settings))
    seeds = _seeds(settings.seeds_a, settings), _seeds(settings.seeds_b, settings)
    model_a, model_b = _models(a, b, settings)
    with threads(model_a, model_b):
        stores = _Stores(None if out is None else Path(out) / ACTIVATIONS, activations)
        return _run(model_a, model_b, items, settings, seeds, stores, progress)


@dataclasses.dataclass(frozen=True)
class _Stores:
    """Where activations go: ``below`` a folder by the name of what they are of, unless places of A's and B's are
    given; in memory where there is neither."""

    below: Path | None
    given: tuple[str | Path, str | Path] | None

    def of(self, name: str) -> Path | None:
        if self.given is not None and name in ("a", "b"):
            return Path(self.given[name == "b"])
        return None if self.below is None else self.below / name


@contextlib.contextmanager
def threads(*models: HookedModel) -> Iterator[None]:
    """One thread for small models: their operations are too short to be split, and waiting for each other costs more
    than it saves, several times over where the cores are shared."""
    before = torch.get_num_threads()
    if max(model.n_params for model in models) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def task_options(settings: CompareConfig) -> dict[str, Any]:
    return {
        name: getattr(settings, name)
        for name in ("performance", "honest", "affirm", "inputs", "columns", "template", "system")
    }


def _models(a: Any, b: Any, settings: CompareConfig) -> tuple[HookedModel, HookedModel]:
    options = {"fold_ln": settings.fold_ln, "device": settings.device, "dtype": settings.dtype}
    model_a, model_b = load(a, **options), load(b, **options)
    if model_a.name == model_b.name:
        model_a, model_b = copy.copy(model_a), copy.copy(model_b)
        model_a.name, model_b.name = f"{model_a.name} (A)", f"{model_b.name} (B)"
    return model_a, model_b


def _seeds(refs: Sequence[str], settings: CompareConfig) -> list[HookedModel]:
    return [load(ref, fold_ln=settings.fold_ln, device=settings.device, dtype=settings.dtype) for ref in refs]


def _run(
    a: HookedModel,
    b: HookedModel,
    task: Task,
    config: CompareConfig,
    seeds: tuple[list[HookedModel], list[HookedModel]],
    stores: _Stores,
    progress: bool,
) -> Comparison:
    notes = [*comparability(a, b, config), *task.notes]
    if config.position == "all" and "beliefs" in config.families and task.truth is not None:
        raise InputError(
            "beliefs are read one row an item: use position 'last', 'mean' or a position column, not 'all'"
        )
    points = choose_points(a, config.hook_points), choose_points(b, config.hook_points_b or config.hook_points)
    sites = pair(a, points[0], b, points[1])
    loss_unit = "byte" if a.tokenizer_hash != b.tokenizer_hash and task.prompts is not None else "token"

    by_similarity = config.alignment == "similarity" and len(points[0]) != len(points[1])
    spent = alignment_rows(task.groups, seed=config.seed) if by_similarity else np.zeros(len(task), dtype=bool)

    def side(model: HookedModel, which: int, store: str) -> Side:
        return make_side(
            model,
            task,
            points[which],
            config,
            slot="b" if which else "a",
            loss_unit=loss_unit,
            store=stores.of(store),
            progress=progress,
            spent=spent,
        )

    families = [family for family in MEASURES if family in config.families]
    runs = [(0, i, m) for i, m in enumerate(seeds[0])] + [(1, i, m) for i, m in enumerate(seeds[1])]
    _check_first(a, b, task, config, points, sites, runs, stores)
    state_cost(a, b, task, spent, config, seeds)
    with bar(total=3 + len(families) + ("sae" in families) + len(runs), progress=progress, unit="stage") as stages:

        def stage(name: str) -> None:
            stages.set_description(name)
            stages.update()

        stage(f"reading {a.name}")
        first = side(a, 0, "a")
        stage(f"reading {b.name}")
        second = side(b, 1, "b")
        first.acts.check_aligned(second.acts)
        if by_similarity:
            sites = aligned_sites(first, second, spent)
            check_named_site(config, sites, a)
            notes.append(alignment_note(sites, spent, task))
        both = Pair(first, second, sites, (tuple(seeds[0]), tuple(seeds[1])))
        if "structure" in families:
            notes += [*unmeasured(task, both.a.labels), *wanted(task, both.a.labels)]
        stage("gate")
        gate = equal_performance(
            both.a.answers, both.b.answers, task, margin=config.margin, alpha=config.alpha, name_a=a.name, name_b=b.name
        )
        found = {"calibration": measure_calibration(both, progress)}
        for family in families:
            stage(family)
            found[family] = MEASURES[family](both, progress)
        features = next((findings.features for findings in found.values() if findings.features is not None), None)
        described = None
        if features is not None:
            stage("latents")
            described = describe_features(both, features)
        relatives: tuple[list[Side], list[Side]] = ([both.a], [both.b])
        for which, number, model in runs:
            stage(f"seed {model.name}")
            relatives[which].append(side(model, which, _seed_store(which, number)))
        contrasts = with_spread(found, relatives, sites, families)

    rows = gate.measurements(*both.names) + [row for findings in found.values() for row in findings.rows]
    verdicts = _verdicts(both, contrasts, found)
    tables = {}
    notes += [note for findings in found.values() for note in findings.notes]
    mechanism = found["mechanism"].mechanism if "mechanism" in found else None
    if mechanism is not None:
        verdicts += mechanism.verdicts
        notes += mechanism.notes
        tables |= {"parts": mechanism.parts, "evidence": mechanism.evidence}
    if described is not None:
        rows += described.measurements
        verdicts = tuple(_told(v, described) if v.family == "sae" else v for v in verdicts)
        tables |= {"features": described.features, "examples": described.examples}
    return Comparison(
        a=a.name,
        b=b.name,
        task=task.name,
        gate=gate,
        verdicts=verdicts,
        measurements=tuple(rows),
        items=pd.concat([both.a.items(), both.b.items()], ignore_index=True),
        notes=tuple(dict.fromkeys(notes)),
        provenance=provenance(a, b, task, config),
        **tables,
    )


def _told(verdict: Verdict, described: Described) -> Verdict:
    """The verdict on shared features, with what those that are not shared do and know."""
    return dataclasses.replace(verdict, sentence=" ".join([verdict.sentence, *described.words]))


def _check_first(
    a: HookedModel,
    b: HookedModel,
    task: Task,
    config: CompareConfig,
    points: Sequence[tuple[str, ...]],
    sites: Sequence[Site],
    runs: Sequence[tuple[int, int, HookedModel]],
    stores: _Stores,
) -> None:
    """Refuse what could only fail after minutes: options, items, hook points, folders and the space on the disk."""
    check_items(task)
    named = [(0, "a", a), (1, "b", b), *((which, _seed_store(which, number), m) for which, number, m in runs)]
    plans = [check_reading(m, task, points[which], config, slot="b" if which else "a") for which, _, m in named]
    check_features(config, sites, a, plans)
    folders = [stores.of(store) for _, store, _ in named]
    check_stores([(todo, folder) for todo, folder in zip(plans, folders, strict=True) if folder is not None])


def _seed_store(which: int, number: int) -> str:
    return f"{'ab'[which]}-seed{number + 1}"


def _verdicts(both: Pair, contrasts: dict[str, list[Contrast]], found: dict[str, Findings]) -> tuple[Verdict, ...]:
    """Flags are set over all primary contrasts together (Holm), then told family by family."""
    flat = [(name, contrast) for name, cs in contrasts.items() for contrast in cs]
    flags = flag([contrast for _, contrast in flat])
    verdicts = []
    for name in dict.fromkeys(name for name, _ in flat):
        own = [(c, f) for (n, c), f in zip(flat, flags, strict=True) if n == name]
        evidence = [
            row
            for findings in found.values()
            for row in findings.rows
            if row.model_b and row.metric in {c.metric.name for c, _ in own} and not _of_map(row)
        ]
        verdicts.append(difference_verdict(name, [c for c, _ in own], [f for _, f in own], *both.names, evidence))
    if "belief" in contrasts and both.a.belief is not None and both.b.belief is not None:
        verdicts += [model_verdict(both.a.belief, "a"), model_verdict(both.b.belief, "b")]
    if "similarity" in found:
        verdicts.insert(min(2, len(verdicts)), similarity_verdict(both, found["similarity"].rows))
    if "ancestry" in found and (said := ancestry_verdict(found["ancestry"].rows)) is not None:
        verdicts.append(said)
    return tuple(verdicts)


def _of_map(row: Measurement) -> bool:
    """Whether a row is one place of the map of differences, on which no verdict rests."""
    return row.family in STRUCTURE and bool(row.hook_point)
