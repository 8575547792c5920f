from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple.errors import InputError, ModelError
from mechdecouple.extract import extract
from mechdecouple.models import build, wrap
from mechdecouple.sae.training.stream import ModelRows, Stream
from mechdecouple.sae.training.train import train
from mechdecouple.tasks import Task

POINTS = ("blocks.0.hook_resid_post", "blocks.0.hook_attn_out")


@pytest.fixture(scope="module")
def model():
    config = {
        "n_layers": 1, "d_model": 8, "n_ctx": 12, "d_head": 4, "n_heads": 2, "d_mlp": 16, "d_vocab": 50,
        "act_fn": "gelu", "normalization_type": "LN",
    }  # fmt: skip
    return wrap(build(config, seed=0), name="tiny")


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 50, size=rng.integers(1, 12)).tolist() for _ in range(60)]
    return Task.from_frame(pd.DataFrame({"id": [f"item-{i}" for i in range(60)], "tokens": tokens}))


def identity_model(values):
    """A plain module whose only layer gives its inputs, and a task of these inputs."""
    layer = torch.nn.Linear(values.shape[1], values.shape[1], bias=False)
    torch.nn.init.eye_(layer.weight)
    frame = pd.DataFrame({"id": [f"item-{i}" for i in range(len(values))], "answer": 0})
    return wrap(torch.nn.Sequential(layer), name="identity"), Task.from_frame(frame, inputs=values)


def stream(rows, points=POINTS[:1], batch_size=8):
    return Stream(rows.plan(points), rows.buffer_rows, batch_size=batch_size, seed=3, device="cpu")


def keys(values):
    return [row.tobytes() for row in np.asarray(values)]


@pytest.mark.parametrize(("buffer_rows", "batch_size"), [(64, 8), (50, 7), (300, 60), (32, 1)])
def test_every_row_of_the_model_comes_once_an_epoch(model, task, buffer_rows, batch_size):
    rows = ModelRows(model, task, batch_tokens=40, buffer_rows=buffer_rows)
    expected = Counter(keys(extract(model, task, POINTS[:1], "all", batch_tokens=40, progress=False)[POINTS[0]]))
    n = sum(expected.values())
    steps = 3 * n // batch_size
    fed = stream(rows, batch_size=batch_size)
    seen: Counter = Counter()
    for batch in fed.batches(steps):
        seen.update(keys(batch[POINTS[0]]))
    epochs = steps * batch_size / n
    assert fed.n == n > buffer_rows or buffer_rows == 300
    assert set(seen) == set(expected)
    assert {np.ceil(epochs), np.floor(epochs)} >= {seen[key] / expected[key] for key in expected if expected[key] == 1}


def test_each_epoch_has_another_order(model, task):
    rows = ModelRows(model, task, batch_tokens=40, buffer_rows=64)
    fed = stream(rows, batch_size=10)
    epochs = np.array_split([key for b in fed.batches(2 * fed.n // 10) for key in keys(b[POINTS[0]])], 2)
    assert (epochs[0] == epochs[1]).mean() < 0.1


def test_hook_points_are_of_the_same_rows(model, task):
    rows = ModelRows(model, task, batch_tokens=40, buffer_rows=64)
    stored = extract(model, task, POINTS, "all", batch_tokens=40, progress=False)
    pairs = dict(zip(keys(stored[POINTS[0]]), keys(stored[POINTS[1]]), strict=True))
    for batch in stream(rows, POINTS).batches(30):
        for one, other in zip(keys(batch[POINTS[0]]), keys(batch[POINTS[1]]), strict=True):
            assert pairs[one] == other


def test_a_stream_goes_on_where_it_was(model, task):
    rows = ModelRows(model, task, batch_tokens=40, buffer_rows=64)
    whole = stream(rows)
    moments = whole.moments()[POINTS[0]]
    batches = whole.batches(100)
    for _ in range(37):
        next(batches)
    state = {name: value.clone() for name, value in whole.state().items()}
    again = stream(rows)
    again.restore(state)
    assert moments.rows == 64
    for mine, theirs in zip(again.batches(63), batches, strict=True):
        assert torch.equal(mine[POINTS[0]], theirs[POINTS[0]])


def test_a_dictionary_is_learnt_from_a_running_model(planted):
    X, _codes, dictionary = planted(n=2000)
    rows = ModelRows(*identity_model(X), position="last", buffer_rows=512)
    sae = train(rows, "0", width=64, k=4, steps=400, learning_rate=4e-3)
    assert (dictionary @ sae.decoder.T).max(1).mean() >= 0.9
    assert 1 - ((X - sae.decode(sae.encode(X))) ** 2).sum() / ((X - X.mean(0)) ** 2).sum() >= 0.8
    assert sae.training["source"]["kind"] == "model"
    assert sae.training["source"]["model"]["weight_hash"] == rows.model.weight_hash
    assert sae.training["sample_rows"] == 1024  # four batches, the least that a pool holds
    assert sae.sae.cfg.metadata.model_name == "identity"


def test_where_all_rows_fit_the_model_runs_once(planted, monkeypatch):
    X, *_ = planted(n=300)
    model, task = identity_model(X)
    ran = []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda self, *a, **k: (ran.append(1), forward(self, *a, **k))[1])
    sae = train(ModelRows(model, task, ("0",), position="last"), width=32, k=4, steps=20)
    assert len(ran) <= 4  # two to see the width, two batches of 256 items
    assert np.array_equal(sae.decoder, train(X, width=32, k=4, steps=20).decoder)


def test_the_item_that_is_not_finite_is_named(planted):
    X, *_ = planted(n=1200)
    model, task = identity_model(X)
    with torch.no_grad():
        model.module[0].weight.fill_(3e37)
    X[:] = 0
    X[700] = 50
    with pytest.raises(InputError, match="item 'item-700'"):
        train(ModelRows(model, task, position="last", buffer_rows=512), "0", width=32, k=4, steps=20)


def test_hook_points_that_are_not_there_are_refused(model, task):
    with pytest.raises(ModelError, match="nowhere"):
        train(ModelRows(model, task), "nowhere", steps=2)
    with pytest.raises(InputError, match="is not among"):
        train(ModelRows(model, task, POINTS), "blocks.0.hook_mlp_out", steps=2)
    with pytest.raises(InputError, match=r"no hook point is named, and there are blocks\.0"):
        train(ModelRows(model, task, POINTS), steps=2)
    with pytest.raises(InputError, match="all of the model's"):
        train(ModelRows(model, task), steps=2)
