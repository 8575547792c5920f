import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.concepts import sparse_probing
from mechdecouple.sae.concepts._logistic import log_odds


def test_the_latent_of_a_concept_is_found_and_holds_all_of_it(world):
    found = sparse_probing(world.codes, world.labels, world.groups, X=world.X, k=(1, 5))
    assert found.concepts == ("red", "green", "blue")
    assert [int(found.latents[name][0]) for name in found.concepts] == [0, 1, 2]
    np.testing.assert_allclose(found.auroc.value, 1)
    np.testing.assert_allclose(found.accuracy.value[0], 1)
    np.testing.assert_allclose((found.dense_auroc - found.auroc[0]).value, 0, atol=0.01)
    table = found.frame()
    assert len(table) == 3 * 3 and set(table.k) == {0, 1, 5}
    rows = found.measurements("m", hook_point="h")
    assert {m.context for m in rows} == {"k=1", "k=5", "dense"}
    assert {m.concept for m in rows} == set(found.concepts)


def test_what_two_latents_hold_together_takes_two(world):
    """Half of the concept in one latent: AUROC .75 (the other half ties with the rows without it), then 1."""
    half = world.rng.integers(0, 2, len(world.y))
    world.codes[:, 0] *= half
    world.codes[:, 3] = world.y[:, 0] * (1 - half) * 0.9
    found = sparse_probing(world.codes, world.labels, world.groups, k=(1, 2))
    assert found.auroc.value[0, 0] == pytest.approx(0.75, abs=0.04)
    assert found.auroc.value[1, 0] == pytest.approx(1)
    assert set(found.latents["red"]) == {0, 3}
    low, high = found.auroc.interval()
    assert low[0, 0] < found.auroc.value[0, 0] < high[0, 0]
    assert found.dense_auroc is None and 0 not in set(found.frame().k)


def test_nothing_is_chosen_on_the_rows_it_is_scored_on():
    """Among 2,000 random latents the best ten look like much on the rows that chose them; held out they are a coin."""
    rng = np.random.default_rng(1)
    codes = rng.random((200, 2000)) * (rng.random((200, 2000)) < 0.1)
    y = rng.integers(0, 2, 200).astype(float)
    found = sparse_probing(codes, y, k=(10,))
    assert found.auroc.value[0, 0] == pytest.approx(0.5, abs=0.12)


def test_groups_are_never_on_both_sides():
    """Each group has a latent of its own, and one label: told apart only by who has seen the group."""
    groups = np.repeat(np.arange(40), 8)
    y = (groups % 2).astype(float)
    codes = np.eye(40)[groups]
    assert sparse_probing(codes, y, groups, k=(40,)).auroc.value[0, 0] == pytest.approx(0.5, abs=0.05)
    assert sparse_probing(codes, y, k=(40,)).auroc.value[0, 0] > 0.95


def test_sparse_and_dense_tables_and_any_order_give_the_same(world):
    plain = sparse_probing(world.codes, world.labels, world.groups, k=(1, 3))
    table = sparse_probing(sparse.csr_matrix(world.codes), pd.DataFrame(world.labels), world.groups, k=(3, 1))
    np.testing.assert_array_equal(plain.auroc.replicates, table.auroc.replicates)
    order = world.rng.permutation(world.codes.shape[1])
    moved = sparse_probing(world.codes[:, order], world.y, world.groups, k=(1, 3))
    np.testing.assert_allclose(moved.auroc.value, plain.auroc.value)
    assert moved.concepts == ("concept 1", "concept 2", "concept 3")


def test_unknown_labels_and_dead_latents_count_for_nothing(world):
    world.codes[:, 20:] = 0
    y = world.y.copy()
    y[::3, 0] = np.nan
    found = sparse_probing(world.codes, y, world.groups, k=(1, 50))
    np.testing.assert_allclose(found.auroc.value[0], 1)
    assert len(found.latents["concept 1"]) <= 20


def test_a_concept_that_cannot_be_judged_says_why(world):
    labels = {**world.labels, "rare": (np.arange(len(world.y)) < 6).astype(float)}
    found = sparse_probing(world.codes, labels, world.groups, k=(1,))
    assert "only 3 groups" in found.left_out["rare"]
    (missing,) = [m for m in found.measurements() if m.concept == "rare"]
    assert np.isnan(missing.estimate.value) and "only 3 groups" in missing.estimate.reason
    with pytest.raises(InputError, match="no concept can be judged: only 0 groups"):
        sparse_probing(world.codes, np.ones(len(world.y)), world.groups)


def test_small_fits_are_scikit_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300).astype(float)
    Z = rng.normal(size=(300, 4)) * [1, 5, 0.1, 1] + np.outer(y, [0.5, 2, 0, 0])
    Z = np.column_stack([Z, np.full(300, 3.0)])  # a constant column counts for nothing
    scaler = StandardScaler().fit(Z)
    oracle = LogisticRegression(C=1 / (1e-3 * 300), tol=1e-10, max_iter=1000).fit(scaler.transform(Z), y)
    new = Z[:50]
    np.testing.assert_allclose(log_odds(Z, y, new), oracle.decision_function(scaler.transform(new)), atol=1e-5)
    perfect = log_odds(y[:, None], y, np.array([[0.0], [1.0]]))
    assert perfect[0] < -3 < 3 < perfect[1]


def test_what_cannot_be_probed_is_refused(world):
    codes, y, groups = world.codes, world.y, world.groups
    with pytest.raises(InputError, match=r"k is \(0,\)"):
        sparse_probing(codes, y, groups, k=(0,))
    with pytest.raises(MismatchError, match="399 groups for 400 rows"):
        sparse_probing(codes, y, groups[:-1])
    with pytest.raises(MismatchError, match=r"concept 'red' has labels of shape \(399,\)"):
        sparse_probing(codes, {"red": y[:-1, 0]}, groups)
    with pytest.raises(MismatchError, match="10 rows of activations for 400 of latents"):
        sparse_probing(codes, y, groups, X=world.X[:10])
    with pytest.raises(InputError, match="is 2 at row 0"):
        sparse_probing(codes, {"red": y[:, 0] + 2 * (np.arange(400) == 0) * (2 - y[0, 0]) / 2}, groups)
    with pytest.raises(InputError, match="latents hold NaN"):
        sparse_probing(np.where(codes > 0, np.nan, 0), y, groups)
    with pytest.raises(InputError, match="latents have shape"):
        sparse_probing(codes[:, :0], y, groups)
    with pytest.raises(InputError, match="10 groups of rows"):
        sparse_probing(codes, y, np.arange(400) // 40)
    with pytest.raises(InputError, match="no concepts were declared"):
        sparse_probing(codes, {}, groups)
