"""Alignment: repeated layers find their originals; the price of choosing is paid in rows, and has to be."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from mechdecouple.compare.alignment import align, alignment_rows, in_order
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.structure import cka_matrix


def network(n_layers, n=300, d=12, seed=0):
    """Activations of a random tanh network, layer by layer."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(size=(n, d))]
    for _ in range(n_layers - 1):
        layers.append(np.tanh(layers[-1] @ rng.normal(size=(d, d)) * 1.5 / np.sqrt(d)))
    return layers


def turned(layers, seed=1):
    """The same layers, each in other coordinates."""
    rng = np.random.default_rng(seed)
    return [3 * x @ np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0] + 1 for x in layers]


@pytest.mark.parametrize("times", [(2, 2, 2, 2), (1, 4, 1, 1), (1, 1, 1, 5), (4, 1, 1, 1), (3, 1, 1, 3)])
def test_repeated_layers_are_paired_with_their_originals(times):
    layers = network(4)
    origin = np.repeat(np.arange(4), times)
    repeated = turned([layers[i] for i in origin])
    spent = alignment_rows(np.arange(300))
    found = align(layers, repeated, spent)
    assert [i for i, _ in found.pairs] == [0, 1, 2, 3]
    assert [origin[j] for _, j in found.pairs] == [0, 1, 2, 3]
    assert align(repeated, layers, spent).pairs == tuple((j, i) for i, j in found.pairs)


def test_relative_depth_alone_would_be_wrong():
    """Where all the further layers come first, the layer at the same relative depth is another one."""
    origin = np.repeat(np.arange(4), (9, 1, 1, 1))
    by_depth = np.abs(np.subtract.outer(np.linspace(0, 1, 4), np.linspace(0, 1, 12))).argmin(axis=1)
    assert list(origin[by_depth]) != [0, 1, 2, 3]
    layers = network(4)
    pairs = align(layers, turned([layers[i] for i in origin]), alignment_rows(np.arange(300))).pairs
    assert [origin[j] for _, j in pairs] == [0, 1, 2, 3]


@pytest.mark.parametrize("few, many", [(1, 1), (1, 5), (3, 3), (3, 7), (4, 6), (6, 4)])
def test_no_alignment_that_keeps_order_is_better(few, many):
    for seed in range(10):
        similarity = np.random.default_rng(seed).normal(size=(few, many))
        pairs = in_order(similarity)
        short = min(few, many)
        choices = combinations(range(max(few, many)), short)
        options = [[(i, j) if few <= many else (j, i) for i, j in enumerate(choice)] for choice in choices]
        assert len(pairs) == short
        assert sum(similarity[p] for p in pairs) == pytest.approx(max(sum(similarity[p] for p in o) for o in options))
        assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


def test_equally_similar_layers_are_paired_by_relative_depth():
    assert in_order(np.ones((3, 7))) == ((0, 0), (1, 3), (2, 6))
    assert in_order(np.ones((1, 5))) == ((0, 2),)


def test_constant_layers_do_not_stand_in_the_way():
    layers = network(3)
    found = align([np.ones((300, 4)), *layers], [np.ones((300, 4)), layers[0], *layers], alignment_rows(np.arange(300)))
    assert np.isnan(found.similarity[0]).all()
    assert found.pairs == ((0, 0), (1, 1), (2, 3), (3, 4))


def test_whole_groups_are_spent():
    groups = np.repeat([f"g{i}" for i in range(50)], 4)
    spent = alignment_rows(groups, 0.2, seed=3)
    assert spent.sum() == 40
    assert set(groups[spent]).isdisjoint(groups[~spent])
    assert (alignment_rows(groups, 0.2, seed=3) == spent).all()
    assert (alignment_rows(groups, 0.2, seed=4) != spent).any()
    assert alignment_rows(np.arange(20), 0.1).sum() == 8


def test_only_spent_rows_are_looked_at():
    layers, other = network(3), network(5, seed=7)
    spent = alignment_rows(np.arange(300))
    before = align(layers, other, spent)
    changed = [np.where(spent[:, None], x, 1e3 * np.random.default_rng(0).normal(size=x.shape)) for x in other]
    assert align(layers, changed, spent).pairs == before.pairs


def test_the_choice_has_to_be_paid_for():
    """Models that share nothing: at the chosen pairs CKA is 0 on the rows that are left, and above it on the spent."""
    paid, unpaid = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        A, B = ([rng.normal(size=(120, 8)) for _ in range(layers)] for layers in (3, 12))
        found = align(A, B, alignment_rows(np.arange(120), 0.5, seed))
        at = tuple(np.transpose(found.pairs))
        unpaid.append(found.similarity[at].mean())
        left = [[x[~found.spent] for x in layers] for layers in (A, B)]
        paid.append(np.asarray(cka_matrix(*left, n_blocks=0, n_permutations=0).value.value)[at].mean())
    error = np.std(paid) / np.sqrt(20)
    assert abs(np.mean(paid)) < 3 * error
    assert np.mean(unpaid) > 5 * error


def test_too_few_groups_and_other_bad_input_are_refused():
    with pytest.raises(InputError, match="15 groups of items"):
        alignment_rows(np.repeat(np.arange(15), 10))
    with pytest.raises(InputError, match=r"share 0\.9"):
        alignment_rows(np.arange(100), 0.9)
    with pytest.raises(InputError, match="no layers"):
        align([], network(2), alignment_rows(np.arange(300)))
    with pytest.raises(MismatchError, match="299 rows"):
        align(network(2), network(3, n=299), alignment_rows(np.arange(300)))
