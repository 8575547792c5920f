"""Published nets of modular addition, found in a directory: every weights file with its config beside it."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel, load_pretrained
from mechdecouple.tasks import Task

_ITEMS = 3600


@dataclasses.dataclass(frozen=True, eq=False)
class Net:
    """A published net: its file's name, the modulus, and how much its attention can choose (1: wholly, 0: not)."""

    name: str
    model: HookedModel
    modulus: int
    width: int
    attention: float


@dataclasses.dataclass(frozen=True, eq=False)
class PublishedPair:
    """Two nets of one task; their routes are the same if both can choose where to attend, or neither."""

    a: Net
    b: Net
    task: Task

    @property
    def route(self) -> str:
        return "same" if self.a.attention == self.b.attention else "other"


def published_pairs(directory: Path) -> list[PublishedPair]:
    """All pairs of nets of one modulus, in order of their names.

    Raises:
        InputError: there are no two nets of one task.
    """
    nets = [_net(path) for path in sorted(directory.rglob("*.pt"))]
    tasks = {(n.modulus, n.width): sums(n.modulus, n.width) for n in nets}
    pairs = [
        PublishedPair(a, b, tasks[a.modulus, a.width])
        for a, b in itertools.combinations(nets, 2)
        if (a.modulus, a.width) == (b.modulus, b.width)
    ]
    if not pairs:
        raise InputError(f"{str(directory)!r} holds {len(nets)} nets and no two of one task: expected .pt with configs")
    return pairs


def sums(modulus: int, width: int = 2) -> Task:
    """a + b in a cyclic group, on all pairs or on some 3,600 of them; a third token, the modulus, stands for '='."""
    pairs = list(itertools.product(range(modulus), repeat=2))
    frame = pd.DataFrame(
        {
            "id": [f"{a}+{b}" for a, b in pairs],
            "tokens": [[a, b, modulus][:width] for a, b in pairs],
            "choices": [tuple(map(str, range(modulus)))] * len(pairs),
            "answer": [str((a + b) % modulus) for a, b in pairs],
        }
    )
    task = Task.from_frame(frame, name=f"a + b (mod {modulus})")
    if len(task) <= _ITEMS:
        return task
    return task.select(np.sort(np.random.default_rng(0).choice(len(task), _ITEMS, replace=False)))


def _net(path: Path) -> Net:
    config = _config(path)
    modulus = config.get("C") or config.get("dataset", {}).get("modulus")
    if not modulus:
        raise InputError(f"{str(path)!r}: its config names no modulus; expected C, or dataset: modulus")
    width = int(config.get("model", {}).get("n_ctx", 2))
    model = load_pretrained(path)
    return Net(f"{path.parent.name}/{path.stem}", model, int(modulus), width, float(config.get("attn_coeff", 1.0)))


def _config(path: Path) -> dict:
    for name in (f"config_{path.stem.removeprefix('model_')}.json", f"config_{path.stem}.json", "config.json"):
        if (path.parent / name).is_file():
            return json.loads((path.parent / name).read_text(encoding="utf-8"))
    for name in ("config.yaml", "config.yml"):
        if (path.parent / name).is_file():
            return yaml.safe_load((path.parent / name).read_text(encoding="utf-8"))
    raise InputError(f"{str(path)!r} has no config beside it: expected config.json or config.yaml")
