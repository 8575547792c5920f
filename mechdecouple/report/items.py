"""The items on which two models differ most."""

from __future__ import annotations

import numpy as np

from mechdecouple.report.view import Table

SHOWN = 12
PROMPT = 300
_NUMBERS = ("margin", "belief", "expressed")


def most_different(items: Table, a: str, b: str, n: int = SHOWN) -> Table:
    """Items by how far the two models are apart on them, the farthest first.

    The columns of ``items`` that say something of the item alone (prompt, condition, truth …), those of each model with
    ``_a`` and ``_b``, and ``distance``: the mean rank of the differences in margin, belief and expressed probability,
    in [0, 1], plus 1 where the answers differ. Items that differ in nothing are left out.
    """
    sides = [items[items.model == model].drop(columns="model") for model in (a, b)]
    about = [c for c in ("group", "prompt", "context", "condition", "split", "truth", "expected") if c in items]
    both = sides[0].merge(sides[1].drop(columns=about), on="id", suffixes=("_a", "_b"))
    differs = (both.answer_a != both.answer_b).to_numpy(float)
    ranks = []
    for name in _NUMBERS:
        apart = (both[f"{name}_a"].astype(float) - both[f"{name}_b"].astype(float)).abs()
        if apart.notna().any() and float(apart.max()) > 0:
            ranks.append(apart.rank(pct=True).where(apart > 0, 0.0).fillna(0.0).to_numpy())
    both["distance"] = differs + (np.mean(ranks, axis=0) if ranks else 0.0)
    both = both[both.distance > 0]
    return both.sort_values(["distance", "id"], ascending=[False, True], kind="stable").head(n).reset_index(drop=True)
