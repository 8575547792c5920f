"""Labels of what varies in the items that a model reads, so that values can be held out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from mechdecouple.structure.mechanism.options import right_options
from mechdecouple.structure.mechanism.rig import Rig


def inputs_of(rig: Rig) -> dict[str, np.ndarray]:
    """Labels of what varies in the input: tokens at each position of prompts of equal length, else concepts."""
    encoded = rig.encoded
    if encoded is not None and len(np.unique(encoded.lengths)) == 1:
        tokens, read = np.stack(encoded.tokens), rig.model.tokenizer
        ids = np.unique(tokens)
        words = [str(i) if read is None else read.decode([i]).strip() or str(i) for i in ids.tolist()]
        labels = np.array(words, np.str_)[np.searchsorted(ids, tokens)]
        return {f"position {i}": labels[:, i] for i in range(tokens.shape[1]) if len(np.unique(tokens[:, i])) > 1}
    levels: dict[str, list[np.ndarray]] = {}
    for name, values in rig.task.concepts.items():
        levels.setdefault(name.split("=")[0], []).append(values)
    named = {name: _level(name, np.stack(columns, axis=1)) for name, columns in levels.items()}
    return {name: labels for name, labels in named.items() if 1 < len(np.unique(labels)) <= len(rig) / 4}


def _level(name: str, columns: Float[np.ndarray, "n k"]) -> np.ndarray:
    """Numbers as they are, which other inputs and answers may be as well; else the level's place among its own."""
    if columns.shape[1] == 1:
        return np.array([f"{x:g}" for x in columns[:, 0]])
    return np.array([f"{name} {row.argmax()}" for row in columns])


def distinct(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without those that say the same as an earlier one."""
    out: dict[str, np.ndarray] = {}
    for name, labels in inputs.items():
        count = len(np.unique(labels))
        twins = (len(np.unique(o)) == count == len(set(zip(o, labels, strict=True))) for o in out.values())
        if not any(twins):
            out[name] = labels
    return out


def answers_of(rig: Rig) -> np.ndarray:
    """[n] label of each item's right answer, as tokens are labelled where it is one."""
    answers = right_options(rig.task) if rig.task.performance == "class" else rig.task.answers
    assert answers is not None
    return np.array([str(a).strip() for a in answers.tolist()])
