"""SAELens' own evaluation of the same SAE on the same tokens of the same model, within one per cent."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple import extract
from mechdecouple.models import wrap
from mechdecouple.models.build import build
from mechdecouple.sae import SparseAutoencoder, evaluate
from mechdecouple.sae._saelens import saelens
from mechdecouple.sae.spliced import spliced
from mechdecouple.tasks import Task

HOOK, ITEMS, LENGTH, WIDTH = "blocks.1.hook_resid_post", 96, 12, 32


class Tokens:
    """What SAELens' evaluation asks of its store: the same tokens whenever it asks."""

    context_size = LENGTH
    store_batch_size_prompts = ITEMS

    def __init__(self, tokens):
        self.tokens = torch.tensor(tokens)

    def get_batch_tokens(self, n):
        return self.tokens[:n]

    def reset_input_dataset(self):
        pass


@pytest.fixture(scope="module")
def setting():
    """A transformer that reads its activations far from the origin, its tokens, and an SAE that is far from perfect."""
    config = {
        "n_layers": 2, "d_model": WIDTH, "n_ctx": LENGTH, "d_head": 16, "n_heads": 2, "d_mlp": 64, "d_vocab": 40,
        "act_fn": "gelu", "normalization_type": "LN", "init_weights": True,
    }  # fmt: skip
    model = build(config, seed=0)
    with torch.no_grad():
        model.unembed.W_U.mul_(20)  # so that the loss depends on what is spliced in
        model.blocks[1].mlp.b_out.add_(0.5)
    tokens = _spoken(model)
    task = Task.from_frame(pd.DataFrame({"tokens": list(tokens)}), performance="loss")
    acts = extract(wrap(model, name="tiny"), task, [HOOK], "all", special=True, progress=False)
    return model, task, acts, _sae(acts[HOOK])


def _spoken(model):
    """What the model itself would say after a first token, with a slip here and there: text that it predicts well."""
    rng = np.random.default_rng(0)
    tokens = torch.tensor(rng.integers(0, 40, (ITEMS, LENGTH)))
    for t in range(1, LENGTH):
        with torch.inference_mode():
            said = model(tokens[:, :t])[:, -1].argmax(-1)
        tokens[:, t] = torch.where(torch.tensor(rng.random(ITEMS) < 0.9), said, tokens[:, t])
    return tokens.numpy()


def _sae(X):
    """Each of 256 latents looks for one row of X (standardised) and writes a bit less than it."""
    centred = X - X.mean(0)
    directions = centred[:256] / np.linalg.norm(centred[:256], axis=1, keepdims=True)
    fields = {"architecture": "topk", "d_in": WIDTH, "d_sae": 256, "k": 3, "dtype": "float32", "device": "cpu"}
    sae = saelens().SAE.from_dict({**fields, "metadata": {"hook_name": HOOK}})
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor(directions.T))
        sae.W_dec.copy_(0.3 * torch.tensor(directions))
        sae.b_dec.copy_(torch.tensor(X.mean(0)))
        sae.b_enc.zero_()
    return SparseAutoencoder(sae)


@pytest.fixture(scope="module")
def theirs(setting):
    from sae_lens import evals
    from sae_lens.training.activation_scaler import ActivationScaler

    model, task, _, sae = setting
    config = evals.get_eval_everything_config(n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, by_latent = evals.run_evals(
            sae.sae, Tokens(np.stack(task.tokens)), model, ActivationScaler(), config, exclude_special_tokens=False
        )
    return {name: value for group in found.values() for name, value in group.items()}, by_latent


def test_on_rows(setting, theirs):
    _, _, acts, sae = setting
    ours = evaluate(sae, acts)
    metrics, by_latent = theirs
    for found, name, scale in (
        (ours.l0, "l0", 1),
        (ours.explained_variance, "explained_variance", 1),
        (ours.cosine, "cossim", 1),
        (ours.norm_ratio, "l2_ratio", 1),
        (ours.mse, "mse", 1 / WIDTH),  # theirs is summed over dimensions
    ):
        assert found.value == pytest.approx(scale * metrics[name], rel=0.01), name
    np.testing.assert_allclose(ours.frequency, by_latent["feature_density"], rtol=0.01, atol=1e-6)
    assert 0.3 < ours.explained_variance.value < 0.95


def test_in_the_model(setting, theirs):
    model, task, _, sae = setting
    ours = spliced(sae, wrap(model, name="tiny"), task, special=True)
    metrics, _ = theirs
    levels = ours.levels["loss"]
    for state, name in (
        ("clean", "ce_loss_without_sae"),
        ("spliced", "ce_loss_with_sae"),
        ("zero", "ce_loss_with_ablation"),
    ):
        assert levels[state].value == pytest.approx(metrics[name], rel=0.01), name
    assert ours.recovered["loss"]["zero"].value == pytest.approx(metrics["ce_loss_score"], rel=0.01)
    assert ours.replaced == ITEMS * LENGTH


def test_where_the_definitions_differ(setting, theirs):
    """Their 'legacy' explained variance averages a ratio a row, so rows near the mean weigh without bound; and their
    shrinkage is about the origin, where a common offset hides it."""
    _, _, acts, sae = setting
    metrics, _ = theirs
    X = acts[HOOK].astype(float)
    rebuilt = sae.decode(sae.encode(acts[HOOK]))
    by_row = np.square(X - rebuilt).sum(1) / np.square(X - X.mean(0)).sum(1)
    assert metrics["explained_variance_legacy"] == pytest.approx(1 - by_row.mean(), rel=0.01)
    ours = evaluate(sae, acts)
    about_origin = np.square(rebuilt).sum() / (X * rebuilt).sum()
    assert metrics["relative_reconstruction_bias"] == pytest.approx(about_origin, rel=0.01)
    # each latent writes less than a third of what it saw
    assert ours.shrinkage.value < 0.8 < metrics["relative_reconstruction_bias"]
