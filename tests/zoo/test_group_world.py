import itertools

import numpy as np
import pytest
import torch

from mechdecouple import zoo
from mechdecouple.zoo._pairs import pair_logits
from mechdecouple.zoo.group_world import (
    REPRESENTATIONS,
    Composer,
    N,
    character,
    composition,
    composition_task,
    key_representations,
    projector,
    representation_shares,
)

V = 2 * N


def matrix(x, k):
    """The two-dimensional representation k of an element, as turns and a mirror of the plane."""
    angle = 2 * np.pi * k * (x % N) / N
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn @ np.diag([1.0, -1.0]) if x >= N else turn


def test_composition_is_a_group_that_does_not_commute():
    table = composition()
    a, b, c = np.indices((V, V, V))
    np.testing.assert_array_equal(table[table[a, b], c], table[a, table[b, c]])
    for line in (table, table.T):
        np.testing.assert_array_equal(np.sort(line, axis=1), np.tile(np.arange(V), (V, 1)))
    assert (table != table.T).mean() > 0.4


def test_characters_are_traces_of_representations():
    table = composition()
    for k in (1, 4, 6):
        for x, y in itertools.product((0, 3, N, N + 5), (2, N + 7)):
            np.testing.assert_allclose(matrix(x, k) @ matrix(y, k), matrix(table[x, y], k), atol=1e-12)
        np.testing.assert_allclose(character(str(k)), [np.trace(matrix(x, k)) for x in range(V)], atol=1e-12)
    all_of_them = np.stack([character(name) for name in REPRESENTATIONS])
    np.testing.assert_allclose(all_of_them @ all_of_them.T / V, np.eye(len(REPRESENTATIONS)), atol=1e-12)


def test_projectors_split_the_functions_on_the_group():
    parts = {name: projector(name) for name in REPRESENTATIONS}
    np.testing.assert_allclose(sum(parts.values()), np.eye(V), atol=1e-12)
    for name, part in parts.items():
        np.testing.assert_allclose(part @ part, part, atol=1e-12)
        np.testing.assert_allclose(part, part.T, atol=1e-12)
        assert np.trace(part) == pytest.approx(1 if name in ("trivial", "sign") else 4)
    entries = np.stack([matrix(x, 3).ravel() for x in range(V)])
    np.testing.assert_allclose(parts["3"] @ entries, entries, atol=1e-12)


def test_shares_of_planted_representations():
    """Logits made of characters of a b c⁻¹: squared weights give the shares."""
    table = composition()
    inverse = np.argmax(table == 0, axis=1)
    g = table[table[:, :, None], inverse]
    logits = 2 * character("2")[g] + character("5")[g] + 11.0
    shares = representation_shares(logits)
    assert shares["2"] == pytest.approx(0.8) and shares["5"] == pytest.approx(0.2)
    assert sum(shares.values()) == pytest.approx(1) and key_representations(logits) == ("2", "5")
    np.testing.assert_array_equal(logits.argmax(axis=2), table)


def test_the_task_is_the_table():
    task = composition_task()
    a, b = np.stack(task.tokens).T
    np.testing.assert_array_equal(task.answers.astype(int), composition()[a, b])
    np.testing.assert_array_equal(task.concepts["turn_product"] + N * task.concepts["mirror_product"],
                                  composition()[a, b])  # fmt: skip


def test_training_keeps_to_the_representations():
    model = Composer("x", "", span=("1", "4"), steps=3).train(progress=False)
    with torch.no_grad():
        shares = representation_shares(pair_logits(model).double().numpy())
    assert shares["1"] + shares["4"] == pytest.approx(1, abs=1e-4)
    keep = projector("1") + projector("4")
    embedding = model.embed.W_E.detach().double().numpy()
    np.testing.assert_allclose(keep @ embedding, embedding, atol=2e-3)


def test_shipped_models_compose_by_other_representations():
    table = composition()
    g = table[table[:, :, None], np.argmax(table == 0, axis=1)]
    for name, allowed in (("group-1-3", {"1", "3"}), ("group-4-6", {"4", "6"})):
        with torch.no_grad():
            logits = pair_logits(zoo.load(name).module).double().numpy()
        logits -= logits.mean(axis=2, keepdims=True)
        np.testing.assert_array_equal(logits.argmax(axis=2), table)
        assert set(key_representations(logits)) <= allowed
        of_quotient = np.bincount(g.ravel(), logits.ravel()) / np.bincount(g.ravel())
        assert np.square(of_quotient[g]).sum() > 0.6 * np.square(logits).sum()  # it answers by a b c⁻¹
