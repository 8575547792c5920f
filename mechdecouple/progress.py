"""Progress bars: in a terminal or a notebook, never into a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm.auto import tqdm


def bar(iterable: Iterable | None = None, *, progress: bool = True, **options: Any) -> tqdm:
    """A tqdm bar (rate and time left); silent when not wanted, and where there is neither terminal nor notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    watched = sys.stderr.isatty() or hasattr(shell, "kernel")
    return tqdm(iterable, disable=not (progress and watched), **options)
