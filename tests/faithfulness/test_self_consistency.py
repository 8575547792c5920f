import numpy as np
import pandas as pd
import pytest
import torch

import mechdecouple as md
from mechdecouple.behavior import read
from mechdecouple.errors import InputError, ModelError
from mechdecouple.faithfulness.questions import Questions, hide, listed
from mechdecouple.faithfulness.self_consistency import KINDS, self_consistency
from mechdecouple.faithfulness.speaker import ModelSpeaker
from mechdecouple.tasks import Task

QUESTIONS = Questions(
    classify="C {text}", counterfactual="F {target} {text}", redaction="R {text}", importance="I {text}", mark="##"
)
OPTIONS = ("good", "bad", "unknown")


class Reviewer:
    """Tells good from bad by one word, and explains itself by whatever ``names`` says of a text."""

    def __init__(self, names):
        self._names = names

    def answer(self, prompts):
        return [self._of(prompt.removeprefix("C ")) for prompt in prompts]

    def write(self, prompts):
        return [self._explained(*prompt.split(" ", 1)) for prompt in prompts]

    def _of(self, text):
        return next((word for word in ("good", "bad") if word in text.split()), "unknown")

    def _explained(self, kind, text):
        if kind == "F":
            target, text = text.split(" ", 1)
            turned = {word: target if word in ("good", "bad") else "other" for word in self._names(text)}
            return " ".join(turned.get(word, word) for word in text.split())
        if kind == "R":
            return hide(text, self._names(text), QUESTIONS.mark)
        return ", ".join(self._names(text))


def knows(text):
    return [word for word in text.split() if word in ("good", "bad")]


def guesses(text):
    return text.split()[:1]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        words = [f"w{w}" for w in rng.integers(0, 30, 9)]
        words.insert(int(rng.integers(1, 9)), ("good", "bad")[i % 2])
        rows.append(" ".join(words))
    return rows


def ask(speaker, texts, kind, **options):
    return self_consistency(speaker, texts, OPTIONS, kind=kind, questions=QUESTIONS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_knows_its_word_is_consistent_and_one_that_guesses_is_not(texts, kind):
    own = ask(Reviewer(knows), texts, kind).estimate()
    assert own.value == 1.0
    # one word in ten is hidden, or replaced
    assert own.null == pytest.approx(0.1 if kind != "counterfactual" else 0.0, abs=0.06)
    assert own.p < 1e-4
    other = ask(Reviewer(guesses), texts, kind).estimate()
    assert other.value == 0.0 and other.p > 0.5


def test_every_step_can_be_read(texts):
    found = ask(Reviewer(knows), texts[:10], "importance", ids=[f"t{i}" for i in range(10)])
    first = found.table.iloc[0]
    assert (first.id, first.answer, first.explanation, first.after) == ("t0", "good", "good", "unknown")
    assert first.edited == texts[0].replace("good", "##")
    turned = ask(Reviewer(knows), texts[:10], "counterfactual").table.iloc[0]
    assert (turned.target, turned.after, turned.edited) == ("bad", "bad", texts[0].replace("good", "bad"))


def test_hiding_much_is_no_merit(texts):
    """To hide half of the words by chance hits the one that counts half of the time: the null says so."""

    def half(text):
        return text.split()[::2]

    found = ask(Reviewer(half), texts, "redaction").estimate()
    assert found.value == pytest.approx(0.5, abs=0.2)
    assert found.null == pytest.approx(0.5, abs=0.12)
    assert found.p > 0.01


def test_what_is_left_out_and_why(texts):
    class Silent(Reviewer):
        def write(self, prompts):
            return ["" if i == 0 else text for i, text in enumerate(super().write(prompts))]

        def answer(self, prompts):
            return [
                "" if "w1 w1" in prompt else said for prompt, said in zip(prompts, super().answer(prompts), strict=True)
            ]

    rows = [texts[0], "w1 w1 good", "w2 w3", *texts[1:5]]
    found = ask(Silent(knows), rows, "redaction")
    assert found.table.reason.tolist() == [
        "the model wrote no explanation",
        "the answer to the text cannot be read",
        "the answer to the text is already the one that should follow",
        *[""] * 4,
    ]
    assert found.table.consistent.isna().tolist() == [True] * 3 + [False] * 4
    assert found.estimate().value == 1.0 and "3 of 7 items are left out" in found.estimate().reason
    none = ask(Silent(knows), rows[1:3], "redaction")
    assert np.isnan(none.estimate().value) and "fewer than two groups" in none.estimate().reason
    assert "fewer than two groups" in none._repr_html_()


def test_groups_are_the_unit(texts):
    found = ask(Reviewer(knows), texts, "importance", groups=np.arange(60) // 20)
    assert found.estimate().n == 3
    row = found.frame().iloc[0]
    assert (row.metric, row.family, row.concept, row.unit) == (
        "self_consistency",
        "faithfulness",
        "importance",
        "groups",
    )


def test_targets_where_there_are_more_than_two_options(texts):
    options = ("good", "bad", "fair", "unknown")
    with pytest.raises(InputError, match=r"3 options to change to \(good, bad, fair\)"):
        self_consistency(Reviewer(knows), texts, options, kind="counterfactual", questions=QUESTIONS)
    targets = ["bad" if "good" in text else "good" for text in texts]
    found = self_consistency(
        Reviewer(knows), texts, options, kind="counterfactual", questions=QUESTIONS, targets=targets
    )
    assert found.estimate().value == 1.0


def test_words_of_a_list():
    assert listed('1. "good", the end; bad') == ["good", "the end", "bad"]
    assert listed("- good\n- bad.\n") == ["good", "bad"]
    assert listed("good bad") == ["good", "bad"]
    assert listed(" , ") == []


def test_words_are_hidden_where_they_stand_alone():
    assert hide("Good goods, good-ish; not GOOD.", ["good"], "#") == "# goods, #-ish; not #."
    assert hide("a+b and a", ["a+b"], r"\1") == r"\1 and a"
    assert hide("very good, good", ["good", "very good"], "#") == "#, #"
    assert hide("same", [], "#") == "same"


def test_braces_in_texts_stay():
    assert Questions(classify="{text} {mark} {x}", mark="#").ask("classify", ["{mark} {text}"]) == [
        "{mark} {text} # {x}"
    ]
    with pytest.raises(InputError, match=r"'classify' lacks \{text\}"):
        Questions(classify="what?").ask("classify", ["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "saliency"}, "'saliency' is unknown; choose one of counterfactual"),
        ({"kind": "redaction", "unknown": ["neither"]}, "none of the options .* means that the answer is unknown"),
        ({"kind": "redaction", "groups": ["a"]}, "1 groups for 60 texts"),
        ({"kind": "redaction", "ids": ["a"]}, "1 ids for 60 texts"),
    ],
)
def test_what_is_refused(texts, options, message):
    with pytest.raises(InputError, match=message):
        self_consistency(Reviewer(knows), texts, OPTIONS, questions=QUESTIONS, **options)


def test_a_language_model_speaks(gpt2_dir, bert):
    model = md.load(str(gpt2_dir))
    speaker = ModelSpeaker(model, ("yes", "no"), max_new_tokens=3)
    prompts = ["w1 w2", "w3 w4 w5", "w1 w2"]
    frame = pd.DataFrame({"prompt": prompts, "choices": ["yes|no"] * 3, "answer": ["yes", "no", "no"]})
    assert speaker.answer(prompts) == read(model, Task.from_frame(frame, name="t")).answer_text.tolist()
    tokens = model.tokenizer(prompts[1], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        for _ in range(3):
            tokens = torch.cat([tokens, model.module(tokens).logits[:, -1:].argmax(dim=-1)], dim=1)
    expected = model.tokenizer.decode(tokens[0, 3:], skip_special_tokens=True)
    written = speaker.write(prompts)
    assert written[1] == expected.strip() and written[0] == written[2]
    found = self_consistency(
        ModelSpeaker(model, ("yes", "no", "w1"), max_new_tokens=2), prompts, ("yes", "no", "w1"), kind="redaction",
        unknown=["w1"], questions=Questions(classify="{text}", redaction="{text}", mark="w9"), name=model.name,
    )  # fmt: skip
    assert len(found.table) == 3 and found.name == model.name
    with pytest.raises(ModelError, match="cannot explain itself: masked language model"):
        ModelSpeaker(bert, ("yes", "no"))
    with pytest.raises(InputError, match="give at least two"):
        ModelSpeaker(model, ("yes",))
