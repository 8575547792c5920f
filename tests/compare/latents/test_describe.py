import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from torch import nn

from mechdecouple import sae, zoo
from mechdecouple.compare.latents import COLUMNS, describe
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair
from mechdecouple.errors import InputError, MismatchError

POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def described(demo, demo_kinds):
    pair, site, saes, held = demo
    return describe(pair, site, saes, demo_kinds, held)


def test_one_row_a_live_latent_of_either_side(described, demo, demo_kinds):
    table = described.features
    assert tuple(table.columns) == COLUMNS
    assert table[["side", "latent"]].values.tolist() == demo_kinds[["side", "latent"]].values.tolist()
    pair = demo[0]
    assert set(table.loc[table["side"] == "b", "model"]) == {pair.b.name}
    assert table["density"].between(0, 1).all() and (table["density"] > 0).all()
    assert table["attribution"].notna().all()
    missing = table["ablation"].isna()
    assert table.loc[missing, "reason"].str.contains("not among the").all()


def test_the_persuader_knows_more_than_it_says_and_the_honest_model_is_not_said_to(described, demo):
    pair = demo[0]
    table = described.features
    assert set(table.loc[table["side"] == "a", "knows"]) == {""}
    assert table.loc[table["side"] == "a", "represented"].isna().all()
    assert table.loc[table["side"] == "a", "reason"].str.contains("claims and truth part on").all()
    only = table[(table["side"] == "b") & (table["knows"] == "represented only")]
    assert len(only) >= 5
    assert (only["represented_low"] > 0.5).all() and (only["expressed"] < only["represented"]).all()
    rows = {(m.metric, m.model): m.estimate for m in described.measurements}
    assert rows["knowing_latents", pair.b.name].value == pytest.approx(len(only) / (table["side"] == "b").sum())
    drop = rows["knowing_drop", pair.b.name]
    assert drop.low > drop.null and drop.p == 0.01
    assert drop.n == len(np.unique(pair.b.labels.groups[demo[3]]))  # groups that the dictionary did not see
    assert math.isnan(rows["knowing_latents", pair.a.name].value)
    assert any("carry the truth and not its claims" in said for said in described.words)


def test_what_only_one_model_has_matters(described, demo):
    effects = {m.model: m.estimate for m in described.measurements if m.metric == "exclusive_effect"}
    for name in demo[0].names:
        assert effects[name].low > effects[name].null > 0
    table = described.features
    moved = table[table["matters"].str.len() > 0]
    assert len(moved) > 3
    assert set(np.concatenate(moved["matters"].to_list())) <= set(demo[0].a.task.ids)


def test_examples_come_from_groups_that_the_dictionary_did_not_see(described, demo):
    pair, _, _, held = demo
    groups = set(pair.a.labels.groups[held])
    group_of = dict(zip(pair.a.task.ids, pair.a.task.groups, strict=True))
    assert {group_of[i] for i in described.examples["id"]} <= groups
    for row in described.examples.itertuples():
        assert row.tokens == row.prompt.split()
        assert row.strengths[4] == pytest.approx(row.activation, rel=1e-3, abs=1e-4)  # the bar, where it was read


def test_the_tables_go_through_parquet(described, tmp_path):
    for name in ("features", "examples"):
        table = getattr(described, name)
        table.to_parquet(tmp_path / name)
        back = pd.read_parquet(tmp_path / name)
        for column in table:
            one, other = (
                [list(v) if isinstance(v, list | np.ndarray) else v for v in t[column]] for t in (table, back)
            )
            assert one == other or table[column].isna().any()
    assert "knows" in described._repr_html_()


def test_a_model_against_itself_says_the_same_twice(demo, demo_kinds):
    pair, site, saes, held = demo
    own = demo_kinds[demo_kinds["side"] == "b"].head(3)
    both = pd.concat([own.assign(side="a"), own])
    found = describe(Pair(pair.b, pair.b, pair.sites), site, (saes[1], saes[1]), both, held)
    halves = [found.features[found.features["side"] == s].drop(columns="side").reset_index(drop=True) for s in "ab"]
    pd.testing.assert_frame_equal(*halves)


def test_no_live_latents(demo, kinds):
    pair, site, saes, held = demo
    found = describe(pair, site, saes, kinds([], []), held)
    assert len(found.features) == len(found.examples) == 0
    assert "no latent fires often enough" in found.words[0]


def test_tensors_without_truth(side_of, gaussian_task, planted, kinds, held_third):
    side = side_of(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2)), gaussian_task, ("0",))
    one, site = planted(np.eye(4)), Site("0", "0", 0.5)
    pair = Pair(side, dataclasses.replace(side), (site,))
    found = describe(pair, site, (one, one), kinds(range(4), range(4), shared=[1]), held_third(side))
    assert found.features["ablation"].notna().all() and found.features["represented"].isna().all()
    np.testing.assert_allclose(found.features["ablation"], found.features["attribution"], atol=1e-5)  # linear models
    assert found.features["attribution"].abs().max() > 0.01
    assert found.features["reason"].str.contains("the task has no truth").all()
    assert found.features["partners"].to_list()[1] == [1]
    assert len(found.words) == 2 and not any("truth" in said for said in found.words)


def test_bad_input(demo, demo_kinds, kinds):
    pair, site, saes, held = demo
    with pytest.raises(MismatchError, match=r"held has shape \(3,\)"):
        describe(pair, site, saes, demo_kinds, held[:3])
    with pytest.raises(InputError, match="lacks column 'partners'"):
        describe(pair, site, saes, demo_kinds.drop(columns="partners"), held)
    with pytest.raises(InputError, match="holds latent 16 of side 'a', whose dictionary has 16"):
        describe(pair, site, saes, kinds([16], [1]), held)


@pytest.mark.slow
def test_trained_dictionaries_of_one_who_lies_and_one_who_knows_nothing(side_of, held_third, kinds):
    task = zoo.task("flip", 1600)
    sides = [side_of(f"zoo:{n}", task, (POINT,), position="position_statement") for n in ("flip", "ignorant")]
    held, site = held_third(sides[0]), Site(POINT, POINT, 0.5)
    saes = tuple(sae.train(side.structural[POINT][~held], width=96, k=8, steps=400) for side in sides)
    codes = [one.encode(side.structural[POINT][held]) for one, side in zip(saes, sides, strict=True)]
    live = [np.flatnonzero((z > 0).sum(axis=0) >= 10) for z in codes]
    found = describe(Pair(*sides, (site,)), site, saes, kinds(*live), held)
    knows = found.features.groupby("side")["knows"].value_counts()
    # behind the statement and before the persona the liar holds the truth, and cannot hold what it will claim
    assert knows["a"]["represented only"] >= 10
    assert set(knows["a"].index) <= {"", "represented only"}
    assert "represented only" not in knows["b"].index and "both" not in knows["b"].index
    drop = next(m.estimate for m in found.measurements if m.metric == "knowing_drop" and m.model == "flip")
    assert drop.low > 0.2
