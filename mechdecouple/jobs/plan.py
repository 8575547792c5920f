"""plan_job: a job cut into units of work."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mechdecouple.compare.config import CompareConfig
from mechdecouple.compare.run import task_options
from mechdecouple.jobs.config import JobConfig, chosen_models, chosen_pairs, placed
from mechdecouple.jobs.content import Contents
from mechdecouple.jobs.units import Unit
from mechdecouple.models.hub import parse_hub
from mechdecouple.refs import load_task
from mechdecouple.sae import make_suite
from mechdecouple.tasks import Task

EXTRACTION = ("position", "dtype", "chat", "batch_tokens")
LOADING = ("device", "dtype", "fold_ln")
SEEDS = ("seeds_a", "seeds_b")


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

    One extraction a model and task serves every pair that the model is in, and every job that shares the store; a
    comparison has those of its two models made whether or not the job names that stage.

    Args:
        root: where relative paths of the job start, as a rule the folder of its file.
        contents: hashes of models, to be remembered between jobs.

    Raises:
        InputError: a pattern without a match, a pair that cannot be; ModelError, TaskError: nothing answers to a
            reference, or it cannot be used.
    """
    root, contents, config = Path(root), contents or Contents(), _rooted(job.comparison, Path(root))
    models = chosen_models(job, root)
    pairs = chosen_pairs(job, models, root)
    kept = models if {"extract", "sae"} & set(job.stages) else ()
    seeds: dict[str, tuple[str, ...]] = {name: getattr(config, name) if pairs else () for name in SEEDS}
    needed = dict.fromkeys([*kept, *(m for pair in pairs for m in pair), *seeds["seeds_a"], *seeds["seeds_b"]])
    hashes = {ref: contents.of_model(ref, fold_ln=config.fold_ln) for ref in needed}
    units: dict[str, Unit] = {}
    tasks = tuple(placed(ref, root) for ref in job.tasks)
    for ref in tasks:
        task = load_task(ref, **task_options(config))

        def extraction(model: str, side: Literal["a", "b"] = "a", ref: str = ref, task: Task = task) -> Unit:
            return _extraction(job, config, model, hashes[model], ref, task, side)

        made = [extraction(model) for model in kept]
        sides = [(extraction(a), extraction(b, "b")) for a, b in pairs]
        made += [unit for pair in sides for unit in pair]
        units |= {unit.key: unit for unit in made}
        if "sae" in job.stages:
            units |= {unit.key: unit for unit in (_saes(job, unit) for unit in made)}
        units |= {unit.key: unit for unit in (_comparison(job, config, pair, seeds, hashes) for pair in sides)}
    contents.save()
    return JobPlan(job.name, models, tasks, tuple(units.values()))


def reading(unit: Unit) -> dict[str, Any]:
    """The options that a unit's task is read with, as :func:`mechdecouple.load_task` takes them."""
    given = {"inputs": unit.where["inputs"]} if "inputs" in unit.where else {}
    return {**unit.spec["reading"], **given}


def comparing(unit: Unit) -> dict[str, Any]:
    """The options of a comparison, as :func:`mechdecouple.compare` takes them, but for those its task was read with.

    Further seeds are in a unit's spec by their content, and where to find them stands apart.
    """
    named = {name: _numbered(unit.where, name) for name in SEEDS}
    return {**unit.spec["options"], **named}


def _extraction(
    job: JobConfig, config: CompareConfig, model: str, content: str, ref: str, task: Task, side: Literal["a", "b"]
) -> Unit:
    points = config.hook_points_b or config.hook_points if side == "b" else config.hook_points
    read = {name: _json(value) for name, value in task_options(config).items() if name != "inputs"}
    spec = {
        "model": content, "task": task.fingerprint, "threads": job.threads,
        "loading": _some(config, LOADING), "extraction": _some(config, EXTRACTION),
        "hook_points": None if points is None else list(points),
        "reading": read,
    }  # fmt: skip
    where = {"model": model, "task": ref} | ({} if config.inputs is None else {"inputs": config.inputs})
    return Unit("extract", spec, where, label=f"{_short(model)} on {_short(ref)}")


def _saes(job: JobConfig, extraction: Unit) -> Unit:
    shared = {name: extraction.spec[name] for name in ("task", "reading", "threads")}
    settings = {name: _json(value) for name, value in dataclasses.asdict(make_suite(job.sae)).items()}
    spec = {
        "sae": {name: value for name, value in settings.items() if value is not None},
        "device": extraction.spec["loading"]["device"],
        **shared,
    }
    return Unit("sae", spec, extraction.where, needs=(extraction.key,), label=extraction.label)


def _comparison(
    job: JobConfig,
    config: CompareConfig,
    sides: tuple[Unit, Unit],
    seeds: Mapping[str, tuple[str, ...]],
    hashes: Mapping[str, str],
) -> Unit:
    a, b = sides
    elsewhere = (*SEEDS, *task_options(config))
    options = {name: _json(value) for name, value in config.model_dump().items() if name not in elsewhere}
    spec = {
        "a": a.spec["model"], "b": b.spec["model"], "task": a.spec["task"], "threads": job.threads,
        "options": options, "reading": a.spec["reading"],
        **{name: [hashes[ref] for ref in refs] for name, refs in seeds.items()},
    }  # fmt: skip
    where = {**a.where, "a": a.where["model"], "b": b.where["model"]}
    del where["model"]
    where |= {f"{name}.{i}": ref for name, refs in seeds.items() for i, ref in enumerate(refs)}
    label = f"{_short(where['a'])} against {_short(where['b'])} on {_short(where['task'])}"
    return Unit("compare", spec, where, needs=(a.key, b.key), label=label)


def _rooted(config: CompareConfig, root: Path) -> CompareConfig:
    """The options with the relative paths in them as seen from ``root``."""
    found: dict[str, Any] = {name: tuple(placed(ref, root) for ref in getattr(config, name)) for name in SEEDS}
    if config.inputs is not None:
        found["inputs"] = placed(config.inputs, root)
    return config.model_copy(update=found)


def _numbered(where: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The entries ``name.0``, ``name.1`` … in order."""
    n = sum(key.startswith(f"{name}.") for key in where)
    return tuple(where[f"{name}.{i}"] for i in range(n))


def _some(config: CompareConfig, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in names}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    return [_json(v) for v in value] if isinstance(value, tuple | list) else value


def _short(ref: str) -> str:
    if not Path(ref).exists() and (hub := parse_hub(ref)) is not None:
        return hub.name
    return Path(ref).name or ref
