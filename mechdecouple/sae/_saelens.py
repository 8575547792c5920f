"""The one door to SAELens: opened on first use, because its import takes seconds, and quiet while it opens."""

from __future__ import annotations

import warnings
from types import ModuleType


def saelens() -> ModuleType:
    """The ``sae_lens`` package. It warns while importing, of its own use of older names, which no caller can mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens
    return sae_lens
