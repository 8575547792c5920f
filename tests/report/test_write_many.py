"""What compare_many leaves behind."""

import dataclasses
import re

import pandas as pd
import pytest
from matplotlib.figure import Figure

from mechdecouple.compare import Comparison, ManyComparison
from mechdecouple.errors import InputError
from mechdecouple.report import plot, write, write_many, write_results
from mechdecouple.report.directory import check_directory
from mechdecouple.report.write import SHEETS


def names(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def out(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many") / "deep" / "out"
    assert write_many(made(), folder) == folder / "report.html"
    return folder


def test_everything_is_there_and_reads_back(out, made):
    assert names(out) == {"report.html", "many.json", "metrics.parquet", "figures/many.pdf", "figures/many.png"}
    assert ManyComparison.load(out).summary() == made().summary()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "metrics.parquet"), made().frame())


def test_the_page_holds_summary_picture_and_tables(out, made):
    text, many = out.joinpath("report.html").read_text(encoding="utf-8"), made()
    assert re.findall(r'src="(.{22})', text) == ["data:image/png;base64,"]
    assert not re.search(r"<(script|link|iframe)|url\(", text) and "default-src 'none'" in text
    for words in (many.gate.sentence, "The unit is the model", *many.labels, "plain $x_1$", "CCGP over contexts"):
        assert words in text, words
    assert not re.search(r">\s*(nan|None|NaT)\b", text)


def test_without_distances_and_with_names_that_are_markup(made, tmp_path):
    arms = {"<b>bold</b>": ("t0", "t1", "t2"), "plain": ("p0", "p1", "p2"), "third": ("q0",)}
    text = write_many(dataclasses.replace(made(distances=False), arms=arms), tmp_path).read_text(encoding="utf-8")
    assert "<b>bold" not in text and "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "nothing matters" in text and "Distance inside of every two runs" not in text


def test_one_result_takes_the_place_of_the_other(whole, made, tmp_path, monkeypatch):
    monkeypatch.setattr(write, "SHEETS", {"gate": SHEETS["gate"]})
    write_results(whole, tmp_path)
    check_directory(tmp_path)
    write_many(made(), tmp_path)
    assert names(tmp_path) == {"report.html", "many.json", "metrics.parquet", "figures/many.pdf", "figures/many.png"}
    check_directory(tmp_path)
    write_results(whole, tmp_path)
    assert Comparison.load(tmp_path).task == whole.task and not (tmp_path / "many.json").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="no comparison"):
        write_many(made(), tmp_path / "other")


def test_plot_draws_many_runs(made):
    ax = Figure().add_subplot()
    assert plot(made(), "map", ax) is ax and ax.get_title(loc="left").startswith("Map")
    assert isinstance(plot(made()), Figure)
    with pytest.raises(InputError, match=r"did you mean ccgp"):
        plot(made(), "cgp")
