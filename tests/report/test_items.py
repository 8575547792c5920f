import numpy as np

from mechdecouple.report.items import most_different


def test_different_answers_come_first_then_the_farthest(whole):
    items = whole.items
    found = most_different(items, whole.a, whole.b, n=500)
    differs = (found.answer_a != found.answer_b).to_numpy()
    assert differs[: differs.sum()].all()
    assert np.all(np.diff(found.distance) <= 0)
    assert found.distance.iloc[differs.sum() :].max() <= 1
    assert len(most_different(items, whole.a, whole.b, n=3)) == 3


def test_a_model_against_itself_differs_on_nothing(whole):
    a = whole.items[whole.items.model == whole.a]
    import pandas as pd

    twice = pd.concat([a, a.assign(model=whole.b)], ignore_index=True)
    assert most_different(twice, whole.a, whole.b).empty


def test_items_without_any_number(undefined):
    assert most_different(undefined.items, undefined.a, undefined.b).empty
