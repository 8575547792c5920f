"""do: one unit of work, done in whatever process it is called in, with the same bytes in each."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from mechdecouple import sae
from mechdecouple.activations import Activations
from mechdecouple.activations.store import TIMES, one_line, read_times, to_json, write_file
from mechdecouple.compare import compare
from mechdecouple.compare.pairing import choose_points
from mechdecouple.errors import InputError
from mechdecouple.extract import extract
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.executors.outcome import Outcome
from mechdecouple.jobs.plan import SEEDS, comparing, reading
from mechdecouple.jobs.store import UnitStore, reason_of
from mechdecouple.jobs.units import Unit
from mechdecouple.models import HookedModel
from mechdecouple.refs import load, load_task
from mechdecouple.report import write_results
from mechdecouple.tasks import Task

ACTIVATIONS, SAES, EVALUATION = "activations", "saes", "evaluation.parquet"
_MODELS = 2
"""Loaded models that a process keeps: those of one pair."""
_log = logging.getLogger("mechdecouple.jobs")


def do(unit: Unit, folder: str | Path) -> Outcome:
    """Do a unit, unless it is done; what is wrong with it comes back as the outcome's reason and is never raised.

    Args:
        folder: of the :class:`UnitStore`.
    """
    store, began = UnitStore(folder), time.perf_counter()
    try:
        with fixed_threads(unit.spec["threads"]), store.work(unit) as place:
            if place is None:
                return Outcome(unit.stage, unit.key, unit.label, made=False)
            facts = _STAGES[unit.stage](unit, store, place)
            seconds = time.perf_counter() - began
            write_file(place / TIMES, to_json({"seconds": seconds, **facts}))
    except Exception as error:
        _log.debug("%s of %s failed", unit.stage, unit.label, exc_info=True)
        return Outcome.failed(unit, reason_of(error), time.perf_counter() - began)
    return Outcome(unit.stage, unit.key, unit.label, seconds=seconds, facts=facts)


@contextlib.contextmanager
def fixed_threads(number: int) -> Iterator[None]:
    """That many threads for torch, BLAS and OpenMP: sums split over other threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        with threadpool_limits(limits=number):
            yield
    finally:
        torch.set_num_threads(before)


def _extract(unit: Unit, store: UnitStore, place: Path) -> dict[str, Any]:
    spec = unit.spec
    model, task = _model(unit.where["model"], spec["model"], spec["loading"], store.folder), _task(unit)
    out = place / ACTIVATIONS
    extract(model, task, choose_points(model, spec["hook_points"]), out=out, progress=False, **spec["extraction"])
    return _last_run(out)


def _saes(unit: Unit, store: UnitStore, place: Path) -> dict[str, Any]:
    with store.reading("extract", unit.needs[0]) as extracted:
        acts = Activations.open(extracted / ACTIVATIONS)
        groups = _task(unit).groups[acts.items]
        suite = sae.make_suite(unit.spec["sae"])
        name = str(acts.manifest["model"]["name"])
        device = unit.spec["device"]
        made = sae.train_suite(acts, groups, suite, device=device, out=place / SAES, progress=False)
        tables = [sae.suite_frame(one, name, acts.position) for one in made]
    with one_line("writing", place / EVALUATION):
        pd.concat(tables, ignore_index=True).to_parquet(place / EVALUATION, index=False)
    return {"dictionaries": len(tables)}


def _compare(unit: Unit, store: UnitStore, place: Path) -> dict[str, Any]:
    spec, where = unit.spec, unit.where
    loading = {name: spec["options"][name] for name in ("device", "dtype", "fold_ln")}
    a, b = (_model(where[side], spec[side], loading, store.folder) for side in ("a", "b"))
    seeds = {ref: content for name in SEEDS for ref, content in zip(comparing(unit)[name], spec[name], strict=True)}
    with contextlib.ExitStack() as held:
        held.enter_context(_unchanged(seeds, store.folder, loading["fold_ln"]))
        first, second = (held.enter_context(store.reading("extract", key)) / ACTIVATIONS for key in unit.needs)
        found = compare(
            a, b, _task(unit), out=place, activations=(first, second), progress=False, config=comparing(unit)
        )  # fmt: skip
    # The time of making stands in times.json: all other files are the same whenever they are made.
    kept = {key: value for key, value in found.provenance.items() if key != "created"}
    write_results(dataclasses.replace(found, provenance=kept), place)
    # Those of further runs of a recipe: what was extracted for the two models lies in units of its own.
    shutil.rmtree(place / ACTIVATIONS, ignore_errors=True)
    return {"gate": found.gate.outcome, "created": found.provenance["created"]}


_STAGES = {"extract": _extract, "sae": _saes, "compare": _compare}


def _model(ref: str, content: str, loading: Mapping[str, Any], folder: Path) -> HookedModel:
    return _loaded(ref, content, folder, **loading)


@functools.lru_cache(maxsize=_MODELS)
def _loaded(ref: str, content: str, folder: Path, *, device: str, dtype: str, fold_ln: bool) -> HookedModel:
    with _unchanged({ref: content}, folder, fold_ln):
        return load(ref, device=device, dtype=dtype, fold_ln=fold_ln)


@contextlib.contextmanager
def _unchanged(contents: Mapping[str, str], folder: Path, fold_ln: bool) -> Iterator[None]:
    """Holds that what is behind each reference is what the job was planned with, before and after it is read.

    Raises:
        InputError: it is not.
    """

    def check(refs: Iterable[str]) -> None:
        known = Contents(folder / "contents.json")
        for ref in refs:
            if known.of_model(ref, fold_ln=fold_ln) != contents[ref]:
                raise InputError(f"model {ref!r} has changed since the job was planned: run the job again")

    check(contents)
    yield
    check(ref for ref in contents if Path(ref).expanduser().exists())


def _task(unit: Unit) -> Task:
    task = load_task(unit.where["task"], **reading(unit))
    if task.fingerprint != unit.spec["task"]:
        raise InputError(f"task {unit.where['task']!r} has changed since the job was planned: run the job again")
    return task


def _last_run(folder: Path) -> dict[str, Any]:
    """What the extraction's last run says of its speed."""
    note = (read_times(folder) or [{}])[-1]
    return {key: value for key, value in note.items() if key != "finished"}
