import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _planted(n=3000, d=32, m=64, active=4.0, noise=0.02, seed=0, scale=20.0, offset=5.0):
    """Rows that are sparse sums of m known unit directions: (X [n, d], codes [n, m], dictionary [m, d])."""
    rng = np.random.default_rng(seed)
    dictionary = rng.normal(size=(m, d))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = (rng.random((n, m)) < active / m) * (0.5 + rng.random((n, m)))
    X = offset + scale * (codes @ dictionary + noise * rng.normal(size=(n, d)))
    return X.astype(np.float32), codes.astype(np.float32), dictionary


@pytest.fixture(scope="session")
def planted():
    return _planted


@pytest.fixture(scope="session")
def trained(planted):
    """A topk SAE trained once on planted activations, with them."""
    from mechdecouple.sae import train

    X, codes, dictionary = planted()
    return train(X, width=128, k=6, steps=800, hook_point="blocks.1.hook_resid_post", model="toy"), X, codes, dictionary
