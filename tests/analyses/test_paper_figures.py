import json
import shutil
import subprocess

import matplotlib
import pandas as pd
import pytest

from analyses import paper_figures
from analyses._study import Criterion, Result, Study
from analyses._venues import VENUES, check_pdf, save_for_venues
from mechdecouple.errors import InputError
from mechdecouple.report.style import COLUMN, PAGE, Drawing, new_figure, save_pdf


def drawn(width=PAGE):
    figure = new_figure(width, 2.0)
    axes = figure.subplots()
    axes.plot([1, 2], label="a")
    axes.set_ylabel("κ, −1 to 1")
    axes.legend()
    return figure


def written(directory, name, value, **figures):
    criteria = (
        Criterion.over_seeds("arm", "rise", [value - 0.1, value, value + 0.1], 0.5, "at least"),
        Criterion(group="arm", name="fall", value=0.0, expected=0.1, side="at most"),
    )
    Result(
        name=name, claim=f"claim of {name}", source="2501.00001", full=False, criteria=criteria,
        tables={"t": pd.DataFrame({"x": [1.0]})}, figures=figures, captions={name: "Rises by .40 ± .1 & 5 % of κ_1."},
    ).write(directory / name)  # fmt: skip


def study(name, finding):
    return Study(name=name, finding=finding, claim=f"claim of | {name}", source="2501.00001", run=lambda *_: None)


@pytest.fixture
def found(monkeypatch):
    names = {"good": 1, "two_arms": 2, "later": 3, "check": 0}
    made = {name: study(name, finding) for name, finding in names.items()}
    monkeypatch.setattr(paper_figures, "studies", lambda: made)
    return made


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "out"
    written(out, "good", 0.9, good=drawn())
    written(out, "two_arms", 0.4, two_arms=drawn(), curve2=drawn(COLUMN))
    written(out, "check", 0.9, check=drawn())
    return out


@pytest.fixture
def results(once, tmp_path):
    return shutil.copytree(once, tmp_path / "out")


def test_every_figure_of_a_finding_in_the_widths_of_the_venues(found, results):
    widths = paper_figures.collect(found, results, results / "paper")
    labels = ("good", "two_arms", "two_arms-curve2")
    assert sorted(widths) == sorted(f"{venue}/{label}.pdf" for venue in ("icml", "neurips") for label in labels)
    asked = {"neurips": (5.5, 3.25), "icml": (6.75, 3.25)}
    for path, width in widths.items():
        page, column = asked[path.split("/")[0]]
        assert width == pytest.approx(column if "curve2" in path else page, abs=1e-3), path
        assert (results / "paper" / path).read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(shutil.which("pdffonts") is None, reason="pdffonts is not installed")
def test_fonts_are_embedded_as_another_program_sees_it(found, results):
    for path in paper_figures.collect(found, results, results / "paper"):
        told = subprocess.run(["pdffonts", results / "paper" / path], capture_output=True, text=True, check=True).stdout
        rows = told.splitlines()[2:]
        assert rows
        assert all("TrueType" in row and " yes " in row for row in rows)


def test_type_3_fonts_are_refused(tmp_path):
    path = tmp_path / "f.pdf"
    save_pdf(drawn(), path)
    assert check_pdf(path) == pytest.approx(PAGE, abs=1e-3)
    figure = drawn()
    with matplotlib.rc_context({"pdf.fonttype": 3}):
        super(Drawing, figure).savefig(path, format="pdf")
    with pytest.raises(InputError, match="not embedded as TrueType"):
        check_pdf(path)
    path.write_text("no figure")
    with pytest.raises(InputError, match="no PDF"):
        check_pdf(path)


def test_letters_are_as_much_smaller_as_a_figure_is_narrower_so_that_none_is_cut(tmp_path, monkeypatch):
    figure = drawn()
    ax = figure.axes[0]
    ax.set_title("a title that fills nearly the whole width of the page from one end to the other", size=8)
    figure.canvas.draw()
    assert figure.bbox.x1 > ax.title.get_window_extent().x1 > 0.75 * figure.bbox.x1
    found = {}

    def look(drawing, path):
        drawing.canvas.draw()
        inside = ax.title.get_window_extent().x1 <= drawing.bbox.x1
        found[path.parent.name] = (drawing.get_size_inches()[0], ax.title.get_fontsize(), inside)

    size = ax.title.get_fontsize()
    monkeypatch.setattr("analyses._venues.save_pdf", look)
    save_for_venues(figure, "f", tmp_path)
    for venue, (width, letters, inside) in found.items():
        assert width == VENUES[venue][PAGE]
        assert letters == pytest.approx(size * width / PAGE)
        assert inside
    assert (ax.title.get_fontsize(), *figure.get_size_inches()) == (size, PAGE, 2.0)


def test_captions_hold_numbers_and_verdict_as_latex(found, results):
    paper_figures.collect(found, results, results / "paper")
    lines = (results / "paper" / "captions.tex").read_text().splitlines()
    assert lines[0] == (
        r"\newcommand{\captionGood}{Rises by .40 $\pm$ .1 \& 5 \% of $\kappa$\_1. "
        r"Reproduced: 2 of 2 criteria met.}  % good.pdf"
    )
    assert lines[2].startswith(r"\newcommand{\captionTwoArmsCurveTwo}{claim of two\_arms Partly: 1 of 2 criteria met.}")
    assert len(lines) == 3


def test_a_sign_that_latex_would_not_print_is_refused():
    assert paper_figures.tex("w ∝ β²") == r"w $\propto$ $\beta$$^2$"
    with pytest.raises(InputError, match="☃"):
        paper_figures.tex("a ☃ in a caption")


def test_a_figure_that_an_older_run_left_is_not_collected(found, results):
    (results / "good" / "older.pdf").write_bytes((results / "good" / "good.pdf").read_bytes())
    assert not [path for path in paper_figures.collect(found, results, results / "paper") if "older" in path]


def test_what_cannot_be_read_is_said(found, results, tmp_path, capsys):
    assert paper_figures.main(["--results", str(tmp_path / "none")]) == 2
    assert "no result of a finding" in capsys.readouterr().err
    (results / "good" / "icml" / "good.pdf").unlink()
    with pytest.raises(InputError, match="run the study good again"):
        paper_figures.collect(found, results, tmp_path / "paper")
    facts = results / "good" / "result.json"
    kept = facts.read_text()
    for changed in (kept.replace('"good"', '"other"'), kept.replace('"figures"', '"plots"')):
        facts.write_text(changed)
        with pytest.raises(InputError, match="not a result of the study 'good'"):
            paper_figures.read(found, results)
    facts.write_text("{")
    with pytest.raises(InputError, match="does not parse"):
        paper_figures.read(found, results)


def test_readme_has_claim_verdict_and_figure_of_every_study(found, results, tmp_path, monkeypatch):
    folder = tmp_path / "analyses"
    folder.mkdir()
    monkeypatch.setattr(paper_figures, "FOLDER", folder)
    assert paper_figures.main(["--results", str(results), "--readme"]) == 0
    text = (folder / "README.md").read_text()
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert list(rows) == list(found)
    assert (
        r"claim of \| good (2501.00001) | **reproduced** | 2 of 2, quick | "
        "[![good](figures/studies/good.png)](figures/studies/good.png)" in rows["good"]
    )
    assert "**partly** | 1 of 2, quick" in rows["two_arms"]
    assert "| not run |" in rows["later"]
    assert "figures" not in rows["check"]
    assert "* `two_arms`: arm, rise: 0.4 [0.152, 0.648]; expected at least 0.5" in text
    linked = [folder / part.split(")")[0] for row in rows.values() for part in row.split("](")[1:]]
    assert len(linked) == 2 * 3  # shown, and linked
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in linked)
    assert json.loads((results / "good" / "result.json").read_text())["verdict"] == "reproduced"


@pytest.mark.parametrize(("label", "name"), [
    ("glass_boxes", "captionGlassBoxes"), ("two_arms-curve2", "captionTwoArmsCurveTwo"), ("a", "captionA"),
])  # fmt: skip
def test_macros_have_letters_alone(label, name):
    assert paper_figures.macro(label) == name
