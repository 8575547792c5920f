import dataclasses

import numpy as np
import pytest
import torch

from mechdecouple import zoo
from mechdecouple.models import load_pretrained
from mechdecouple.tasks import Task
from mechdecouple.zoo._pairs import fitted, pair_logits
from mechdecouple.zoo.modular import Adder, P, adder_task, attention_share, frequency_shares, key_frequencies, waves

SHIPPED = (("clock", 0), ("clock", 1), ("clock", 3), ("pizza", 0), ("pizza", 1))


@pytest.fixture(scope="module")
def shipped():
    return {key: zoo.load(*key).module for key in SHIPPED}


def tokens():
    return torch.cartesian_prod(torch.arange(P), torch.arange(P))


@pytest.mark.parametrize("uniform", [False, True])
def test_logits_of_all_pairs_are_the_models(uniform):
    model = Adder("x", "", uniform=uniform).blank(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not uniform:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        expected = model(tokens())[:, -1].reshape(P, P, P)
        torch.testing.assert_close(pair_logits(model), expected, rtol=1e-4, atol=1e-4)


def test_the_task_is_the_table():
    task = adder_task()
    a, b, answer = *np.stack(task.tokens).T, task.answers.astype(int)
    np.testing.assert_array_equal(answer, (a + b) % P)
    np.testing.assert_array_equal(task.concepts["difference"], (a - b) % P)
    np.testing.assert_array_equal(task.concepts["sum"], answer)
    assert len(task) == P * P and len(np.unique(task.groups)) == P * (P + 1) // 2
    assert task.groups[a * P + b == 5][0] == task.groups[(a == 5) & (b == 0)][0]
    assert len(zoo.task("pizza", n=50)) == 50 and zoo.task("pizza").fingerprint == task.fingerprint


def test_exported_models_answer_alike(tmp_path):
    """Where attention is held uniform, the weights say so."""
    target = zoo.export("pizza", tmp_path / "out")
    assert Task.from_file(target / "task.csv").fingerprint == zoo.task("pizza").fingerprint
    with torch.no_grad():
        inside, outside = (m.module(tokens()) for m in (zoo.load("pizza"), load_pretrained(target)))
    torch.testing.assert_close(outside, inside, rtol=0, atol=0)


def test_shares_of_a_planted_wave():
    """Logits made of two waves of a + b - c in the ratio 3 : 1 of variances, and then of something else as well."""
    a, b, c = np.indices((P, P, P))
    angle = 2 * np.pi * (a + b - c) / P
    logits = np.sqrt(3) * np.cos(4 * angle) + np.cos(9 * angle) + 7.0 * a
    shares = frequency_shares(logits)
    assert shares[[3, 8]] == pytest.approx([0.75, 0.25]) and shares.sum() == pytest.approx(1)
    assert key_frequencies(logits) == (4, 9)
    noise = np.random.default_rng(0).normal(size=logits.shape)
    assert frequency_shares(logits + 2 * noise).sum() == pytest.approx(2 / 6, abs=0.02)


def test_waves_are_orthonormal():
    basis = np.concatenate([waves(k) for k in range(1, (P + 1) // 2)], axis=1)
    np.testing.assert_allclose(basis.T @ basis, np.eye(P - 1), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-12)


def test_what_is_held_stays_through_training():
    recipe = Adder("x", "", uniform=True, span=(3, 8), steps=3)
    model = recipe.train(progress=False)
    assert (model.blocks[0].attn.W_Q == 0).all() and (model.blocks[0].attn.b_Q == 0).all()
    with torch.no_grad():
        logits = pair_logits(model).double().numpy()
    power = np.abs(np.fft.fft(logits, axis=2)) ** 2
    power[:, :, [3, 8, P - 3, P - 8]] = 0
    assert power.sum() < 1e-5 * np.square(logits).sum()  # weights are rounded to float16
    free = dataclasses.replace(recipe, uniform=False, span=()).train(progress=False)
    assert (free.blocks[0].attn.W_Q != 0).any()


@pytest.mark.parametrize(("name", "seed"), SHIPPED)
def test_shipped_models_solve_pairs_never_seen(shipped, name, seed):
    with torch.no_grad():
        right = pair_logits(shipped[name, seed]).numpy().argmax(axis=2) == np.add.outer(range(P), range(P)) % P
    held = ~fitted(P)
    assert held.sum() == pytest.approx(0.2 * P * P, abs=1) and right[held].mean() > 0.98 and right[~held].all()


def difference_share(model):
    """Share of the variance of the centred right logit between values of a - b."""
    a, b = np.indices((P, P))
    with torch.no_grad():
        logits = pair_logits(model).double().numpy()
    right = (logits - logits.mean(axis=2, keepdims=True))[a, b, (a + b) % P]
    means = np.array([right[(a - b) % P == d].mean() for d in range(P)])
    return means[(a - b) % P].var() / right.var()


def gradient_symmetry(model, n=100):
    """Mean cosine of the gradients of a logit by the two embeddings (2306.17844)."""
    rng = np.random.default_rng(0)
    pairs = torch.from_numpy(rng.integers(P, size=(n, 2)))
    embedded = model.embed.W_E[pairs].detach().requires_grad_()
    logits = model.run_with_hooks(pairs, fwd_hooks=[("hook_embed", lambda x, hook: embedded)])[:, -1]
    (gradient,) = torch.autograd.grad(logits[range(n), rng.integers(P, size=n)].sum(), embedded)
    return float(torch.cosine_similarity(gradient[:, 0], gradient[:, 1], dim=1).mean())


def test_clocks_multiply_and_pizzas_do_not(shipped):
    """By what attention does, by how alike the inputs act, and by what the right logit follows."""
    for (name, _), model in shipped.items():
        clock = name == "clock"
        assert (attention_share(model) > 0.15) == clock and (clock or attention_share(model) == 0)
        assert (gradient_symmetry(model) < 0.6) == clock and (gradient_symmetry(model) > 0.95) == (not clock)
        assert (difference_share(model) < 0.4) == clock and (difference_share(model) > 0.6) == (not clock)


def test_shipped_clocks_use_few_frequencies_and_seeds_others(shipped):
    found = {}
    for key, model in shipped.items():
        with torch.no_grad():
            found[key] = key_frequencies(pair_logits(model).double().numpy())
        assert 1 <= len(found[key]) <= 5
    assert not set(found["clock", 3]) & (set(found["clock", 0]) | set(found["clock", 1]))
