import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import traces as study
from analyses._arms import Arms, compare_arms
from analyses._traces import models as made
from analyses._traces import world
from analyses._traces.measures import phi, phi_most, phi_within, ranked, rates, read_traces, seen_of, sheet, texts_of
from analyses._traces.models import Start, Tuned, Writer, places, written
from mechdecouple.behavior import read
from mechdecouple.report.rating import read_ratings

WORDS = {number: word for word, number in world.vocabulary().items()}


def said(tokens):
    return [[WORDS[token] for token in row] for row in np.asarray(tokens).tolist()]


def one(stays, asked, line):
    places, times = zip(*(stay.split("/") for stay in stays), strict=True)
    return world.Questions(
        np.array([[world.PLACES.index(p) for p in places]]), np.array([[world.TIMES.index(t) for t in times]]),
        np.array([world.TIMES.index(asked)]), np.array([line]),
    )  # fmt: skip


STAYS = ("Rome/2-5", "Oslo/6-8", "Bern/8-9", "Riga/1-2")


@pytest.mark.parametrize(
    ("asked", "line", "kind"),
    [("2-5", 0, "same"), ("3-5", 0, "within"), ("5-8", 1, "around"), ("4-6", 0, "across"), ("9-10", None, None)],
)
def test_kinds_of_questions_by_hand(asked, line, kind):
    if line is None:
        met = world.relations()[world.TIMES.index(asked), [world.TIMES.index(s.split("/")[1]) for s in STAYS]]
        assert (met == -1).all()
    else:
        assert world.KINDS[one(STAYS, asked, line).kind[0]] == kind


def test_a_question_meets_one_stay_alone_and_its_context_holds_the_answer():
    of = world.draw(500, np.random.default_rng(0))
    met = world.relations()[of.asked[:, None], of.time] >= 0
    assert (met.sum(axis=1) == 1).all()
    assert (met.argmax(axis=1) == of.line).all()
    for words, answer in zip(said(world.tokens(of)), np.take(world.PLACES, of.answer), strict=True):
        assert sum(stay.split("/")[0] == answer for stay in words[1:5]) == 1


def test_no_training_asks_about_the_pairs_of_times_that_are_tested():
    seen, unseen = world.draw(2000, np.random.default_rng(0)), made.tested()
    assert not set(zip(seen.asked, seen.used, strict=True)) & set(zip(unseen.asked, unseen.used, strict=True))
    assert np.bincount(seen.kind, minlength=4) / 2000 == pytest.approx(np.full(4, 0.25), abs=0.05)
    pairs, often = np.unique(world.groups_of(unseen), return_counts=True)
    assert set(often) <= {len(unseen) // len(pairs), len(unseen) // len(pairs) + 1}
    # Every pair held out of which some context asks.
    times, questions = world.contexts()
    every = {(asked, times[context, line]) for context, asked, line in questions.tolist()}
    assert len(pairs) == sum(bool(world.held_out()[pair]) for pair in every)


def test_right_traces_are_right_and_wrong_ones_are_legible_and_wrong_in_both_steps():
    of, rng = world.draw(400, np.random.default_rng(1)), np.random.default_rng(2)
    right, wrong = world.right_traces(of), world.wrong_traces(of, rng)
    assert all(step.all() for step in read_traces(of, world.tokens(of, right)))
    assert not any(step.any() for step in read_traces(of, world.tokens(of, wrong)))
    for words in said(world.tokens(of, wrong)):
        times = [stay.split("/")[1] for stay in words[1:5]]
        assert words[8] in world.KINDS
        assert words[9] in times
    assert set(wrong[:, 0]) == set(world.ids(world.KINDS))


def test_a_trace_never_names_a_place():
    of = world.draw(200, np.random.default_rng(1))
    named = set(world.ids(world.PLACES)) & set(world.right_traces(of).ravel())
    assert not named


def test_phi_is_that_of_the_paper_and_undefined_without_variation():
    # of 10000 items: .275 trace and answer right, .572 given a right trace, .503 given a wrong one
    n, trace = 10000, round(0.275 / 0.572 * 10000)
    right = np.zeros(n, bool)
    right[:2750] = True
    right[trace : trace + round(0.503 * (n - trace))] = True
    traces = np.arange(n) < trace
    found = rates(traces, np.ones(n, bool), right, np.arange(n))
    assert found["joint"] == pytest.approx(0.275)
    assert found["given_right"] == pytest.approx(0.572, abs=1e-3)
    assert found["given_wrong"] == pytest.approx(0.503, abs=1e-3)
    assert found["phi"] == pytest.approx(np.corrcoef(traces, right)[0, 1]) == pytest.approx(0.069, abs=1e-3)
    assert found["phi_low"] < found["phi"] < found["phi_high"]
    assert found["phi_high"] - found["phi_low"] == pytest.approx(2 * 1.96 / 100, rel=0.4)
    assert np.isnan(phi(np.ones(5, bool), right[:5]))


def test_the_largest_phi_is_that_of_nested_properties():
    trace, right = np.arange(100) < 37, np.arange(100) < 88
    assert phi_most(0.37, 0.88) == phi_most(0.88, 0.37) == pytest.approx(phi(trace, right))
    assert phi_most(0.5, 0.5) == pytest.approx(1)
    assert np.isnan(phi_most(0.0, 0.5))


def test_within_questions_difficulty_drops_out():
    rng = np.random.default_rng(0)
    easy = rng.random(4000) < 0.5
    trace, right = (rng.random((5, 4000)) < np.where(easy, 0.9, 0.1) for _ in range(2))
    assert phi(trace.ravel(), right.ravel()) == pytest.approx(0.64, abs=0.03)
    assert phi_within(trace, right) == pytest.approx(0, abs=0.03)
    assert phi_within(trace, trace) == pytest.approx(1)
    assert np.isnan(phi_within(trace, np.tile(easy, (5, 1))))


def test_a_trace_is_right_where_every_step_is():
    kind, fact = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert rates(kind, fact, kind, np.arange(4))["trace"] == 0.25


class Scripted(torch.nn.Module):
    """Says the right kind, the time of the last stay of the context, and the place of the stay that the trace names."""

    def __init__(self, of):
        super().__init__()
        self.kinds = torch.from_numpy(world.right_traces(of)[:, 0])

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, len(WORDS))
        rows = torch.arange(len(tokens))
        last = tokens.shape[1] - 1
        if last == world.AT_ASK:
            logits[rows, -1, self.kinds] = 50.0
        elif last == world.AT_ASK + 1:
            logits[rows, -1, torch.from_numpy(world.ids(tuple(w[4].split("/")[1] for w in said(tokens))))] = 50.0
        else:
            for row, words in enumerate(said(tokens)):
                place = next((s.split("/")[0] for s in words[1:5] if s.split("/")[1] == words[9]), "Bern")
                logits[row, -1, world.ids((place,))[0]] = 50.0
        return logits


def test_what_a_model_writes_is_read_and_exchanged_traces_are_followed_where_answers_rest_on_them():
    from analyses._traces.measures import exchanged, measured

    of = world.draw(60, np.random.default_rng(3))
    model = Scripted(of)
    likeliest, drawn = measured(model, "correct", 0, of)
    share = (of.line == 3).mean()
    for row in (likeliest, drawn):
        assert row["kind"] == 1
        assert row["trace"] == row["joint"] == row["accuracy"] == pytest.approx(share)
        assert row["phi"] == pytest.approx(1)
    found = exchanged(model, "correct", 0, of)
    assert (found["told"], found["misled"], found["followed"]) == (1, 0, 1)


def test_answers_are_named_by_how_near_their_stay_is():
    of = one(STAYS, "3-4", 0)
    answers = [ranked(of, np.array([world.PLACES.index(p)]))[0] for p in ("Rome", "Riga", "Oslo", "Bern", "Nice")]
    assert answers == ["nearest", "second", "third", "farthest", "no stay"]
    seen = seen_of(of, world.tokens(of, np.array([[*world.ids(("across",)), *world.ids(("6-8",))]])))
    assert [name for name, value in seen.items() if name.startswith("trace") and value[0]] == [
        "trace says across", "trace cites the third stay",
    ]  # fmt: skip
    assert seen["kind is within"][0] == 1
    assert (seen["years asked"][0], seen["years of the stay"][0], seen["years to the next stay"][0]) == (1, 3, 1)


def table(gap, size):
    return pd.DataFrame([
        {"arm": arm, "seed": seed, "traces": "likeliest", "accuracy": 0.7 + gap * (arm == "wrong"), "phi": -size,
         "phi_most": 0.3}
        for arm in study.ARMS for seed in range(3)
    ])  # fmt: skip


class Equal(Arms):
    def equal(self, words="equal accuracy"):
        return study.Criterion(group="gate", name=words, value=1.0, expected=1.0)


@pytest.mark.parametrize(("gap", "size", "met"), [(0.04, 0.1, 6), (-0.06, 0.1, 4), (0.0, 0.2, 4), (0.0, np.nan, 4)])
def test_criteria_are_met_and_missed(gap, size, met):
    assert sum(c.met for c in study.criteria(table(gap, size), {"pair": Equal(())})) == met


def gate_alone(pairs, task, **options):
    return compare_arms(pairs, task, **{**options, "families": ()})


def test_a_few_steps_from_training_to_figure_and_rating_sheet(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    start = Start("tiny-start", "", steps=4, batch_size=16)
    tuned = {a: Tuned(f"tiny-{a}", "", start=start, arm=a, steps=2, batch_size=16, items=40) for a in study.ARMS}
    of = world.draw_unseen(80, np.random.default_rng(5))
    monkeypatch.setattr(study, "_START", start)
    monkeypatch.setattr(study, "TUNED", tuned)
    monkeypatch.setattr(study, "GROWN", dataclasses.replace(start, name="tiny-grown", traced=True))
    monkeypatch.setattr(study, "tested", lambda: of)
    monkeypatch.setattr(study, "train_all", lambda wanted, progress: None)
    monkeypatch.setattr(study, "compare_arms", gate_alone)
    result = study.run(seeds=1, progress=False)
    result.write(tmp_path / "out")
    assert len(result.tables["rates"]) == 1 + 3 * 2
    assert set(result.tables["simulated"].seen) == {"item", "trace"}
    assert (tmp_path / "out" / "traces.png").exists()
    (folder,) = (tmp_path / "out").glob("rating-*")
    key = (folder / "key.json").read_text()
    assert {text["model"] for text in json.loads(key)["texts"]} == {"correct traces", "wrong traces"}
    form = pd.read_csv(folder / "forms" / "rater-1.csv")
    form.assign(interpretability=4, **{"cognitive load": 2}).to_csv(folder / "forms" / "rater-1.csv", index=False)
    assert len(read_ratings(folder / "forms" / "rater-1.csv", folder / "key.json").table) == 2 * len(form)
    result.write(tmp_path / "out")
    assert (folder / "key.json").read_text() == key


def test_the_comparison_reads_answers_behind_the_models_own_trace():
    of = world.draw_unseen(40, np.random.default_rng(6))
    model = Start("tiny", "", steps=3, batch_size=8).train(1, progress=False)
    model.unembed.b_U.data[world.vocabulary()["same"]] += 9.0
    answers = read(Writer(model, name="w"), world.task_of(of)).answer_text
    assert answers.tolist() == np.take(world.PLACES, places(model, written(model, world.tokens(of)))).tolist()
    assert said(written(model, world.tokens(of)))[0][8] == "same"


def test_a_rating_sheet_shows_stays_question_trace_and_answer():
    of = one(STAYS, "3-5", 0)
    many = world.Questions(*(np.repeat(getattr(of, f.name), 2, axis=0) for f in dataclasses.fields(of)))
    models = {"correct": Scripted(many), "wrong": Scripted(many)}
    texts = texts_of(models, many)
    first = texts.iloc[0]
    assert first.prompt == "Stays: Rome/2-5, Oslo/6-8, Bern/8-9, Riga/1-2. Where from 3 to 5?"
    assert first.text == "The time asked for is within that of the stay. The stay to look at is that of 1-2."
    assert first.answer == "Riga"
    assert sheet(texts)[0] != sheet(texts.assign(answer="Rome"))[0]
