"""The dictionaries of a pair whose right answer is known: one model says what it represents, the other does not."""

import numpy as np
import pandas as pd
import pytest

from mechdecouple import zoo
from mechdecouple.compare import Comparison, compare
from mechdecouple.compare.features import UNSTABLE
from mechdecouple.compare.latents import COLUMNS

POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def demo(quick):
    pair, task = zoo.demo(), zoo.task("demo-tidy", 1500)
    less = {"families": ["sae", "beliefs"], "hook_points": [POINT], "sae_width": 64}
    return compare(pair.a, pair.b, task, **(quick | pair.options | less))


@pytest.fixture(scope="module")
def features(demo):
    return demo.features.set_index(["side", "latent"])


def test_every_live_latent_of_both_models_is_described_once(demo, features):
    assert tuple(demo.features.columns) == COLUMNS
    assert set(demo.features.side) == {"a", "b"}
    assert features.index.is_unique
    assert set(features.kind) <= {"shared", "split", "merged", "only", UNSTABLE}
    assert ((features.density > 0) & (features.density <= 1)).all()


def test_partners_are_live_latents_of_the_other_model_and_those_without_have_none(features):
    for (side, _), row in features.iterrows():
        others = {latent for where, latent in features.index if where != side}
        assert set(row.partners) <= others
        if row.kind in ("only", UNSTABLE):
            assert not len(row.partners)
        else:
            assert len(row.partners)


def test_the_truth_without_the_claim_is_found_only_in_the_model_that_does_not_say_it(demo, features):
    known = features[features.knows == "represented only"]
    assert set(known.index.get_level_values("side")) == {"b"}
    table = demo.frame()
    drop = table[(table.metric == "knowing_drop") & (table.model == demo.b)].iloc[0]
    assert drop.low > 0.05
    assert drop.low > drop.null


def test_the_verdict_tells_what_the_latents_do_and_know(demo):
    said = demo.verdict("sae").sentence
    assert f"of {demo.a} have no match in {demo.b}" in said
    assert "carry the truth and not its claims" in said or "carries the truth and not its claims" in said


def test_examples_hold_a_strength_for_every_token_and_begin_with_the_strongest(demo):
    assert len(demo.examples)
    for row in demo.examples.itertuples():
        assert len(row.tokens) == len(row.strengths) > 0
    for _, of in demo.examples.sort_values("rank").groupby(["side", "latent"]):
        assert (np.diff(of.activation) <= 1e-6).all()


def test_latents_are_saved_and_read_back(demo, tmp_path):
    after = Comparison.load(demo.save(tmp_path / "out"))
    plain = ["side", "latent", "kind", "density", "attribution", "knows", "reason"]
    pd.testing.assert_frame_equal(after.features[plain], demo.features[plain])
    assert [list(p) for p in after.features.partners] == [list(p) for p in demo.features.partners]
    assert [list(t) for t in after.examples.tokens] == [list(t) for t in demo.examples.tokens]


def test_nothing_is_described_where_there_is_too_little_to_train_on(quick):
    pair, task = zoo.demo(), zoo.task("demo-tidy", 1500)
    few = task.select(np.isin(task.groups, np.unique(task.groups)[:60]))
    found = compare(pair.a, pair.b, few, **(quick | pair.options | {"families": ["sae"], "hook_points": [POINT]}))
    assert found.verdict("sae").flagged is None
    assert "too few to train a dictionary" in found.verdict("sae").sentence
    assert not len(found.features)
    assert not len(found.examples)
