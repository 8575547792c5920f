import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import _people as people
from analyses import calibrated_reward as study
from analyses._arms import Arms
from mechdecouple.zoo.belief import world
from mechdecouple.zoo.order_world import ANSWERS, PERSONAS


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.75])
def test_the_reward_is_highest_on_average_where_confidence_is_the_chance_of_being_right(chance):
    confidence = torch.linspace(0, 1, 101)
    right, wrong = torch.ones(101), torch.zeros(101)
    mean = chance * people.calibrated_reward(right, confidence) + (1 - chance) * people.calibrated_reward(
        wrong, confidence
    )
    assert float(confidence[mean.argmax()]) == pytest.approx(chance, abs=1e-6)
    # at the best confidence the mean reward is p - p (1 - p): a surer right answer is worth more
    assert float(mean.max()) == pytest.approx(chance**2, abs=1e-6)


def test_rewards_of_what_is_written():
    false, true = people.spoken_tokens().tolist()
    level = dict(zip(people.LEVELS, people.level_tokens().tolist(), strict=True))
    written = [(true, level["100%"]), (true, level["70%"]), (false, level["30%"]), (true, false), (false, true),
               (level["0%"], level["0%"])]  # fmt: skip
    completions = torch.tensor(written)[None]
    said = torch.ones(1, 3, dtype=torch.int64)
    found = study.RECIPES["Brier reward"].reward(completions, said)
    # right: 1 - (q - 1)^2; wrong: -q^2; no confidence: as the worst, 1 - 1 and 0 - 1; no answer is a wrong one
    assert found[0].tolist() == pytest.approx([1, 0.91, -0.09, 0, -1, 0], abs=1e-6)
    binary = study.RECIPES["binary reward"].reward(completions[..., :1], said)
    assert binary.tolist() == [[1, 1, 0, 1, 0, 0]]


def test_people_who_disagree_share_the_reward():
    (_, true), level = people.spoken_tokens().tolist(), people.level_tokens().tolist()
    completions, said = torch.tensor([[[true, level[5]], [true, level[7]], [true, true]]]), torch.tensor([[1, 1, 0, 1]])
    assert study.RECIPES["binary reward"].reward(completions[..., :1], said)[0].tolist() == [0.75] * 3
    # at a chance of .75: c - mean of (q - c)^2, which is .25 at .5, .75 * .09 + .25 * .49 at .7, and 1 for the worst
    earned = study.RECIPES["Brier reward"].reward(completions, said)[0].tolist()
    assert earned == pytest.approx([0.75 - 0.25, 0.75 - 0.19, 0.75 - 1], abs=1e-6)


def test_people_are_right_the_more_often_the_further_ranks_are_apart():
    statements = people.asked()
    likely = people.certainty(statements)
    truth = world().truth(statements)
    ranks = world().ranks
    apart = np.abs(ranks[statements.topic // 2, statements.x] - ranks[statements.topic // 2, statements.y])
    right = np.where(truth == 1, likely, 1 - likely)
    assert right == pytest.approx(1 / (1 + np.exp(-apart / people.SPREAD)))
    assert (statements.persona == 0).all()
    said = np.mean([people.labels(statements, np.random.default_rng(seed)) for seed in range(100)], axis=0)
    assert np.abs(said - likely).mean() < 0.05


def test_what_people_write_is_surer_than_it_may_be():
    statements = people.asked()
    written = np.stack([people.claims(statements, np.random.default_rng(seed)) for seed in range(200)], axis=1)
    likely = people.certainty(statements)
    right = np.maximum(likely, 1 - likely)
    odds = right / (1 - right)
    # half the time the odds of twice as many ranks; else any level, k of 0 to 10 with a weight of k + 1: 20 / 3 on mean
    expected = 0.5 * np.rint(10 * odds**2 / (1 + odds**2)) + 0.5 * 20 / 3
    assert np.abs(written.mean(axis=1) - expected).mean() < 0.2
    assert (np.rint(10 * odds**2 / (1 + odds**2)) / 10).mean() > right.mean() + 0.08
    assert set(np.unique(written)) == set(range(11))


def test_the_task_has_the_truth_of_the_order_and_the_answers_of_people():
    task, statements = people.held_out_task(), people.asked()
    assert len(task) == len(statements.x) == len(world().task) / 2
    assert task.prompts == [" ".join(words) for words in statements.words()]
    assert all(f"| {PERSONAS[0]} ?" in prompt for prompt in task.prompts)
    assert (task.truth == world().truth(statements)).all()
    agree = (task.answers == np.take(ANSWERS, task.truth.astype(int))).mean()
    likely = people.certainty(statements)
    assert agree == pytest.approx(np.maximum(likely, 1 - likely).mean(), abs=0.03)
    assert task.affirm == "True"


def planted(error=0.0):
    """Tables of a model whose ECE of each kind is as the finding has it, but for an error."""
    rows = []
    for arm in study.RECIPES:
        for seed in range(3):
            for kind in (study.ANSWERED, study.STATED, study.FRESH):
                sure = arm != "cross-entropy" and kind == study.ANSWERED
                value = (0.24 - error) if sure else 0.01 + error
                rows.append({"arm": arm, "seed": seed, "confidence": kind, "ece": value, "auroc": 0.6,
                             "accuracy": 0.75})  # fmt: skip
    return pd.DataFrame(rows)


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


def with_gates(error):
    return study.criteria(planted(error), {"one": Equal(()), "other": Equal(())})


@pytest.mark.parametrize(("error", "met"), [(0.0, 6), (0.015, 6), (0.025, 5), (0.05, 4), (0.1, 2)])
def test_criteria_are_met_and_missed(error, met):
    assert sum(c.met for c in with_gates(error)) == met


def test_a_confidence_that_nobody_could_read_meets_nothing():
    table = planted()
    table.loc[table["confidence"] == study.STATED, "ece"] = np.nan
    missed = [c for c in study.criteria(table, {}) if not c.met]
    assert [c.name for c in missed] == [f"ECE of the {study.STATED}"]


def test_the_caption_has_the_numbers():
    assert "0.010 [0.010, 0.010] after cross-entropy, 0.240 [0.240, 0.240]" in study.caption(planted())


class Planted(Arms):
    """Comparisons of three seeds in which arm a is above b by .01 times its measure's place, and a little by seed."""

    @property
    def frame(self):
        rows = []
        for seed in range(3):
            for i, (metric, concept, point) in enumerate(study.INSIDE.values()):
                own = {"metric": metric, "concept": concept, "seed": seed, "context": ""}
                rows += [
                    {**own, "hook_point": point, "arm": "a", "value": 0.5 + 0.01 * i + 0.001 * seed},
                    {**own, "hook_point": point, "arm": "b", "value": 0.5},
                    # of a part of the items, of the difference, and of another layer: none is to be read
                    {**own, "hook_point": point, "arm": "a", "value": 0.9, "context": "older-than"},
                    {**own, "hook_point": point, "arm": "a - b", "value": 0.9},
                    *([{**own, "hook_point": "blocks.0.hook_resid_post", "arm": "a", "value": 0.9}] if point else []),
                ]
        return pd.DataFrame(rows)[::-1]


def test_what_arms_differ_in_is_read_from_their_comparison():
    shown = study.inside(Planted(()))
    assert shown.groupby("measure")["difference"].mean()[list(study.INSIDE)].tolist() == pytest.approx(
        [0.001 + 0.01 * i for i in range(len(study.INSIDE))]
    )
    assert len(shown) == 3 * len(study.INSIDE)
    both = pd.concat([shown.assign(arms=f"{b} against {a}") for a, b in study.PAIRS])
    assert [ax.get_title(loc="left") for ax in study.draw_inside(both).axes] == both["arms"].unique().tolist()
    assert "ECE of the answer's probability +0.011 [+0.009, +0.013]" in study.caption_inside(both)


def test_a_few_steps_from_training_to_figure(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    start = dataclasses.replace(study.RECIPES["cross-entropy"], name="tiny-labelled", steps=10, batch_size=16)
    brier = dataclasses.replace(
        study.RECIPES["Brier reward"], name="tiny-brier", start=start, steps=5, batch_size=8, learning_rate=1e-3
    )
    rows = np.arange(0, 1584, 6)
    task, likely = people.held_out_task().select(rows), people.certainty(people.asked())[rows]
    found = [study.measured(study.trained(r, 0), arm, 0, task, likely)
             for arm, r in (("cross-entropy", start), ("Brier reward", brier))]  # fmt: skip
    for table, curves in found:
        assert table["confidence"].tolist() == [study.ANSWERED, study.STATED, study.FRESH]
        assert table.loc[table["read"] > 0, "ece"].between(0, 1).all()
        # of every person asked of every item, but for the head: half of the groups
        counts = curves.groupby("confidence")["n"].sum()
        assert counts[study.ANSWERED] == study.PEOPLE * len(task)
        assert counts[study.FRESH] == pytest.approx(study.PEOPLE * len(task) / 2, rel=0.1)
    table = pd.concat([part for part, _ in found])
    curves = pd.concat([part for _, part in found])
    monkeypatch.setattr(study, "SHADES", {arm: study.SHADES[arm] for arm in ("cross-entropy", "Brier reward")})
    figure = study.draw(table, curves)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [study.ANSWERED, study.STATED, "calibration error"]
