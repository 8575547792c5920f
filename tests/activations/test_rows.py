"""Activations: what goes in comes out, named and in order; what does not fit is refused by name."""

from __future__ import annotations

import types

import numpy as np
import pytest

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {"a": rng.normal(size=(6, 3)).astype(np.float32), "b.c": rng.normal(size=(6, 5)).astype(np.float32)}


IDS = ["i0", "i1", "i2", "i3", "i4", "i5"]


def test_values_widths_and_names(arrays):
    act = Activations.from_arrays(arrays, IDS)
    assert act.hook_points == ("a", "b.c") and act.position == "last" and len(act) == 6 and act.path is None
    assert (act.width("a"), act.width("b.c")) == (3, 5)
    assert act["a"].dtype == np.float32
    np.testing.assert_array_equal(act["b.c"], arrays["b.c"])
    assert act.ids.tolist() == IDS and act.items.tolist() == list(range(6)) and act.tokens is None


def test_batches_are_the_rows_in_order(arrays):
    act = Activations.from_arrays(arrays, IDS)
    parts = list(act.batches("a", 4))
    assert [len(p) for p in parts] == [4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), arrays["a"])


def test_token_rows_map_to_their_items(arrays):
    act = Activations.from_arrays(arrays, ["x", "x", "x", "y", "z", "z"], position="all")
    assert act.items.tolist() == [0, 0, 0, 1, 2, 2]
    assert act.tokens is not None and act.tokens.tolist() == [0, 1, 2, 0, 0, 1]
    chosen = act.select(act.ids == "z")
    assert chosen.items.tolist() == [2, 2] and chosen.tokens is not None and chosen.tokens.tolist() == [0, 1]


def test_select_by_mask_by_index_and_twice(arrays):
    act = Activations.from_arrays(arrays, IDS)
    mask = np.array([True, False, True, True, False, False])
    chosen = act.select(mask)
    assert chosen.ids.tolist() == ["i0", "i2", "i3"] and len(chosen) == 3
    np.testing.assert_array_equal(chosen["a"], arrays["a"][mask])
    again = chosen.select([2, 0])
    assert again.ids.tolist() == ["i3", "i0"] and again.items.tolist() == [3, 0]
    np.testing.assert_array_equal(np.concatenate(list(again.batches("a", 1))), arrays["a"][[3, 0]])
    assert len(act.select([])) == 0 and act.select([])["a"].shape == (0, 3)


@pytest.mark.parametrize(
    ("mask", "said"),
    [([True, False], r"mask of shape \(2,\)"), ([6], "row 6 is not among the 6"), ([0.5], "float64")],
)
def test_select_refuses_what_names_no_rows(arrays, mask, said):
    with pytest.raises(InputError, match=said):
        Activations.from_arrays(arrays, IDS).select(mask)


@pytest.mark.parametrize(
    ("change", "ids", "said"),
    [
        ({"a": np.zeros((5, 3))}, IDS, r"'a' has shape \(5, 3\).*\(6, width\)"),
        ({"a": np.zeros(6)}, IDS, r"'a' has shape \(6,\)"),
        ({"a": [["x"]] * 6}, IDS, "'a': values are no array of numbers"),
        ({}, ["i0", "i1", "i2", "i3", "i1", "i5"], "'i1' names several rows"),
        ({}, [], "0 ids"),
    ],
)
def test_from_arrays_refuses_by_name(arrays, change, ids, said):
    with pytest.raises(InputError, match=said) as caught:
        Activations.from_arrays(arrays | change, ids)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_from_arrays_names_item_and_hook_point_of_what_is_not_finite(arrays, value):
    arrays["b.c"][4, 2] = value
    with pytest.raises(InputError, match=f"item 'i4' has {value} at hook point 'b.c'"):
        Activations.from_arrays(arrays, IDS)


def test_an_item_whose_tokens_are_apart_is_refused(arrays):
    with pytest.raises(InputError, match="'x' names several rows"):
        Activations.from_arrays(arrays, ["x", "y", "x", "y", "z", "z"], position="all")


def test_aligned_and_not(arrays):
    act = Activations.from_arrays(arrays, IDS)
    act.check_aligned(Activations.from_arrays({"other": np.ones((6, 9))}, IDS))
    act.check_aligned(types.SimpleNamespace(ids=np.array(IDS)))
    with pytest.raises(MismatchError, match="row 2 is 'i2' here and 'other' there"):
        act.check_aligned(types.SimpleNamespace(ids=["i0", "i1", "other", "i3", "i4", "i5"]))
    with pytest.raises(MismatchError, match="6 rows here, 4 there; the first without partner is 'i4' here"):
        act.check_aligned(act.select(np.arange(4)))


def test_unknown_hook_point_gives_close_names(arrays):
    act = Activations.from_arrays(arrays, IDS)
    for ask in (act.__getitem__, act.width, lambda name: next(act.batches(name, 1))):
        with pytest.raises(InputError, match=r"'b\.d' was not extracted; there are b\.c"):
            ask("b.d")
    assert "a" in act and "b.d" not in act and list(act) == ["a", "b.c"]


def test_frame_is_tidy_with_norms(arrays):
    frame = Activations.from_arrays(arrays, IDS).frame()
    assert list(frame.columns) == ["item", "id", "hook_point", "position", "norm"] and len(frame) == 12
    expected = np.sqrt((arrays["b.c"].astype(float) ** 2).sum(axis=1))
    np.testing.assert_allclose(frame.loc[frame.hook_point == "b.c", "norm"], expected, rtol=1e-6)


def test_html_is_words_and_a_table_with_names_escaped(arrays):
    shown = Activations.from_arrays({"<b>": arrays["a"]}, IDS)._repr_html_()
    assert "6 rows, one a item" not in shown and "6 rows, one an item" in shown
    assert "<table>" in shown and "&lt;b&gt;" in shown and "<b>" not in shown
