"""Passes told before against passes counted while a comparison runs."""

import numpy as np
import pandas as pd
import pytest
import torch

from mechdecouple import compare, load, load_task
from mechdecouple.compare.config import FAMILIES, make_config
from mechdecouple.compare.cost import compare_cost
from mechdecouple.compare.side_cost import _runs
from mechdecouple.models import HookedModel

PLANTED = ("zoo:planted-factored", "zoo:planted-rotated")


@pytest.fixture
def counted(monkeypatch):
    """Sequences that went through any model so far."""
    seen, forward, with_weights = [0], HookedModel.forward, HookedModel.logits_with

    def run(self, batch, **options):
        seen[0] += len(batch)
        return forward(self, batch, **options)

    def run_with(self, parameters, batch):
        before = seen[0]
        found = with_weights(self, parameters, batch)
        seen[0] = before + len(batch)  # once, though it may run `forward` inside
        return found

    monkeypatch.setattr(HookedModel, "forward", run)
    monkeypatch.setattr(HookedModel, "logits_with", run_with)
    return seen


def told_and_taken(counted, a, b, task, **options):
    """(told, taken) without and with the families asked for, so that the second minus the first is theirs."""
    model_a, model_b, items = load(a), load(b), load_task(task)
    out = []
    for families in ((), options.pop("families")):
        config = make_config({"permutations": 19, "bootstrap": 200, "probe_items": 32, **options, "families": families})
        seeds = tuple([load(ref) for ref in refs] for refs in (config.seeds_a, config.seeds_b))
        told = compare_cost(model_a, model_b, items, config, seeds=seeds).total
        counted[0] = 0
        compare(model_a, model_b, items, progress=False, config=config)
        out.append((told, counted[0]))
    (base, took), (whole, took_whole) = out
    assert base >= took
    return whole - base, took_whole - took


def few(n, task=PLANTED[0]):
    whole = load_task(task)
    return whole.select(np.flatnonzero(np.isin(whole.groups, np.unique(whole.groups)[:n])))


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("families", "n", "most"),
    [
        pytest.param(["robustness"], 40, 1.0, marks=SLOW),
        (["similarity"], 40, 1.0),
        (["faithfulness"], 40, 1.5),
        pytest.param(["weights"], 40, 1.0, marks=SLOW),
        pytest.param(["beliefs"], 40, 1.0, marks=SLOW),
        pytest.param(["controls"], 40, 2.1, marks=SLOW),
        pytest.param(["structure"], 40, 1.02, marks=SLOW),
        # Where dictionaries turn out too poor to speak of, most of what is told is not needed.
        pytest.param(["sae"], 300, 10.0, marks=SLOW),
        pytest.param(["mechanism"], 300, 2.5, marks=SLOW),
    ],
)
def test_families_take_no_more_than_is_told(counted, families, n, most):
    told, taken = told_and_taken(counted, *PLANTED, few(n), families=families)
    assert taken <= told <= most * taken + 8


def test_a_shared_ancestor_is_reckoned_with(counted, gpt2_dir, yes_no_items):
    other = load(gpt2_dir)
    with torch.no_grad():
        other.named_parameters()["transformer.wpe.weight"] += 0.01
    told, taken = told_and_taken(counted, load(gpt2_dir), other, yes_no_items, families=["ancestry"])
    assert 0 < taken <= told


def test_noise_at_several_hook_points(counted, gpt2_dir, llama_dir, yes_no_items):
    told, taken = told_and_taken(counted, gpt2_dir, llama_dir, yes_no_items, families=["robustness"])
    assert taken == told == 2 * (1 + 3 + 3 * 30 + 1) * 32


@pytest.mark.slow
def test_further_seeds(counted):
    told, taken = told_and_taken(
        counted, *PLANTED, few(40), families=["robustness"], seeds_a=["zoo:planted-factored@1"], seeds_b=[]
    )
    assert taken <= told <= 1.02 * taken + 8


@pytest.mark.slow
def test_explanations_of_words_and_further_seeds(counted, gpt2_dir, llama_dir, yes_no_items):
    options = {"families": ["faithfulness"], "seeds_a": [str(gpt2_dir)], "seeds_b": []}
    told, taken = told_and_taken(counted, gpt2_dir, llama_dir, yes_no_items, **options)
    assert 0.1 * told < taken <= told


@pytest.mark.slow
def test_texts_of_every_kind(counted, gpt2_dir, llama_dir, yes_no_items):
    table = pd.DataFrame(yes_no_items)
    longer = table.assign(choices="w1 yes|w1 no|yes", answer=["w1 yes", "yes"] * (len(table) // 2), context="x")
    kinds = {
        "several tokens": (longer, {}),
        "loss": (table[["id", "prompt", "group"]], {}),
        "generation": (table[["id", "prompt", "group", "answer"]], {"max_new_tokens": 3}),
    }
    for items, options in kinds.values():
        told, taken = told_and_taken(counted, gpt2_dir, llama_dir, items, families=["robustness"], **options)
        assert taken <= told


def test_answers_alone_are_told_exactly(counted, gpt2_dir, llama_dir, yes_no_items):
    """Readings of the whole task, its extraction, and one item each time that widths are looked up."""
    config = make_config({"families": (), "bootstrap": 200})
    a, b, items = load(gpt2_dir), load(llama_dir), load_task(yes_no_items)
    n = len(items)
    assert compare_cost(a, b, items, config, stored=True).passes == {"answers": 2 * n, "activations": 4}
    counted[0] = 0
    compare(a, b, items, progress=False, config=config)
    assert counted[0] == 2 * n + 4 + 2 * n


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([(1,), (2,)], 1),
        ([(1, 2), (1, 3)], 1),
        ([(1, 2), (3, 4)], 2),
        ([(1, 2), (3,)], 1),
        ([(1, 2, 3), (1, 4), (5, 6)], 2),
    ],
)
def test_options_that_begin_alike_share_a_run(options, expected):
    assert _runs(options) == expected


def test_every_family_is_reckoned_with():
    reckoned = {
        "structure",
        "controls",
        "similarity",
        "robustness",
        "weights",
        "ancestry",
        "sae",
        "beliefs",
        "mechanism",
        "faithfulness",
        "use",
    }
    assert set(FAMILIES) == reckoned
