from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def two_classes():
    """Rows of two classes whose means differ along one direction, two rows a group."""

    def make(n=400, d=12, gap=2.0, seed=0):
        rng = np.random.default_rng(seed)
        groups = np.array([f"g{i // 2}" for i in range(n)])
        y = np.repeat(rng.permutation(np.arange(n // 2) % 2), 2)
        mixing = rng.normal(size=(d, d)) / np.sqrt(d)
        direction = rng.normal(size=d)
        direction /= np.linalg.norm(direction)
        X = rng.normal(size=(n, d)) @ mixing + gap * np.outer(y, direction) + 5
        return X, y, groups

    return make


@pytest.fixture
def contrast_pairs():
    """Pairs whose members hold truth with opposite signs, and so a distractor; the sides differ, too."""

    def make(n=400, d=8, truth=2.0, distractor=0.0, side=3.0, seed=0):
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
        y, other = rng.permutation(np.arange(n) % 2), rng.integers(2, size=n)
        signal = truth * np.outer(2 * y - 1, axes[0]) + distractor * np.outer(2 * other - 1, axes[1]) + side * axes[2]
        pos, neg = (sign * signal + rng.normal(size=(n, d)) + 5 for sign in (1, -1))
        return SimpleNamespace(
            pos=pos, neg=neg, y=y, other=other, groups=np.array([f"g{i // 2}" for i in range(n)]),
            truth=axes[0], distractor=axes[1], side=axes[2],
        )  # fmt: skip

    return make
