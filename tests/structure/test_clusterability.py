import networkx
import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.structure.clusterability import CLUSTERABILITY, clusterability


def blocks(noise, rng, n_blocks=4, width=8, depth=3):
    """A network of separate blocks, with weights between them at a fraction of the size."""
    mask = np.kron(np.eye(n_blocks), np.ones((width, width)))
    shape = mask.shape
    return [mask * rng.normal(size=shape) + noise * rng.normal(size=shape) for _ in range(depth)]


def adjacency(weights):
    """All neurons, layer by layer."""
    widths = [weights[0].shape[1], *map(len, weights)]
    starts = np.cumsum([0, *widths])
    A = np.zeros((starts[-1], starts[-1]))
    for l, W in enumerate(weights):
        A[starts[l + 1] : starts[l + 2], starts[l] : starts[l + 1]] = np.abs(W)
    return A + A.T


def cut_of(A, labels):
    """The normalised cut by its definition: weight that leaves a cluster over the cluster's volume."""
    return sum(A[labels == c][:, labels != c].sum() / A[labels == c].sum() for c in np.unique(labels[labels >= 0]))


def test_separate_blocks_are_found_and_uncut():
    rng = np.random.default_rng(0)
    weights = blocks(0, rng)
    order = [rng.permutation(32) for _ in range(4)]
    mixed = [W[np.ix_(order[l + 1], order[l])] for l, W in enumerate(weights)]
    found = clusterability(mixed, 4, 20)
    assert found.ncut == pytest.approx(0, abs=1e-12)
    assert found.z < -10 and found.p == pytest.approx(1 / 21)
    truth = np.concatenate([o // 8 for o in order])
    assert adjusted_rand_score(truth, np.concatenate(found.clusters)) == 1


@pytest.mark.parametrize("n_clusters", [2, 3, 4])
def test_the_cut_is_the_one_of_its_clusters(n_clusters):
    weights = blocks(0.3, np.random.default_rng(0), depth=2)
    found = clusterability(weights, n_clusters, 2)
    labels = np.concatenate(found.clusters)
    assert found.ncut == pytest.approx(cut_of(adjacency(weights), labels), abs=1e-9)
    if n_clusters == 2:
        graph = networkx.from_numpy_array(adjacency(weights))
        sides = [set(np.flatnonzero(labels == c).tolist()) for c in (0, 1)]
        assert found.ncut == pytest.approx(networkx.normalized_cut_size(graph, *sides, weight="weight"), abs=1e-9)


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_cuts_as_well_as_scikit_learn(noise):
    for seed in range(3):
        weights = blocks(noise, np.random.default_rng(seed))
        A = adjacency(weights)
        oracle = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(A)
        assert clusterability(weights, 4, 2).ncut <= 1.03 * cut_of(A, oracle)


def test_follows_the_dose_of_connections_between_blocks():
    doses = [0, 0.1, 0.2, 0.4, 0.6, 1, 3]
    found = [clusterability(blocks(noise, np.random.default_rng(0)), 4, 20) for noise in doses]
    assert spearmanr(doses, [f.ncut for f in found]).statistic >= 0.95
    assert found[3].z < -4 < found[-1].z


def test_random_weights_are_at_zero():
    z, p = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = clusterability([rng.normal(size=(12, 10)), rng.normal(size=(10, 12))], 3, 19, seed)
        z.append(found.z)
        p.append(found.p)
    assert abs(np.mean(z)) < 4 / np.sqrt(40)
    assert 0.6 < np.std(z) < 1.5
    assert np.sum(np.array(p) <= 0.05) <= 7  # binomial(40, .05)


@pytest.mark.slow
def test_false_positives_are_at_their_level():
    z, p = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = clusterability([rng.normal(size=(12, 10)), rng.normal(size=(10, 12))], 3, 59, seed)
        z.append(found.z)
        p.append(found.p)
    assert abs(np.mean(z)) < 4 / np.sqrt(300) and np.std(z) == pytest.approx(1, abs=0.2)
    for level in (0.05, 0.2, 0.5):
        rate = np.mean(np.array(p) <= level)
        assert rate == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 300))


def test_invariances():
    rng = np.random.default_rng(0)
    weights = blocks(0.1, rng, depth=2)
    expected = clusterability(weights, 4, 2).ncut
    signs = [W * rng.choice([-1, 1], W.shape) for W in weights]
    assert clusterability(signs, 4, 2).ncut == pytest.approx(expected, rel=1e-9)
    assert clusterability([7 * W for W in weights], 4, 2).ncut == pytest.approx(expected, rel=1e-9)
    order = [rng.permutation(32) for _ in range(3)]
    mixed = [W[np.ix_(order[l + 1], order[l])] for l, W in enumerate(weights)]
    assert clusterability(mixed, 4, 2).ncut == pytest.approx(expected, rel=1e-6)
    backwards = [W.T for W in weights[::-1]]
    assert clusterability(backwards, 4, 2).ncut == pytest.approx(expected, rel=1e-6)


def test_one_matrix_is_a_graph_between_its_two_sides():
    rng = np.random.default_rng(0)
    W = np.kron(np.eye(3), np.ones((4, 10))) * rng.uniform(0.5, 1, (12, 30))
    found = clusterability([W], 3, 20)
    assert [len(layer) for layer in found.clusters] == [30, 12]
    assert found.ncut == pytest.approx(0, abs=1e-12)
    assert adjusted_rand_score(np.arange(30) // 10, found.clusters[0]) == 1


def test_unconnected_neurons_are_left_out():
    weights = blocks(0.2, np.random.default_rng(0), depth=2)
    more = [np.pad(weights[0], ((0, 2), (0, 0))), np.pad(weights[1], ((0, 1), (0, 2)))]
    found, expected = clusterability(more, 4, 2), clusterability(weights, 4, 2)
    assert found.ncut == pytest.approx(expected.ncut, rel=1e-9)
    assert [(layer == -1).sum() for layer in found.clusters] == [0, 2, 1]


def test_the_seed_decides_everything():
    weights = blocks(0.5, np.random.default_rng(0))
    first, second, other = (clusterability(weights, 4, 5, seed) for seed in (3, 3, 4))
    assert first.ncut == second.ncut
    np.testing.assert_array_equal(first.shuffled, second.shuffled)
    assert (first.shuffled != other.shuffled).any()


def test_estimate_says_all_of_itself():
    found = clusterability(blocks(0.1, np.random.default_rng(0)), 4, 20)
    estimate = found.estimate()
    assert estimate.value == found.z and estimate.null == 0 and estimate.p == found.p
    assert estimate.direction == CLUSTERABILITY.direction == "lower"
    assert estimate.n == 20


def test_weights_of_one_size_are_undefined_with_a_reason():
    found = clusterability([np.ones((6, 6))], 2, 5)
    assert np.isnan(found.z)
    assert "all of one size" in found.estimate().reason


@pytest.mark.parametrize(
    ("weights", "options", "error", "message"),
    [
        ([], {}, InputError, "no layers"),
        ([np.ones((3, 4)), np.ones((2, 4))], {}, MismatchError, r"weights\[1\] has 4 inputs, weights\[0\] 3 outputs"),
        ([np.array([[1.0, np.inf]])], {}, InputError, r"weights\[0\] is inf at \[0, 1\]"),
        ([np.ones((0, 4))], {}, InputError, "at least one of each"),
        ([np.zeros((3, 4))], {}, InputError, "all weights are zero"),
        ([np.ones((3, 4))], {}, InputError, "n_clusters is 12: expected 2 to 3"),
        ([np.ones((3, 4))], {"n_clusters": 2, "n_shuffles": 1}, InputError, "n_shuffles is 1"),
    ],
)
def test_unusable_input_is_refused(weights, options, error, message):
    with pytest.raises(error, match=message):
        clusterability(weights, **options)
