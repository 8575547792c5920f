"""Eight planted readouts: one function, eight ways to hold what it needs, each with a structure known in closed form.

Six binary factors in eight contexts are written into 128 dimensions and read by a linear readout; the logits are the
same in all eight to 1e-12, and a linear probe finds every factor in each. Noise of 0.1 fills what the signal does not
span (projected off the signal, not off the readout: that would give the readout away).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.tasks import Task

K, C, D = 6, 8, 128
N_INPUTS = K + C + D + K
"""Columns of the input: factors ±1, context one-hot, noise N(0, 1), question one-hot."""

_NOISE, _COSINE, _COPIES, _INERT, _INERT_SCALE = 0.1, 0.7, 4, 40, 2.0
_TASK_SEED, _N_ITEMS = 3000, 8192
_SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=K)))


class Representation(nn.Module):
    """``[n, 6 + 8 + 128]`` factors, context and noise to ``[n, 128]``: a code point, plus noise."""

    signs: Tensor
    points: Tensor
    spread: Tensor

    def __init__(self, points: np.ndarray, spread: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("signs", torch.tensor(_SIGNS))
        self.register_buffer("points", torch.tensor(points))  # [C, 2^K, D]
        self.register_buffer("spread", torch.tensor(spread))  # [D, D]

    def forward(self, x: Tensor) -> Tensor:
        factors, context, noise = x.split([K, C, D], dim=1)
        combination = ((1 + factors[:, None, :] * self.signs) / 2).prod(-1)
        return torch.einsum("nc,nj,cjd->nd", context, combination, self.points) + noise @ self.spread


class Planted(nn.Module):
    """``[n, 148]`` inputs to ``[n, 2]`` logits: whether the factor asked about is -1 or +1.

    Hook points: ``representation`` ``[n, 128]`` and ``readout`` ``[n, 6]``, the logit of every factor.
    """

    def __init__(self, points: np.ndarray, read: np.ndarray, spread: np.ndarray) -> None:
        super().__init__()
        self.representation = Representation(points, spread)
        self.readout = nn.Linear(D, K, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.readout.weight.copy_(torch.tensor(read))

    def forward(self, x: Tensor) -> Tensor:
        question = x[:, -K:]
        asked = (self.readout(self.representation(x[:, :-K])) * question).sum(1)
        return torch.stack([-asked, asked], dim=1)


def _linear(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Code points and readout of factors written along ``directions`` [C or 1, K, D]."""
    points = np.broadcast_to(np.einsum("jk,ckd->cjd", _SIGNS, directions), (C, len(_SIGNS), D))
    if len(directions) == 1:
        return points, np.linalg.pinv(directions[0]).T
    return points, directions.sum(axis=0)  # unit directions, orthogonal across contexts: each reads its own


def _factored() -> tuple[np.ndarray, np.ndarray]:
    return _linear(np.eye(K, D)[None])


def _oblique() -> tuple[np.ndarray, np.ndarray]:
    mixing = np.linalg.cholesky((1 - _COSINE) * np.eye(K) + _COSINE)
    return _linear((mixing @ np.eye(K, D))[None])


def _duplicated() -> tuple[np.ndarray, np.ndarray]:
    copies = np.repeat(np.eye(K), _COPIES, axis=1) / np.sqrt(_COPIES)
    return _linear((copies @ np.eye(K * _COPIES, D))[None])


def _fractured() -> tuple[np.ndarray, np.ndarray]:
    return _linear(np.eye(C * K, D).reshape(C, K, D))


def _one_hot() -> tuple[np.ndarray, np.ndarray]:
    scale, code = np.sqrt(K), np.eye(len(_SIGNS), D)
    return np.broadcast_to(scale * code, (C, len(_SIGNS), D)), _SIGNS.T @ code / scale


_CODES: dict[str, tuple[str, Callable[[], tuple[np.ndarray, np.ndarray]], bool, bool]] = {
    "planted-factored": ("one orthogonal direction a factor", _factored, False, False),
    "planted-rotated": ("the same, rotated off the axes", _factored, True, False),
    "planted-oblique": ("directions at cosine .7 to each other", _oblique, False, False),
    "planted-duplicated": ("each factor in four copies", _duplicated, False, False),
    "planted-fractured": ("a direction of its own for each factor in each context", _fractured, False, False),
    "planted-fractured-rotated": ("the same, rotated off the axes", _fractured, True, False),
    "planted-one-hot": ("one direction for each combination of factors", _one_hot, False, False),
    "planted-inert": ("factored, with 40 large dimensions that nothing reads", _factored, False, True),
}

DESCRIPTIONS = {name: f"planted readout: {text}" for name, (text, *_) in _CODES.items()}


def planted(name: str, seed: int = 0) -> Planted:
    """A planted readout in float64.

    Args:
        name: one of `DESCRIPTIONS`; seed: of the rotation, where there is one.
    """
    if name not in _CODES:
        raise ModelError(f"no planted readout {name!r}; there are {', '.join(_CODES)}")
    _, code, rotated, inert = _CODES[name]
    points, read = code()
    _, sizes, axes = np.linalg.svd(points.reshape(-1, D), full_matrices=False)
    span = axes[sizes > 1e-9 * sizes[0]]
    spread = _NOISE * (np.eye(D) - span.T @ span)
    if inert:
        rows = np.arange(len(span), len(span) + _INERT)
        spread[rows, rows] = _INERT_SCALE
    if rotated:
        turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0]
        points, read, spread = points @ turn, read @ turn, spread @ turn
    return Planted(points, read, spread).eval()


def planted_inputs(n: int, seed: int) -> np.ndarray:
    """``[n, 148]`` float64 inputs: factors, contexts and questions uniform, noise standard normal."""
    rng = np.random.default_rng(seed)
    factors = rng.choice((-1.0, 1.0), size=(n, K))
    context, question = np.eye(C)[rng.integers(C, size=n)], np.eye(K)[rng.integers(K, size=n)]
    return np.concatenate([factors, context, rng.normal(size=(n, D)), question], axis=1)


@lru_cache(maxsize=2)
def planted_task(n: int | None = None, seed: int = 0) -> Task:
    """``n`` (8,192) items that ask about one factor each; the class is 1 where it is +1."""
    n = n or _N_ITEMS
    inputs = planted_inputs(n, _TASK_SEED + seed)
    on = (inputs[:, :K] > 0).astype(np.int64)
    frame = pd.DataFrame(
        {
            "id": [f"p{i:05d}" for i in range(n)],
            "answer": on[np.arange(n), inputs[:, -K:].argmax(1)],
            "context": [f"c{c}" for c in inputs[:, K : K + C].argmax(1)],
            **{f"concept_f{f + 1}": on[:, f] for f in range(K)},
        }
    )
    return Task.from_frame(frame, name="planted factors", performance="class", inputs=inputs)
