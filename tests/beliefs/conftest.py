from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm


@pytest.fixture
def binormal():
    """(truth, belief) of a calibrated probe of a given AUROC: scores N(±δ/2, 1), δ = √2 Φ⁻¹(AUROC), as a posterior."""

    def make(auroc: float, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        truth = np.tile([1.0, 0.0], n // 2)
        delta = np.sqrt(2) * norm.ppf(auroc)
        return truth, expit(delta * (rng.normal(size=len(truth)) + delta * (truth - 0.5)))

    return make


@pytest.fixture
def planted():
    """Activations of true–false pairs: the truth along one axis of each hook point, with the strengths given."""

    def make(strengths: dict[str, float], n: int, rng: np.random.Generator, d: int = 12):
        truth = np.tile([1.0, 0.0], n // 2)
        axis = np.eye(d)[0]
        acts = {
            name: (rng.normal(size=(len(truth), d)) + np.outer(2 * truth - 1, axis) * strength).astype(np.float32)
            for name, strength in strengths.items()
        }
        return acts, truth, np.arange(len(truth)) // 2

    return make
