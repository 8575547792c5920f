"""Eight planted readouts: one function, eight ways to hold what it needs, each with a structure known in closed form.

Six binary factors in eight contexts are written into 128 dimensions and read by a linear readout; the logits are the
same in all eight to 1e-12, and a linear probe finds every factor in each. Noise of 0.1 fills what the signal does not
span (projected off the signal, not off the readout: that would give the readout away).
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mechdecouple.errors import ModelError
from mechdecouple.tasks import Task
from mechdecouple.zoo.planting import Code, Plan, combinations, encode

K, C, D = 6, 8, 128
N_INPUTS = K + C + D + K
"""Columns of the input: factors ±1, context one-hot, noise N(0, 1), question one-hot."""

_TASK_SEED, _N_ITEMS = 3000, 8192

PLANS: dict[str, Plan] = {
    "planted-factored": Plan(),
    "planted-rotated": Plan(rotation=0),
    "planted-oblique": Plan(cosine=0.7),
    "planted-duplicated": Plan(copies=4),
    "planted-fractured": Plan(fracture=1.0),
    "planted-fractured-rotated": Plan(fracture=1.0, rotation=0),
    "planted-one-hot": Plan(conjunctive=True),
    "planted-inert": Plan(inert=40),
}
"""The eight plans."""
_TEXTS = {
    "planted-factored": "one orthogonal direction a factor",
    "planted-rotated": "the same, rotated off the axes",
    "planted-oblique": "directions at cosine .7 to each other",
    "planted-duplicated": "each factor in four copies",
    "planted-fractured": "a direction of its own for each factor in each context",
    "planted-fractured-rotated": "the same, rotated off the axes",
    "planted-one-hot": "one direction for each combination of factors",
    "planted-inert": "factored, with 40 large dimensions that nothing reads",
}

DESCRIPTIONS = {name: f"planted readout: {text}" for name, text in _TEXTS.items()}


class Representation(nn.Module):
    """``[n, 6 + 8 + 128]`` factors, context and noise to ``[n, 128]``: a code point, plus noise."""

    signs: Tensor
    points: Tensor
    spread: Tensor

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.register_buffer("signs", torch.tensor(combinations(K)))
        self.register_buffer("points", torch.tensor(code.points))  # [C, 2^K, D]
        self.register_buffer("spread", torch.tensor(code.spread))  # [D, D]

    def forward(self, x: Tensor) -> Tensor:
        factors, context, noise = x.split([K, C, D], dim=1)
        combination = ((1 + factors[:, None, :] * self.signs) / 2).prod(-1)
        return torch.einsum("nc,nj,cjd->nd", context, combination, self.points) + noise @ self.spread


class Planted(nn.Module):
    """``[n, 148]`` inputs to ``[n, 2]`` logits: whether the factor asked about is -1 or +1.

    Hook points: ``representation`` ``[n, 128]`` and ``readout`` ``[n, 6]``, the logit of every factor.
    """

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.representation = Representation(code)
        self.readout = nn.Linear(D, K, bias=False, dtype=torch.float64)
        with torch.no_grad():
            self.readout.weight.copy_(torch.tensor(code.readout.T))

    def forward(self, x: Tensor) -> Tensor:
        question = x[:, -K:]
        asked = (self.readout(self.representation(x[:, :-K])) * question).sum(1)
        return torch.stack([-asked, asked], dim=1)


def planted(name: str, seed: int = 0) -> Planted:
    """A planted readout in float64.

    Args:
        name: one of `DESCRIPTIONS`; seed: of the rotation, where there is one.
    """
    if name not in PLANS:
        raise ModelError(f"no planted readout {name!r}; there are {', '.join(PLANS)}")
    plan = PLANS[name]
    return Planted(encode(plan if plan.rotation is None else dataclasses.replace(plan, rotation=seed))).eval()


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
            "asks": [f"f{f + 1}" for f in inputs[:, -K:].argmax(1)],
        }
    )
    return Task.from_frame(frame, name="planted factors", performance="class", inputs=inputs)
