"""Coordinate networks: from where a pixel is to its colour; one composed by hand, others traced by gradient descent."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mechdecouple.progress import bar
from mechdecouple.tasks import Task
from mechdecouple.zoo.recipe import Recipe, round_half, sample

KINDS = (("identity", 5), ("gaussian", 4), ("sigmoid", 3))
"""Units of a hidden layer, in order."""
N_HIDDEN, N_INPUTS, N_COLOURS = 12, 4, 3
"""As many hidden layers as the published networks have."""
FUNCTIONS = {
    "identity": lambda z: z,
    "gaussian": lambda z: 2 * torch.exp(-z * z) - 1,
    "sigmoid": lambda z: 2 * torch.sigmoid(z) - 1,
    "sin": torch.sin,
}
TRAINED_ON, JUDGED_ON, PATCH = 64, 48, 2
"""Pixels a side, and those of a patch: pixels of one patch and of its mirror image are one group."""


class Layer(nn.Module):
    """Units of several kinds without biases: ``[n, k]`` to ``[n, m]``."""

    def __init__(self, weight: Float[Tensor, "m k"], kinds: tuple[tuple[str, int], ...]) -> None:
        super().__init__()
        self.weight, self.kinds = nn.Parameter(weight), kinds

    def forward(self, x: Float[Tensor, "n k"]) -> Float[Tensor, "n m"]:
        parts = (x @ self.weight.T).split([n for _, n in self.kinds], dim=1)
        return torch.cat([FUNCTIONS[kind](part) for (kind, _), part in zip(self.kinds, parts, strict=True)], dim=1)


class Network(nn.Module):
    """Inputs (y, x, 1.4 r, 1) ``[n, 4]`` to what a pixel's colour is made of ``[n, 3]``; the last layer is linear."""

    def __init__(self, weights: list[Tensor], kinds: tuple[tuple[str, int], ...] = KINDS) -> None:
        super().__init__()
        last = (("identity", len(weights[-1])),)
        self.layers = nn.ModuleList([*(Layer(w, kinds) for w in weights[:-1]), Layer(weights[-1], last)])

    def forward(self, x: Float[Tensor, "n 4"]) -> Float[Tensor, "n 3"]:
        for layer in self.layers:
            x = layer(x)
        return x

    @property
    def weights(self) -> list[Tensor]:
        return [p.detach() for p in self.parameters()]

    def maps(self, x: Float[Tensor, "n 4"]) -> list[Float[Tensor, "n d"]]:
        """Of every unit a picture: the inputs, each hidden layer, the outputs."""
        found = [x]
        with torch.no_grad():
            for layer in self.layers:
                found.append(layer(found[-1]))
        return found


def grid(side: int) -> Float[Tensor, "n 4"]:
    """The inputs of all pixels, row by row, from -1 to 1."""
    at = torch.linspace(-1, 1, side)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([y, x, 1.4 * torch.sqrt(x * x + y * y), torch.ones_like(x)], dim=-1).reshape(-1, N_INPUTS)


def mirrored(side: int) -> Int[np.ndarray, " n"]:
    """The pixel at the other side of the middle, of each pixel of `grid`."""
    return np.arange(side * side).reshape(side, side)[:, ::-1].ravel()


@lru_cache(maxsize=16)
def composed(face: int) -> Network:
    """A symmetric face from parts that can each be named; eyes, mouth and head lie where the seed puts them.

    Four layers compose it. The side x is passed on as it is, as evolved networks do, until the mouth needs it;
    everything drawn depends on it through a gaussian alone. Further layers pass eyes, mouth and head on, as most units
    of evolved networks do.
    """
    rng = np.random.default_rng(face)
    eye, row, mouth = rng.uniform(0.3, 0.4), rng.uniform(-0.35, -0.2), rng.uniform(0.3, 0.45)
    head, narrow = rng.uniform(1.05, 1.2), rng.uniform(1.6, 2.2)
    y, d, one, x, g, s = 0, 1, 2, 3, 5, 9
    w = [torch.zeros(m, k) for m, k in shapes()]
    for unit, source in ((y, 0), (x, 1), (d, 2), (one, 3)):
        w[0][unit, source] = 1
    w[0][g, 1] = 1.5
    for layer, passed in ((1, (y, d, one, x)), (2, (y, d, one)), (3, (one,))):
        for unit in passed:
            w[layer][unit, unit] = 1
    # the two columns and the row of the eyes, then of the mouth
    w[1][g, [g, one]] = torch.tensor([3, -3 * (2 * np.exp(-((1.5 * eye) ** 2)) - 1)], dtype=torch.float32)
    w[1][g + 1, [y, one]] = torch.tensor([5, -5 * row], dtype=torch.float32)
    w[2][g, [y, one]] = torch.tensor([6, -6 * mouth], dtype=torch.float32)
    w[2][g + 1, x] = narrow
    for layer, unit in ((2, s), (3, s)):  # eyes, mouth: both of two gaussians
        w[layer][unit, [g, g + 1, one]] = torch.tensor([6.0, 6.0, -5.0])
    w[3][4, s] = 1
    w[3][s + 1, [d, y, one]] = torch.tensor([-12, -1.5, 12 * head], dtype=torch.float32)
    eyes, mouth_drawn, inside = 4, 0, 1
    w[4][[eyes, one, mouth_drawn, inside], [eyes, one, s, s + 1]] = 1
    for layer in range(5, N_HIDDEN):
        for unit in (eyes, one, mouth_drawn, inside):
            w[layer][unit, unit] = 1
    w[-1][0, inside], w[-1][1, inside] = -3, 3
    w[-1][2, [eyes, mouth_drawn, one]] = torch.tensor([4.0, 4.0, 5.0])
    return Network(w).eval()


def shapes() -> list[tuple[int, int]]:
    """Of the weights, layer by layer."""
    width = sum(n for _, n in KINDS)
    return [(width, N_INPUTS), *[(width, width)] * (N_HIDDEN - 1), (N_COLOURS, width)]


def fresh(like: Network, seed: int, *, wiring: bool) -> Network:
    """New weights: in the same wiring and as large there as before, or everywhere with a variance of 1 / inputs."""
    draw = torch.Generator().manual_seed(seed)
    new = []
    for w in like.weights:
        noise = torch.randn(w.shape, generator=draw)
        there = w != 0
        new.append(noise * there * w[there].square().mean().sqrt() if wiring else noise * w.shape[1] ** -0.5)
    return Network(new, like.layers[0].kinds).eval()


@dataclasses.dataclass(frozen=True)
class Traced(Recipe):
    """A network whose weights all may be used, trained on a composed face's image: squared error, normalised gradient.

    Attributes:
        face: seed of the face.
    """

    face: int = 0

    @property
    def config(self) -> dict[str, Any]:
        return {"kinds": KINDS, "shapes": shapes(), "side": TRAINED_ON}

    def blank(self, seed: int = 0) -> Network:
        return fresh(composed(self.face), seed, wiring=False)

    def loss(self, model: Any, heads: nn.Module, progress: float, rng: np.random.Generator) -> Tensor:
        pixels, image = _image(self.face)
        return (model(pixels).softmax(dim=-1) - image).square().mean()

    def _train(self, seed: int, progress: bool) -> Any:
        model, rng = self.blank(seed).train(), np.random.default_rng(seed)
        parameters = list(model.parameters())
        optimiser = torch.optim.Adam(parameters, lr=self.learning_rate, fused=True)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self._pace)
        with (
            torch.enable_grad(),
            bar(range(self.steps), progress=progress, desc=f"train {self.name}", unit="step") as steps,
        ):
            for step in steps:
                optimiser.zero_grad()
                self.loss(model, nn.Identity(), step / self.steps, rng).backward()
                _normalise(parameters)
                optimiser.step()
                schedule.step()
        round_half(model)
        return model.eval()

    def task(self, n: int | None = None, seed: int = 0) -> Task:
        return sample(face_task(self.face), n, seed)


def _normalise(parameters: list[nn.Parameter]) -> None:
    """Divide all gradients by their common norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    for g in gradients:
        g /= norm + 1e-8


@lru_cache(maxsize=16)
def _image(face: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        pixels = grid(TRAINED_ON)
        return pixels, composed(face)(pixels).softmax(dim=-1)


def face_task(face: int) -> Task:
    """Which colour each pixel has in the composed image; the side it lies on is its context."""
    inputs = grid(JUDGED_ON)
    with torch.no_grad():
        colour = composed(face)(inputs).argmax(dim=-1).numpy()
    row, col = np.divmod(np.arange(JUDGED_ON**2), JUDGED_ON)
    across = np.minimum(col, JUDGED_ON - 1 - col)
    frame = pd.DataFrame(
        {
            "id": [f"{r:02d},{c:02d}" for r, c in zip(row, col, strict=True)],
            "answer": colour,
            "group": [f"{r // PATCH:02d},{c // PATCH:02d}" for r, c in zip(row, across, strict=True)],
            "context": np.where(col < JUDGED_ON // 2, "left", "right"),
            "concept_head": (colour > 0).astype(int),
            "concept_drawn": (colour == 2).astype(int),
        }
    )
    return Task.from_frame(frame, inputs=inputs.numpy(), name=f"face {face}")
