"""A number, Python's or numpy's: what scalar arguments may be."""

from __future__ import annotations

import numpy as np

Number = float | int | np.floating | np.integer
