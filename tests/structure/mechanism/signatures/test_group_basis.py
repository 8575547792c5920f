import itertools

import numpy as np
import pytest

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.signatures.group_basis import fourier_basis, table_basis


def permutations_table(n):
    """The symmetric group of n letters."""
    members = list(itertools.permutations(range(n)))
    number = {g: i for i, g in enumerate(members)}
    return np.array([[number[tuple(g[i] for i in h)] for h in members] for g in members])


def relabelled(table, seed=0):
    """The same group with other names for first inputs, second inputs and answers."""
    rng = np.random.default_rng(seed)
    answers = rng.permutation(len(table))
    return answers[table[rng.permutation(len(table))][:, rng.permutation(len(table))]]


@pytest.mark.parametrize("table", [permutations_table(3), relabelled(permutations_table(3))])
def test_blocks_of_the_symmetric_group_are_its_representations(table):
    """Dimensions 1, 1 and 2: as many functions as their squares."""
    basis = table_basis(table)
    assert sorted(basis.sizes) == [1, 4]
    np.testing.assert_allclose(basis.functions.T @ basis.functions, np.eye(6), atol=1e-9)
    assert sorted(table_basis(permutations_table(4)).sizes) == [1, 4, 9, 9]


def test_blocks_of_a_cyclic_table_are_frequencies():
    p = 7
    table = np.add.outer(np.arange(p), np.arange(p)) % p
    one, other = fourier_basis(np.arange(p)), table_basis(table)
    assert sorted(other.sizes) == sorted(one.sizes) == [2, 2, 2]
    logits = np.random.default_rng(0).normal(size=(20, p))
    np.testing.assert_allclose(np.sort(one.power(logits), axis=1), np.sort(other.power(logits), axis=1), atol=1e-9)
    with_constant = one.power(logits + 5.0)
    np.testing.assert_allclose(with_constant, one.power(logits), atol=1e-9)


def test_power_of_an_answer_does_not_depend_on_which_it_is():
    """The group moves answers about within each block."""
    table = permutations_table(4)
    basis, profile = table_basis(table), np.random.default_rng(0).normal(size=24)
    moved = np.stack([profile[table[:, b]] for b in range(24)])
    np.testing.assert_allclose(basis.power(moved), np.tile(basis.power(moved[:1]), (24, 1)), atol=1e-9)


def test_even_moduli_have_a_frequency_of_one_wave():
    assert fourier_basis(np.arange(8)).sizes.tolist() == [2, 2, 2, 1]


def test_a_table_that_is_no_group_is_refused():
    with pytest.raises(InputError, match="stands twice"):
        table_basis(np.zeros((3, 3), int))
    loop = np.array([[0, 1, 2, 3, 4], [1, 0, 3, 4, 2], [2, 4, 0, 1, 3], [3, 2, 4, 0, 1], [4, 3, 1, 2, 0]])
    with pytest.raises(InputError, match="no move"):
        table_basis(loop)
