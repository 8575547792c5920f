"""Layers: centring, lazy reading, groups of rows, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.structure import _layers as module
from mechdecouple.structure import cca_matrix, cka_matrix, mutual_knn_matrix, procrustes_matrix
from mechdecouple.structure._layers import Layers, centred, torch_device


class Lazy:
    """Rows that can only be had a slice at a time; remembers the longest."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.dtype, self.longest = values, values.shape, values.dtype, 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        part = self._values[rows]
        self.longest = max(self.longest, len(part))
        return part


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    A = [rng.normal(size=(120, d)).astype(np.float32) + 5 for d in (6, 20)]
    B = [A[0] @ rng.normal(size=(6, 9)).astype(np.float32), A[1] + rng.normal(size=(120, 20)).astype(np.float32)]
    return A, B


@pytest.mark.parametrize("measure", [cka_matrix, cca_matrix, procrustes_matrix, mutual_knn_matrix])
@pytest.mark.parametrize("groups", [None, np.arange(120) // 2])
def test_layers_read_in_runs_give_what_held_ones_give(pair, measure, groups, monkeypatch):
    if measure is cka_matrix and groups is not None:
        pytest.skip("held groups of several rows are paired by group, those read in runs are not")
    options = {} if measure is cca_matrix else {"n_permutations": 20}
    held = measure(*pair, groups, n_blocks=6, **options)
    lazy = [[Lazy(x) for x in side] for side in pair]
    monkeypatch.setattr(module, "_HELD_BYTES", 0)
    monkeypatch.setattr(module, "_RUN_BYTES", 55 * 35 * 4)
    monkeypatch.setattr(module, "_SHIFT_ROWS", 16)
    read = measure(*lazy, groups, n_blocks=6, **options)
    np.testing.assert_allclose(read.value.value, held.value.value, atol=2e-5)
    np.testing.assert_allclose(read.value.replicates, held.value.replicates, atol=2e-5)
    assert (read.p_adjusted <= 0.05).tolist() == (held.p_adjusted <= 0.05).tolist()
    assert max(layer.longest for side in lazy for layer in side) < 120


def test_single_precision_holds_its_error_bound():
    """The relative error of a product of n float32 rows is about eps: CKA within 2e-6 of double, offsets or not."""
    rng = np.random.default_rng(1)
    for n, d, offset in ((600, 40, 0.0), (150, 300, 100.0)):
        X, Y = ((rng.normal(size=(n, d)) + offset).astype(np.float32) for _ in range(2))
        Y += X
        single = cka_matrix([X], [Y], n_permutations=0).value
        double = cka_matrix([X.astype(float)], [Y.astype(float)], n_permutations=0).value
        np.testing.assert_allclose(single.value, double.value, atol=2e-6)
        np.testing.assert_allclose(single.replicates, double.replicates, atol=2e-6)


def test_centred_is_centred_at_any_offset_and_scale():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 4))
    for offset, scale in ((0, 1), (1e3, 1), (-5, 1e-9), (1e4, 1e6)):
        x = centred(X * scale + offset)
        assert np.abs(x.mean(axis=0)).max() < 1e-5 and (x**2).mean() == pytest.approx(1)
        expected = X - X.mean(axis=0)
        np.testing.assert_allclose(x, expected / np.sqrt((expected**2).mean()), atol=1e-5)
    assert (centred(np.full((50, 4), 0.1, np.float32)) == 0).all() and (centred(np.full((7, 2), 1e9)) == 0).all()


def test_a_first_row_unlike_the_others_costs_no_precision():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 4)).astype(np.float32)
    X[0] = 3000
    data = Layers([X], ["X"])
    exact = X.astype(float) - X.astype(float).mean(axis=0)
    exact /= np.sqrt((exact**2).mean())
    np.testing.assert_allclose(data.rows(0, 0).numpy()[1:], exact[1:], atol=1e-6)


def test_group_means_of_the_wanted_groups():
    X = np.arange(12.0).reshape(6, 2) ** 2
    group = np.array([1, -1, 0, 1, 0, -1])
    data = Layers([X], ["X"], np.array([1, 0, 1, 1, 0, 0]))
    shown = data.group_means(group, 2)[0].numpy()
    exact = (X - X.mean(axis=0)) / np.sqrt(((X - X.mean(axis=0)) ** 2).mean())
    np.testing.assert_allclose(shown, [exact[[2, 4]].mean(axis=0), exact[[0, 3]].mean(axis=0)])


def test_refusals():
    good, bad = np.ones((9, 2)), np.ones((9, 2))
    bad[[3, 7], 1] = np.inf, np.nan
    with pytest.raises(InputError, match=r"b is inf at row 3, column 1"):
        Layers([good, bad], ["a", "b"], np.array([1, 1, 1, 1, 1, 0, 0, 0, 0]))
    with pytest.raises(InputError, match="too large to square"):
        Layers([np.array([[1e200], [2e200]])], ["a"])
    with pytest.raises(MismatchError, match="b has 8 rows"):
        Layers([good, good[:8]], ["a", "b"])
    with pytest.raises(InputError, match="'gpu' is not there"):
        torch_device("gpu")
    if not torch.cuda.is_available():
        assert torch_device("auto").type == "cpu"
        with pytest.raises(InputError, match="'cuda' is not there"):
            cka_matrix([good], [good], device="cuda")


def test_a_layer_that_gives_too_few_rows_is_named():
    short = Lazy(np.random.default_rng(4).normal(size=(10, 2)))
    short.shape = (11, 2)
    with pytest.raises(InputError, match="rows 0 to 11 of a come as"):
        Layers([short], ["a"])
