"""JobConfig: a job file, checked: which models and tasks, which pairs of them, which stages, within what budget."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mechdecouple.compare import CompareConfig, make_config
from mechdecouple.errors import InputError
from mechdecouple.models.hub import hub_revisions, parse_hub
from mechdecouple.sae import make_suite

Stage = Literal["extract", "sae", "compare"]
STAGES: tuple[Stage, ...] = get_args(Stage)
PAIRINGS = ("all", "consecutive", "reference")
_SIZES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Budget(BaseModel):
    """What a job may take; a plan that takes more is refused before anything runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passes: int | None = Field(default=None, description="forward passes of single items", gt=0)
    disk: int | None = Field(default=None, description="bytes, or text such as '20 GB'", gt=0)

    @field_validator("disk", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"([\d.]+)\s*([kMGT]?)B", value.strip())
        if match is None:
            raise ValueError("write bytes as a number with a unit: '500 MB', '20 GB'")
        return int(float(match[1]) * _SIZES[match[2]])


class JobConfig(BaseModel):
    """What a job is to do.

    Attributes:
        name: of the job; names its part of the results.
        models: references as `mechdecouple.load` takes them; patterns such as ``checkpoints/step-*`` stand for the
            directories they match, in natural order (step-2 before step-10), and ``org/name@step*`` for the branches
            and tags of a model on the hub.
        tasks: references as `mechdecouple.load_task` takes them.
        pairs: ``all``, each with its ``reference``, ``consecutive`` in the order of the models, or a list of pairs.
        stages: ``extract`` activations, train ``sae``s on them, ``compare`` pairs.
        compare: options of a comparison; sae: options of `mechdecouple.sae.Suite`.
        threads: of one unit of work, whatever executes it: sums split over other threads differ in their last bits.
        store: folder of finished units, which jobs may share; ``units`` in the job's own folder when absent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("job", pattern=r"^[A-Za-z0-9][\w.-]*$")
    models: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    pairs: Literal["all", "consecutive", "reference"] | tuple[tuple[str, str], ...] = "all"
    reference: str | None = None
    stages: tuple[Stage, ...] = ("extract", "compare")
    compare: dict[str, Any] = {}
    sae: dict[str, Any] = {}
    budget: Budget = Budget()
    threads: int = Field(1, ge=1)
    store: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> JobConfig:
        if (self.pairs == "reference") != (self.reference is not None):
            raise ValueError("pairs = 'reference' and reference = MODEL go together: give both or neither")
        if "compare" not in self.stages and self.pairs != "all":
            raise ValueError("pairs are for the stage 'compare': add it to stages, or leave pairs out")
        return self

    @property
    def comparison(self) -> CompareConfig:
        """The options of each comparison.

        Raises:
            InputError: one that is unknown or out of range.
        """
        return make_config(self.compare)


def read_job(path: str | Path) -> JobConfig:
    """The job in a TOML file.

    Raises:
        InputError: the file cannot be read or parsed, or an entry is unknown or out of range; one line names it.
    """
    path = Path(path)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"job {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"job {str(path)!r} does not parse: {' '.join(str(error).split())}") from None
    return make_job(entries)


def make_job(entries: dict[str, Any]) -> JobConfig:
    """A job from its entries; ``model`` and ``task`` may stand for lists of one.

    Raises:
        InputError: an entry is unknown, missing or out of range.
    """
    entries = {{"task": "tasks", "model": "models"}.get(key, key): value for key, value in entries.items()}
    for key in ("models", "tasks"):
        if isinstance(entries.get(key), str):
            entries[key] = [entries[key]]
    try:
        job = JobConfig(**entries)
    except ValidationError as error:
        raise InputError(f"job: {_first(error)}") from None
    _ = job.comparison, make_suite(job.sae)
    return job


def chosen_models(job: JobConfig, root: Path) -> tuple[str, ...]:
    """The references of the job's models, patterns written out; ``root`` is where relative paths start.

    Raises:
        InputError: a pattern that matches no directory or file, or a model named twice.
    """
    out: list[str] = []
    for ref in job.models:
        out += _matches(ref, root) if re.search(r"[*?\[]", ref) else [placed(ref, root)]
    double = next((ref for i, ref in enumerate(out) if ref in out[:i]), None)
    if double is not None:
        raise InputError(f"job: model {double!r} is named twice: name it once")
    return tuple(out)


def chosen_pairs(job: JobConfig, models: tuple[str, ...], root: Path) -> tuple[tuple[str, str], ...]:
    """The pairs to compare, in order.

    Raises:
        InputError: fewer than two models, or a pair or reference that is none of them.
    """
    if "compare" not in job.stages:
        return ()
    if isinstance(job.pairs, tuple):
        named = [(placed(a, root), placed(b, root)) for a, b in job.pairs]
    elif job.pairs == "reference":
        assert job.reference is not None
        reference = placed(job.reference, root)
        named = [(reference, model) for model in models if model != reference]
    elif job.pairs == "consecutive":
        named = list(pairwise(models))
    else:
        named = list(combinations(models, 2))
    if not named:
        raise InputError(f"job: {len(models)} model{'s' * (len(models) != 1)} make no pair: name two or more")
    strange = next((ref for pair in named for ref in pair if ref not in models), None)
    if strange is not None:
        raise InputError(f"job: {strange!r} is in a pair and not among the models: add it to models")
    same = next((a for a, b in named if a == b), None)
    if same is not None:
        raise InputError(f"job: {same!r} is paired with itself: name two models")
    return tuple(dict.fromkeys(named))


def _matches(pattern: str, root: Path) -> list[str]:
    """Paths, else revisions of a model on the hub, that a pattern stands for, in natural order.

    Raises:
        InputError: there is none. ModelError: no such model on the hub.
    """
    base = Path(Path(pattern).anchor or root)
    found = [str(path) for path in base.glob(str(Path(pattern).relative_to(Path(pattern).anchor)))]
    repo, sign, wanted = pattern.partition("@")
    if not found and sign and (hub := parse_hub(repo)) is not None:
        found = [f"{repo}@{one}" for one in hub_revisions(hub.repo) if fnmatch.fnmatchcase(one, wanted)]
        if not found:
            raise InputError(f"job: no revision of {repo!r} matches {wanted!r}: check the pattern")
    if not found:
        raise InputError(f"job: no model matches {pattern!r} in {str(base)!r}: check the pattern")
    return sorted(found, key=_natural)


def placed(ref: str, root: Path) -> str:
    """A relative path that exists as seen from ``root``; other references as they are."""
    path = root / ref
    return str(path) if not Path(ref).is_absolute() and path.exists() else ref


def _natural(ref: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", ref)]


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        from difflib import get_close_matches

        close = get_close_matches(name, JobConfig.model_fields, n=1)
        return f"unknown entry {name!r}; " + (
            f"did you mean {close[0]!r}?" if close else f"known: {', '.join(JobConfig.model_fields)}"
        )
    if first["type"] == "missing":
        return f"{name} is missing: add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"{name} = {first['input']!r}: {message}" if name else message
