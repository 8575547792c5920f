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
