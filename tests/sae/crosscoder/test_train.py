import numpy as np
import pytest
import torch

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.crosscoder import evaluate_crosscoder, exclusivity, train_crosscoder
from mechdecouple.zoo.dictionaries import mean_max_cosine, planted_pair

KINDS = ("batchtopk", "l1", "dedicated")
SHORT = dict(width=24, k=2, steps=30, batch_size=64)


@pytest.fixture(scope="module")
def small():
    return planted_pair(n=600, d_a=8, d_b=12, shared=8, only_a=3, only_b=3, active=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_planted_directions_are_recovered_in_both_models(kind, trained, pair):
    clear = np.setdiff1d(np.arange(len(pair.kinds)), pair.faint)
    for side in "ab":
        planted = getattr(pair, f"directions_{side}")[clear]
        decoder = getattr(trained[kind], f"decoder_{side}")
        decoder = decoder[np.linalg.norm(decoder, axis=1) > 0.3 * np.linalg.norm(decoder, axis=1).max()]
        assert mean_max_cosine(decoder, planted) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_both_models_are_rebuilt_on_held_out_rows(kind, trained, held):
    found = evaluate_crosscoder(trained[kind], *held[:2])
    least = 0.8 if kind == "l1" else 0.97
    assert found.explained_a.value > least
    assert found.explained_b.value > least
    if kind != "l1":
        assert found.l0.value == pytest.approx(3, rel=0.05)


def test_a_latents_value_is_the_length_of_what_it_adds(trained):
    for crosscoder in trained.values():
        scaled = np.hstack([crosscoder.decoder_a * crosscoder.scale_a, crosscoder.decoder_b * crosscoder.scale_b])
        np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, rtol=1e-4)


def test_dedicated_latents_read_and_write_one_model(trained):
    crosscoder, own = trained["dedicated"], 8  # ⌈.15 · 48⌉
    of_a, of_b = slice(48 - 2 * own, 48 - own), slice(48 - own, 48)
    assert not crosscoder.decoder_b[of_a].any() and not crosscoder.encoder_b[:, of_a].any()
    assert not crosscoder.decoder_a[of_b].any() and not crosscoder.encoder_a[:, of_b].any()
    assert crosscoder.decoder_a[of_a].any(1).all() and crosscoder.decoder_b[of_b].any(1).all()
    assert crosscoder.decoder_a[:32].any(1).all() and crosscoder.decoder_b[:32].any(1).all()


@pytest.mark.parametrize("kind", ["batchtopk", "dedicated"])
def test_as_many_latents_fire_on_the_training_rows_as_asked(kind, small):
    crosscoder = train_crosscoder(small.a, small.b, kind=kind, **SHORT)
    assert (crosscoder.encode(small.a, small.b) > 0).sum() == pytest.approx(2 * 600, abs=3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_generators_alone(kind, small):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (train_crosscoder(small.a, small.b, kind=kind, **SHORT) for _ in range(2))
    other = train_crosscoder(small.a, small.b, kind=kind, seed=1, **SHORT)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    for name in ("encoder_a", "encoder_b", "decoder_a", "decoder_b", "bias", "threshold", "b_dec_a"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.decoder_a, other.decoder_a)


def test_units_and_origin_of_a_model_change_nothing(small):
    one = train_crosscoder(small.a, small.b, **SHORT)
    two = train_crosscoder(64 * small.a, small.b / 16 + 1, **SHORT)
    codes = one.encode(small.a, small.b), two.encode(64 * small.a, small.b / 16 + 1)
    assert (np.abs(codes[0] - codes[1]) > 0.02).mean() < 1e-3  # a few values lie at their threshold
    np.testing.assert_allclose(one.relative_norm, two.relative_norm, atol=0.01)
    np.testing.assert_allclose(64 * one.decoder_a, two.decoder_a, atol=0.02 * 64 * np.abs(one.decoder_a).max())


def test_stores_on_disk_give_the_bytes_of_arrays(small, tmp_path):
    ids = [f"i{i}" for i in range(600)]
    a = Activations.from_arrays({"p": small.a, "q": small.a[:, :3]}, ids).save(tmp_path / "a")
    b = Activations.from_arrays({"h": small.b}, ids).save(tmp_path / "b")
    stored = train_crosscoder(a, b, hook_point_a="p", model_a="first", **SHORT)
    arrays = train_crosscoder(small.a, small.b, **SHORT)
    np.testing.assert_array_equal(stored.decoder_b, arrays.decoder_b)
    np.testing.assert_array_equal(stored.threshold, arrays.threshold)
    assert stored.training["hook_point_a"] == "p" and stored.training["hook_point_b"] == "h"
    assert stored.training["model_a"] == "first"
    assert len(exclusivity(stored, a, b).table) == 24  # it knows its hook points


def test_another_model_or_hook_point_is_refused(small):
    ids = [f"i{i}" for i in range(600)]

    def activations(table, name, weights):
        found = Activations.from_arrays({"p": table, "q": table}, ids)
        found.manifest["model"] = {"name": name, "weight_hash": weights}
        return found

    a, b = activations(small.a, "one", "1"), activations(small.b, "two", "2")
    crosscoder = train_crosscoder(a, b, hook_point_a="p", hook_point_b="q", **SHORT)
    assert crosscoder.training["model_b"] == "two"
    with pytest.raises(MismatchError, match="trained on hook point 'q' of model B, not 'p'"):
        exclusivity(crosscoder, a, b, hook_point_b="p")
    with pytest.raises(MismatchError, match="trained on 'two' as model B, the activations are of 'three'"):
        evaluate_crosscoder(crosscoder, a, activations(small.b, "three", "3"))
    assert evaluate_crosscoder(crosscoder, a, b).rows == 600


def test_defaults_fit_the_data_and_are_recorded():
    pair = planted_pair(n=90, d_a=6, d_b=10, shared=6, only_a=2, only_b=2, active=2)
    crosscoder = train_crosscoder(pair.a, pair.b, steps=3)
    assert crosscoder.width == 22  # a quarter of the rows
    assert crosscoder.training["k"] == 4
    assert crosscoder.training["batch_size"] == 90
    assert [point["step"] for point in crosscoder.training["curve"]] == [0, 1, 2]
    assert set(crosscoder.training["curve"][0]) == {"step", "loss", "l0", "fvu"}


def test_the_loss_falls(trained):
    for crosscoder in trained.values():
        curve = crosscoder.training["curve"]
        assert curve[-1]["fvu"] < 0.2 < curve[0]["fvu"]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_tables_are_trained_on(kind, small):
    a = np.hstack([small.a, np.ones((600, 2), np.float32)])  # constant columns
    b = np.repeat(small.b[:5], 120, 0)  # few distinct rows
    found = train_crosscoder(a, b, kind=kind, **SHORT)
    assert np.isfinite(found.encode(a, b)).all()
    assert train_crosscoder(a[:3], b[:1].repeat(3, 0) + np.arange(3)[:, None], width=5, k=2, steps=3).width == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(kind="gated"), "unknown kind of crosscoder 'gated'"),
        (dict(width=0), "k is 4 but there are only 0|width is 0"),
        (dict(width=3, k=4), "k is 4 but there are only 3 latents"),
        (dict(steps=0), "steps is 0"),
        (dict(batch_size=0), "batch_size is 0"),
        (dict(learning_rate=-1.0), "learning_rate is -1.0"),
        (dict(learning_rate=np.nan), "learning_rate is nan"),
        (dict(l1=-1.0), "l1 is -1.0"),
        (dict(dedicated=0.5), "dedicated is 0.5"),
        (dict(learning_rate=1e38, width=20, k=4, steps=20, kind="l1"), "diverged at step"),
    ],
)
def test_bad_settings_are_named(options, words, small):
    with pytest.raises(InputError, match=words) as error:
        train_crosscoder(small.a, small.b, **options)
    assert "\n" not in str(error.value)


def test_rows_that_are_not_of_the_same_items_are_refused(small):
    ids = [f"i{i}" for i in range(600)]
    a = Activations.from_arrays({"h": small.a}, ids)
    b = Activations.from_arrays({"h": small.b}, ids[::-1])
    with pytest.raises(MismatchError, match="row 0 is 'i0' here and 'i599' there"):
        train_crosscoder(a, b)
    with pytest.raises(MismatchError, match="model A has 600 rows and model B 599"):
        train_crosscoder(small.a, small.b[:-1])
    broken = small.b.copy()
    broken[4, 4] = np.nan
    with pytest.raises(InputError, match="row 4 of model B holds NaN"):
        train_crosscoder(small.a, broken)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_exclusive_features_are_found_for_many_seeds_and_noisy_rows(kind, seed):
    pair = planted_pair(n=6000, d_a=24, d_b=32, shared=24, only_a=8, only_b=8, faint=4, active=3, noise=0.05, seed=seed)
    crosscoder = train_crosscoder(pair.a[:4000], pair.b[:4000], kind=kind, width=64, k=3, seed=seed, dedicated=0.15)
    a, b = pair.a[4000:], pair.b[4000:]
    table = exclusivity(crosscoder, a, b).table
    z = [(x - x.mean(0)) / np.maximum(x.std(0), 1e-9) for x in (pair.codes[4000:], crosscoder.encode(a, b))]
    correlation = z[0].T @ z[1] / 2000
    feature = correlation.argmax(0)
    right, called = 0, 0
    for side in ("only a", "only b"):
        latents = np.flatnonzero(table.kind == side)
        good = latents[(pair.kinds[feature[latents]] == side) & (correlation.max(0)[latents] > 0.8)]
        right, called = right + len(set(feature[good])), called + len(latents)
        assert len(good) >= 0.9 * len(latents)
    assert right >= 0.9 * 16
    assert not np.isin(feature[table.kind.isin(["only a", "only b"])], pair.faint).any()
