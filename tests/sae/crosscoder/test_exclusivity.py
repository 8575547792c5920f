import numpy as np
import pytest

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import COLUMNS
from mechdecouple.sae.crosscoder import exclusivity, train_crosscoder
from mechdecouple.zoo.dictionaries import planted_pair

KINDS = ("batchtopk", "l1", "dedicated")


@pytest.fixture(scope="module")
def found(trained, held):
    return {kind: exclusivity(crosscoder, *held[:2]) for kind, crosscoder in trained.items()}


def _features(crosscoder, held):
    """For every latent the planted feature that it fires with most, and how strongly (correlation)."""
    latents = crosscoder.encode(*held[:2])
    z = [(x - x.mean(0)) / np.maximum(x.std(0), 1e-9) for x in (held[2], latents)]
    correlation = z[0].T @ z[1] / len(latents)
    return correlation.argmax(0), correlation.max(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["only a", "only b"])
def test_planted_exclusive_features_are_found_and_no_others(kind, side, trained, held, found, pair):
    feature, correlation = _features(trained[kind], held)
    called = np.flatnonzero(found[kind].table.kind == side)
    right = (pair.kinds[feature[called]] == side) & (correlation[called] > 0.8)
    precision = right.mean()
    recall = np.isin(pair.of(side), feature[called[right]]).mean()
    assert precision >= 0.9
    assert recall >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_feature_with_another_norm_is_not_exclusive(kind, trained, held, found, pair):
    feature, correlation = _features(trained[kind], held)
    table = found[kind].table
    faint = np.isin(feature, pair.faint) & (correlation > 0.6)
    assert set(feature[faint]) == set(pair.faint)
    assert set(table.kind[faint]) <= {"shared", "artefact"}


def test_the_penalty_shrinks_faint_features_away_and_latent_scaling_finds_them_again(trained, held, found, pair):
    feature, correlation = _features(trained["l1"], held)
    table = found["l1"].table
    looks_exclusive = (table.relative_norm - 0.5).abs() > 0.4
    faint = np.isin(feature, pair.faint) & (correlation > 0.9) & looks_exclusive
    assert faint.sum() >= 3  # by relative norm alone these would be called exclusive
    assert (table.kind[faint] == "artefact").all()
    np.testing.assert_allclose(table.left[faint], 0.2, atol=0.05)  # the planted ratio of norms
    assert table.reason[faint].str.contains("outside its reconstruction").all()


def test_the_penalty_shrinks_and_topk_does_not(found):
    for name in ("beta_a", "beta_b"):
        assert found["batchtopk"].table[name].median() == pytest.approx(1.0, abs=0.02)
        assert found["l1"].table[name].median() > 1.1


def test_a_perfect_crosscoder_is_told_exactly(readable, ideal):
    found = exclusivity(ideal(readable), readable.a, readable.b)
    assert found.table.kind.tolist() == readable.kinds.tolist()
    assert found.share("shared").value == pytest.approx(8 / 14)
    assert found.share("only a").value == pytest.approx(3 / 14)
    only = found.table[found.table.kind != "shared"]
    np.testing.assert_allclose(only.left, 0, atol=0.02)
    assert (only.left_high < 0.1).all()


def test_a_shared_feature_carried_by_two_latents_is_no_exclusive_one(readable, ideal):
    latents = np.r_[np.arange(14), 0]  # feature 0 once more: one latent writes it to A, the other to B
    decoder_a, decoder_b = readable.directions_a[latents].copy(), readable.directions_b[latents].copy()
    decoder_b[0] = decoder_a[14] = 0
    found = exclusivity(ideal(readable, decoder_a, decoder_b, latents), readable.a, readable.b)
    assert found.table.kind[[0, 14]].tolist() == ["artefact", "artefact"]
    assert found.table.reason[[0, 14]].str.contains("through other latents").all()
    np.testing.assert_allclose(found.table.rebuilt[[0, 14]], 1, atol=0.25)
    assert found.table.kind[1:14].tolist() == readable.kinds[1:].tolist()


def test_a_feature_missing_from_one_decoder_is_no_exclusive_one(readable, ideal):
    decoder_b = readable.directions_b.copy()
    decoder_b[0] = 0
    row = exclusivity(ideal(readable, decoder_b=decoder_b), readable.a, readable.b).table.loc[0]
    assert row.kind == "artefact"
    assert row.relative_norm == 1
    norms = [np.linalg.norm(d[0]) * s for d, s in ((readable.directions_a, 1.0), (readable.directions_b, 1.0))]
    crosscoder = ideal(readable)
    expected = norms[1] * crosscoder.scale_b / (norms[0] * crosscoder.scale_a)
    assert row.left == pytest.approx(expected, rel=0.05)
    assert row.left_low < row.left < row.left_high


@pytest.mark.parametrize("turned", [False, True])
def test_a_model_against_itself_has_no_exclusive_latents(turned):
    pair = planted_pair(n=2600, d_a=16, shared=24, only_a=0, only_b=0, active=2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    other = 5 * pair.a @ turn + 2 if turned else pair.a
    crosscoder = train_crosscoder(pair.a[:2000], other[:2000], width=32, k=2, steps=250, learning_rate=8e-3)
    found = exclusivity(crosscoder, pair.a[2000:], other[2000:])
    assert not found.evaluation.shortcomings
    assert found.share("shared").value == 1
    assert found.share("only a").high == found.share("only b").high == 0


def test_a_bad_crosscoder_says_so_instead_of_naming_kinds(readable, ideal):
    crosscoder = ideal(readable, decoder_b=0.1 * readable.directions_b)
    found = exclusivity(crosscoder, readable.a, readable.b)
    assert set(found.table.kind) == {"undecided"}
    assert found.table.reason.str.contains("explained variance of model B").all()
    assert np.isnan(found.share("shared").value)
    assert "model B" in found.share("shared").reason


def test_latents_that_hardly_fire_are_dead(readable, ideal):
    crosscoder = ideal(readable)
    crosscoder.threshold[2] = 1e9
    found = exclusivity(crosscoder, readable.a, readable.b)
    row = found.table.loc[2]
    assert row.kind == "dead"
    assert np.isnan(row.left) and np.isnan(row.beta_a)
    crosscoder.threshold[:] = 1e9
    found = exclusivity(crosscoder, readable.a, readable.b)
    assert set(found.table.kind) == {"dead"}
    assert "no latent fires" in found.share("only a").reason


def test_one_group_gives_no_verdict_of_exclusivity(readable, ideal):
    found = exclusivity(ideal(readable), readable.a, readable.b, groups=np.zeros(1200, int))
    assert set(found.table.kind) == {"dead"}


def test_the_open_cases_are_in_the_interval_of_the_share(readable, ideal):
    few = slice(0, 60)  # on few rows nothing is shown
    found = exclusivity(ideal(readable), readable.a[few] + 0, readable.b[few], min_rows=3, n_blocks=5)
    estimate = found.share("only a")
    assert estimate.low == estimate.value <= 3 / 14 <= estimate.high + 1e-9


def test_measurements_stand_under_the_model_they_are_about(found):
    frame = found["batchtopk"].frame()
    assert tuple(frame.columns) == COLUMNS
    of = frame[frame.metric == "crosscoder_exclusive"]
    assert of.model.tolist() == ["A", "B"]
    assert of.model_b.tolist() == ["", ""]
    assert frame[frame.metric == "crosscoder_shared"].model_b.tolist() == ["B"]
    assert "only a" in found["batchtopk"]._repr_html_()


def test_bad_input_is_named(readable, ideal, found):
    crosscoder = ideal(readable)
    with pytest.raises(MismatchError, match="3 groups for 1200 rows"):
        exclusivity(crosscoder, readable.a, readable.b, groups=np.zeros(3))
    with pytest.raises(InputError, match="width 26, this crosscoder reads width 20 of model A"):
        exclusivity(crosscoder, readable.b, readable.a)
    with pytest.raises(InputError, match="unknown kind 'both'"):
        found["l1"].share("both")


def test_a_decoder_that_training_has_not_brought_to_zero_yet_does_not_make_a_latent_shared(readable, ideal):
    only_a = readable.of("only a")
    decoder_b = readable.directions_b.copy()
    decoder_b[only_a] = 0.15 * decoder_b[:3]
    found = exclusivity(ideal(readable, decoder_b=decoder_b), readable.a, readable.b)
    assert found.table.relative_norm[only_a].max() < 0.9
    assert (found.table.kind[only_a] == "only a").all()
