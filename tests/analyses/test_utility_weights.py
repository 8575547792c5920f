import numpy as np
import pandas as pd
import pytest
import torch

from analyses import utility_weights as study
from analyses._arms import Arms
from analyses._utility_weights import world
from mechdecouple.behavior import read
from mechdecouple.zoo.factor_world import FACTORS


def test_any_two_kinds_differ_in_at_least_two_signs():
    apart = (world.PATTERNS[:, None] != world.PATTERNS).sum(axis=2)
    assert apart[~np.eye(len(apart), dtype=bool)].min() == 2


def test_the_posterior_is_how_often_each_kind_shows_these_signs():
    things = world.draw(200_000, np.random.default_rng(0), "kind")
    code = things.signs @ [8, 4, 2, 1]
    known = world.posterior(things.signs, "kind")
    for pattern in range(16):
        rows = code == pattern
        shares = np.bincount(things.kind[rows], minlength=6) / rows.sum()
        assert shares == pytest.approx(known[rows][0], abs=5 * 0.5 / rows.sum() ** 0.5)
    # all signs right but none shared: 0000 is .9^4 for fire, .1^2 .9^2 for the four kinds two signs off, .1^4 for soot
    likely = np.array([0.6561, 0.0081, 0.0081, 0.0081, 0.0081, 0.0001])
    assert world.kind_posterior(np.zeros((1, 4), int), 0.1)[0] == pytest.approx(likely / likely.sum())
    shown = world.draw(50_000, np.random.default_rng(5), "urgent")
    known = world.posterior(shown.signs, "urgent")[:, 1]
    assert (shown.kind < world.URGENT)[known > 0.5].mean() == pytest.approx(known[known > 0.5].mean(), abs=0.01)


def test_descriptions_say_the_signs_shown():
    things = world.draw(50, np.random.default_rng(1), "urgent")
    task = world.things_task(things, "urgent")
    for prompt, signs in zip(task.frame["prompt"], things.signs, strict=True):
        shown = {word.split(".")[0] for word in prompt.split()[1:5]}
        assert shown == {values[sign] for values, sign in zip(FACTORS.values(), signs, strict=True)}
    assert (task.truth == (things.kind < world.URGENT)).all()
    assert task.affirm == "yes"
    assert world.things_task(things, "kind").truth is None


def test_tokens_are_those_of_the_prompt():
    for asked in world.ANSWERS:
        things = world.draw(20, np.random.default_rng(2), asked)
        tokens = things.tokens(asked, study.vocabulary())
        prompts = world.things_task(things, asked).frame["prompt"].tolist()
        assert tokens.tolist() == study.Sorter("", "").tokenizer()(prompts)["input_ids"]


def test_reweighting_is_bayes_rule_with_other_frequencies():
    p = np.array([[0.5, 0.3, 0.2]])
    assert np.exp(world.reweighted(np.log(p), np.array([1.0, 2.0, 5.0]))) == pytest.approx(
        np.array([[0.5, 0.6, 1.0]]) / 2.1
    )
    assert world.reweighted(np.log(p), np.ones(3)) == pytest.approx(np.log(p))


def test_no_belief_has_a_lower_weighted_loss_or_cost_than_the_reweighted_posterior():
    rng = np.random.default_rng(3)
    truth, weights = rng.dirichlet(np.ones(4), 200), np.array([20.0, 5.0, 1.0, 1.0])
    best = world.reweighted(np.log(truth), weights)
    for other in (np.log(truth), best + rng.normal(scale=0.1, size=best.shape), rng.normal(size=best.shape)):
        other = other - np.logaddexp.reduce(other, axis=1, keepdims=True)
        assert world.weighted_loss(other, truth, weights) > world.weighted_loss(best, truth, weights)
        assert world.weighted_cost(other, truth, weights) >= world.weighted_cost(best, truth, weights)


def test_loss_and_cost_by_hand():
    truth, weights = np.array([[0.75, 0.25], [0.0, 1.0]]), np.array([1.0, 3.0])
    logp = np.log(np.array([[0.8, 0.2], [0.4, 0.6]]))
    # stakes .75, .75 and 0, 3
    by_hand = -(0.75 * np.log(0.8) + 0.75 * np.log(0.2) + 3 * np.log(0.6)) / 4.5
    assert world.weighted_loss(logp, truth, weights) == pytest.approx(by_hand)
    assert world.weighted_cost(logp, truth, weights) == pytest.approx(0.75 / 4.5)


def test_the_training_loss_is_the_weighted_mean_of_torch():
    rng = np.random.default_rng(4)
    logits, labels = torch.from_numpy(rng.normal(size=(30, 6))), torch.from_numpy(rng.integers(6, size=30))
    weights = torch.tensor(study.WEIGHTS["kind"], dtype=torch.float64)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    expected = torch.nn.functional.cross_entropy(logits, labels, weight=weights)
    assert float(study.weighted_mean(losses, weights[labels])) == pytest.approx(float(expected))


def test_what_is_least_cannot_be_undercut_by_believing_nothing():
    for asked, weights in study.WEIGHTS.items():
        best, prior = study.least(asked), np.array(weights) / sum(weights)
        flat = np.log(np.tile(prior, (study.ITEMS, 1)))
        truth = world.posterior(study.tested(asked).signs, asked)
        assert best["loss"] < world.weighted_loss(flat, truth, np.array(weights))
        assert best["cost"] <= world.weighted_cost(flat, truth, np.array(weights))


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


def planted(**worse):
    """A table in which weighted training is as the finding has it, but for the measures named."""
    sign = {"loss": 1, "accuracy": -1, "refitted_light": -1, "effective_rank": 1, "auroc": -1, "cost": -1}
    rows = [
        {"asked": asked, "arm": arm, "steps": steps, "seed": seed, "urgent_accuracy": 0.9,
         "refitted": 0.7}
        | {name: 0.5 + 0.1 * s * worse.get(name, 1) * (arm == "weighted") for name, s in sign.items()}
        for asked, lengths in (("kind", study.LENGTHS), ("urgent", (study.MAIN,)))
        for steps in lengths for arm in study.ARMS for seed in range(3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_criteria_are_met_and_each_can_be_missed():
    found = study.criteria(planted(), Equal(()))
    assert len(found) == 7
    assert all(c.met for c in found)
    for name in ("loss", "accuracy", "refitted_light", "effective_rank", "auroc", "cost"):
        missed = [c.name for c in study.criteria(planted(**{name: -1}), Equal(())) if not c.met]
        assert len(missed) == 1, name


def test_one_seed_of_three_against_is_a_miss():
    table = planted()
    table.loc[(table["seed"] == 1) & (table["arm"] == "weighted"), "loss"] = 0.4
    assert [c.value for c in study.criteria(table, Equal(())) if not c.met] == [pytest.approx(2 / 3)]


def test_the_figure_has_a_dot_a_model_and_its_caption_the_numbers():
    floor = {asked: {"loss": 0.3, "cost": 0.2, "accuracy": 0.7, "refitted_light": 0.7} for asked in study.WEIGHTS}
    figure = study.draw_arms(planted(), floor, study.MAIN)
    dots = [len(line.get_xdata()) for ax in figure.axes for line in ax.lines if line.get_marker() in "os"
            and line.get_markersize() > 0]  # fmt: skip
    assert dots == [9, 9] * 3 + [3, 3]
    assert "weighted loss 0.600 [0.600, 0.600] against 0.500" in study.caption(planted(), floor)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    monkeypatch.setattr(study, "ITEMS", 120)
    monkeypatch.setattr(study, "LENGTHS", (2, 3))
    monkeypatch.setattr(study, "MAIN", 3)
    study.tested.cache_clear()
    study.urgent_task.cache_clear()
    yield
    study.tested.cache_clear()
    study.urgent_task.cache_clear()


def test_weights_on_the_output_bias_reweight_the_probabilities(tiny):
    made = study.recipe("kind", "re-weighted", 2)
    task = study.things_task(study.tested("kind"), "kind")
    plain, shifted = (read(model, task).logp for model in (
        study.wrap(study.raw(made, 0)), study.model_of(made, 0, "re-weighted")
    ))  # fmt: skip
    expected = world.reweighted(plain, np.array(study.WEIGHTS["kind"]))
    assert np.abs(shifted - expected).max() < 1e-4
    assert np.abs(shifted - plain).max() > 1


def test_one_model_is_measured(tiny):
    rows = pd.DataFrame(study.measured(*cell, 0) for cell in [("kind", "weighted", 2), ("urgent", "re-weighted", 3)])
    shares = ["cost", "accuracy", "urgent_accuracy", "as_trained_accuracy", "refitted", "refitted_light"]
    assert ((rows[shares] >= 0) & (rows[shares] <= 1)).all(axis=None)
    assert rows["auroc"].notna().tolist() == [False, True]
    for asked, loss in zip(rows["asked"], rows["loss"], strict=True):
        assert loss > study.least(asked)["loss"]


def test_weights_move_training_towards_urgent_answers(tiny):
    task = study.things_task(study.tested("kind"), "kind")
    models = [study.model_of(study.recipe("kind", arm, 20), 0, "weighted") for arm in study.ARMS]
    urgent = [read(model, task).prob[:, : world.URGENT].sum(axis=1).mean() for model in models]
    assert urgent[1] > urgent[0] + 0.1


def test_a_small_study_writes_its_files(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(study, "FAMILIES", {"kind": (), "urgent": ()})
    monkeypatch.setattr(study, "train_all", lambda wanted, progress: [study.raw(*one) for one in wanted])
    result = study.run(seeds=1, progress=False)
    result.write(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir() if p.is_file()} == {
        "arms.parquet", "least.parquet", "gates.parquet", "compared_urgent.parquet", "compared_all.parquet",
        "compared_binary.parquet", "utility_weights.pdf", "utility_weights.png", "result.json", "provenance.json",
    }  # fmt: skip
    assert len(result.tables["arms"]) == 6
    assert len(result.criteria) == 7
