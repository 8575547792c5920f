import numpy as np
import pytest
from scipy import sparse

from mechdecouple.sae import match
from mechdecouple.sae.matching._codes import pair_sums, standardised
from mechdecouple.sae.matching._parts import find_parts
from mechdecouple.sae.matching._sums import Moments, correlations
from mechdecouple.stats import jackknife_blocks


def features(n, m, seed, p=0.05):
    rng = np.random.default_rng(seed)
    return (rng.random((n, m)) < p) * (0.5 + rng.random((n, m)))


def pieces(whole, shares, seed, scales=None):
    """One latent as several that never fire together: each of its firings goes to one of them."""
    which = np.random.default_rng(seed).choice(len(shares), len(whole), p=shares)
    scales = np.ones(len(shares)) if scales is None else scales
    return np.column_stack([whole * (which == k) * scale for k, scale in enumerate(scales)])


def moments(X, blocks):
    return Moments.of(standardised(sparse.csr_matrix(X), np.ones(len(X), bool), 1), blocks)


@pytest.fixture(scope="module")
def planted():
    """Eight shared latents, one of A split in two of B and one in four, one of B split in three, and exclusive ones."""
    n = 2500
    shared, only_a, only_b = features(n, 8, 0), features(n, 6, 1), features(n, 4, 2)
    of_a, of_b = features(n, 2, 3, p=0.1), features(n, 1, 4, p=0.1)
    two = pieces(of_a[:, 0], [0.5, 0.5], 5, scales=[0.3, 3])
    four = pieces(of_a[:, 1], [0.25] * 4, 6)
    three = pieces(of_b[:, 0], [1 / 3] * 3, 7)
    noisy = shared * (1 + 0.2 * np.random.default_rng(8).normal(size=shared.shape))
    A, B = np.hstack([shared, of_a, three, only_a]), np.hstack([noisy, two, four, of_b, only_b])
    kind_a = ["shared"] * 8 + ["split"] * 2 + ["merged"] * 3 + ["only"] * 6
    kind_b = ["shared"] * 8 + ["merged"] * 6 + ["split"] + ["only"] * 4
    return A.astype(np.float32), B.astype(np.float32), kind_a, kind_b


def test_every_latent_has_the_kind_that_was_planted(planted):
    A, B, kind_a, kind_b = planted
    found = match(A, B, n_permutations=19)
    assert found.of_a.kind.tolist() == kind_a
    assert found.of_b.kind.tolist() == kind_b
    partners = [p.tolist() for p in found.of_a.partners]
    assert partners[:8] == [[j] for j in range(8)]
    assert sorted(partners[8]) == [8, 9] and sorted(partners[9]) == [10, 11, 12, 13]
    assert partners[10:13] == [[14]] * 3 and partners[13:] == [[]] * 6
    assert [p.tolist() for p in found.of_b.partners][8:15] == [[8]] * 2 + [[9]] * 4 + [found.of_b.partners[14].tolist()]
    strength = found.of_a.correlation
    np.testing.assert_allclose(strength[8:13], 1, atol=1e-3)  # sums that are exact, and parts of one that is
    assert (strength[:8] > 0.95).all() and (strength[13:] < 0.2).all()
    assert (found.of_a.low <= strength).all() and (strength <= found.of_a.high).all()


def test_shares_have_the_planted_level_and_a_null(planted):
    A, B, kind_a, _ = planted
    found = match(A, B, n_permutations=19)
    for kind in ("shared", "split", "merged", "only"):
        share = found.of_a.shares[kind]
        assert share.value == pytest.approx(kind_a.count(kind) / len(kind_a))
        assert share.low <= share.value <= share.high
        assert share.null == (kind == "only")  # by chance nothing is alike
        assert share.p == pytest.approx(0.05)
    assert (found.of_a.null < 0.2).all() and (found.of_a.null > 0).all()
    # what is missing is no more alike than chance makes it
    only = found.of_a.kind == "only"
    np.testing.assert_allclose(found.of_a.correlation[only], found.of_a.null[only], atol=0.06)


def test_exchanging_the_dictionaries_exchanges_the_kinds(planted):
    A, B, *_ = planted
    groups = np.arange(len(A))
    one, other = match(A, B, groups=groups, n_permutations=0), match(B, A, groups=groups, n_permutations=0)
    for x, y in ((one.of_a, other.of_b), (one.of_b, other.of_a)):
        assert (x.kind == y.kind).all()
        np.testing.assert_allclose(x.correlation, y.correlation, atol=1e-12)
        np.testing.assert_allclose(x.low, y.low, atol=1e-9)


def test_order_and_scale_of_latents_do_not_matter(planted):
    A, B, *_ = planted
    rng = np.random.default_rng(0)
    order = rng.permutation(B.shape[1])
    plain = match(A, B, n_permutations=0)
    moved = match(A * 5, B[:, order] * rng.uniform(0.1, 9, B.shape[1]).astype(np.float32), n_permutations=0)
    assert (moved.of_a.kind == plain.of_a.kind).all()
    assert (moved.of_b.kind == plain.of_b.kind[order]).all()
    assert [sorted(order[p]) for p in moved.of_a.partners] == [sorted(p) for p in plain.of_a.partners]
    np.testing.assert_allclose(moved.of_a.correlation, plain.of_a.correlation, atol=1e-6)


def test_the_frame_has_a_row_for_every_live_latent(planted):
    A, B, *_ = planted
    dead = np.zeros((len(A), 1), np.float32)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(A.shape[1] + 1, 12)), rng.normal(size=(B.shape[1], 12))
    W[1][:8] = 2 * W[0][1:9]
    found = match(np.hstack([dead, A]), B, decoders=W, n_permutations=0)
    table = found.frame()
    assert list(table.columns) == (
        ["side", "latent", "kind", "partners", "correlation", "low", "high", "null", "cosine"]
    )
    assert (table.side == ["a"] * A.shape[1] + ["b"] * B.shape[1]).all()
    assert table.latent.tolist() == [*range(1, A.shape[1] + 1), *range(B.shape[1])]
    assert all(type(p) is list for p in table.partners)
    unit_a, unit_b = (w / np.linalg.norm(w, axis=1, keepdims=True) for w in W)
    cosines = unit_a @ unit_b.T
    np.testing.assert_allclose(table.cosine[:8], 1)
    merged = table[(table.side == "a") & (table.kind == "merged")]
    np.testing.assert_allclose(merged.cosine, cosines[merged.latent, [p[0] for p in merged.partners]])
    only = table[(table.side == "a") & (table.kind == "only")]
    np.testing.assert_allclose(only.cosine, cosines[only.latent].max(1))
    total = unit_b[[10, 11, 12, 13]].sum(0)  # equal parts weigh nearly equally
    assert table.cosine[9] == pytest.approx(total @ unit_a[10] / np.linalg.norm(total), abs=0.05)
    assert match(A, B, n_permutations=0).frame().cosine.isna().all()


def test_copies_and_lesser_parts_of_a_shared_latent_are_merged_not_missing():
    n = 2000
    one, other = features(n, 1, 0, p=0.1), features(n, 3, 1)
    uneven = pieces(one[:, 0], [0.9, 0.1], 2)
    copies = match(np.hstack([one, other]), np.hstack([one, 2 * one, other]), n_permutations=0)
    assert sorted(copies.of_b.kind[:2]) == ["merged", "shared"]
    assert [p.tolist() for p in copies.of_b.partners[:2]] == [[0], [0]]
    lesser = match(np.hstack([one, other]), np.hstack([uneven, other]), n_permutations=0)
    assert lesser.of_a.kind[0] == "shared" and lesser.of_a.partners[0].tolist() == [0]
    assert lesser.of_b.kind[:2].tolist() == ["shared", "merged"]
    assert lesser.of_b.partners[1].tolist() == [0]


def test_what_is_like_a_latent_that_is_taken_is_merged_wherever_else_it_fires():
    one, other = features(2000, 1, 0, p=0.1), features(2000, 3, 1)
    broad = one + (one == 0) * features(2000, 1, 2, p=0.06)
    found = match(np.hstack([one, other]), np.hstack([broad, one, other]), n_permutations=0)
    assert found.of_b.kind[:2].tolist() == ["merged", "shared"] and found.of_b.partners[0].tolist() == [0]
    assert found.of_b.correlation[0] == pytest.approx(np.corrcoef(one[:, 0], broad[:, 0])[0, 1])


def test_a_greater_part_that_would_match_does_not_hide_a_split():
    one, other = features(3000, 1, 0, p=0.1), features(3000, 2, 1)
    uneven = pieces(one[:, 0], [0.35, 0.65], 2)
    W = np.array([[1.0, 0], [0, 1], [0, 1]]), np.array([[0.0, 1], [1, 0], [0, 1], [0, 1]])
    found = match(np.hstack([one, other]), np.hstack([uneven, other]), decoders=W, n_permutations=0)
    assert found.a.tolist().count(0) == 1  # one-to-one it has a partner
    assert found.of_a.kind[0] == "split" and found.of_a.partners[0].tolist() == [1, 0]
    assert found.of_b.kind[:2].tolist() == ["merged", "merged"]
    # parts that add up to the whole weigh as much as they vary, and the greater one has the decoder row of the whole
    weight = uneven.std(0)
    assert found.of_a.cosine[0] == pytest.approx(weight[1] / np.hypot(*weight), abs=0.01)


def test_parts_bring_something_and_add_up():
    """Neither what only repeats a part nor what would have to be taken away from the others is a part."""
    n = 2000
    whole = features(n, 1, 0, p=0.2)
    three = pieces(whole[:, 0], [1 / 3] * 3, 1)
    blocks = jackknife_blocks(np.arange(n), 10)
    repeated = three[:, 0] * (np.random.default_rng(2).random(n) < 0.6)
    overlapping = np.column_stack([three[:, 0] + three[:, 2], three[:, 1] + three[:, 2], three[:, 2]])
    for parts, expected in ((np.column_stack([three, repeated]), [0, 1, 2]), (overlapping, [0, 1])):
        a, b = moments(whole, blocks), moments(parts, blocks)
        i, j = np.zeros(parts.shape[1], int), np.arange(parts.shape[1])
        products = a.products(i, b, j)
        found = find_parts(a, i, b, j, products, correlations(a, i, b, j, products)[0])
        assert sorted(found.part) == expected and (found.weight > 0).all()


def test_parts_must_fire_where_the_whole_does():
    """Broad latents that each cover a corner of a latent do not make it up, however well their sum correlates."""
    rng = np.random.default_rng(0)
    n = 3000
    halves = pieces(features(n, 1, 0, p=0.2)[:, 0], [0.5, 0.5], 1)
    elsewhere = (halves.sum(1) == 0)[:, None] * (rng.random((n, 2)) < 0.25)
    whole = halves.sum(1, keepdims=True)
    clean, broad = match(whole, halves, n_permutations=0), match(whole, halves + elsewhere, n_permutations=0)
    assert clean.of_a.kind.tolist() == ["split"]
    assert broad.of_a.kind.tolist() == ["only"] and broad.of_b.kind.tolist() == ["only", "only"]


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_weights_fitted_on_few_rows_find_no_parts_in_noise(p):
    """More latents than rows: least squares over many of them, fitted on all rows, would make up anything."""
    A, B = features(60, 40, 0, p), features(60, 300, 1, p)
    found = match(A, B, n_permutations=9)
    assert found.of_a.shares["split"].value <= 0.03
    assert found.of_a.shares["only"].value >= 0.95
    assert found.of_a.shares["split"].p > 0.05


def test_the_same_dictionary_is_shared_entirely_with_itself():
    A = features(1000, 30, 0)
    found = match(A, A, n_permutations=0)
    for kinds in (found.of_a, found.of_b):
        share = kinds.shares["shared"]
        assert share.value == share.low == share.high == 1
        assert kinds.shares["only"].value == kinds.shares["split"].value == kinds.shares["merged"].value == 0
        np.testing.assert_allclose(kinds.low, 1, atol=1e-9)


def test_one_group_has_kinds_without_intervals():
    A = features(300, 6, 0, p=0.2)
    found = match(A, A, groups=np.zeros(300), n_permutations=0)
    assert (found.of_a.kind == "shared").all()
    assert np.isnan(found.of_a.low).all() and "no interval" in found.of_a.shares["shared"].reason


def test_intervals_of_correlations_cover():
    n, covered = 1500, []
    rho = np.linspace(0.45, 0.95, 40)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a = rng.random((n, 40)) < 0.1
        b = np.where(rng.random(a.shape) < rho, a, rng.random(a.shape) < 0.1)
        found = match(a.astype(np.float32), b.astype(np.float32), groups=np.arange(n), n_permutations=0)
        covered.append((found.of_a.low <= rho) & (rho <= found.of_a.high))
    assert 0.9 <= np.mean(covered) <= 0.99  # of 160 latents; 95 % is the aim


def test_sums_over_pairs_and_blocks():
    rng = np.random.default_rng(0)
    X, Y = features(90, 7, 0, p=0.3), features(90, 5, 1, p=0.3)
    blocks = rng.integers(0, 4, 90)
    i, j = rng.integers(0, 7, 20), rng.integers(0, 5, 20)
    found = pair_sums(sparse.csc_matrix(X), sparse.csc_matrix(Y), i, j, blocks, 4)
    expected = [[X[blocks == k, p] @ Y[blocks == k, q] for k in range(4)] for p, q in zip(i, j, strict=True)]
    np.testing.assert_allclose(found, expected)


def test_correlations_without_a_block_are_those_of_the_rows_that_stay():
    rng = np.random.default_rng(0)
    X = features(120, 4, 0, p=0.3)
    Y = X[:, ::-1] + features(120, 4, 1, p=0.3)
    X[:100, 3] = 0  # fires in few rows, which some blocks hold all of
    X[100:, 3] = 1
    blocks = np.repeat(np.arange(6), 20)
    a, b = moments(X, blocks), moments(Y, blocks)
    i, j = np.repeat(np.arange(4), 4), np.tile(np.arange(4), 4)
    order = rng.permutation(16)
    i, j = i[order], j[order]
    whole, left_out = correlations(a, i, b, j, a.products(i, b, j))
    np.testing.assert_allclose(whole, [np.corrcoef(X[:, p], Y[:, q])[0, 1] for p, q in zip(i, j, strict=True)])
    for k in range(6):
        stay = blocks != k
        constant = np.array([np.ptp(X[stay, p]) == 0 for p in i])
        with np.errstate(invalid="ignore"):
            expected = [np.corrcoef(X[stay, p], Y[stay, q])[0, 1] for p, q in zip(i, j, strict=True)]
        np.testing.assert_allclose(left_out[:, k], np.where(constant, 0, expected), atol=1e-9)


def test_the_sum_of_parts_is_least_squares_fitted_on_the_other_blocks():
    n = 600
    whole = features(n, 2, 0, p=0.3)
    parts = np.hstack([pieces(whole[:, 0], [0.3, 0.4, 0.3], 1), pieces(whole[:, 1], [0.5, 0.5], 2)])
    parts *= 1 + 0.5 * np.random.default_rng(3).normal(size=parts.shape)
    blocks = jackknife_blocks(np.arange(n), 10)
    a, b = moments(whole, blocks), moments(parts, blocks)
    i, j = np.repeat([0, 1], 5), np.tile(np.arange(5), 2)
    products = a.products(i, b, j)
    found = find_parts(a, i, b, j, products, correlations(a, i, b, j, products)[0])
    assert found.whole.tolist() == [0, 0, 0, 1, 1] and sorted(found.part) == [0, 1, 2, 3, 4]
    centred = parts - parts.mean(0)
    for w, columns in enumerate(([0, 1, 2], [3, 4])):
        predicted = np.zeros(n)
        for k in range(10):
            fit = blocks != k
            design = np.column_stack([np.ones(fit.sum()), centred[fit][:, columns]])
            weight = np.linalg.lstsq(design, whole[fit, w], rcond=None)[0][1:]
            predicted[~fit] = centred[~fit][:, columns] @ weight
        assert found.r[w] == pytest.approx(np.corrcoef(predicted, whole[:, w])[0, 1], abs=1e-5)
        for k in range(10):
            stay = blocks != k
            expected = np.corrcoef(predicted[stay], whole[stay, w])[0, 1]
            assert found.left_out[w, k] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_intervals_of_the_shares_have_the_width_of_the_sampling_error():
    """Pairs and sums of parts on both sides of the threshold; parts come and go by threes."""
    n, found = 4000, []
    rho, missing = np.linspace(0.4, 1, 30), np.linspace(0, 0.75, 20)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        a = rng.random((n, 30)) < 0.1
        b = np.where(rng.random(a.shape) < rho, a, rng.random(a.shape) < 0.1)
        whole, which = rng.random((n, 20)) < 0.12, rng.integers(0, 3, (n, 20))
        kept = whole & (rng.random((n, 20)) > missing)
        A, B = np.hstack([a, whole]), np.hstack([b, *(kept & (which == k) for k in range(3))])
        found.append(match(A.astype(np.float32), B.astype(np.float32), groups=np.arange(n), n_permutations=0))
    for side, kinds in (("of_a", (0, 1, 3)), ("of_b", (0, 2, 3))):
        shares = [getattr(f, side).replicates for f in found]
        spread = np.std([s.value for s in shares], axis=0, ddof=1)
        stated = np.sqrt(np.mean([np.square(s.standard_error()) for s in shares], axis=0))
        np.testing.assert_allclose(stated[list(kinds)], spread[list(kinds)], rtol=0.3)


@pytest.mark.slow
def test_a_wider_dictionary_splits_features_and_another_seed_does_not():
    """Every feature comes in three kinds: a narrow dictionary holds the feature, a wide one often its kinds."""
    from mechdecouple.sae import matched_share_excess, train

    rng = np.random.default_rng(0)
    n, d, m = 4000, 48, 24
    feature, kind = (rng.normal(size=shape) for shape in ((m, d), (m, 3, d)))
    feature /= np.linalg.norm(feature, axis=-1, keepdims=True)
    kind /= np.linalg.norm(kind, axis=-1, keepdims=True)
    active = (rng.random((n, m)) < 3 / m) * (0.7 + 0.6 * rng.random((n, m)))
    of_kind = np.eye(3)[rng.integers(0, 3, (n, m))]
    X = active @ feature + 0.6 * np.einsum("nm,nmk,mkd->nd", active, of_kind, kind)
    X = (10 * X + 0.2 * rng.normal(size=(n, d))).astype(np.float32)
    narrow, wide = (
        [train(X, width=width, k=3, steps=steps, seed=s).encode(X) for s in (0, 1)]
        for width, steps in ((m, 800), (4 * m, 1200))
    )
    found = matched_share_excess(narrow, wide, n_permutations=0)
    assert found.kinds["a", "split"].excess.low > 0.1
    assert found.kinds["b", "merged"].excess.low > 0.1
    assert found.kinds["a", "split"].seed.value == 0


@pytest.mark.slow
def test_memory_does_not_grow_with_all_pairs():
    import tracemalloc

    rng = np.random.default_rng(0)
    n, m, k = 20_000, 8192, 16
    columns = (m * rng.random((n, k)) ** 2).astype(np.int64)
    A = sparse.csr_matrix((rng.random(n * k, np.float32), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, m))
    B = A[:, rng.permutation(m)]
    tracemalloc.start()
    found = match(A, B, groups=np.arange(n), n_permutations=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.share.value == 1 and found.correlation is None
    assert peak < 8 * m * m  # one table of all pairs in double precision is 537 MB
