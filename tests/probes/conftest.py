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
