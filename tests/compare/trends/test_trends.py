import dataclasses

import numpy as np
import pandas as pd
import pytest

from mechdecouple.compare.trends import Trends, trends
from mechdecouple.compare.trends.find import adjusted
from mechdecouple.compare.trends.series import LONGEST, Series
from mechdecouple.compare.trends.trend import find_trends
from mechdecouple.errors import InputError
from mechdecouple.stats import change_points

POINT = "blocks.0.hook_resid_post"
BLANK = {
    "job": "sweep", "stage": "compare", "key": "k", "pair": 0, "task": "items.csv", "ref": "", "ref_b": "",
    "step": pd.NA, "step_b": pd.NA, "metric": "", "family": "fracture", "model": "", "model_b": "", "hook_point": POINT,
    "hook_point_b": "", "position": "last", "concept": "", "context": "", "value": 0.0, "low": np.nan, "high": np.nan,
    "method": "", "null": np.nan, "p": np.nan, "n": 50, "unit": "groups", "direction": "", "reason": "",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_points, "_enough", lambda t: 999 if t <= 40 else 199)
        yield


def rows(metric, values, half=0.02, run="runs/a", **facts):
    """One measure along a run of checkpoints, at steps 100, 200 …"""
    out = []
    for i, value in enumerate(values):
        ref = f"{run}/step-{100 * (i + 1)}"
        place = {"ref": ref, "model": f"step-{100 * (i + 1)}", "metric": metric}
        gap = {"reason": "one class only"} if np.isnan(value) else {}
        out.append(BLANK | place | {"value": value, "low": value - half, "high": value + half} | gap | facts)
    return out


def accuracy(values, half=0.006, **facts):
    return rows("performance", values, half, family="behavior", hook_point="", **facts)


def jump(n=12, at=6, before=0.95, after=0.55, noise=0.01, seed=0):
    return np.where(np.arange(n) < at, before, after) + np.random.default_rng(seed).normal(0, noise, n)


def steady(n=12, level=0.99, noise=0.001, seed=1):
    return level + np.random.default_rng(seed).normal(0, noise, n)


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part])


@pytest.fixture(scope="module")
def planted():
    return trends(
        table(
            rows("ccgp", jump(), concept="colour"),
            rows("ccgp", steady(level=0.9, noise=0.01, seed=2), concept="shape"),
            rows("parallelism", np.linspace(0.2, 0.8, 12) + np.random.default_rng(3).normal(0, 0.01, 12)),
            rows("coding_overlap", steady(level=0.1, noise=0.01, seed=5), family="entanglement"),
            accuracy(steady()),
        )
    )


class TestPlanted:
    def test_the_jump_is_found_where_it_is(self, planted):
        found = planted.trend("ccgp", concept="colour")
        assert found.kind == "jumps" and found.p_adjusted <= 0.05
        (change,) = found.changes
        assert (change.last, change.first) == (5, 6) and change.low <= 5 and change.high >= 6
        assert change.before == pytest.approx(0.95, abs=0.02) and change.after == pytest.approx(0.55, abs=0.02)
        assert change.difference_low < -0.4 < change.difference_high < -0.3

    def test_drift_is_no_jump(self, planted):
        found = planted.trend("parallelism")
        assert found.kind == "drifts" and not found.changes and found.drift == pytest.approx(0.6, abs=0.05)

    def test_what_stays_stays(self, planted):
        assert {planted.trend("ccgp", concept="shape").kind, planted.trend("performance").kind} == {"neither"}

    def test_structure_changes_here_and_accuracy_does_not(self, planted):
        (event,) = planted.events
        assert event.between == (600, 700) and event.alone and event.families == ("structure",)
        said = planted.sentences[0]
        assert said.startswith(f"Structure changes between steps 600 and 700 of runs/a/step-*: ccgp at {POINT}, colour")
        assert "falls from 0.9" in said and "Accuracy does not: 0.99" in said and "within 0.02." in said
        assert "Structure drifts along runs/a/step-* without a jump: parallelism" in planted.sentences[1]

    def test_the_frame_has_the_jump_with_its_steps(self, planted):
        frame = planted.frame()
        assert len(frame) == 5
        row = frame[frame.kind == "jumps"].iloc[0]
        assert (row.step_before, row.step_after, row.metric, row.concept) == (600, 700, "ccgp", "colour")
        assert row.step_low <= 600 and row.step_high >= 700 and row.difference < 0
        assert frame[frame.kind != "jumps"].step_after.isna().all()

    def test_words(self, planted):
        assert repr(planted) == "<Trends of 5 series: 1 places of change>"
        assert "Accuracy does not" in planted._repr_html_() and "Accuracy does not" in planted.summary()


def test_accuracy_that_jumps_too_is_said_to():
    found = trends(table(rows("ccgp", jump()), accuracy(jump(before=0.99, after=0.7, noise=0.002))))
    (event,) = found.events
    assert not event.alone and "Accuracy does too, from 0.9" in event.sentence


def test_accuracy_that_jumps_alone():
    found = trends(table(rows("ccgp", steady(noise=0.01)), accuracy(jump(before=0.6, after=0.9, noise=0.002))))
    assert found.sentences[0].startswith("Accuracy changes between steps 600 and 700")
    assert found.sentences[0].endswith("No other measure is shown to jump there.")


@pytest.mark.parametrize(
    ("half", "said"), [(0.04, "cannot be told"), (np.nan, "not told, as its values have no intervals")]
)
def test_accuracy_that_may_have_changed_is_not_said_to_stay(half, said):
    (event,) = trends(table(rows("ccgp", jump()), accuracy(steady(), half))).events
    assert not event.alone and said in event.performance


def test_accuracy_that_drifts_by_more_than_the_margin():
    (event,) = trends(table(rows("ccgp", jump()), accuracy(np.linspace(0.5, 0.9, 12) + steady(level=0)))).events
    assert not event.alone and event.performance.startswith("Accuracy differs too")


def test_accuracy_is_held_against_the_margin():
    data = table(rows("ccgp", jump()), accuracy(steady()))
    assert trends(data, margin=0.02).events[0].alone and not trends(data, margin=0.005).events[0].alone


def test_a_jump_within_the_intervals_of_the_values_is_not_claimed():
    sharp, blunt = (trends(table(rows("ccgp", jump(), half))) for half in (0.02, 0.5))
    assert sharp.trend("ccgp").kind == "jumps" and blunt.trend("ccgp").kind == "neither"
    assert blunt.trend("ccgp").p >= 0.05 > sharp.trend("ccgp").p


def test_the_interval_of_a_jump_is_no_narrower_than_those_of_the_values_allow():
    (change,) = trends(table(rows("ccgp", jump(noise=1e-4), 0.06))).trend("ccgp").changes
    width = change.difference_high - change.difference_low
    assert width == pytest.approx(2 * np.sqrt(2) * 0.06)  # one checkpoint's own interval on either side
    (free,) = trends(table(rows("ccgp", jump(noise=1e-4), np.nan))).trend("ccgp").changes
    assert free.difference_high - free.difference_low < 0.001


def test_values_without_intervals_are_judged_by_how_they_scatter():
    assert trends(table(rows("ccgp", jump(), np.nan))).trend("ccgp").kind == "jumps"


def test_two_jumps_are_two_events():
    level = np.repeat([0.5, 0.9, 0.5], [6, 6, 6]) + np.random.default_rng(0).normal(0, 0.005, 18)
    found = trends(table(rows("ccgp", level), accuracy(steady(18))))
    assert [event.between for event in found.events] == [(600, 700), (1200, 1300)]
    assert all(event.alone for event in found.events)


def test_missing_values_are_skipped_and_the_jump_lies_between_those_that_are_there():
    values = jump(16, 8)
    values[[0, 1, 7, 8]] = np.nan
    found = trends(table(rows("ccgp", values))).trend("ccgp")
    assert found.kind == "jumps" and (found.changes[0].last, found.changes[0].first) == (6, 9)
    few = np.full(12, np.nan)
    few[:5] = 0.5
    short = trends(table(rows("ccgp", few))).trend("ccgp")
    assert short.kind == "undefined" and "5 of 12 checkpoints have a value (one class only)" in short.reason
    assert np.isnan(short.p_adjusted)


def test_one_model_and_few_models_make_no_trend():
    assert trends(table(rows("ccgp", [0.9]))).all == ()
    few = trends(table(rows("ccgp", jump(5, 2))))
    assert few.trend("ccgp").kind == "undefined" and "No series has the 6 checkpoints" in few.summary()


def test_runs_are_told_apart():
    parts = [
        part
        for run, values in (("runs/a", jump()), ("runs/b", steady(level=0.9, noise=0.01)))
        for part in (rows("ccgp", values, run=run), accuracy(steady(), run=run))
    ]
    found = trends(table(*parts))
    assert [event.series.run for event in found.events] == ["runs/a/step-*"]
    assert found.trend("ccgp", run="runs/b/step-*").kind == "neither"


def test_a_model_in_several_comparisons_counts_once():
    once = table(rows("ccgp", jump()))
    twice = pd.concat([once, once.assign(value=0.0, key="other")], ignore_index=True)
    assert np.array_equal(trends(twice).trend("ccgp").series.value, trends(once).trend("ccgp").series.value)


def test_models_without_a_step_take_an_order():
    data = table(rows("ccgp", jump()))
    names = [f"runs/{letter}" for letter in "lkjihgfedcba"]
    data["ref"] = names
    found = trends(data)
    assert found.all == () and "12 models name no step" in found.notes[0]
    found = trends(data, order=names)
    assert found.trend("ccgp").kind == "jumps" and not found.notes
    assert found.trend("ccgp").changes[0].difference < 0
    assert trends(data, order=names[::-1]).trend("ccgp").changes[0].difference > 0
    for order, words in ((["runs/a", "runs/a"], "twice"), (["runs/zz"], "no results")):
        with pytest.raises(InputError, match=words):
            trends(data, order=order)


def similarities(values, pairs):
    out = []
    for value, (a, b) in zip(values, pairs, strict=True):
        place = {"ref": f"runs/a/step-{a}", "ref_b": f"runs/a/step-{b}", "model": f"{a}", "model_b": f"{b}"}
        facts = {"metric": "cka", "family": "similarity", "hook_point_b": POINT, "value": value, "low": value - 0.02}
        out += [BLANK | place | facts | {"high": value + 0.02}]
        out += [BLANK | place | facts | {"high": value + 0.02, "hook_point_b": "elsewhere", "value": 0.1}]
    return out


def test_similarity_to_the_reference_is_a_series():
    found = trends(table(similarities(jump(), [(9999, 100 * i) for i in range(1, 13)])))
    (trend,) = found.all
    assert trend.series.against == "runs/a/step-9999" and trend.series.steps.tolist() == list(range(100, 1300, 100))
    assert found.events[0].between == (600, 700)
    assert found.sentences[0].startswith("Representation changes") and "with runs/a/step-9999" in found.sentences[0]


def test_similarity_from_each_checkpoint_to_the_next_is_a_series():
    found = trends(table(similarities(jump(), [(100 * i, 100 * (i + 1)) for i in range(1, 13)])))
    assert found.all[0].series.against == "the next" and found.events[0].between == (700, 800)
    assert "from one checkpoint to the next" in found.sentences[0]
    # all pairs of several models: no order in which they could be read
    every = [(100 * i, 100 * j) for i in range(1, 7) for j in range(i + 1, 7)]
    assert trends(table(similarities(jump(15, 7), every))).all == ()


def test_long_series_are_averaged_by_neighbours():
    found = trends(table(rows("ccgp", jump(180, 90)))).trend("ccgp")
    assert len(found.series.value) == LONGEST == 60
    assert found.series.value[:30].mean() == pytest.approx(0.95, abs=0.01)
    assert found.kind == "jumps" and found.series.steps[found.changes[0].first] == 9100


def test_only_metrics_that_are_asked_for():
    data = table(rows("ccgp", jump()), accuracy(steady()))
    assert [t.series.metric for t in trends(data, metrics=["ccgp"]).all] == ["ccgp"]
    with pytest.raises(InputError, match="metric 'cgp' is not among the results; there are ccgp, performance"):
        trends(data, metrics=["cgp"])
    with pytest.raises(InputError, match="0 series answer to"):
        trends(data).trend("cgp")


def test_few_false_claims_over_a_whole_table():
    """Two hundred tables of ten series without a jump: at most 5 % of the tables may have one claimed."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (2000, 12))
    for i in range(1, 12):
        noise[:, i] += 0.6 * noise[:, i - 1]
    steps, unknown = np.arange(12), np.full(12, np.nan)
    place = ("job", "items.csv", "run", "ccgp", "fracture", POINT, "last")
    series = [Series(*place, str(i), "", "", (), steps, row, unknown, unknown) for i, row in enumerate(noise)]
    found = find_trends(series, 0.05, 0)
    wrong = sum(any(t.changes for t in adjusted(found[i : i + 10], 0.05)) for i in range(0, 2000, 10))
    assert wrong / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_an_empty_table_has_no_trends():
    assert trends(table(rows("ccgp", jump())).head(0)).all == ()
    assert isinstance(trends(table(accuracy(steady()))), Trends)


def test_results_are_frozen(planted):
    with pytest.raises(dataclasses.FrozenInstanceError):
        planted.margin = 1
