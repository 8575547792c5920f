import numpy as np
from scipy.sparse import csr_matrix
from torch import nn

from mechdecouple.compare.latents.examples import COLUMNS, show_examples, top_items
from mechdecouple.tasks import Task

POINT = "blocks.0.hook_resid_post"


def test_top_items_are_those_of_a_sorted_table():
    rng = np.random.default_rng(0)
    codes = np.maximum(rng.normal(size=(60, 4)), 0)
    codes[:, 3] = 0
    items = np.repeat(np.arange(20), 3) + 5  # three tokens an item
    found = top_items(csr_matrix(codes), items, most=6)
    strongest = codes.reshape(20, 3, 4).max(axis=1)
    for j in range(3):
        order = np.argsort(-strongest[:, j], kind="stable")[:6]
        order = order[strongest[order, j] > 0]
        np.testing.assert_array_equal(found[j][0], order + 5)
        np.testing.assert_allclose(found[j][1], strongest[order, j])
    assert len(found[3][0]) == 0


def test_each_token_has_its_strength(gpt2_dir, yes_no_csv, side_of, planted):
    task = Task.from_file(yes_no_csv)
    one = planted(np.random.default_rng(0).normal(size=(4, 16)))
    for position in ("last", "all"):
        side = side_of(gpt2_dir, task, (POINT,), position=position)
        rows = np.flatnonzero(side.acts.items >= 30)
        table = show_examples(side, "b", POINT, one, np.array([3, 1]), rows)
        assert tuple(table.columns) == COLUMNS
        assert table["latent"].unique().tolist() == [3, 1] and set(table["side"]) == {"b"}
        for row in table.itertuples():
            assert int(row.id[1:]) >= 30
            assert row.prompt == task.prompts[int(row.id[1:])]
            assert row.tokens == row.prompt.split() and len(row.strengths) == len(row.tokens)
            shown = row.strengths[-1] if position == "last" else max(row.strengths)
            assert abs(shown - row.activation) < 1e-5
        by_latent = table.groupby("latent")
        assert (by_latent["rank"].apply(list).apply(lambda r: r == list(range(1, len(r) + 1)))).all()
        assert by_latent["activation"].apply(lambda a: a.is_monotonic_decreasing).all()
        assert by_latent.size().max() == 8


def test_models_that_take_tensors_have_items_only(gaussian_task, side_of, planted):
    side = side_of(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2)), gaussian_task, ("0",))
    table = show_examples(side, "a", "0", planted(np.eye(4)), np.arange(4), side.rows)
    assert len(table) == 32
    assert all(tokens == [] for tokens in table["tokens"]) and all(s == [] for s in table["strengths"])
    assert set(table["prompt"]) == {""}


def test_no_latents(gaussian_task, side_of, planted):
    side = side_of(nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 2)), gaussian_task, ("0",))
    table = show_examples(side, "a", "0", planted(np.eye(4)), np.arange(0), side.rows)
    assert len(table) == 0 and tuple(table.columns) == COLUMNS
