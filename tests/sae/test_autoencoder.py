import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError, StoreError
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


def theirs(kind="Standard", d=6, m=10, **fields):
    """An SAE of SAELens, of another maker."""
    import sae_lens
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sae = getattr(sae_lens, f"{kind}SAE")(getattr(sae_lens, f"{kind}SAEConfig")(d_in=d, d_sae=m, **fields))
        sae.W_dec.data.mul_(torch.linspace(0.5, 3, m)[:, None])
        return sae


def rows(n=20, d=6):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def in_hub(monkeypatch, folder, sae, sae_id):
    """Puts an SAE where the hub's client keeps what it has fetched of the repository ``someone/saes``."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    repository = folder / "models--someone--saes"
    sae.save_model(repository / "snapshots" / "abc" / sae_id)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")


def test_a_release_on_the_hub_is_read(tmp_path, monkeypatch):
    import torch

    sae = theirs()
    in_hub(monkeypatch, tmp_path, sae, "blocks.2.hook_resid_pre")
    ours = SparseAutoencoder.from_pretrained("someone/saes", "blocks.2.hook_resid_pre")
    with torch.no_grad():
        expected = sae.encode(torch.tensor(rows())).numpy()
    np.testing.assert_allclose(ours.encode(rows()), expected, atol=1e-5)
    assert np.array_equal(SparseAutoencoder.load("someone/saes", "blocks.2.hook_resid_pre").decoder, ours.decoder)
    with pytest.raises(StoreError, match=r"cannot load SAE 'blocks\.9' of release 'someone/saes'"):
        SparseAutoencoder.from_pretrained("someone/saes", "blocks.9")
    with pytest.raises(StoreError, match="'no-such-release'"):
        SparseAutoencoder.from_pretrained("no-such-release", "x")


def test_a_release_in_need_of_a_factor_that_it_lacks_is_refused(tmp_path, monkeypatch):
    in_hub(monkeypatch, tmp_path, theirs(normalize_activations="expected_average_only_in"), "x")
    with pytest.raises(InputError, match="expected_average_only_in"):
        SparseAutoencoder.from_pretrained("someone/saes", "x")


def test_objects_of_saelens_are_taken(planted):
    import sae_lens

    sae = theirs()
    assert SparseAutoencoder.load(sae).sae is sae
    training = sae_lens.BatchTopKTrainingSAE(sae_lens.BatchTopKTrainingSAEConfig(d_in=6, d_sae=10, k=2))
    training.topk_threshold.fill_(0.3)
    with pytest.raises(InputError, match="in training"):
        SparseAutoencoder(training)
    ours = SparseAutoencoder.load(training)
    # Latents of one row must not depend on the other rows of its batch, as they do in training.
    assert np.array_equal(ours.encode(rows())[:1], ours.encode(rows()[:1]))
    assert ours.architecture == "jumprelu"


@pytest.mark.parametrize("what", ["Transcoder", "SkipTranscoder", "Temporal"])
def test_other_kinds_are_refused(what):
    import sae_lens

    fields = {"d_in": 8, "d_sae": 8}
    if what == "Temporal":
        made = sae_lens.TemporalSAE(sae_lens.TemporalSAEConfig(**fields, n_heads=1, bottleneck_factor=1))
    else:
        config = getattr(sae_lens, f"{what}Config")(**fields, d_out=8, apply_b_dec_to_input=False)
        made = getattr(sae_lens, what)(config)
    with pytest.raises(InputError, match=f"{what}.* does not rebuild single rows"):
        SparseAutoencoder(made)
    with pytest.raises(InputError, match="str is no SAE"):
        SparseAutoencoder("sae")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("Standard", {}), ("Gated", {}), ("JumpReLU", {}), ("TopK", {"k": 3, "rescale_acts_by_decoder_norm": True})],
)
def test_a_latent_adds_its_decoder_row_a_unit_of_activation(kind, fields):
    ours = SparseAutoencoder(theirs(kind, **fields))
    added = ours.decode(np.eye(10, dtype=np.float32)) - ours.b_dec
    np.testing.assert_allclose(added, ours.decoder, atol=1e-6)
    np.testing.assert_allclose(ours.reconstruct(rows()), ours.encode(rows()) @ ours.decoder + ours.b_dec, atol=1e-4)


@pytest.mark.parametrize("scaling", ["layer_norm", "constant_norm_rescale"])
def test_rows_that_are_scaled_one_by_one_are_rebuilt_with_their_own_scale(scaling):
    import torch

    sae = theirs(normalize_activations=scaling)
    ours = SparseAutoencoder(sae)
    X = rows() * np.linspace(1, 50, 20, dtype=np.float32)[:, None]
    with torch.no_grad():
        expected = torch.cat([sae(torch.tensor(x[None])) for x in X]).numpy()
    np.testing.assert_allclose(ours.reconstruct(X, batch_size=3), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"use reconstruct\(X\)"):
        ours.decode(ours.encode(X))


def test_heads_may_lie_side_by_side(monkeypatch):
    import torch

    sae = theirs(reshape_activations="hook_z")
    ours = SparseAutoencoder(sae)
    with torch.no_grad():
        expected = sae.encode(torch.tensor(rows()).reshape(20, 3, 2)).numpy()
        np.testing.assert_allclose(ours.encode(rows()), expected, atol=1e-5)
        assert ours.reconstruct(rows()).shape == (20, 6)
        assert sae(torch.tensor(rows()).reshape(20, 3, 2)).shape == (20, 3, 2)  # the caller's SAE is as it was


def named(X, model="toy", weight_hash="aa", hook_point="blocks.1.hook_resid_post"):
    found = Activations.from_arrays({hook_point: X, "other": X[:, :3]}, [f"item {i}" for i in range(len(X))])
    found.manifest["model"] = {"name": model, "weight_hash": weight_hash}
    return found


def test_activations_are_read_at_the_hook_point_of_the_sae(trained, tmp_path):
    sae, X, *_ = trained
    activations = named(X[:50])
    assert np.array_equal(sae.encode(activations), sae.encode(X[:50]))
    assert np.array_equal(sae.encode_sparse(activations.save(tmp_path / "acts")).toarray(), sae.encode(X[:50]))
    assert (sae.hook_point, sae.model) == ("blocks.1.hook_resid_post", "toy")
    with pytest.raises(MismatchError, match="hook point"):
        sae.encode(activations, "other")
    with pytest.raises(InputError, match=r"blocks\.1"):
        sae.encode(named(X[:50], hook_point="elsewhere"))


def test_another_models_activations_are_refused(planted):
    X, *_ = planted(n=200)
    activations = named(X)
    sae = train(activations, "blocks.1.hook_resid_post", width=32, k=4, steps=5)
    assert sae.model == "toy"
    other = named(X, model="tuned", weight_hash="bb")
    with pytest.raises(MismatchError, match="trained on model 'toy', the activations are of 'tuned'"):
        sae.encode(other)
    with pytest.raises(MismatchError):
        sae.encode_sparse(other)
    assert np.array_equal(sae.encode(other["blocks.1.hook_resid_post"]), sae.encode(activations))
    assert np.array_equal(SparseAutoencoder.load(sae.sae).encode(named(X, model="renamed")), sae.encode(activations))
