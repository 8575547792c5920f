"""Why a statistic of the gap is undefined, or which limit it carries, in words."""

from __future__ import annotations

import numpy as np

# Expressed probabilities with less spread than this rank statements by next to nothing.
_NARROW = 0.01
_FEW_GROUPS = 10


def why_unscored(t: np.ndarray, *channels: np.ndarray) -> str:
    """Why channels cannot be scored against the truth; empty where they can."""
    if len(t) == 0:
        return "no statements"
    if np.isnan(t).all():
        return "the truth of every statement is unknown"
    scored = ~np.isnan(t) & ~np.isnan(np.stack(channels)).any(axis=0)
    if not scored.any():
        return "no statement of known truth has a score"
    classes = np.unique(t[scored])
    return f"every statement is {'true' if classes[0] else 'false'}: ranking needs both" if len(classes) == 1 else ""


def why_uncorrelated(b: np.ndarray, c: np.ndarray) -> str:
    """Why claims and beliefs have no correlation; asked only where they have none."""
    if len(b) == 0:
        return "no statement has both a represented belief and a claim"
    if np.ptp(c) == 0 and c[0] in (0.0, 1.0):
        return f"constant claims: every statement is {'asserted' if c[0] else 'denied'}, so nothing can correlate"
    return "the represented belief is constant, so nothing can correlate" if np.ptp(b) < 1e-6 else "claims are constant"


def limit(name: str, n_groups: int, p: np.ndarray) -> str:
    """The limit that a defined statistic carries; empty where there is none."""
    if name in ("expressed_auroc", "auroc_gap") and len(p) and p.std() < _NARROW:
        return f"expressed probabilities hardly differ (sd {p.std():.1g}): their AUROC means little"
    return f"interval rests on only {n_groups} groups" if n_groups < _FEW_GROUPS else ""
