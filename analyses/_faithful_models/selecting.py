"""Selectors of the words that explain an answer: one for a model that knows masks, one with a predictor of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from analyses._faithful_models.world import ANSWERS, ASK, LENGTH, LINKS, MASK, draw, tokens
from mechdecouple.faithfulness import Selector, check_selection, fit_selector, rationale_auroc
from mechdecouple.faithfulness.selector import Way

ITEMS, TESTED = 8000, 1000
TRAINED: dict[Way, dict[str, Any]] = {
    "given": {"steps": 400, "batch": 64, "sparsity": 0.7, "draws": 4},
    "together": {"steps": 1500, "batch": 128, "sparsity": 0.7, "draws": 2, "growth": 0.7},
}
"""How the selector of each way is trained."""


class Read(nn.Module):
    """A trained transformer as a classifier of reviews: words [n, 12] -> logits [n, 2] of bad and good."""

    ends: Tensor
    spoken: Tensor

    def __init__(self, model: Any, vocabulary: dict[str, int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("ends", torch.tensor([vocabulary["<bos>"], vocabulary[ASK]]))
        self.register_buffer("spoken", torch.tensor([vocabulary[word] for word in ANSWERS]))

    def forward(self, x: Int[Tensor, "n t"]) -> Float[Tensor, "n 2"]:
        first, last = (end.expand(len(x), 1) for end in self.ends)
        return self.model(torch.cat([first, x, last], dim=1))[:, -1][:, self.spoken]


class Select(nn.Module):
    """Words [n, 12] -> logit that each is kept, from the words up to four places away."""

    def __init__(self, words: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.net = nn.Sequential(
            nn.Conv1d(width, width, 5, padding=2), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2), nn.ReLU(),
            nn.Conv1d(width, 1, 1),
        )  # fmt: skip

    def forward(self, x: Int[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        return self.net(self.embed(x).transpose(1, 2))[:, 0]


class Predict(nn.Module):
    """Words [n, 12] -> logits [n, 2], clause by clause and then all together."""

    def __init__(self, words: int, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width // 2)
        step, k = LENGTH // len(LINKS), len(LINKS)
        self.net = nn.Sequential(
            nn.Conv1d(width // 2, width, step, stride=step), nn.ReLU(), nn.Flatten(), nn.Linear(width * k, width),
            nn.ReLU(), nn.Linear(width, len(ANSWERS)),
        )  # fmt: skip

    def forward(self, x: Int[Tensor, "n t"]) -> Float[Tensor, "n 2"]:
        return self.net(self.embed(x).transpose(1, 2))


def selected(reader: Any, other: Any, vocabulary: dict[str, int], seed: int, ways: Any = TRAINED) -> list[dict]:
    """A row for each way: what its selector keeps, and what an evaluator of its own makes of it.

    Args:
        reader: the model that knows masks, to be explained; other: one of another seed, the evaluator.
    """
    x, labels, _ = _items(ITEMS, 2 * seed, vocabulary)
    fresh, right, used = _items(TESTED, 2 * seed + 1, vocabulary)
    rows = []
    for way, options in ways.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, own = Select(len(vocabulary)), Predict(len(vocabulary))
        made = fit_selector(
            x, labels, selector=network, predictor=Read(reader, vocabulary) if way == "given" else own, way=way,
            hidden=vocabulary[MASK], seed=seed, progress=False, **options,
        )  # fmt: skip
        rows.append({"way": way, "seed": seed, **_checked(made, Read(other, vocabulary), fresh, right, used)})
    return rows


def _checked(made: Selector, evaluator: nn.Module, x: Tensor, right: Tensor, used: np.ndarray) -> dict[str, float]:
    check, keeps = check_selection(made, evaluator, x, right, np.arange(len(x))), made.keeps(x)
    accuracy = {f"{name}_accuracy": float(found.value) for name, found in check.accuracy.items()}
    known = rationale_auroc(made.probabilities(x), used, np.ones_like(used))
    return {
        **accuracy, "encoded": accuracy["own_accuracy"] - accuracy["selected_accuracy"],
        "share": float(check.share.value), "rationale_auroc": float(known.mean()),
        "precision": float((keeps & used).sum() / max(1, keeps.sum())),
        "recall": float((keeps & used).sum() / used.sum()),
    }  # fmt: skip


def _items(n: int, seed: int, vocabulary: dict[str, int]) -> tuple[Tensor, Tensor, np.ndarray]:
    reviews = draw(n, np.random.default_rng(1000 + seed))
    ids = tokens(reviews.words(), vocabulary)[:, 1:]
    return torch.from_numpy(ids), torch.from_numpy(reviews.labels), reviews.used()
