"""A comparison run again: the same numbers; from where it was killed; against the spread of seeds."""

import importlib
import json
import math
import re

import pandas as pd
import pytest

from mechdecouple import load
from mechdecouple.compare import compare

run = importlib.import_module("mechdecouple.compare.run")

RECIPES = """
import torch
from torch import nn


class Masked(nn.Module):
    def __init__(self, rank):
        super().__init__()
        self.hidden, self.head = nn.Linear(16, 16), nn.Linear(16, 2)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.diag((torch.arange(16) < rank).float()))
            self.head.weight.zero_()
            self.head.weight[:, 0] = torch.tensor([-20.0, 20.0])
            self.hidden.bias.zero_(), self.head.bias.zero_()

    def forward(self, x):
        return self.head(self.hidden(x))


def narrow():
    return Masked(2)


def narrow_again():
    return Masked(2)


def wide():
    return Masked(12)


def wide_again():
    return Masked(16)
"""


@pytest.fixture
def recipes(tmp_path, monkeypatch):
    """Modules that all answer by the first value and pass on 2, 12 or 16 values."""
    (tmp_path / "masked_recipes.py").write_text(RECIPES)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "masked_recipes:{}".format


def record(comparison, folder):
    found = json.loads((comparison.save(folder) / "comparison.json").read_text())
    found["provenance"].pop("created")
    return found


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.frame(), other.frame(), check_exact=True)
    pd.testing.assert_frame_equal(one.items, other.items, check_exact=True)


def test_the_same_comparison_twice_gives_the_same_numbers(gpt2_dir, llama_dir, yes_no_csv, quick, tmp_path):
    less = {"hook_points": ["blocks.0.hook_resid_post"], "probe_items": 64, "sae_width": 16}
    one, other = (compare(gpt2_dir, llama_dir, yes_no_csv, **(quick | less), seed=3) for _ in range(2))
    assert_same(one, other)
    assert record(one, tmp_path / "one") == record(other, tmp_path / "other")


class Counted:
    """A model that counts the items it reads for extraction, and dies when told to."""

    def __init__(self, ref, dies_at=None):
        self.model, self.items, self.dies_at = load(ref), 0, dies_at
        self.forward, self.model.forward = self.model.forward, self._counted

    def _counted(self, batch, *, logits=True, **options):
        if not logits:
            self.items += len(batch.tokens)
            if self.dies_at is not None and self.items > self.dies_at:
                raise KeyboardInterrupt
        return self.forward(batch, logits=logits, **options)


@pytest.fixture
def job(gpt2_dir, llama_dir, yes_no_csv, quick, tmp_path):
    """The comparison with its activations kept; each call loads the models anew, as a new process does."""

    def start(dies_at=None):
        a, b = Counted(gpt2_dir), Counted(llama_dir, dies_at)
        options = quick | {"families": ["structure", "similarity"], "batch_tokens": 64}
        try:
            return compare(a.model, b.model, yes_no_csv, out=tmp_path / "out", **options), a.items, b.items
        except KeyboardInterrupt:
            return None, a.items, b.items

    return start


def test_killed_after_extraction_a_job_goes_on_without_extracting_again(job, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(run, "equal_performance", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        killed, *read = job()
    assert killed is None
    assert min(read) >= 60
    assert {path.name for path in (tmp_path / "out" / "activations").iterdir()} == {"a", "b"}
    comparison, *read = job()
    # what is checked before anything runs looks at a few items, never at all of them
    assert max(read) < 10
    (tmp_path / "out").rename(tmp_path / "resumed")
    whole, *read = job()
    assert min(read) >= 60
    assert_same(comparison, whole)
    assert record(comparison, tmp_path / "1") == record(whole, tmp_path / "2")


def test_killed_within_an_extraction_a_job_keeps_the_one_that_was_whole(job):
    killed, _, died = job(dies_at=30)
    assert killed is None
    comparison, again, anew = job()
    assert again < 10
    assert anew >= 60 > died
    assert comparison.gate.outcome in ("chance", "undecided", "equal", "different")


def options_of(quick):
    return quick | {"families": ["structure"], "hook_points": ["hidden"]}


def test_a_metric_in_which_runs_of_one_recipe_differ_is_left_open_without_seeds(recipes, gaussian_task, quick):
    comparison = compare(recipes("narrow"), recipes("wide"), gaussian_task, **options_of(quick))
    assert comparison.gate.outcome == "equal"
    ratios = comparison.frame().query("metric == 'participation_ratio' and model_b == ''").value
    assert list(ratios) == pytest.approx([2, 12], rel=0.1)
    assert comparison.verdict("structure").flags["participation_ratio"] is None
    assert "further runs of each recipe" in comparison.verdict("structure").sentence


def test_a_difference_within_the_spread_of_seeds_is_not_flagged(recipes, gaussian_task, quick):
    # two runs of A's recipe differ by log(16 / 2), more than A and B by log(12 / 2)
    comparison = compare(
        recipes("narrow"), recipes("wide"), gaussian_task, **options_of(quick), seeds_a=[recipes("wide_again")]
    )
    assert comparison.verdict("structure").flags["participation_ratio"] is False
    assert not comparison.differs("structure")
    said = comparison.verdict("structure").sentence.partition("Participation ratio")[2]
    (spread,) = re.findall(r"spread of same-recipe seeds (\d+\.\d+)", said)
    assert float(spread) == pytest.approx(math.log(16 / 2), rel=0.1)


def test_a_difference_beyond_the_spread_of_seeds_is_flagged(recipes, gaussian_task, quick):
    seeds = {"seeds_a": [recipes("narrow_again")], "seeds_b": [recipes("wide_again")]}
    comparison = compare(recipes("narrow"), recipes("wide"), gaussian_task, **options_of(quick), **seeds)
    assert comparison.verdict("structure").flags["participation_ratio"] is True
    (spread,) = re.findall(r"spread of same-recipe seeds (\d+\.\d+)", comparison.verdict("structure").sentence)
    assert float(spread) == pytest.approx(math.log(16 / 12), rel=0.2)
