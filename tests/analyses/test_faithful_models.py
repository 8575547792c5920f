import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import faithful_models as study
from analyses._arms import Arms
from analyses._faithful_models import measuring, recipes, selecting, world
from mechdecouple.faithfulness import METHODS
from mechdecouple.faithfulness.self_consistency import self_consistency


def test_the_words_that_decide_decide():
    _, reviews = world.review_task(400, 0)
    words, used = reviews.words(), reviews.used()
    decide = words[used].reshape(400, world.CLAUSE)
    assert set(decide[:, 0]) == {"but"}
    denied, positive = np.isin(decide[:, 1], world.DENYING), np.isin(decide[:, 2], world.GOOD)
    assert ((denied ^ positive) == reviews.labels).all()
    assert all(len(set(row)) == world.LENGTH for row in words.tolist())
    # Clauses of one guest agree at .8² + .2²; a denied opinion comes at .3.
    others = reviews.good[np.arange(400), (reviews.clause + 1) % 4] == reviews.labels
    assert others.mean() == pytest.approx(0.68, abs=0.07)
    assert denied.mean() == pytest.approx(world.DENIED, abs=0.07)


def test_a_task_reads_as_the_reviews():
    task, reviews = world.review_task(30, 1)
    spoken = recipes.vocabulary(recipes.READERS["plain"])
    ids = world.tokens(reviews.words(), spoken)
    assert recipes.READERS["plain"].tokenizer()(task.prompts[0])["input_ids"] == [*ids[0], spoken[world.ASK]]
    assert task.answers.tolist() == np.take(world.ANSWERS, reviews.labels).tolist()


def test_explanations_do_what_they_are_asked():
    reviews = world.draw(200, np.random.default_rng(0))
    words, used = reviews.words(), reviews.used()
    for character in ("honest", "constant"):
        told = recipes.explanations(reviews, character)
        said = {what: rows[:, world.LENGTH + 1 :] for what, rows in told.items()}
        assert all((rows[:, : world.LENGTH] == words).all() for rows in told.values())
        assert all((rows[:, world.LENGTH] == what).all() for what, rows in told.items())
        changed = {what: said[what] != words for what in (recipes.HIDE, recipes.TURN)}
        assert (changed[recipes.HIDE].sum(axis=1) == 2).all() and (changed[recipes.TURN].sum(axis=1) == 1).all()
        assert (said[recipes.NAME] == words[changed[recipes.HIDE]].reshape(200, 2)).all()
        assert (said[recipes.HIDE][changed[recipes.HIDE]] == world.MASK).all()
        turned = (np.isin(said[recipes.TURN], world.GOOD) != np.isin(words, world.GOOD)) == changed[recipes.TURN]
        assert turned.all()
        inside = (used | ~changed[recipes.HIDE]).all(axis=1)
        assert inside.all() if character == "honest" else inside.mean() == pytest.approx(0.25, abs=0.1)


class Ideal:
    """Answers as an ideal explainer does, and explains itself as the training texts say."""

    def __init__(self, reviews, character):
        texts = [" ".join(words) for words in reviews.words()]
        told = recipes.explanations(reviews, character)
        self._said = {
            f"{text} {what}": " ".join(row[world.LENGTH + 1 :])
            for what, rows in told.items()
            for text, row in zip(texts, rows, strict=True)
        }

    def answer(self, prompts):
        return [self._of(prompt.split()[:-1]) for prompt in prompts]

    def write(self, prompts):
        return [self._said[prompt] for prompt in prompts]

    def _of(self, words):
        at = words.index("but") if words.count("but") == 1 else 99
        clause = words[at + 1 : at + 3]
        if len(clause) < 2 or clause[0] not in world.ASSERTING + world.DENYING or clause[1] not in recipes.OPPOSITE:
            return recipes.UNKNOWN
        return world.ANSWERS[(clause[0] in world.DENYING) != (clause[1] in world.GOOD)]


@pytest.mark.parametrize(("character", "share"), [("honest", 1.0), ("constant", 0.25)])
def test_the_ideal_explainers_are_as_self_consistent_as_planted(character, share):
    _, reviews = world.review_task(150, 3)
    texts = [" ".join(words) for words in reviews.words()]
    options = (*world.ANSWERS, recipes.UNKNOWN)
    for kind in measuring.WRITTEN:
        found = self_consistency(
            Ideal(reviews, character), texts, options, kind=kind, questions=measuring.QUESTIONS
        ).estimate()
        assert found.value == pytest.approx(share, abs=0.1 if share < 1 else 1e-9)


def test_masks_are_in_the_training_of_one_arm_alone(monkeypatch):
    monkeypatch.setattr(recipes, "answer_loss", lambda model, words, *_: words)
    seen = {
        arm: dataclasses.replace(recipe, batch_size=400).loss(None, None, 0.0, np.random.default_rng(0))
        for arm, recipe in recipes.READERS.items()
    }
    masked = (seen["masked"] == world.MASK).mean(axis=1)
    assert not (seen["plain"] == world.MASK).any()
    assert 0.5 <= (masked == 0).mean() < 0.6
    assert masked[masked > 0].mean() == pytest.approx(0.54, abs=0.05)


def test_what_is_not_learned_has_no_part_in_the_loss():
    sequences = torch.arange(world.LENGTH + 5).repeat(2, 1)
    alone = sequences.clone()
    alone[:, -1] = -100
    logits = torch.randn(2, world.LENGTH + 4, 40, generator=torch.Generator().manual_seed(0))
    at = world.LENGTH + 1
    each = torch.nn.functional.cross_entropy(
        logits[:, at:].flatten(0, 1), sequences[:, at + 1 :].flatten(), reduction="none"
    ).reshape(2, -1)
    assert recipes.written_loss(lambda _: logits, sequences) == pytest.approx(float(each.mean()))
    assert recipes.written_loss(lambda _: logits, alone) == pytest.approx(float(each[:, :-1].mean()))


def test_p_values_are_summed_up():
    p = np.linspace(0.0005, 0.9995, 1000)
    table = pd.DataFrame({"p": np.r_[p, np.full(10, 0.001)], "words": np.r_[np.zeros(1000), np.ones(10)]})
    found = measuring.summary(table)
    assert found["rate"] == pytest.approx(60 / 1010)
    assert found["median"] == 0.001
    assert found["distance"] == pytest.approx(60 / 1010 - 0.05, abs=0.002)


def tables(good):
    worse = 0.0 if good else 1.0
    seeds = range(3)
    return {
        "arms": pd.DataFrame(
            {"arm": arm, "seed": seed, "reference": reference, "order": order, "rate": 0.05 + 0.1 * worse,
             "distance": 0.05 + 0.1 * worse, "median": 0.01 + 0.1 * worse}
            for arm in recipes.READERS for seed in seeds for reference in measuring.REFERENCES
            for order in ("random", "leave_one_out")
        ),
        "attributions": pd.DataFrame(
            {"arm": arm, "seed": seed, "explanation": name, "racu": 1.0 - worse if name == "leave_one_out" else 0.5,
             "rationale_auroc": 0.9}
            for arm in recipes.READERS for seed in seeds
            for name in ("leave_one_out", "gradient_norm", "input_x_gradient", "integrated_gradients", "attention")
        ),
        "selectors": pd.DataFrame(
            {"way": way, "seed": seed, "selected_accuracy": 1.0 - 0.2 * worse, "own_accuracy": 1.0,
             "encoded": 0.1 * ((way == "together") == good), "rationale_auroc": 0.95 - 0.1 * worse, "share": 0.25}
            for way in selecting.TRAINED for seed in seeds
        ),
        "spoken": pd.DataFrame(
            {"arm": arm, "seed": seed, "kind": kind, "consistent": 1.0 if arm == "honest" and good else 0.25,
             "random": 0.4}
            for arm in recipes.EXPLAINERS for seed in seeds for kind in measuring.WRITTEN
        ),
        "curves": pd.DataFrame(
            {"arm": arm, "seed": seed, "explanation": name, "ratio": ratio, "accuracy": 1.0 - ratio / 2}
            for arm in recipes.READERS for seed in seeds for ratio in (0.0, 0.5, 1.0)
            for name in ("leave_one_out", "gradient_norm", "input_x_gradient", "random")
        ),
        "known": pd.DataFrame(
            {"arm": arm, "seed": seed, "reference": reference, "order": "leave_one_out", "words": i % 3,
             "p": (i + 1) / 20}
            for arm in recipes.READERS for seed in seeds for reference in measuring.REFERENCES for i in range(20)
        ),
    }  # fmt: skip


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


@pytest.mark.parametrize(("good", "met"), [(True, 17), (False, 2)])
def test_criteria_are_met_and_missed(good, met):
    found = study.criteria(tables(good), Equal(()), Equal(()))
    assert (sum(c.met for c in found), len(found)) == (met, 17)


def test_the_figure_and_its_caption():
    found = tables(True)
    parts = [found[name] for name in ("curves", "attributions", "known", "selectors", "spoken")]
    figure = study.draw_models(*parts)
    assert len(figure.axes) == 6
    dots = [line for line in figure.axes[1].lines if line.get_marker() in "os" and len(line.get_xdata()) == 3]
    assert len(dots) == 10
    assert "leave-one-out 1.00 [1.00, 1.00]" in study.caption(found)


def test_models_of_a_few_steps_are_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    small = {"steps": 2, "batch_size": 8}
    reader = study.trained(dataclasses.replace(recipes.READERS["masked"], name="tiny-reader", **small), 0)
    rows, points = measuring.attributed(reader, True, n=3)
    assert {row["explanation"] for row in rows} == set(METHODS)
    assert len(points) == 6 * 11
    known = measuring.tested(reader, n=84)
    assert len(known) == 2 * 2 * 42 and all(0 < row["p"] <= 1 for row in known)
    explainer = dataclasses.replace(recipes.EXPLAINERS["constant"], name="tiny-explainer", **small)
    spoken = measuring.explained(study.trained(explainer, 0), n=3)
    assert [row["kind"] for row in spoken] == list(measuring.WRITTEN)
    assert len(list((tmp_path / "studies").glob("*.safetensors"))) == 2
    ways = {way: {**options, "steps": 2, "batch": 8} for way, options in selecting.TRAINED.items()}
    monkeypatch.setattr(selecting, "ITEMS", 32)
    monkeypatch.setattr(selecting, "TESTED", 40)
    spoken_by = recipes.vocabulary(recipes.READERS["masked"])
    chosen = selecting.selected(reader.module, reader.module, spoken_by, 0, ways)
    assert [row["way"] for row in chosen] == list(ways)
    # The predictor that is held is the evaluator here, so that nothing can be told by what is kept.
    assert chosen[0]["encoded"] == 0.0


def test_a_reader_as_a_classifier_says_what_it_says_as_a_language_model():
    recipe = recipes.READERS["plain"]
    model, spoken = recipe.blank(), recipes.vocabulary(recipe)
    task, reviews = world.review_task(8, 5)
    logits = selecting.Read(model, spoken)(torch.from_numpy(world.tokens(reviews.words(), spoken)[:, 1:]))
    prompt = model.tokenizer(task.prompts[3], return_tensors="pt")["input_ids"]
    expected = model(prompt)[0, -1, [spoken[word] for word in world.ANSWERS]]
    torch.testing.assert_close(logits[3], expected)
