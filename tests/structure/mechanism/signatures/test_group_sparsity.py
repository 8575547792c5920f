import numpy as np
import pytest

from mechdecouple.structure.mechanism.signatures.group_basis import fourier_basis, table_basis
from mechdecouple.structure.mechanism.signatures.group_sparsity import (
    effective_blocks,
    group_sparsity,
    overlap_null,
    spectrum,
    spectrum_overlap,
)

P = 31
RIGHT = np.arange(200) % P
BASIS = fourier_basis(np.arange(P))


def waves(frequencies):
    """Logits that peak at the right residue, a wave of each frequency."""
    away = np.arange(P) - RIGHT[:, None]
    return sum(np.cos(2 * np.pi * k * away / P) for k in frequencies)


def test_waves_are_counted():
    for frequencies in ([3], [3, 8, 11]):
        share = spectrum(waves(frequencies), BASIS)
        assert np.flatnonzero(share > 1e-9).tolist() == [k - 1 for k in frequencies]
        assert effective_blocks(share) == pytest.approx(len(frequencies))
        assert group_sparsity(share, BASIS) == pytest.approx(1 - (len(frequencies) - 1) / 14)


def test_an_answer_without_nearly_right_ones_is_not_sparse():
    named = np.eye(P)[RIGHT]
    assert group_sparsity(spectrum(named - named.mean(axis=1, keepdims=True), BASIS), BASIS) == pytest.approx(0)
    assert np.isnan(spectrum(np.zeros((3, P)), BASIS)).all()


def test_large_representations_are_no_less_sparse():
    """The symmetries of a triangle have blocks of one and of four functions."""
    members = [(flip, turn) for flip in (0, 1) for turn in range(3)]
    number = {g: i for i, g in enumerate(members)}
    table = np.array([[number[(f ^ g, (t + (-u if f else u)) % 3)] for g, u in members] for f, t in members])
    basis = table_basis(table)
    assert sorted(basis.sizes) == [1, 4]
    assert group_sparsity(spectrum(np.eye(6) - 1 / 6, basis), basis) == pytest.approx(0)
    one = basis.functions[:, basis.block == 1 + int(basis.sizes.argmax())].T
    assert group_sparsity(spectrum(one, basis), basis) == pytest.approx(1)


def test_overlap_of_frequencies_and_its_null():
    one, other, third = (spectrum(waves(f), BASIS) for f in ([1, 2], [2, 3], [7, 9]))
    assert spectrum_overlap(one, one) == pytest.approx(1)
    assert spectrum_overlap(one, other) == pytest.approx(0.5)
    assert spectrum_overlap(one, third) == pytest.approx(0, abs=1e-6)
    assert overlap_null(one, other, BASIS, 1000).mean() == pytest.approx(2 / 15, abs=0.02)


def test_published_frequencies(seeds):
    """Key frequencies as their authors give them."""
    first, second = (np.argsort(-spectrum(rig.clean.values, fourier_basis(np.arange(113)))) + 1 for rig in seeds)
    assert {1, 15, 18} <= set(first[:6].tolist())
    assert {1, 30, 38, 49} <= set(second[:6].tolist())
