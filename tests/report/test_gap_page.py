"""The page of a gap report and the files beside it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mechdecouple.beliefs.scores import GapReport, gap_from_scores
from mechdecouple.errors import InputError
from mechdecouple.report.gap_page import write_gap

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FILES = {"report.html", "gap.json", "metrics.parquet", "scores.parquet", "figures/gap.pdf", "figures/gap.png"}
NASTY = 'tidy <script>alert("1")</script> & \u202eevil'
FEW = {"n_resamples": 100, "n_permutations": 39}


def scores(model: str, seed: int, persuades: bool = False, n: int = 160) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth, stratum = np.tile([1.0, 0.0], n // 2), np.where(np.arange(n) // 4 % 2, "persuade <b>", "honest")
    belief, said = (expit(5 * (truth - 0.5) + rng.normal(size=n)) for _ in range(2))
    said = np.where(persuades & (stratum != "honest"), 0.8 + 0.1 * rng.random(n), said)
    columns = {"truth": truth, "represented": belief, "expressed": said, "stratum": stratum, "model": model}
    return pd.DataFrame({"id": [f"i{i}" for i in range(n)], "group": [f"g{i // 4}" for i in range(n)], **columns})


@pytest.fixture(scope="module")
def report():
    return gap_from_scores(pd.concat([scores(NASTY, 0), scores("persuader", 1, persuades=True)]), **FEW)


@pytest.fixture(scope="module")
def out(report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gap") / "deep" / "out"
    assert write_gap(report, folder) == folder / "report.html"
    return folder


def names(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_everything_is_there_and_reads_back(out, report):
    assert names(out) == FILES
    table = report.frame()
    pd.testing.assert_frame_equal(pd.read_parquet(out / "metrics.parquet"), table)
    again = GapReport.load(out)
    pd.testing.assert_frame_equal(again.frame(), table)
    assert again.summary() == report.summary() and again.scores.fingerprint == report.scores.fingerprint
    record = json.loads((out / "gap.json").read_text(encoding="utf-8"))
    assert [said["flagged"] for said in record["verdicts"]] == [False, True, True]
    assert record["provenance"]["options"] == {"honest": "honest", "seed": 0, **FEW}
    assert record["gates"]["persuader"]["passed"] is True and record["strata"] == ["honest", "persuade <b>"]


def test_a_table_without_models_and_strata_reads_back_too(tmp_path):
    table = scores("", 0).drop(columns=["model", "stratum", "expressed"]).assign(claim=1)
    report = gap_from_scores(table, **FEW)
    write_gap(report, tmp_path / "out")
    pd.testing.assert_frame_equal(GapReport.load(tmp_path / "out").frame(), report.frame())
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "The model on 160 statements in 40 groups." in text and "constant claims" in text
    with pytest.raises(InputError, match=r"holds no gap\.json"):
        GapReport.load(tmp_path)


def test_the_page_escapes_everything_and_asks_for_nothing(out):
    text = (out / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'src="(.{22})', text) == ["data:image/png;base64,"] and "default-src 'none'" in text
    assert not re.search(r"<(script|link|iframe|b)\b|url\(", text) and "\u202e" not in text
    assert "&lt;script&gt;" in text and "persuade &lt;b&gt;" in text
    assert not re.search(r">\s*(nan|None|NaT)\b", text)


def test_the_page_holds_verdicts_tables_and_limits(out, report):
    text = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    for line in report.summary().splitlines():
        assert line.split(": ", 1)[1].replace("\u202e", "⟨202E⟩") in text
    for words in (
        "Every number", "Hidden knowledge", "Bullshit index beyond the honest condition", "believed, denied",
        "pass the gate whatever the model represents", "widened for 2 strata", "K inside minus K outside",
        report.scores.fingerprint,
    ):  # fmt: skip
        assert words in text, words
    value = report.levels["persuader"]["persuade <b>"].gap.auroc_gap
    low, high = value.interval()
    assert f"{value.value:.3f} [{low:.3f}, {high:.3f}]" in text


def test_written_again_with_the_same_bytes_and_nothing_foreign_is_overwritten(out, report, tmp_path):
    before = {name: (out / name).read_bytes() for name in FILES}
    write_gap(report, out)
    same = {name for name in FILES if (out / name).read_bytes() == before[name]}
    assert FILES - same <= {"gap.json", "report.html"}, "only what holds the time of making may differ"
    (tmp_path / "comparison.json").write_text("{}")
    with pytest.raises(InputError, match=r"no gap report \('comparison.json'\)"):
        write_gap(report, tmp_path)
    with pytest.raises(InputError, match="is a file"):
        write_gap(report, tmp_path / "comparison.json")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_it_within_the_width(out, tmp_path):
    probe = """<script>window.onload = () => { const found = JSON.stringify({
        widths: [...document.images].map(i => i.naturalWidth), wide: document.documentElement.scrollWidth - innerWidth,
        scripts: document.scripts.length, head: document.querySelector(".card .what").textContent
        }); document.body.innerHTML = "<pre id=probe></pre>"; document.body.firstChild.textContent = found; }
        </script>"""
    text = re.sub(r"<meta http-equiv[^>]*>", "", (out / "report.html").read_text(encoding="utf-8"))
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    for width in (1100, 600):
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},1500", "--virtual-time-budget=3000", "--dump-dom", copy.as_uri(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S).group(1)))
        assert len(found["widths"]) == 1 and found["widths"][0] > 1000 and found["scripts"] == 1
        assert found["head"].startswith("tidy <script>") and found["wide"] <= 0
