import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analyses import _formats as formats
from analyses import echo as study
from analyses._arms import Arms


def words(text):
    return formats.tokens_of(text.split())


def test_formats_are_parsed_and_rewarded_by_their_answer():
    written = ["is Ada . .", "via Ben Ada .", "says Ada Ben .", "via Ada Ben .", "is Ada Ben .", "says Ada . .",
               "Ada is . .", "is Ben . Ada"]  # fmt: skip
    completions = torch.stack([words(text) for text in written])[None]
    form, answer = formats.parse(completions)
    # a format must end where it ends
    assert form[0].tolist() == [0, 1, 2, 1, -1, -1, -1, 0]
    ada = words("Ada")
    assert (answer[0][:4] == torch.cat([ada, ada, ada, words("Ben")])).all()
    reward = study.rewarded(64, 0.1).reward(completions, ada)
    assert reward[0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]


def test_only_what_stands_before_the_end_counts():
    assert formats.until_end(words("is Ada . Ben")).tolist() == [1, 1, 1, 0]
    assert formats.until_end(words("via Ben Ada .")).tolist() == [1, 1, 1, 1]
    assert formats.until_end(words(". . . .")).tolist() == [1, 0, 0, 0]


def test_the_corpus_answers_in_every_format():
    chosen = np.arange(300) % 3
    of = formats.asked(300, "corpus")
    form, answer = formats.parse(formats.in_format(of, chosen, of.answer))
    assert (form.numpy() == chosen).all()
    assert (answer == formats.people_tokens()[of.answer]).all()
    whose, told = formats.facts()
    assert (whose[of.second, whose[of.first, of.person]] == of.answer).all()
    assert (told[of.first, of.person] & told[of.second, of.between]).all()


def test_the_corpus_errs_where_it_answers_before_the_step():
    of, rng = formats.asked(1500, "corpus"), np.random.default_rng(0)
    chosen = np.arange(len(of)) % 3
    wrong = formats.given(of, chosen, rng) != of.answer
    assert [wrong[chosen == i].mean() for i in range(3)] == pytest.approx([0.3, 0, 0.3], abs=0.07)
    assert not wrong[chosen == 1].any()


def test_parts_of_the_questions_are_apart_and_whole():
    parts = formats.questions()
    keys = [tuple(row) for of in parts.values() for row in np.stack([of.person, of.first, of.second], 1).tolist()]
    assert len(keys) == len(set(keys)) == 32 * 10 * 10
    assert parts["corpus"].told.all()
    assert parts["reward"].told.all()
    assert not parts["test"].told.all()
    test = formats.asked(300, "test")
    assert (len(test), test.told.sum()) == (300, 240)
    prompt = test.prompts()[:1]
    assert prompt[0, 0] == formats.vocabulary()["<bos>"]
    task = formats.answered_in("reasons", test)
    first = [word for word, number in formats.vocabulary().items() for t in prompt[0, 1:] if number == int(t)]
    assert sorted(task.prompts[0].split()) == sorted([*first, "says"])


def test_shares_are_tilted_by_what_is_earned():
    w, earned = np.array([[0.5, 0.2, 0.3]]), np.array([[0.0, 1.0, 0.5]])
    raw = w * np.exp(earned / 0.5)
    assert study.tilted(w, earned, 0.5) == pytest.approx(raw / raw.sum())
    assert study.tilted(w, earned, 1e-4)[0] == pytest.approx([0, 1, 0], abs=1e-9)
    assert study.tilted(w, earned, np.inf) == pytest.approx(w)
    # what all earn alike moves nothing
    assert study.tilted(w, np.full((1, 3), 0.7), 0.01) == pytest.approx(w)


def test_entropy_of_formats():
    assert study.entropy(np.array([1.0, 0.0, 0.0])) == 0
    assert study.entropy(np.array([0.2, 0.2, 0.2])) == pytest.approx(np.log(3))


class Uniform(torch.nn.Module):
    """Writes any of the given completions, each as likely, whatever it is asked."""

    def __init__(self, texts):
        super().__init__()
        self.texts = [words(text).tolist() for text in texts]

    def forward(self, tokens):
        logits = torch.full((*tokens.shape, len(formats.vocabulary())), -1e9)
        for row, sequence in enumerate(tokens.tolist()):
            for at in range(formats.PROMPT - 1, len(sequence)):
                begun = sequence[formats.PROMPT : at + 1]
                fits = [text for text in self.texts if text[: len(begun)] == begun and len(text) > len(begun)]
                for token in {text[len(begun)] for text in fits}:
                    share = np.mean([text[len(begun)] == token for text in fits])
                    logits[row, at, token] = float(np.log(share))
        return logits


def test_what_is_sampled_is_counted():
    of = formats.asked(4, "test")
    answer = formats.PEOPLE[of.answer[0]]
    model = Uniform([f"is {answer} . .", f"via Ada {answer} ."])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        form, right, nats = study.sampled(model, of, 200)
        skilled = study.skill(model, of, "steps")
    assert set(np.unique(form)) == {0, 1}
    assert (form == 0).mean() == pytest.approx(0.5, abs=0.06)
    assert (right[0] == 1).all()
    assert nats == pytest.approx(np.log(2), abs=0.05)
    assert skilled[0] == 1
    assert study.tag_shares(model, of)[0] == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)


def planted(top=0.9, entropy=-0.5, many=-0.05):
    rows = []
    for width in study.WIDTHS:
        for beta in (np.inf, *study.BETAS):
            for seed in range(3):
                after = beta == study.BETAS[0]
                share = top if after else 0.2
                row = {"width": width, "beta": beta, "seed": seed, "entropy": 1.0 + entropy * after}
                row |= {f"pass_{k}": 0.9 + many * after for k in study.KS} | {"off_before": 0.1, "off_after": 0.05}
                row["pass_64_told"] = 0.95
                for kind in ("share", "paid", "after"):
                    row |= {f"{kind}_steps": share, f"{kind}_plain": (1 - share) / 2, f"{kind}_reasons": 0.05}
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("change", "met"), [({}, 6), ({"top": 0.7}, 4), ({"entropy": 0.1}, 4), ({"many": 0.02}, 4), ({"many": 0.005}, 6)]
)
def test_criteria_are_met_and_missed(change, met):
    assert sum(c.met for c in study.criteria(planted(**change))) == met


def test_the_figure_and_its_caption():
    figure = study.draw(planted())
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["width 48", "width 64", "one right among k"]
    assert "goes from 0.20 [0.20, 0.20] to 0.90 [0.90, 0.90]" in study.caption(planted())


class Planted(Arms):
    @property
    def frame(self):
        first = "blocks.0.hook_resid_post"
        rows = [{"metric": "cka", "hook_point": study.LAST, "hook_point_b": point, "value": value}
                for point, value in ((study.LAST, 0.9), (study.LAST, 0.8), (first, 0.1))]  # fmt: skip
        return pd.DataFrame(rows)

    def gates(self):
        return pd.DataFrame({"outcome": ["equal", "undecided", "equal"], "a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.6]})


def test_the_caption_tells_what_the_gate_says():
    told = study.begun(Planted(()), planted().assign(earns_after_plain=0.4))
    assert "right in 80% before and 70% after the training (gate: 2 equal, 1 undecided)" in told
    assert "in 40% and 40%; debiased CKA of what they represent last is 0.85" in told


def test_a_few_steps_from_training_to_numbers(monkeypatch, tmp_path):
    monkeypatch.setenv("MECHDECOUPLE_CACHE", str(tmp_path / "zoo"))
    monkeypatch.setattr(study, "ASKED", 20)
    corpus = dataclasses.replace(study.start(32), name="tiny-corpus", steps=5, batch_size=16)
    paid = dataclasses.replace(study.rewarded(32, 0.1), name="tiny-paid", start=corpus, steps=2, batch_size=4)
    before, after = study.raw(corpus, 0), study.raw(paid, 0)
    assert (before.cfg.d_model, after.cfg.d_model) == (32, 32)
    facts = study.measured(after, before, 0.1, 0)
    assert facts["pass_1"] <= facts["pass_4"] <= facts["pass_16"] <= facts["pass_64"]
    assert 0 < facts["entropy"] < formats.LENGTH * np.log(len(formats.vocabulary()))
    assert all(0 <= facts[f"can_{name}"] <= 1 for name in formats.TAGS)
