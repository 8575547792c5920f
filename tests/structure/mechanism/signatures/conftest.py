"""Nets whose mechanism is known: closed forms by hand, and published ones where they are at hand."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mechdecouple.models import load_pretrained
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.tasks import Task

DATA = Path(__file__).parents[5] / "shared" / "data"


def grid_task(p, after=(), name="sums"):
    """(a + b) modulo p on the whole grid, a prompt of two tokens and whatever comes after them."""
    pairs = list(itertools.product(range(p), range(p)))
    frame = pd.DataFrame(
        {
            "id": [f"{a}+{b}" for a, b in pairs],
            "tokens": [[a, b, *after] for a, b in pairs],
            "choices": [tuple(map(str, range(p)))] * len(pairs),
            "answer": [str((a + b) % p) for a, b in pairs],
        }
    )
    return Task.from_frame(frame, name=name)


@pytest.fixture(scope="session")
def pizza_and_clock():
    if not (DATA / "pizza").exists():
        pytest.skip("the published nets are not at hand")
    task = grid_task(59)
    rigs = tuple(Rig(load_pretrained(DATA / "pizza" / f"model_{run}.pt"), task) for run in ("p99zdpze5l", "l8k1hzciux"))
    assert all(rig.clean.correct.all() for rig in rigs)
    return rigs


@pytest.fixture(scope="session")
def seeds():
    if not (DATA / "rib").exists():
        pytest.skip("the published nets are not at hand")
    task = grid_task(113, after=(113,)).select(np.sort(np.random.default_rng(0).permutation(113**2)[:600]))
    return tuple(Rig(load_pretrained(DATA / "rib" / f"seed{seed}"), task) for seed in (0, 1))
