"""The planted truth: eight hidden codes of one function, k = 6 factors of ±1 in C = 8 contexts, read out linearly."""

import dataclasses

import numpy as np
import pytest

K, C, D, SIGMA = 6, 8, 128, 0.1
PLANTED = (
    "factored",
    "rotated",
    "oblique",
    "duplicated",
    "fractured",
    "fractured + rotated",
    "one-hot",
    "factored + inert",
)


@dataclasses.dataclass
class Planted:
    """X [n, d]; factors z [n, k] of ±1; y = factors as 0/1; context [n]; readout [d, k] with logits = X @ readout."""

    X: np.ndarray
    z: np.ndarray
    y: np.ndarray
    context: np.ndarray
    readout: np.ndarray

    @property
    def others(self):
        """For each factor the condition 'all other factors', one column a factor."""
        codes = ((self.z + 1) / 2) @ (2 ** np.arange(K))
        return np.stack([codes - (self.z[:, f] + 1) / 2 * 2**f for f in range(K)], axis=1).astype(int)


def plant(name, n=8192, seed=0, sigma=SIGMA, cos=0.7, copies=4, balanced=False):
    rng = np.random.default_rng(seed)
    if balanced:
        cell = np.arange(C * 2**K)
        context, code = np.divmod(cell, 2**K)
        z = 2.0 * ((code[:, None] >> np.arange(K)) & 1) - 1
    else:
        z = 2.0 * rng.integers(0, 2, (n, K)) - 1
        context = rng.integers(0, C, n)
        code = (((z + 1) / 2) @ (2 ** np.arange(K))).astype(int)
    n = len(z)
    inert = np.zeros((n, D))
    if name in ("factored", "rotated", "factored + inert"):
        span = K
        X, W = z, np.eye(K)
        if name == "factored + inert":
            inert[:, K : K + 40] = 2 * rng.normal(size=(n, 40))
    elif name == "oblique":
        span = K
        L = np.linalg.cholesky((1 - cos) * np.eye(K) + cos)
        X, W = z @ L, np.linalg.inv(L)
    elif name == "duplicated":
        span = K * copies
        X, W = np.tile(z, copies) / np.sqrt(copies), np.tile(np.eye(K), (copies, 1)) / np.sqrt(copies)
    elif name.startswith("fractured"):
        span = K * C
        X = (np.eye(C)[context][:, :, None] * z[:, None, :]).reshape(n, -1)
        W = np.tile(np.eye(K), (C, 1))
    else:
        span = 2**K
        corners = 2.0 * ((np.arange(2**K)[:, None] >> np.arange(K)) & 1) - 1
        X, W = np.sqrt(K) * np.eye(2**K)[code], corners / np.sqrt(K)
    X = np.pad(X, ((0, 0), (0, D - span))) + inert
    # Noise only outside the signal span (and the inert dimensions): inside, it would change the logits.
    first = K + 40 if name == "factored + inert" else span
    X[:, first:] += sigma * rng.normal(size=(n, D - first))
    W = np.pad(W, ((0, D - span), (0, 0)))
    if "rotated" in name:
        rotation = np.linalg.qr(rng.normal(size=(D, D)))[0]
        X, W = X @ rotation, rotation.T @ W
    return Planted(X, z, (z > 0).astype(int), context, W)


@pytest.fixture(scope="session")
def planted():
    made = {}

    def make(name, **options):
        key = (name, *sorted(options.items()))
        if key not in made:
            made[key] = plant(name, **options)
        return made[key]

    return make
