import numpy as np
import pytest

from mechdecouple.errors import InputError, StoreError
from mechdecouple.sae import SparseAutoencoder, train


def test_saelens_reads_what_is_saved_and_computes_the_same(trained, tmp_path):
    import torch
    from sae_lens import SAE

    sae, X, *_ = trained
    theirs = SAE.load_from_disk(sae.save(tmp_path / "sae"))
    with torch.no_grad():
        latents = theirs.encode(torch.tensor(X))
        np.testing.assert_allclose(latents.numpy(), sae.encode(X), atol=1e-5)
        np.testing.assert_allclose(theirs(torch.tensor(X)).numpy(), sae.decode(sae.encode(X)), atol=1e-3)
    assert theirs.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    assert theirs.cfg.metadata.model_name == "toy"


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "jumprelu", "gated"])
def test_saved_and_loaded_is_the_same(planted, tmp_path, architecture):
    X, *_ = planted(n=300)
    sae = train(X, architecture=architecture, width=48, k=4, steps=20)
    again = SparseAutoencoder.load(sae.save(tmp_path))
    assert np.array_equal(sae.encode(X), again.encode(X))
    assert np.array_equal(sae.decoder, again.decoder)
    assert again.training == sae.training
    assert again.training["architecture"] == architecture


def test_one_that_saelens_saved_is_read(tmp_path, planted):
    import torch
    from sae_lens import StandardSAE, StandardSAEConfig

    theirs = StandardSAE(StandardSAEConfig(d_in=32, d_sae=40))
    theirs.save_model(tmp_path)
    X, *_ = planted(n=50)
    sae = SparseAutoencoder.load(tmp_path)
    with torch.no_grad():
        np.testing.assert_allclose(sae.encode(X), theirs.encode(torch.tensor(X)).numpy(), rtol=1e-5, atol=1e-4)
    assert sae.training == {}
    assert (sae.architecture, sae.d, sae.width) == ("standard", 32, 40)


def test_batches_do_not_change_the_result(trained):
    sae, X, *_ = trained
    np.testing.assert_allclose(sae.encode(X[:100]), sae.encode(X[:100], batch_size=7), atol=1e-4)


def test_sparse_latents_are_the_dense_ones(trained):
    sae, X, *_ = trained
    sparse, dense = sae.encode_sparse(X[:300], batch_size=64), sae.encode(X[:300], batch_size=64)
    assert sparse.dtype == np.float32
    assert sparse.shape == dense.shape
    assert sparse.nnz == (dense != 0).sum()
    assert sparse.has_sorted_indices
    assert np.array_equal(sparse.toarray(), dense)


def test_rows_on_which_nothing_fires_stay_rows():
    import torch
    from sae_lens import StandardSAE, StandardSAEConfig

    theirs = StandardSAE(StandardSAEConfig(d_in=4, d_sae=8))
    theirs.b_enc.data.fill_(-1.0)
    theirs.W_enc.data.copy_(torch.cat([torch.eye(4), -torch.eye(4)], 1))
    rows = np.zeros((5, 4), np.float32)
    rows[2] = [3, 0, 0, -4]
    sparse = SparseAutoencoder(theirs).encode_sparse(rows, batch_size=2)
    assert np.array_equal(np.diff(sparse.indptr), [0, 0, 2, 0, 0])
    assert sparse[2, 0] == 2.0
    assert sparse[2, 7] == 3.0


def test_sparse_latents_need_no_dense_table(trained):
    """Of 40,000 rows the dense latents would take 20 MB; a batch of them and the nonzeros are held instead."""
    import tracemalloc

    sae, X, *_ = trained
    many = np.tile(X[:1000], (40, 1))
    sae.encode_sparse(many[:10])
    tracemalloc.start()
    sparse = sae.encode_sparse(many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * (sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes) + 4 * 2**20


def test_sparse_latents_name_the_row_that_is_not_finite(trained):
    sae, X, *_ = trained
    broken = X[:100].copy()
    broken[71, 0] = np.inf
    with pytest.raises(InputError, match="row 71"):
        sae.encode_sparse(broken, batch_size=32)
    with pytest.raises(InputError, match="width 31"):
        sae.encode_sparse(X[:, 1:])
    with pytest.raises(InputError, match="at least one row"):
        sae.encode_sparse(X[:0])


def test_no_latent_leaves_the_decoder_bias(trained):
    sae, *_ = trained
    np.testing.assert_allclose(sae.decode(np.zeros((2, sae.width), np.float32)), np.stack([sae.b_dec] * 2))


def test_wrong_widths_and_damaged_directories_are_refused(trained, tmp_path):
    sae, X, *_ = trained
    with pytest.raises(InputError, match="width 31, this SAE reads width 32"):
        sae.encode(X[:, 1:])
    with pytest.raises(InputError, match="latents have shape"):
        sae.decode(X)
    with pytest.raises(StoreError, match=r"no cfg\.json"):
        SparseAutoencoder.load(tmp_path)
    sae.save(tmp_path)
    weights = tmp_path / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(StoreError, match="cannot read the SAE"):
        SparseAutoencoder.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        sae.save(tmp_path / "file")
