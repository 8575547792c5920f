"""What made a result: versions, references, hashes, options, commit."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import mechdecouple
from mechdecouple.compare.config import CompareConfig
from mechdecouple.models import HookedModel
from mechdecouple.tasks import Task

PACKAGES = (
    "torch",
    "transformers",
    "transformer-lens",
    "sae-lens",
    "concept-erasure",
    "numpy",
    "scipy",
    "pandas",
    "safetensors",
)


def provenance(a: HookedModel, b: HookedModel, task: Task, config: CompareConfig) -> dict[str, Any]:
    """Everything needed to make the comparison again; ``created`` alone differs between two runs of the same thing."""
    return {
        "mechdecouple": mechdecouple.__version__,
        **commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "threads": torch.get_num_threads(),
        "models": {"a": a.provenance(), "b": b.provenance()},
        "task": {
            "name": task.name,
            "items": len(task),
            "groups": len(set(task.groups)),
            "fingerprint": task.fingerprint,
            "performance": task.performance,
            "honest": task.honest,
            "affirm": task.affirm,
        },
        "options": config.model_dump(mode="json"),
        "seed": config.seed,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def commit() -> dict[str, Any]:
    """Commit and dirty flag of the checkout the package runs from; empty for an installed package."""
    folder = Path(mechdecouple.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    # An installed package may lie inside somebody else's repository: only a tracked file makes it this one's.
    if not git("ls-files", "__init__.py"):
        return {"commit": "", "dirty": None}
    return {
        "commit": git("rev-parse", "HEAD") or "",
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
    }
