"""Segments: rows of numbers cut into stretches of constant level, by exact dynamic programming."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

LEAST = 2
"""Values a segment has at least: one value on its own is an outlier, not a level."""
_CELLS = 2_000_000


def best_segments(x: Float[np.ndarray, "r t"], most: int) -> tuple[Float[np.ndarray, "r k"], list[np.ndarray]]:
    """Least sums of squares about the means of 1 … ``most`` segments, and how to find where they begin (``starts``).

    Every way to cut is considered; each segment has ``LEAST`` values or more. Infinite where t is too small.
    """
    chunk = max(1, _CELLS // (x.shape[1] ** 2))
    found = [_best(x[i : i + chunk], most) for i in range(0, len(x), chunk)]
    links = [np.concatenate([one[1][k] for one in found]) for k in range(most - 1)]
    return np.concatenate([sums for sums, _ in found]), links


def starts(links: list[np.ndarray], k: int, t: int) -> Int[np.ndarray, "r j"]:
    """Where the second to last of the best ``k`` segments (2 or more) of t values begin; j = k - 1 places."""
    out: list[np.ndarray] = []
    for link in reversed(links[: k - 1]):
        out.append(link[np.arange(len(link)), out[-1] if out else t])
    return np.stack(out[::-1], axis=1)


def fitted(x: Float[np.ndarray, "r t"], begins: Int[np.ndarray, "r j"]) -> Float[np.ndarray, "r t"]:
    """Each value replaced by the mean of its segment."""
    label = (np.arange(x.shape[1])[None, :, None] >= begins[:, None, :]).sum(axis=2)
    member = label[:, :, None] == np.arange(begins.shape[1] + 1)
    means = np.einsum("rtk,rt->rk", member.astype(float), x) / member.sum(axis=1)
    return np.take_along_axis(means, label, axis=1)


def _best(x: np.ndarray, most: int) -> tuple[np.ndarray, list[np.ndarray]]:
    cost = _costs(x)
    sums, links = [cost[:, 0, :]], []
    for _ in range(1, most):
        total = sums[-1][:, :-1, None] + cost
        link = total.argmin(axis=1)
        links.append(link)
        sums.append(np.take_along_axis(total, link[:, None, :], axis=1)[:, 0])
    return np.stack([s[:, -1] for s in sums], axis=1), links


def _costs(x: np.ndarray) -> np.ndarray:
    """[r, t, t + 1]: sum of squares of values i … j - 1 about their mean."""
    r, t = x.shape
    x = x - x.mean(axis=1, keepdims=True)
    zero = np.zeros((r, 1))
    first, second = (np.concatenate([zero, np.cumsum(power, axis=1)], axis=1) for power in (x, x * x))
    length = np.arange(t + 1)[None, :] - np.arange(t)[:, None]
    sums = first[:, None, :] - first[:, :-1, None]
    cost = second[:, None, :] - second[:, :-1, None] - sums**2 / np.maximum(length, 1)
    return np.where(length < LEAST, np.inf, np.maximum(cost, 0.0))
