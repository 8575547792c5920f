import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae import match, train


def codes(n, m, seed, p=0.1):
    rng = np.random.default_rng(seed)
    return ((rng.random((n, m)) < p) * (0.5 + rng.random((n, m)))).astype(np.float32)


def noisy_pair(n, rho, seed, p=0.1):
    """Binary latents whose j-th pair correlates rho[j] in the population."""
    rng = np.random.default_rng(seed)
    a = rng.random((n, len(rho))) < p
    b = np.where(rng.random(a.shape) < rho, a, rng.random(a.shape) < p)
    return a.astype(np.float32), b.astype(np.float32)


def test_the_same_dictionary_matches_itself_entirely():
    A = codes(1000, 40, 0)
    found = match(A, A)
    assert found.share.value == found.share.low == found.share.high == 1
    assert found.share.p == pytest.approx(0.01)
    assert found.share.null == 0
    assert np.array_equal(found.a, found.b)
    assert len(found.only_a) == len(found.only_b) == 0


def test_order_and_scale_of_latents_do_not_matter():
    A, B = noisy_pair(2000, np.linspace(0.4, 1, 30), 0)
    order = np.random.default_rng(1).permutation(30)
    plain = match(A, B, n_permutations=0)
    moved = match(A * 7, B[:, order] * np.linspace(0.1, 9, 30, dtype=np.float32), n_permutations=0)
    assert moved.share.value == plain.share.value
    assert {(a, order[b]) for a, b in zip(moved.a, moved.b, strict=True)} == set(zip(plain.a, plain.b, strict=True))
    assert match(B, A, n_permutations=0).share.value == plain.share.value


def test_half_shared_codes_match_by_half():
    both, only = codes(3000, 20, 0), codes(3000, 40, 1)
    A, B = np.hstack([both, only[:, :20]]), np.hstack([only[:, 20:], both])
    found = match(A, B, n_permutations=9)
    assert found.share.value == 0.5
    assert found.share.null == 0
    assert sorted(found.a) == list(range(20)) and sorted(found.b) == list(range(20, 40))
    assert np.array_equal(found.only_a, np.arange(20, 40)) and np.array_equal(found.only_b, np.arange(20))
    np.testing.assert_allclose(found.similarity, 1, atol=1e-5)
    assert (found.of_a.kind == np.repeat(["shared", "only"], 20)).all()
    assert (found.of_b.kind == np.repeat(["only", "shared"], 20)).all()
    assert "matched share 0.500" in found._repr_html_()


def test_the_share_is_of_the_smaller_dictionary():
    A = codes(2000, 40, 0)
    assert match(A[:, :10], A, n_permutations=0).share.value == 1
    assert match(A, A[:, :10], n_permutations=0).share.value == 1


def test_correlations_and_assignment_agree_with_the_plain_way():
    rng = np.random.default_rng(0)
    A = codes(500, 12, 0)
    B = (A @ rng.random((12, 15)).astype(np.float32) ** 4 + codes(500, 15, 2)).astype(np.float32)
    found = match(A, B, threshold=0.3, n_permutations=0)
    oracle = np.corrcoef(A.T, B.T)[:12, 12:]
    np.testing.assert_allclose(found.correlation, oracle, atol=1e-5)
    candidates = np.where(oracle >= 0.3, oracle, 0)
    rows, columns = linear_sum_assignment(candidates, maximize=True)
    assert found.similarity.sum() == pytest.approx(candidates[rows, columns].sum(), rel=1e-5)
    assert (found.similarity >= 0.3).all()
    assert len(set(found.a)) == len(set(found.b)) == len(found.a)


def test_a_latent_matched_by_two_counts_once():
    A = codes(1000, 1, 0)
    other = codes(1000, 1, 1)
    assert match(np.hstack([A, other]), np.hstack([A, A]), n_permutations=0).share.value == 0.5


def test_latents_that_hardly_fire_are_not_matched():
    """Two latents that fire once, on the same row, correlate perfectly by chance."""
    A, B = codes(500, 10, 0), codes(500, 10, 1)
    A[:, 0] = B[:, 0] = 0
    A[7, 0] = B[7, 0] = 1
    A[:, 1] = 3.0  # never silent, but constant
    found = match(A, B, n_permutations=0)
    assert 0 not in found.live_a and 1 not in found.live_a and 0 not in found.live_b
    assert found.share.value == 0


def test_repeated_rows_are_no_new_evidence():
    A, B = noisy_pair(300, np.linspace(0.4, 1, 30), 0)
    rare = A.copy()
    rare[:, 0] = 0
    rare[:3, 0] = 1
    once, repeated = (match(np.repeat(A, k, axis=0), np.repeat(B, k, axis=0), n_permutations=0) for k in (1, 20))
    assert repeated.share.value == once.share.value
    assert repeated.share.n == once.share.n > 290
    width = [e.high - e.low for e in (once.share, repeated.share)]
    assert width[1] > 0.5 * width[0]
    assert 0 not in match(np.repeat(rare, 20, axis=0), np.repeat(B, 20, axis=0), n_permutations=0).live_a


def test_the_null_moves_whole_groups():
    """Latents that follow their group only: shuffled rows would match by accident never, permuted groups often."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(4), 50)
    of_group = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    A = of_group[groups] * (1 + 0.01 * rng.random((200, 2))).astype(np.float32)
    found = match(A, A, groups=groups)
    assert found.share.value == 1
    assert found.share.null > 0.2
    assert found.share.p > 0.2


def test_the_interval_has_the_width_of_the_sampling_error():
    """Pairs near the threshold, where a plain jackknife of the count says twice too much or nothing."""
    rho = np.linspace(0.4, 1, 60)
    found = [match(*noisy_pair(1000, rho, s), groups=np.arange(1000), n_permutations=0) for s in range(60)]
    spread = np.std([f.share.value for f in found], ddof=1)
    stated = np.sqrt(np.mean([f.replicates.standard_error() ** 2 for f in found]))
    assert stated == pytest.approx(spread, rel=0.35)  # the spread of 60 draws is itself known to ± 9 %


@pytest.mark.slow
def test_the_interval_covers():
    rho = np.linspace(0.4, 1, 60)
    found = [match(*noisy_pair(1000, rho, s), groups=np.arange(1000), n_permutations=0) for s in range(1000)]
    expected = np.mean([f.share.value for f in found])
    assert 0.92 <= np.mean([f.share.low <= expected <= f.share.high for f in found]) <= 0.98


def test_decoders_of_different_widths_do_not_compare():
    A = codes(500, 6, 0)
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(size=(6, 4)), rng.normal(size=(6, 9))
    found = match(A, A, decoders=(narrow, wide), n_permutations=0)
    assert found.cosine is None
    assert "widths 4 and 9" in found.cosine_share.reason
    same = match(A, A, decoders=(wide, 3 * wide), n_permutations=0)
    assert same.cosine_share.value == 1
    np.testing.assert_allclose(np.diag(same.cosine), 1)
    np.testing.assert_allclose(same.frame().cosine, 1)
    assert "not given" in match(A, A, n_permutations=0).cosine_share.reason


def test_no_live_latent_is_a_reason_not_a_number():
    A = codes(200, 5, 0)
    found = match(A, np.zeros((200, 5), np.float32), decoders=(np.eye(5), np.eye(5)))
    assert np.isnan(found.share.value)
    assert "no latent firing on 10 distinct rows" in found.share.reason
    assert np.isnan(found.cosine_share.value)
    assert len(found.live_a) == 5 and not len(found.frame())
    assert "no latent firing" in found.of_a.shares["only"].reason and "undefined" in found._repr_html_()
    one_group = match(A, A, groups=np.zeros(200), n_permutations=9)
    assert one_group.share.value == 1 and "no interval" in one_group.share.reason


def test_sparse_latents_are_the_dense_ones():
    A, B = noisy_pair(800, np.linspace(0.4, 1, 30), 0)
    dense = match(A, B, n_permutations=5)
    full = sparse.csr_matrix((A.ravel(), np.tile(np.arange(30), 800), np.arange(0, 24001, 30)))  # zeros are stored
    for x, y in ((full, sparse.csr_matrix(B)), (sparse.csr_array(A), B)):
        found = match(x, y, n_permutations=5)
        pd.testing.assert_frame_equal(found.frame(), dense.frame())
        assert found.share == dense.share and found.of_b.shares == dense.of_b.shares


def test_large_dictionaries_give_the_same_without_the_table_of_all_pairs(monkeypatch):
    from mechdecouple.sae.matching import _codes, _pairs

    module = sys.modules["mechdecouple.sae.matching.match"]
    A, B = noisy_pair(800, np.linspace(0.2, 1, 30), 0)
    W = np.random.default_rng(0).normal(size=(30, 8))
    small = match(A, B, decoders=(W, W[::-1]), n_permutations=3)
    monkeypatch.setattr(module, "WHOLE", 0)
    for where in (_codes, _pairs):
        monkeypatch.setattr(where, "ENTRIES", 1700)  # two latents of 800 rows at once
    found = match(A, B, decoders=(W, W[::-1]), n_permutations=3)
    assert found.correlation is None and found.cosine is None
    assert found.cosine_share == small.cosine_share
    pd.testing.assert_frame_equal(found.frame(), small.frame())
    monkeypatch.setattr(_pairs, "_DENSE", 1)  # by sparse products
    found = match(A, B, decoders=(W, W[::-1]), n_permutations=3)
    pd.testing.assert_frame_equal(found.frame(), small.frame(), atol=1e-5)


def test_a_latent_far_from_zero_correlates_by_what_varies():
    A, B = noisy_pair(500, np.linspace(0.5, 1, 8), 0)
    found = match(A + 1000, B + 1000, n_permutations=0)
    np.testing.assert_allclose(found.correlation, match(A, B, n_permutations=0).correlation, atol=1e-6)


def test_the_assignment_is_the_best_one():
    from mechdecouple.sae.matching._pairs import one_to_one

    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 4), (4, 7), (30, 30)):
        weight = np.where(rng.random(shape) < 0.4, rng.random(shape), 0)
        i, j = np.nonzero(weight)
        order = rng.permutation(len(i))
        i, j = i[order], j[order]
        chosen = one_to_one(i, j, weight[i, j])
        best = weight[linear_sum_assignment(weight, maximize=True)].sum()
        assert weight[i[chosen], j[chosen]].sum() == pytest.approx(best)
        assert len(set(i[chosen])) == len(set(j[chosen])) == len(chosen)


def test_misaligned_or_broken_latents_are_refused():
    A = codes(100, 5, 0)
    with pytest.raises(MismatchError, match="A have 100 rows and those of B 99"):
        match(A, A[1:])
    with pytest.raises(MismatchError, match="3 groups for 100 rows"):
        match(A, A, groups=np.arange(3))
    with pytest.raises(MismatchError, match="decoders have 4 and 5 rows"):
        match(A, A, decoders=(np.eye(4), np.eye(5)))
    with pytest.raises(InputError, match="row 3 of the latents of B"):
        broken = A.copy()
        broken[3, 0] = np.inf
        match(A, broken)
    with pytest.raises(InputError, match="row 3 of the latents of B"):
        match(A, sparse.csr_matrix(broken))
    with pytest.raises(InputError, match=r"A have shape \(0, 5\)"):
        match(A[:0], A)
    with pytest.raises(InputError, match=r"threshold is 1\.5"):
        match(A, A, threshold=1.5)


def test_trained_dictionaries_that_share_half_their_features():
    """Two models hold the same items by dictionaries with half of the features in common."""
    rng = np.random.default_rng(0)
    n, d, m = 3000, 64, 64
    active = codes(n, 3 * m // 2, 0, p=4 / m)
    dictionary = rng.normal(size=(2, m, d))
    dictionary /= np.linalg.norm(dictionary, axis=-1, keepdims=True)
    common = np.arange(m // 2)
    XA = active[:, np.r_[common, m // 2 : m]] @ dictionary[0]
    XB = active[:, np.r_[common, m : 3 * m // 2]] @ dictionary[1]
    XA, XB = ((20 * X + 0.2 * rng.normal(size=(n, d))).astype(np.float32) for X in (XA, XB))
    a, b = (train(X, width=m, k=5, steps=400, seed=s) for s, X in enumerate((XA, XB)))
    found = match(a.encode(XA), b.encode(XB), decoders=(a.decoder, b.decoder))
    assert found.share.value == pytest.approx(0.5, abs=0.08)
    assert found.share.null < 0.01
    assert found.share.p == pytest.approx(0.01)
    assert found.cosine_share.value < 0.05  # the same features, along other directions
