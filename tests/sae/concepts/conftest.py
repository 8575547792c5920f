import numpy as np
import pytest

N, M, D = 400, 40, 40


class World:
    """Three concepts, a latent each (0, 1, 2); 37 more that fire at random; orthonormal directions, a little noise."""

    def __init__(self, seed=0):
        self.rng = rng = np.random.default_rng(seed)
        self.groups = np.repeat(np.arange(N // 2), 2)
        self.y = rng.integers(0, 2, (N, 3)).astype(float)
        self.codes = rng.random((N, M)) * (rng.random((N, M)) < 0.05)
        self.codes[:, :3] = self.y * (0.5 + rng.random((N, 3)))
        self.decoder = np.linalg.qr(rng.normal(size=(D, D)))[0][:M]
        self.b_dec = np.full(D, 2.0)
        self.labels = {"red": self.y[:, 0], "green": self.y[:, 1], "blue": self.y[:, 2]}

    @property
    def X(self):
        noise = 0.02 * np.random.default_rng(9).normal(size=(N, D))
        return self.codes @ self.decoder + self.b_dec + noise


@pytest.fixture
def world():
    return World()
