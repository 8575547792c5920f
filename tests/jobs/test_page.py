import dataclasses
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from mechdecouple.errors import StoreError
from mechdecouple.jobs.page import write_page
from mechdecouple.jobs.plan import JobPlan
from mechdecouple.jobs.results import write_results
from mechdecouple.jobs.store import UnitStore
from mechdecouple.stats import change_points


@pytest.fixture(autouse=True, scope="module")
def _few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_points, "_enough", lambda t: 499)
        yield


class Page(HTMLParser):
    """Tags that a page holds, its links, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def page_of(plan, store, folder):
    write_results(plan, store, folder)
    text = write_page(plan, store, folder).read_text(encoding="utf-8")
    return Page(text), text


@pytest.fixture(scope="module")
def whole(make_checkpoints, made, tmp_path_factory):
    plan, store, folder = make_checkpoints(tmp_path_factory.mktemp("whole") / "a job & <more>")
    failed = made.compare_unit("runs/a/step-1200", "runs/<b>evil</b>")
    waiting = made.compare_unit("runs/a/step-100", "runs/a/step-1200")
    store.fail(failed, "the weights are <not> there")
    plan = dataclasses.replace(plan, units=(*plan.units, failed, waiting))
    return plan, store, folder, *page_of(plan, store, folder)


def test_one_row_a_pair_with_its_report(whole):
    plan, store, folder, page, _ = whole
    reports = [link for link in page.links if link.endswith("report.html")]
    assert len(reports) == 11
    assert [(folder / unquote(link)).resolve() for link in reports] == [
        (store.place(unit) / "report.html").resolve() for unit in plan.units[:11]
    ]
    assert "step-600 against step-700" in page.text


def test_verdicts_in_words(whole):
    page = whole[3]
    assert "11 of 11 equal" in page.text and "yes: 11 pairs (all)." in page.text
    assert "Of 11: claimed in 1, not claimed in 10, cannot be told in 0." in page.text
    row = page.text.split("step-600 against step-700")[1].split("step-700 against step-800")[0]
    assert "Differently organised." in row and "structure, beliefs of step-600" in row and "features" in row
    other = page.text.split("step-100 against step-200")[1].split("step-200 against step-300")[0]
    assert "Differently organised." not in other and "route (the same)" in other


def test_failed_units_with_their_reason_and_what_is_left(whole):
    page = whole[3]
    assert "13 units of work: 11 done, 1 failed, 1 still to be done" in page.text
    assert "the weights are <not> there" in page.text


def test_trends_are_told_and_drawn(whole):
    page = whole[3]
    assert "Structure changes between steps 600 and 700 of runs/a/step-*" in page.text
    assert "Accuracy does not" in page.text
    assert sum(link.startswith("data:image/png;base64,") for link in page.links) == 1


def test_trends_take_the_margin_of_the_comparisons(whole, tmp_path):
    plan, store, *_ = whole
    units = tuple(
        dataclasses.replace(unit, spec={**unit.spec, "options": {"margin": 0.001, "seed": 3}})
        for unit in plan.units[:11]
    )
    for old, new in zip(plan.units, units, strict=False):
        shutil.copytree(store.place(old), UnitStore(tmp_path).place(new))
    page, _ = page_of(dataclasses.replace(plan, units=units), UnitStore(tmp_path), tmp_path)
    assert "which reaches beyond 0.001" in page.text and "Accuracy does not" not in page.text


def test_the_page_runs_and_fetches_nothing(whole):
    page, text = whole[3:]
    assert "script" not in page.tags and "b" not in page.tags
    assert all(link.startswith(("data:", "units/")) for link in page.links)
    assert "default-src 'none'" in text and "alert(1)" in page.text


def test_the_same_bytes_each_time(whole):
    plan, store, folder, _, text = whole
    assert write_page(plan, store, folder).read_text(encoding="utf-8") == text


def test_a_store_elsewhere_is_linked_to(make_checkpoints, tmp_path):
    plan, store, _ = make_checkpoints(tmp_path / "shared store", n=2)
    page, text = page_of(plan, store, tmp_path / "jobs" / "one")
    (link, *_) = [link for link in page.links if link.endswith("report.html")]
    assert link.startswith("../../shared%20store/units/compare/")
    assert (tmp_path / "jobs" / "one" / unquote(link)).is_file() and "Along the checkpoints" not in text


def test_a_job_of_which_nothing_is_done_has_a_page(tmp_path, made):
    plan = JobPlan("empty", ("a", "b"), ("items.csv",), (made.compare_unit("a", "b"),))
    page, text = page_of(plan, UnitStore(tmp_path), tmp_path)
    assert "No pair has been compared yet." in page.text and "1 still to be done" in page.text
    assert "Along the checkpoints" not in text


def test_models_that_share_their_last_part_are_told_in_full(tmp_path, made):
    store = UnitStore(tmp_path)
    a, b = "runs/a/final", "runs/b/final"
    unit = made.finish(store, made.compare_unit(a, b), made.comparison("A", "B", {"ccgp": 1}, {"ccgp": 1}))
    page, text = page_of(JobPlan("two", (a, b), ("items.csv",), (unit,)), store, tmp_path)
    assert "runs/a/final against runs/b/final" in page.text
    assert "Along the checkpoints" not in text


def test_brackets_in_the_folder_are_no_pattern(make_checkpoints, tmp_path):
    page, _ = page_of(*make_checkpoints(tmp_path / "job [1]", n=2))
    assert "step-100 against step-200" in page.text


def test_a_page_that_cannot_be_written_is_said_to(make_checkpoints, tmp_path):
    plan, store, folder = make_checkpoints(tmp_path / "job", n=2)
    write_results(plan, store, folder)
    (folder / "index.html").mkdir()
    with pytest.raises(StoreError, match=re.escape("index.html")):
        write_page(plan, store, folder)
    shutil.rmtree(folder / "index.html")
    assert write_page(plan, store, folder).is_file()
