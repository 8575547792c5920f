"""cost: what a plan takes, in forward passes and on disk, before anything runs; a plan beyond its budget is refused."""

from __future__ import annotations

import dataclasses
import functools
import html
import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mechdecouple import sae
from mechdecouple.activations.store import size_text, to_json
from mechdecouple.compare.config import make_config
from mechdecouple.compare.cost import compare_cost
from mechdecouple.compare.pairing import choose_points
from mechdecouple.compare.side_cost import extraction_passes
from mechdecouple.errors import InputError, MechDecoupleError
from mechdecouple.extract import Plan, plan
from mechdecouple.jobs.config import STAGES, Budget
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.plan import SEEDS, JobPlan, comparing, reading
from mechdecouple.jobs.store import RECORD, UnitStore
from mechdecouple.jobs.units import Unit
from mechdecouple.models import HookedModel
from mechdecouple.refs import load, load_task
from mechdecouple.tasks import Task

_ENTRY, _TENSOR = 160, 75
"""Bytes that list a file with its checksum, and that head a tensor beside its name."""
_TIMES = 300
_DICTIONARY, _TRAINING, _JUDGED = 2_100, 1_500, 11_800
"""Bytes of what stands beside a dictionary's weights, beside a training, and of the table of judgements."""
_REPORT, _FAMILY, _ITEM = 750_000, 230_000, 15
_FIGURES = {"structure": 1_150_000, "mechanism": 1_000_000}
"""Bytes of a comparison, about right: what every report holds, a family adds (some draw more), an item and model adds.
"""
_MODELS, _SHOWN = 3, 40


@dataclasses.dataclass(frozen=True)
class UnitCost:
    """What one unit takes.

    Attributes:
        there: whether it is done already.
        passes: forward passes of single items that it takes at most; 0 where it is there.
        bytes: on disk: those it has where it is there, about those it will have otherwise.
        reason: why it cannot be done, found while its cost was looked for; then passes and bytes are 0.
    """

    unit: Unit
    there: bool
    passes: int = 0
    bytes: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class PlanCost:
    """What a plan takes.

    Attributes:
        name: of the job; units: all of them, those that others need first.
    """

    name: str
    units: tuple[UnitCost, ...]

    @property
    def passes(self) -> int:
        """Forward passes of single items that are still to be made, at most."""
        return sum(one.passes for one in self.units)

    @property
    def bytes(self) -> int:
        """Bytes that are still to be written."""
        return sum(one.bytes for one in self.units if not one.there)

    @property
    def there(self) -> int:
        """Units that are done already."""
        return sum(one.there for one in self.units)

    def frame(self) -> pd.DataFrame:
        """One row a unit: stage, key, label, there, passes, bytes, reason."""
        columns = ["stage", "key", "label", "there", "passes", "bytes", "reason"]
        rows = [
            [one.unit.stage, one.unit.key, one.unit.label, one.there, one.passes, one.bytes, one.reason]
            for one in self.units
        ]
        return pd.DataFrame(rows, columns=columns)

    def summary(self) -> str:
        """Plain text: the whole, each stage in a line, each unit in a line."""
        lines = [self._headline()]
        for stage in STAGES:
            own = PlanCost(self.name, tuple(one for one in self.units if one.unit.stage == stage))
            if own.units:
                lines.append(f"{stage:8s} {own._counted()}")
        lines += [_line(one) for one in self.units]
        return "\n".join(lines)

    def check(self, budget: Budget) -> None:
        """Refuses a plan that takes more than it may.

        Raises:
            InputError: what is still to be done takes more passes or more bytes than the budget allows.
        """
        fewer = "name fewer models, pairs or items"
        if budget.passes is not None and self.passes > budget.passes:
            raise InputError(
                f"job {self.name!r} takes up to {self.passes:,} forward passes and its budget is {budget.passes:,}: "
                f"raise passes in [budget], {fewer}, or measure fewer families"
            )
        if budget.disk is not None and self.bytes > budget.disk:
            raise InputError(
                f"job {self.name!r} takes about {size_text(self.bytes)} on disk and its budget is "
                f"{size_text(budget.disk)}: raise disk in [budget], {fewer}, or look at fewer hook_points"
            )

    def _headline(self) -> str:
        return f"{self.name}: {self._counted()}"

    def _counted(self) -> str:
        n = len(self.units)
        head = f"{n} unit{'s' * (n != 1)}, {self.there} there"
        return f"{head}; to do: {self.passes:,} forward passes at most, about {size_text(self.bytes)} on disk"

    def _repr_html_(self) -> str:
        table = self.frame().head(_SHOWN).to_html(index=False, border=0) if self.units else ""
        return f"<p>{html.escape(self._headline())}</p>{table}"


def plan_cost(job: JobPlan, store: UnitStore, contents: Contents | None = None) -> PlanCost:
    """What the units of a plan take that are not in the store yet.

    Models are loaded to see what they need, one for all that differ in weights alone, and run on an item or a few.

    Args:
        contents: hashes of models, remembered between jobs.
    """
    costs = _Costs(job, contents or Contents())
    found = []
    for unit in job.units:
        if store.done(unit):
            found.append(UnitCost(unit, True, bytes=_taken(store.place(unit))))
            continue
        try:
            passes, size = costs.of(unit)
            found.append(UnitCost(unit, False, passes, size))
        except MechDecoupleError as error:
            found.append(UnitCost(unit, False, reason=" ".join(str(error).split())))
    return PlanCost(job.name, tuple(found))


class _Costs:
    """Passes and bytes of units; those that differ in the weights of their models alone cost the same."""

    def __init__(self, job: JobPlan, contents: Contents) -> None:
        self._units = {unit.key: unit for unit in job.units}
        self._shape = functools.cache(contents.of_shape)
        self._first: dict[str, str] = {}
        self._known: dict[str, tuple[int, int]] = {}
        self._load = functools.lru_cache(_MODELS)(load)
        self._plan = functools.lru_cache(_MODELS)(self._planned)
        self._read = functools.lru_cache(_MODELS)(_task)

    def of(self, unit: Unit) -> tuple[int, int]:
        alike = self._alike(unit)
        if alike not in self._known:
            measure = {"extract": self._extraction, "sae": self._dictionaries, "compare": self._comparison}[unit.stage]
            passes, size = measure(unit)
            self._known[alike] = passes, size + len(to_json(unit.record())) + _TIMES
        return self._known[alike]

    def _alike(self, unit: Unit) -> str:
        """What the cost of a unit depends on, as text."""
        named = ("model", "a", "b", *SEEDS)
        places = {name: self._shape(ref) for name, ref in unit.where.items() if name.partition(".")[0] in named}
        spec = {name: value for name, value in unit.spec.items() if name not in named}
        needs = [self._alike(self._units[key]) for key in unit.needs] if unit.stage == "sae" else []
        return json.dumps([unit.stage, spec, places, needs], sort_keys=True)

    def _model(self, ref: str, loading: Mapping[str, Any]) -> HookedModel:
        """A model that costs what this one does, on the processor."""
        alike = self._first.setdefault(self._shape(ref), ref)
        return self._load(alike, dtype=loading["dtype"], fold_ln=loading["fold_ln"])

    def _planned(self, key: str) -> Plan:
        unit = self._units[key]
        model = self._model(unit.where["model"], unit.spec["loading"])
        points = choose_points(model, unit.spec["hook_points"])
        return plan(model, self._task(unit), points, **unit.spec["extraction"])

    def _task(self, unit: Unit) -> Task:
        return self._read(unit.where["task"], json.dumps(reading(unit)))

    def _extraction(self, unit: Unit) -> tuple[int, int]:
        todo = self._plan(unit.key)
        return extraction_passes(len(todo.task)) + 1, _activations(todo)

    def _dictionaries(self, unit: Unit) -> tuple[int, int]:
        """Trained and judged on what is stored: no passes."""
        todo, suite = self._plan(unit.needs[0]), sae.make_suite(unit.spec["sae"])
        groups = np.repeat(todo.task.groups, todo.rows_per_item)
        n, size = int((~sae.holdout(groups, seed=suite.seed)).sum()), _JUDGED
        points = suite.hook_points or tuple(todo.hook_points)
        strange = next((point for point in points if point not in todo.hook_points), None)
        if strange is not None:
            known = ", ".join(todo.hook_points)
            raise InputError(f"hook point {strange!r} of [sae] is not extracted; choose among {known}")
        for point, architecture, width in product(points, suite.architecture, suite.width):
            d = todo.hook_points[point]
            m = sae.Recipe(architecture, width, suite.k).filled(n, d).width or 0
            size += len(suite.seeds) * (4 * (2 * d * m + d + m) + _DICTIONARY)
        return 0, size + len(suite.seeds) * _TRAINING

    def _comparison(self, unit: Unit) -> tuple[int, int]:
        options = comparing(unit)
        config, task = make_config(options), self._task(unit)
        a, b = (self._model(unit.where[side], options) for side in ("a", "b"))
        first, second = ([self._model(ref, options) for ref in options[name]] for name in SEEDS)
        passes = compare_cost(a, b, task, config, seeds=(first, second), stored=True).total
        drawn = sum(_FIGURES.get(family, _FAMILY) for family in config.families)
        return passes, _REPORT + drawn + 2 * _ITEM * len(task)


def _task(ref: str, options: str) -> Task:
    return load_task(ref, **json.loads(options))


def _activations(todo: Plan) -> int:
    """Bytes of a store of activations with all that lists it."""
    heads = sum(len(name) + _TENSOR for name in todo.hook_points) + 2 * _TENSOR
    spans = [[span.start, span.stop] for span in todo.shards]
    files = (
        [str(id_) for id_ in todo.task.ids],
        {"shards": spans, "batches": [batch.tolist() for batch in todo.batches]},
        todo.manifest(),
    )
    listed = 2 * _ENTRY * (len(todo.shards) + len(files))  # in the manifest, and in what lists the unit's files
    return todo.rows * todo.row_bytes + heads * len(todo.shards) + sum(len(to_json(f)) for f in files) + listed


def _taken(place: Path) -> int:
    """Bytes of a finished unit, by its own list; 0 where that cannot be read."""
    try:
        record = (place / RECORD).read_bytes()
        return len(record) + sum(int(entry["bytes"]) for entry in json.loads(record)["files"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0


def _line(one: UnitCost) -> str:
    unit = one.unit
    if one.reason:
        return f"[cannot] {unit.stage} {unit.label}: {one.reason}"
    if one.there:
        return f"[there] {unit.stage} {unit.label}"
    passes = f"{one.passes:,} passes, " if one.passes else ""
    return f"[to do] {unit.stage} {unit.label}: {passes}{size_text(one.bytes)}"
