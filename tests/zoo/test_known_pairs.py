import collections

import numpy as np
import pytest
import torch

from mechdecouple.behavior import read
from mechdecouple.zoo.known_pairs import KNOWN_PAIRS, KnownPair, Specimen, keys
from mechdecouple.zoo.recipes import RECIPES

SHIPPED = [pair for pair in KNOWN_PAIRS if pair.shipped]


def test_there_are_enough_of_every_kind():
    counts = collections.Counter((pair.route, pair.variables) for pair in KNOWN_PAIRS)
    assert len(KNOWN_PAIRS) >= 40 and set(counts) == {(r, v) for r in ("same", "other") for v in ("same", "other")}
    assert min(counts.values()) >= 5
    names = [pair.name for pair in KNOWN_PAIRS]
    assert len(set(names)) == len(names)
    assert {(p.route, p.variables) for p in SHIPPED} == set(counts)


def test_copies_are_the_same_and_nothing_else_is_called_one():
    copies = [pair for pair in KNOWN_PAIRS if pair.copy]
    assert {(p.route, p.variables) for p in copies} == {("same", "same")}
    assert {p.b.copy for p in copies} == {"rotated", "permuted", "duplicated"}
    assert all(p.a.copy is None for p in KNOWN_PAIRS) and all(p.b.copy is None for p in KNOWN_PAIRS if not p.copy)


def test_both_models_have_one_task():
    for pair in KNOWN_PAIRS:
        a, b = (RECIPES[s.name].task(n=20) for s in (pair.a, pair.b))
        assert a.fingerprint == b.fingerprint == pair.task(20).fingerprint


def test_labels_name_a_model():
    assert Specimen("clock", 1).label == "clock@1"
    pair = KnownPair(Specimen("clock"), Specimen("clock", 0, "rotated", 1), "same", "same", "")
    assert pair.name == "clock@0 / clock@0 rotated" and pair.copy
    assert [m.name for m in pair.load()] == ["clock@0", "clock@0 rotated"]


@pytest.mark.parametrize("pair", SHIPPED, ids=lambda pair: pair.name)
def test_what_is_known_is_in_the_weights(pair):
    assert pair.doubt() == ""


def test_doubt_finds_what_is_wrong():
    both = KnownPair(Specimen("clock", 0), Specimen("clock", 1), "same", "other", "")
    assert "both use 12" in both.doubt()
    assert set(keys(both.a)) & set(keys(both.b)) >= {12}
    assert keys(Specimen("through")) == ()


def test_attention_that_chooses_nothing_is_doubted(monkeypatch):
    """A pizza that goes by the name of a clock."""
    pizza = Specimen("pizza").load()
    monkeypatch.setattr(Specimen, "load", lambda self, progress=False: pizza)
    pair = KnownPair(Specimen("clock", 0), Specimen("clock", 3), "same", "other", "")
    assert pair.doubt() == "clock@0: only 0.00 of its logits change with its attention"


@pytest.mark.parametrize("pair", [p for p in SHIPPED if p.copy], ids=lambda pair: pair.b.label)
def test_copies_give_the_same_answers(pair):
    a, b = (read(model, pair.task(60)).logp for model in pair.load())
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.std(a) + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [p for p in KNOWN_PAIRS if not p.shipped], ids=lambda pair: pair.name)
def test_trained_pairs_are_what_they_are_called(pair):
    assert pair.doubt() == ""
    task = pair.task()
    for model in pair.load():
        answers = read(model, task)
        logp = torch.from_numpy(answers.logp)
        right = [c.index(a) for c, a in zip(task.choices, task.answers.tolist(), strict=True)] if task.choices else None
        right = task.answers if right is None else right
        assert (logp.argmax(dim=1).numpy() == np.array(right)).mean() > 0.98
