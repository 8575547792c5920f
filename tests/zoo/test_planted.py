import itertools

import numpy as np
import pytest
import torch

from mechdecouple.errors import ModelError
from mechdecouple.zoo.planted import DESCRIPTIONS, C, D, K, planted, planted_inputs, planted_task

NAMES = list(DESCRIPTIONS)
FACTORIAL = np.array([(*f, *c) for f in itertools.product((-1.0, 1.0), repeat=K) for c in np.eye(C)])


def represent(name, inputs):
    with torch.no_grad():
        return planted(name).representation(torch.from_numpy(inputs[:, : K + C + D])).numpy()


def noise_free(name):
    x = represent(name, np.hstack([FACTORIAL, np.zeros((len(FACTORIAL), D))]))
    return x - x.mean(0)


def cka(x, y):
    return np.sum((x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_factors(name):
    inputs = planted_inputs(500, seed=0)
    with torch.no_grad():
        model = planted(name)
        every = model.readout(torch.from_numpy(represent(name, inputs))).numpy()
        logits = model(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(every, inputs[:, :K], atol=1e-12)
    asked = (inputs[:, :K] * inputs[:, -K:]).sum(1)
    np.testing.assert_allclose(logits, np.stack([-asked, asked], axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("planted-factored", 1.0), ("planted-rotated", 1.0), ("planted-duplicated", 1.0),
        ("planted-fractured", 1 / np.sqrt(C)), ("planted-fractured-rotated", 1 / np.sqrt(C)),
        ("planted-one-hot", np.sqrt(K / (2**K - 1))), ("planted-oblique", np.sqrt(K / (K + K * (K - 1) * 0.7**2))),
    ],
)  # fmt: skip
def test_similarity_to_factored_has_its_closed_form(name, expected):
    assert cka(noise_free(name), noise_free("planted-factored")) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("planted-factored", np.ones(K)), ("planted-duplicated", np.ones(K)), ("planted-rotated", np.ones(K)),
        ("planted-oblique", np.r_[1 + 5 * 0.7, np.full(K - 1, 0.3)]),
        ("planted-inert", np.r_[np.ones(K), np.full(40, 4.0)]),
        ("planted-fractured", np.full(C * K, 1 / C)), ("planted-one-hot", np.r_[np.full(2**K - 1, K / 2**K), 0.0]),
    ],
)  # fmt: skip
def test_spectrum_is_the_planted_one(name, signal):
    """Signal variances, and 0.01 in every dimension the signal does not span."""
    expected = np.sort(np.r_[signal, np.full(D - len(signal), 0.01)])
    x = represent(name, np.repeat(np.hstack([FACTORIAL, np.zeros((len(FACTORIAL), D))]), 2, axis=0))
    spread = planted(name).representation.spread.numpy()
    found = np.linalg.eigvalsh(np.cov(x.T, bias=True) + spread.T @ spread)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_inert_dimensions_are_read_by_nothing():
    model = planted("planted-inert")
    np.testing.assert_allclose(
        model.readout.weight.detach().numpy() @ model.representation.spread.numpy().T, 0, atol=1e-12
    )


@pytest.mark.parametrize(("name", "context", "factor"), [
    ("planted-factored", 1.0, 1.0), ("planted-rotated", 1.0, 1.0), ("planted-oblique", 1.0, 1.0),
    ("planted-duplicated", 1.0, 1.0),
    ("planted-fractured", 0.5, 1.0), ("planted-one-hot", 1.0, 0.5),
])  # fmt: skip
def test_generalisation_is_the_planted_one(ccgp, name, context, factor):
    """Across contexts only the fractured code fails; across the values of another factor only the conjunctive one."""
    inputs = planted_inputs(3000, seed=1)
    x, y = represent(name, inputs), inputs[:, 0] > 0
    assert ccgp(x, y, inputs[:, K : K + C].argmax(1)) == pytest.approx(context, abs=0.06)
    assert ccgp(x, y, inputs[:, 1] > 0) == pytest.approx(factor, abs=0.06)


def test_rotations_follow_the_seed():
    same = planted("planted-rotated", 3).readout.weight
    assert torch.equal(same, planted("planted-rotated", 3).readout.weight)
    assert not torch.equal(same, planted("planted-rotated", 4).readout.weight)


def test_task_asks_for_one_factor():
    task = planted_task(400)
    assert (
        task.inputs.shape == (400, K + C + D + K)
        and task.performance == "class"
        and set(task.concepts) == {f"f{i}" for i in range(1, 7)}
    )
    asked = task.inputs[:, -K:].argmax(1)
    np.testing.assert_array_equal(task.answers, task.inputs[np.arange(400), asked] > 0)
    assert len(planted_task()) == 8192


def test_unknown_names_are_refused():
    with pytest.raises(ModelError, match=r"no planted readout 'planted-x'; there are planted-factored"):
        planted("planted-x")
