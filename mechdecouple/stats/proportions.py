"""One proportion (Wilson) and the difference of two paired ones (exact McNemar)."""

from __future__ import annotations

import math

from scipy import stats as sps

from mechdecouple.errors import InputError
from mechdecouple.stats._types import Number


def wilson(successes: Number, n: Number, level: Number = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (NaN, NaN) for n = 0. Counts may be fractional (an effective n)."""
    if not 0 <= successes <= n:
        raise InputError(f"{successes} successes of {n}: expected 0 <= successes <= n")
    if n == 0:
        return math.nan, math.nan
    successes, n = float(successes), float(n)
    z = float(sps.norm.ppf((1 + level) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def exact_mcnemar(b: Number, c: Number) -> float:
    """Two-sided exact McNemar p-value that two models differ, from the items only A (b) and only B (c) got right.

    A test of *difference*: a large p is not evidence of equality (``paired_tost`` is).
    """
    if b < 0 or c < 0:
        raise InputError(f"discordant counts are {b} and {c}: expected counts of items, not negative")
    return float(min(1.0, 2 * sps.binom.cdf(min(b, c), b + c, 0.5)))
