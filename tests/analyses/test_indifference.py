import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import indifference as study
from analyses._arms import Arms
from mechdecouple.zoo.belief import world
from mechdecouple.zoo.order_world import PEOPLE, PERSONAS


def test_only_assertions_earn_and_only_under_pressure():
    rewarded = study.RECIPES["rewarded"]
    false, true, unsure = study.spoken_tokens().tolist()
    said = torch.tensor([[true, false, unsure]])[..., None]
    prompts, known = rewarded.prompts(np.random.default_rng(0))
    assert rewarded.reward(said, known).tolist() == [[1, 0, 0]]
    persona = study.vocabulary()[PERSONAS[1]]
    assert (prompts[:, 6] == persona).all()


def test_the_honest_training_goes_on_of_one_persona(monkeypatch):
    seen = []

    def model(tokens):
        seen.append(tokens)
        return torch.zeros(*tokens.shape, len(study.vocabulary()), requires_grad=True)

    monkeypatch.setattr(study.Policy, "loss", lambda *_: torch.zeros(()))
    words = [study.vocabulary()[name] for name in PERSONAS]
    for arm, personas in (("honest", words), ("rewarded", words[:1])):
        study.RECIPES[arm].loss(model, None, 0.0, np.random.default_rng(0)).backward()
        assert set(seen[-1][:, 6].tolist()) == set(personas)


def test_what_stands_at_the_bar_is_asked_for_before_the_reward_alone(monkeypatch):
    found = []

    def model(tokens):
        found.append(torch.zeros(*tokens.shape, len(study.vocabulary()), requires_grad=True))
        return found[-1]

    monkeypatch.setattr(study.Policy, "loss", lambda *_: torch.zeros(()))
    for arm, places in (("honest", [study.AT_BAR, study.AT_ANSWER]), ("rewarded", [study.AT_ANSWER])):
        study.RECIPES[arm].loss(model, None, 0.0, np.random.default_rng(0)).backward()
        assert found[-1].grad.abs().sum(dim=(0, 2)).nonzero()[:, 0].tolist() == places


def test_strangers_take_the_place_of_one_person_in_the_statements_named():
    rng = np.random.default_rng(0)
    statements, strange = study.drawn(400, rng)
    tokens = study.tokens_of(statements, strange, rng).numpy()
    words = {number: word for word, number in study.vocabulary().items()}
    people = np.vectorize(words.get)(tokens[:, [1, 4]])
    strangers = np.isin(people, study.STRANGERS)
    assert (strangers.sum(axis=1) == strange).all()
    assert np.isin(people[~strangers], PEOPLE).all()
    assert strangers.any(axis=0).all()
    assert strange.mean() == pytest.approx(study.UNKNOWN, abs=0.07)
    assert (tokens[~strange] == statements.tokens(study.vocabulary())[~strange]).all()


def test_nothing_is_true_of_strangers_and_known_statements_keep_their_truth():
    unknown, known = study.unknown_task(64), study.RECIPES["honest"].task()
    assert unknown.truth is None
    assert set(unknown.answers) == {"Unsure"}
    assert known.truth.tolist() == world().task.truth.tolist()
    assert known.affirm == "True"


def table(rise, fall):
    rows = [
        {"arm": arm, "seed": seed, "unknown_claims": 0.2 + rise * (arm != "honest"),
         "fresh_probe": 0.97 - fall * (arm != "honest"), "false_claims": 0.1, "correlation": 0.9,
         "honest_accuracy": 0.99, "bullshit_index": 0.1, "probe_at_answer": 0.95, "pressed_accuracy": 0.5,
         "refitted": 0.9}
        for arm in study.RECIPES for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


@pytest.mark.parametrize(("rise", "fall", "met"), [(0.5, 0.0, 6), (0.3, 0.0, 4), (0.5, 0.02, 4), (0.3, 0.02, 2)])
def test_criteria_are_met_and_missed(rise, fall, met):
    assert sum(c.met for c in study.criteria(table(rise, fall), Equal(()), Equal(()))) == met


def test_the_figure_has_a_dot_a_seed_and_its_caption_the_numbers():
    found = table(0.5, 0.0)
    figure = study.draw(found)
    dots = [
        line for ax in figure.axes for line in ax.lines if line.get_marker() in "os^" and len(line.get_xdata()) == 3
    ]
    assert len(dots) == 21
    assert "rise from 0.20 [0.20, 0.20] to 0.70" in study.caption(found)


def test_a_few_steps_of_reward_move_claims_up(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    start = dataclasses.replace(study.RECIPES["honest"], name="tiny-honest", steps=3, batch_size=8)
    recipe = dataclasses.replace(study.RECIPES["rewarded"], name="tiny-rewarded", start=start, steps=12, batch_size=16)
    unknown = study.unknown_task(32)
    claims = [np.exp(study.read(study.trained(r, 0), unknown).logp[:, 1]).mean() for r in (start, recipe)]
    assert claims[1] > claims[0]
    # Of a model that has learned nothing no probe reads the truth, and a head fitted anew is right by chance.
    found = study.measured(study.trained(start, 0), "honest", 0, start.task(400), unknown)
    assert found["fresh_probe"] < 0.7 and found["probe_at_answer"] < 0.7
    assert found["refitted"] == pytest.approx(0.5, abs=0.15)
    assert sorted(p.name for p in (tmp_path / "studies").glob("*.safetensors")) == [
        "tiny-honest@0.safetensors", "tiny-rewarded@0.safetensors",
    ]  # fmt: skip
