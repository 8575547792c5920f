"""The rating sheet: blind to who holds it, safe to open, and read back as it was filled in."""

import csv
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from mechdecouple.errors import InputError
from mechdecouple.report.rating import QUESTIONS, Question, export_rating, read_ratings
from mechdecouple.stats import krippendorff_alpha

MODELS = ("no-traces-17M", "right-traces-17M")
NASTY = '=1+1 </div><script>document.title="run"</script> & "quotes", commas;\nand lines'


@pytest.fixture
def texts():
    rows = [
        {"id": f"i{i}", "model": model, "text": f"{NASTY} {i} {m}", "prompt": f"what is {i}?", "answer": str(i + m)}
        for i in range(20)
        for m, model in enumerate(MODELS)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def sheet(texts, tmp_path):
    return export_rating(texts, tmp_path / "sheet", raters=2, seed=3, title="Traces <1>")


def key_of(sheet):
    return pd.DataFrame(json.loads(sheet.key.read_text())["texts"]).set_index("code")


def fill(sheet, rater, rate, names=None):
    """Fill in a table as a person would, with what ``rate(row, question)`` gives each text."""
    path = sheet.forms / f"rater-{rater}.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for question in names or [q.name for q in QUESTIONS]:
            row[question] = rate(row, question)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_nothing_in_the_forms_tells_whose_a_text_is(sheet, texts):
    key = key_of(sheet)
    assert len(key) == sheet.n == 40 and sheet.telling == ()
    orders = []
    for path in sorted(sheet.forms.iterdir()):
        content = path.read_text(encoding="utf-8-sig")
        assert not any(model in content for model in MODELS) and "key" not in content
        codes = re.findall(r'data-code="(\w+)"', content) or [r[0] for r in csv.reader(content.splitlines()) if r]
        orders.append([c for c in codes if c in key.index])
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(key.index))}
    assert orders[0] == orders[1] and orders[2] == orders[3] and orders[0] != orders[2], "table and page of one rater"
    first = key.loc[orders[0], "model"].to_numpy() == MODELS[0]
    runs = 1 + (first[1:] != first[:-1]).sum()
    assert 12 < runs < 30, "an order at random, neither sorted nor by turns"
    assert list(key.index) == sorted(key.index)


def test_the_same_seed_makes_the_same_sheet_and_another_does_not(texts, tmp_path):
    made = [export_rating(texts, tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    bytes_ = [{p.name: p.read_bytes() for p in (*s.forms.iterdir(), s.key)} for s in made]
    assert bytes_[0] == bytes_[1] and bytes_[0].keys() == bytes_[2].keys()
    assert all(bytes_[0][name] != bytes_[2][name] for name in bytes_[0])


class Shown(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_shows_texts_as_they_are_and_runs_none(sheet):
    page = Shown()
    page.feed((sheet.forms / "rater-1.html").read_text(encoding="utf-8"))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert any(text.startswith(NASTY) for text in page.texts) and "Traces <1>" in page.texts
    radios = [attrs for tag, attrs in page.tags if tag == "input"]
    assert len(radios) == 40 * 2 * 5
    assert not any({"src", "href"} & set(attrs) for _, attrs in page.tags), "nothing is loaded from elsewhere"
    policy = next(attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'")


def test_a_spreadsheet_runs_no_text_as_a_formula(sheet):
    with (sheet.forms / "rater-1.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["code", "prompt", "text", "answer", "interpretability", "cognitive load"]
    assert all(row["text"].startswith("'=1+1") and "\nand lines" in row["text"] for row in rows)
    assert all(row["interpretability"] == "" for row in rows)


def test_planted_ratings_come_back_under_the_right_names(sheet):
    key = key_of(sheet)

    def rate(row, question):
        right = key.loc[row["code"], "model"] == MODELS[1]
        return {"interpretability": 4 if right else 2, "cognitive load": 3}[question]

    for rater in (1, 2):
        fill(sheet, rater, rate)
    found = read_ratings(sheet.forms, sheet.key)
    table = found.frame().set_index(["metric", "concept", "model", "model_b"])
    assert table.loc[("rating", "interpretability", MODELS[1], ""), "value"].item() == 4.0
    pair = table.loc[("rating", "interpretability", *MODELS)]
    assert pair["value"].item() == -2.0 and pair["n"].item() == 20
    assert table.loc[("rater_alpha", "interpretability", "", ""), "value"].item() == pytest.approx(1.0)
    same = table.loc[("rater_alpha", "cognitive load", "", "")]
    assert np.isnan(same["value"].item()) and "are the same" in same["reason"]
    assert "2 raters, 40 texts" in found._repr_html_() and found.raters == ["rater-1", "rater-2"]


def test_agreement_is_that_of_other_libraries_and_open_questions_are_left_out(sheet):
    rng = np.random.default_rng(0)
    true = {code: rng.integers(1, 6) for code in key_of(sheet).index}

    def rate(row, question):
        if rng.random() < 0.1:
            return ""
        return f" {int(np.clip(true[row['code']] + rng.integers(-1, 2), 1, 5))}.0 "

    for rater in (1, 2):
        fill(sheet, rater, rate)
    found = read_ratings([sheet.forms / "rater-1.csv", sheet.forms / "rater-2.csv"], sheet.key)
    assert found.table.rating.isna().any()
    wide = found.table[found.table.question == "interpretability"].pivot(index="code", columns="rater", values="rating")
    rows = {(r.metric, r.concept): r.estimate for r in found.agreement(n_resamples=300)}
    alpha, kappa = rows["rater_alpha", "interpretability"], rows["rater_kappa", "interpretability"]
    assert alpha.value == pytest.approx(krippendorff_alpha(wide.to_numpy()))
    both = wide.dropna()
    theirs = cohen_kappa_score(both.iloc[:, 0].astype(int), both.iloc[:, 1].astype(int), weights="quadratic")
    assert kappa.value == pytest.approx(theirs)
    assert alpha.low < alpha.value < alpha.high <= 1 and alpha.n == 20, "items, not texts, are resampled"


CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_what_is_clicked_on_the_page_is_what_is_saved_and_read(sheet, tmp_path):
    page = (sheet.forms / "rater-2.html").read_text(encoding="utf-8")
    clicks = """<script>
        const made = []; URL.createObjectURL = blob => { made.push(blob); return "#"; };
        sections.slice(1).forEach((s, i) => s.querySelectorAll("fieldset").forEach((f, j) =>
            f.querySelectorAll("input")[(i + j) % 5].click()));
        document.getElementById("save").click();
        made[0].text().then(text => { const pre = document.createElement("pre"); pre.id = "saved";
            pre.textContent = document.getElementById("done").textContent + "\\n" + text; document.body.append(pre); });
        </script></body>"""
    copy = tmp_path / "copy.html"
    copy.write_text(page.replace("</body>", clicks), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dump = ["--virtual-time-budget=3000", "--dump-dom", copy.as_uri()]
    done = subprocess.run([CHROMIUM, *flags, *dump], capture_output=True, text=True, timeout=120, check=True)
    told, saved = html.unescape(re.search(r'<pre id="saved">(.*?)</pre>', done.stdout, re.S)[1]).split("\n", 1)
    assert told == "39 of 40 rated"
    path = tmp_path / "someone.csv"
    path.write_text(saved, encoding="utf-8")
    found = read_ratings(path, sheet.key).table
    codes = re.findall(r'data-code="(\w+)"', page)
    at = found.set_index(["code", "question"]).rating
    assert np.isnan(at[codes[0], "interpretability"])
    assert [at[code, "interpretability"] for code in codes[1:]] == [1 + i % 5 for i in range(39)]
    assert [at[code, "cognitive load"] for code in codes[1:]] == [1 + (i + 1) % 5 for i in range(39)]


def test_items_are_drawn_whole(texts, tmp_path):
    made = export_rating(texts.iloc[1:], tmp_path / "few", items=5, raters=1)
    counts = key_of(made).groupby("id").model.nunique()
    assert made.n == 10 and (counts == 2).all() and "i0" not in counts.index, "an item that one model lacks is left out"


def test_a_text_that_names_a_model_is_told(texts, tmp_path, caplog):
    texts.loc[4, "text"] = f"I, {MODELS[0].upper()}, think"
    made = export_rating(texts, tmp_path / "sheet")
    assert len(made.telling) == 1 and "not blind" in caplog.text
    assert key_of(made).loc[made.telling[0], "id"] == texts.id[4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop(columns="text"), "no column 'text'"),
        (lambda t: t.assign(text=t.text.where(t.index != 3)), "row 4 of the table of texts has no text"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "two texts of model"),
        (lambda t: t[t.model == MODELS[0]], "fewer than two models"),
        (lambda t: t.iloc[1:3], "no item has a text of every model"),
    ],
)
def test_tables_that_cannot_be_rated(texts, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        export_rating(change(texts), tmp_path / "sheet")
    assert not (tmp_path / "sheet").exists()


def test_a_key_is_never_overwritten(texts, sheet):
    with pytest.raises(InputError, match="already holds a rating sheet"):
        export_rating(texts, sheet.key.parent)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.replace("interpretability", "clarity"), "expected one column 'interpretability'"),
        (lambda t: re.sub(r"\n\w{5};", "\nAAAAA;", t, count=1), "row 2: code 'AAAAA' is not of this sheet"),
        (lambda t: t + t.split("\n", 1)[1], "stands there twice"),
        (lambda t: t.replace(";4;3", ";6;3", 1), "interpretability is '6'; expected a whole number from 1 to 5"),
        (lambda t: t.replace(";4;3", ";good;3", 1), "is 'good'"),
        (lambda t: t.replace(";4;3", ";;"), "holds no rating"),
        (lambda t: "", "expected one column 'code', found nothing"),
    ],
)
def test_tables_that_were_damaged(sheet, damage, words):
    path = fill(sheet, 1, lambda row, question: {"interpretability": 4, "cognitive load": 3}[question])
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        read_ratings(path, sheet.key)


def test_other_files_say_what_they_are(sheet, tmp_path):
    path = fill(sheet, 1, lambda row, question: 3)
    with pytest.raises(InputError, match="not the key"):
        read_ratings(path, path)
    with pytest.raises(InputError, match="cannot be read"):
        read_ratings(path, tmp_path / "none.json")
    with pytest.raises(InputError, match="no filled-in table"):
        read_ratings(tmp_path, sheet.key)
    with pytest.raises(InputError, match="called 'rater-1'"):
        read_ratings([path, path], sheet.key)
    path.write_bytes("code\nä".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_ratings(path, sheet.key)


@pytest.mark.parametrize("facts", [{"name": "text"}, {"name": " "}, {"levels": 1}, {"levels": 12}])
def test_questions_that_cannot_be_asked(facts):
    with pytest.raises(InputError, match="levels"):
        Question(**{"name": "use", "text": "?", "low": "no", "high": "yes", **facts})
