import numpy as np
import pytest
from scipy import stats as sps

from mechdecouple.compare.many.distance import ModelMap, between_share_of_distances, model_distances
from mechdecouple.compare.many.relabel import relabellings
from mechdecouple.compare.many.spread import between_share
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.structure import cka


def turned(X, seed):
    rng = np.random.default_rng(seed)
    return 3 * X @ np.linalg.qr(rng.standard_normal((X.shape[1], X.shape[1])))[0] + 1


@pytest.fixture(scope="module")
def sites():
    """Five models at two sites; the second model is the first, turned."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        base = rng.standard_normal((120, 6))
        found.append([base, turned(base, 1), base + rng.standard_normal((120, 6)), *rng.standard_normal((2, 120, 6))])
    return found


def test_a_distance_of_models(sites):
    found, used = model_distances(sites)
    d = found.value
    assert used == [True, True]
    # the arc cosine of 1 less rounding is 1e-8 or so
    assert np.allclose(d, d.T, atol=1e-7) and not np.diagonal(d).any() and d[0, 1] < 1e-5
    assert d[0, 3] == pytest.approx(np.pi / 2, abs=0.15)
    expected = np.mean([np.arccos(cka(site[0], site[2])) for site in sites])
    assert d[0, 2] == pytest.approx(expected, abs=1e-9)


def test_triangle_inequality_holds_far_below_the_noise_too():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        d = model_distances([[rng.standard_normal((12, 3)) for _ in range(5)] for _ in range(2)], n_blocks=3)[0].value
        assert (d[:, None, :] <= d[:, :, None] + d[None, :, :] + 1e-9).all()


def test_a_site_at_which_a_model_is_constant_is_left_out_for_all(sites):
    constant = [np.ones((120, 6)), *sites[0][1:]]
    found, used = model_distances([constant, sites[1]])
    assert used == [False, True]
    assert np.allclose(found.value, model_distances(sites[1:])[0].value)
    assert model_distances([constant]) == (None, [False])


def test_sites_with_different_numbers_of_models(sites):
    with pytest.raises(MismatchError, match="one array a model"):
        model_distances([sites[0], sites[1][:2]])


def test_share_of_distances_is_that_of_variance_on_a_line():
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.standard_normal(3), rng.standard_normal(4) + 1, rng.standard_normal(3)])
    deals = relabellings([3, 4, 3])
    on_line = np.abs(np.subtract.outer(x, x))
    assert np.allclose(between_share_of_distances(on_line, deals), between_share(x, deals), atol=1e-9)


def test_share_of_distances_is_anderson_s_pseudo_f():
    rng = np.random.default_rng(3)
    points = rng.standard_normal((8, 3))
    d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    share = between_share_of_distances(d, relabellings([4, 4]))[0]
    groups = points[:4], points[4:]
    within = sum(((g - g.mean(axis=0)) ** 2).sum() for g in groups)
    total = ((points - points.mean(axis=0)) ** 2).sum()
    assert share == pytest.approx(1 - within / total)


def test_arms_that_are_apart_get_the_smallest_p_and_others_keep_the_level():
    rng = np.random.default_rng(4)
    deals = relabellings([4, 4])

    def p(shift):
        x = rng.standard_normal((8, 5))
        x[4:, 0] += shift
        return deals.p(between_share_of_distances(np.linalg.norm(x[:, None] - x[None], axis=-1), deals))

    assert p(50) == pytest.approx(deals.smallest_p)
    hits = sum(p(0) <= 0.05 for _ in range(600))
    assert hits <= 600 * 0.05 + 3 * np.sqrt(600 * 0.05)
    assert deals.p(between_share_of_distances(np.zeros((8, 8)), deals)) == 1.0


def test_a_map_of_points_in_a_plane_loses_nothing():
    points = np.random.default_rng(5).standard_normal((6, 2))
    d = np.linalg.norm(points[:, None] - points[None], axis=-1)
    drawn = ModelMap(d)
    again = np.linalg.norm(drawn.coordinates[:, None] - drawn.coordinates[None], axis=-1)
    assert np.allclose(again, d, atol=1e-9)
    assert drawn.stress < 1e-9 and drawn.explained == pytest.approx(1.0)


def test_a_map_of_models_all_equally_far_says_what_it_loses():
    d = 1.0 - np.eye(6)
    drawn = ModelMap(d)
    assert drawn.explained == pytest.approx(2 / 5) and drawn.stress > 0.2


def test_the_tree_joins_the_nearest_first():
    x = np.array([0.0, 0.1, 4.0, 4.3])
    tree = ModelMap(np.abs(np.subtract.outer(x, x))).linkage
    assert set(tree[0, :2]) == {0, 1} and tree[0, 2] == pytest.approx(0.1)
    assert tree[-1, 2] == pytest.approx(np.mean([4, 4.3, 3.9, 4.2]))
    assert sps.rankdata(tree[:, 2]).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "bad", [np.ones((2, 2)), np.array([[0, 1.0], [2, 0]]), np.array([[0.0]]), np.array([[0, np.nan], [np.nan, 0]])]
)
def test_what_is_no_matrix_of_distances(bad):
    with pytest.raises(InputError, match="symmetric"):
        ModelMap(bad)
