"""Config files beside weights: finding and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mechdecouple.errors import ModelError

_ENDINGS = (".json", ".yaml", ".yml")


def find_config(path: Path) -> Path | None:
    """The config of a directory or a weights file: ``config.*``; for ``model_X.pt`` first ``config_X.*``."""
    folder, names = (path, []) if path.is_dir() else (path.parent, _names(path.stem))
    for stem in [*names, "config"]:
        for ending in _ENDINGS:
            if (found := folder / f"{stem}{ending}").is_file():
                return found
    return None


def read_config(path: Path) -> dict[str, Any]:
    """A JSON or YAML mapping; a ``ModelError`` naming the file where it is neither."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: not a readable config: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: a config is a mapping of names to values; got {type(fields).__name__}")
    return fields


def _names(stem: str) -> list[str]:
    bare = stem.removeprefix("model_")
    return [f"config_{stem}", f"config_{bare}", f"{stem}.config", f"{stem}_config", stem]
