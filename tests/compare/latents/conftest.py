"""Planted dictionaries, and sides of small models with the groups that their dictionaries did not see."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mechdecouple import sae, zoo
from mechdecouple.compare.config import make_config
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair, make_side
from mechdecouple.refs import load


@dataclasses.dataclass
class Planted:
    """A dictionary whose latents are known: what X holds along each direction, where it is above zero."""

    directions: np.ndarray
    centre: np.ndarray | float = 0.0

    width = property(lambda self: len(self.directions))
    d = property(lambda self: self.directions.shape[1])
    decoder = property(lambda self: self.directions)

    def encode_sparse(self, X, *, batch_size=1024):
        size = np.square(self.directions).sum(axis=1)
        return csr_matrix(np.maximum((X - self.centre) @ self.directions.T / size, 0.0))


@pytest.fixture(scope="session")
def planted():
    return lambda directions: Planted(np.asarray(directions, float))


def make(model, task, points, **options):
    settings = make_config({"families": ("sae",), "probe_items": 128, "blocks": 10, **options})
    return make_side(load(model), task, points, settings, slot="a", loss_unit="token", store=None, progress=False)


@pytest.fixture(scope="session")
def side_of():
    return make


@pytest.fixture(scope="session")
def held_third():
    """Rows of a side in a third of its groups."""
    return lambda side: sae.holdout(side.labels.groups, share=1 / 3, seed=0)


def kinds_of(*latents, shared=()):
    """The table of matches: of each side the latents given; ``shared`` ones are each other's partners."""
    rows = [
        {"side": slot, "latent": int(j), "kind": "shared" if j in shared else "only",
         "partners": [int(j)] if j in shared else [], "correlation": 0.9, "low": 0.8, "high": 1.0, "null": 0.1,
         "cosine": 0.9}
        for slot, own in zip("ab", latents, strict=True) for j in own
    ]  # fmt: skip
    columns = ["side", "latent", "kind", "partners", "correlation", "low", "high", "null", "cosine"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="session")
def kinds():
    return kinds_of


POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="session")
def demo(held_third):
    """The demo pair, dictionaries of both ways along each one's principal axes, and rows they were not made from."""
    task, pair = zoo.task("demo-tidy", 800), zoo.demo()
    sides = [make(ref, task, (POINT,), position="position_statement") for ref in (pair.a, pair.b)]
    held = held_third(sides[0])
    site = Site(POINT, POINT, 0.5)
    return Pair(*sides, (site,)), site, tuple(_axes(side.structural[POINT][~held]) for side in sides), held


def _axes(X, n=8):
    axes = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:n]
    return Planted(np.concatenate([axes, -axes]).astype(float), X.mean(axis=0))


@pytest.fixture(scope="session")
def demo_kinds():
    return kinds_of(range(16), range(16))
