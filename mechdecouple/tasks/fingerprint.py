"""Fingerprint of a task: two tasks have the same one exactly if their contents are the same."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd


def fingerprint(frame: pd.DataFrame, inputs: np.ndarray | None, declared: list[str | None]) -> str:
    """sha256 of the canonical columns (in any order), the tensor inputs, and what is declared beside them."""
    digest = hashlib.sha256(json.dumps(declared).encode())
    for column in sorted(frame.columns):
        cells = [column, frame[column].tolist()]
        text = json.dumps(cells, default=_as_list, ensure_ascii=False, separators=(",", ":"))
        digest.update(text.encode("utf-8", "surrogatepass"))
    if inputs is not None:
        array = np.ascontiguousarray(inputs)
        digest.update(json.dumps([array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _as_list(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else list(value)  # type: ignore[call-overload]
