"""plan_job: a job cut into units of work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.run import task_options
from mechdecouple.jobs.config import JobConfig, chosen_models, chosen_pairs
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.units import Unit
from mechdecouple.refs import load_task
from mechdecouple.tasks import Task

EXTRACTION = ("position", "dtype", "chat", "batch_tokens")
LOADING = ("device", "dtype", "fold_ln")


@dataclasses.dataclass(frozen=True)
class JobPlan:
    """The units of a job, those that others need first.

    Attributes:
        name: of the job.
        models, tasks: references, in order.
    """

    name: str
    models: tuple[str, ...]
    tasks: tuple[str, ...]
    units: tuple[Unit, ...]

    def __len__(self) -> int:
        return len(self.units)

    def frame(self) -> pd.DataFrame:
        """One row a unit."""
        rows = [{"stage": u.stage, "key": u.key, "label": u.label, "needs": len(u.needs)} for u in self.units]
        return pd.DataFrame(rows, columns=["stage", "key", "label", "needs"])


def plan_job(job: JobConfig, root: str | Path = ".", contents: Contents | None = None) -> JobPlan:
    """Cut a job into units.

    One extraction a model and task serves every pair that the model is in, and every job that shares the store.

    Args:
        root: where relative paths of the job start, as a rule the folder of its file.
        contents: hashes of models, to be remembered between jobs.

    Raises:
        InputError: a pattern without a match, a pair that cannot be; ModelError, TaskError: nothing answers to a
            reference, or it cannot be used.
    """
    root, contents, config = Path(root), contents or Contents(), job.comparison
    models = chosen_models(job, root)
    pairs = chosen_pairs(job, models, root)
    hashes = {ref: contents.of_model(ref, fold_ln=config.fold_ln) for ref in models}
    units: dict[str, Unit] = {}
    tasks = tuple(str(root / ref) if (root / ref).exists() else ref for ref in job.tasks)
    for ref in tasks:
        task = load_task(ref, **task_options(config))
        made = {model: _extraction(job, config, model, hashes[model], ref, task) for model in models}
        if "extract" in job.stages or "sae" in job.stages:
            units |= {unit.key: unit for unit in made.values()}
        if "sae" in job.stages:
            units |= {unit.key: unit for unit in (_saes(job, unit) for unit in made.values())}
        for a, b in pairs:
            unit = _comparison(job, config, (made[a], made[b]), "extract" in job.stages)
            units[unit.key] = unit
    contents.save()
    return JobPlan(job.name, models, tasks, tuple(units.values()))


def _extraction(job: JobConfig, config: CompareConfig, model: str, content: str, ref: str, task: Task) -> Unit:
    spec = {
        "model": content, "task": task.fingerprint, "threads": job.threads,
        "loading": _some(config, LOADING), "extraction": _some(config, EXTRACTION),
        "hook_points": None if config.hook_points is None else list(config.hook_points),
        "reading": {name: _json(value) for name, value in task_options(config).items()},
    }  # fmt: skip
    return Unit("extract", spec, {"model": model, "task": ref}, label=f"{_short(model)} on {_short(ref)}")


def _saes(job: JobConfig, extraction: Unit) -> Unit:
    spec = {"sae": dict(job.sae), "threads": job.threads}
    return Unit("sae", spec, extraction.where, needs=(extraction.key,), label=extraction.label)


def _comparison(job: JobConfig, config: CompareConfig, sides: tuple[Unit, Unit], extracted: bool) -> Unit:
    a, b = sides
    spec = {
        "a": a.spec["model"], "b": b.spec["model"], "task": a.spec["task"], "threads": job.threads,
        "options": {name: _json(value) for name, value in config.model_dump().items()},
    }  # fmt: skip
    where = {"a": a.where["model"], "b": b.where["model"], "task": a.where["task"]}
    needs = (a.key, b.key) if extracted else ()
    label = f"{_short(where['a'])} against {_short(where['b'])} on {_short(where['task'])}"
    return Unit("compare", spec, where, needs, label)


def _some(config: CompareConfig, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    return [_json(v) for v in value] if isinstance(value, tuple | list) else value


def _short(ref: str) -> str:
    return Path(ref).name or ref
