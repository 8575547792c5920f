"""pass@k: how likely at least one of k tries at an item is right. Arrays only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln

from mechdecouple.behavior.sensitivity import checked_scores
from mechdecouple.errors import InputError
from mechdecouple.results import Metric

PASS_AT_K = Metric(
    name="pass_at_k", family="behavior", title="pass@k", range="[0, 1]", direction="higher",
    measures="chance that at least one of k sampled answers is right, mean over items",
    null="that of k guesses", assumes="draws of an item are independent of each other",
    source="arXiv:2107.03374",
)  # fmt: skip


def pass_at_k(scores: Float[np.ndarray, "n m"], k: int) -> Float[np.ndarray, " n"]:
    """Chance that k of an item's m draws, taken without replacement, hold a right one; in [0, 1], higher is better.

    1 - C(m - c, k) / C(m, k) for c right draws: without bias for the chance that k fresh draws hold one, whatever m.

    Args:
        scores: 1 where a draw is right, else 0.
        k: 1 … m.

    Raises:
        InputError: k is not in that range; scores other than 0 and 1.

    >>> pass_at_k(np.array([[1.0, 0.0, 0.0, 0.0]]), 2).tolist()
    [0.5]
    """
    y = checked_scores(scores, "draws")
    if not np.isin(y, (0.0, 1.0)).all():
        raise InputError("pass@k is of draws that are right (1) or wrong (0); these scores have other values")
    m = y.shape[1]
    if not 1 <= k <= m:
        raise InputError(f"k is {k}; expected 1 to the {m} draws of an item")
    wrong = m - y.sum(axis=1)
    # log of C(wrong, k) / C(m, k); there is no way to take k wrong draws where fewer are
    few = wrong < k
    safe = np.where(few, k, wrong)
    log_share = gammaln(safe + 1) - gammaln(safe - k + 1) - gammaln(m + 1) + gammaln(m - k + 1)
    return np.where(few, 1.0, -np.expm1(np.minimum(log_share, 0.0)))
