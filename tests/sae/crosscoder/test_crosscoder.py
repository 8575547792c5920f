import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mechdecouple.errors import InputError, MismatchError, StoreError
from mechdecouple.sae.crosscoder import Crosscoder


@pytest.fixture
def perfect(readable, ideal):
    return ideal(readable)


def test_a_perfect_crosscoder_reads_the_codes_and_rebuilds_both_models(perfect, readable):
    codes = perfect.encode(readable.a, readable.b)
    np.testing.assert_allclose(codes, readable.codes, atol=0.05)
    assert ((codes > 0) == (readable.codes > 0)).all()
    np.testing.assert_allclose(perfect.decode_a(readable.codes), readable.a, atol=0.05)
    np.testing.assert_allclose(perfect.decode_b(readable.codes), readable.b, atol=0.05 * 7)


def test_sparse_codes_are_the_dense_ones(perfect, readable):
    dense = perfect.encode(readable.a, readable.b)
    sparse = perfect.encode_sparse(readable.a, readable.b, batch_size=77)
    assert sparse.shape == dense.shape
    np.testing.assert_allclose(sparse.toarray(), dense, atol=1e-5)
    np.testing.assert_allclose(perfect.decode_b(sparse), perfect.decode_b(dense), atol=1e-3)


def test_relative_norm_in_closed_form(perfect, readable):
    a = perfect.scale_a * (readable.kinds != "only b")
    b = perfect.scale_b * 7 * (readable.kinds != "only a")
    np.testing.assert_allclose(perfect.relative_norm, a / (a + b), rtol=1e-5)
    perfect.decoder_a[0] = perfect.decoder_b[0] = 0
    assert np.isnan(perfect.relative_norm[0])


def test_saved_and_loaded_it_is_the_same(trained, held, tmp_path):
    before = trained["dedicated"]
    after = Crosscoder.load(before.save(tmp_path / "deep" / "er"))
    assert sorted(p.name for p in (tmp_path / "deep" / "er").iterdir()) == ["crosscoder.json", "crosscoder.safetensors"]
    np.testing.assert_array_equal(before.encode(*held[:2]), after.encode(*held[:2]))
    np.testing.assert_array_equal(before.b_dec_b, after.b_dec_b)
    assert (after.kind, after.scale_a, after.training) == (before.kind, before.scale_a, before.training)
    assert repr(after) == "Crosscoder(dedicated, 18 + 26 -> 48 latents)"


def _without_bias(path):
    arrays = load_file(path / "crosscoder.safetensors")
    arrays.pop("bias")
    save_file(arrays, path / "crosscoder.safetensors")


def _narrow(path):
    arrays = load_file(path / "crosscoder.safetensors")
    save_file({**arrays, "decoder_b": arrays["decoder_b"][:, 1:].copy()}, path / "crosscoder.safetensors")


def _other_format(path):
    about = json.loads((path / "crosscoder.json").read_text())
    (path / "crosscoder.json").write_text(json.dumps({**about, "format": 99}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: (path / "crosscoder.json").unlink(), "no crosscoder.json"),
        (lambda path: (path / "crosscoder.safetensors").unlink(), "no crosscoder.safetensors"),
        (lambda path: (path / "crosscoder.json").write_text("{"), "cannot read the crosscoder"),
        (lambda path: (path / "crosscoder.safetensors").write_bytes(b"\x00" * 40), "cannot read the crosscoder"),
        (lambda path: (path / "crosscoder.json").write_text("[]"), "is not of format 1"),
        (_other_format, "is not of format 1"),
        (_without_bias, "has or lacks 'bias'"),
        (_narrow, "decoder_b in .* has shape"),
    ],
)
def test_a_damaged_directory_is_named(damage, words, perfect, tmp_path):
    path = perfect.save(tmp_path)
    damage(path)
    with pytest.raises(StoreError, match=words) as error:
        Crosscoder.load(path)
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_is_named(perfect, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write the crosscoder"):
        perfect.save(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda a, b: (b, b),
            InputError,
            r"rows of model A have shape \(1200, 26\), this crosscoder reads \[rows, 20\]",
        ),
        (lambda a, b: (a[:0], b[:0]), InputError, "rows of model A have shape"),
        (lambda a, b: (a, b[:-1]), MismatchError, "model A has 1200 rows and model B 1199"),
        (lambda a, b: (a, np.where(np.arange(len(b))[:, None] == 5, np.nan, b)), InputError, "row 5 of model B"),
    ],
)
def test_bad_rows_are_named(change, error, words, perfect, readable):
    with pytest.raises(error, match=words):
        perfect.encode(*change(readable.a, readable.b))


def test_latents_of_another_crosscoder_are_refused(perfect):
    with pytest.raises(InputError, match=r"latents have shape \(3, 4\), expected \[n, 14\]"):
        perfect.decode_a(np.zeros((3, 4), np.float32))
