import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from mechdecouple.report.page import render
from mechdecouple.report.view import View
from mechdecouple.results import Estimate, Measurement

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
VOID = {"meta", "img", "br", "hr", "link", "input"}


@pytest.fixture
def page(results):
    return results / "report.html"


class Elements(HTMLParser):
    """Every element with its attributes; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def elements(page):
    return Elements(page.read_text(encoding="utf-8")).found


def test_one_file_without_script_or_outside_reference(page):
    found = elements(page)
    assert {tag for tag, _ in found}.isdisjoint({"script", "link", "iframe", "object", "form", "b", "i", "base"})
    for _, attributes in found:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#") or attributes["href"] == "features.html"
    policy = next(a["content"] for t, a in found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    style = page.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_prompts_and_names_are_escaped_and_long_ones_folded(page, whole):
    text = page.read_text(encoding="utf-8")
    nasty = whole.items.prompt[3]
    assert nasty not in text and str(html.escape(nasty)).replace("&quot;", "&#34;") in text
    assert "onerror=alert" not in re.sub(r"&lt;.*?&gt;", "", text)
    assert re.search(r'class="prompt">A very long prompt.{200,320}…</p>\s*<details>', text)


def test_figures_have_words_and_sections_have_headings(page):
    found = elements(page)
    images = [a for t, a in found if t == "img"]
    assert len(images) == 21 and all(len(a["alt"]) > 60 and a["width"] and a["height"] for a in images)
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"].removeprefix("#") for t, a in found if t == "a"} <= {*ids, "features.html"}
    assert (page.parent / "features.html").exists()
    assert [t for t, _ in found if re.fullmatch("h[1-6]", t)][:2] == ["h1", "h2"]


def test_verdicts_are_told_in_words_the_gate_first(page):
    text = page.read_text(encoding="utf-8")
    cards = re.findall(r'class="what">(.*?)</span><span class="status">(.*?)</span>', text)
    assert cards[0] == ("Equally accurate?", "= Equal")
    assert dict(cards)["Structure"].endswith("Difference claimed") and dict(cards)["Features"] == "? Unknown"
    assert dict(cards)["Similarity"].endswith("Described")
    assert "One pair of models supports a statement about this pair" in text
    assert "spread between seeds is unknown" in text


def test_what_could_not_be_compared_is_told(page):
    text = page.read_text(encoding="utf-8")
    assert "different families (&lt;GPT2&gt;, Llama)" in text
    assert re.search(r"Participation ratio: The activations are constant here.*?\(1 row\)", text, re.S)


def test_many_rows_are_capped_and_it_says_so(whole):
    more = (Measurement(metric="new", family="new", estimate=Estimate(value=1.0), model=whole.a) for _ in range(700))
    many = dataclasses.replace(whole, measurements=(*whole.measurements, *more))
    text = render(View(many), {}, {})
    assert f"metrics.parquet beside this page holds all {len(many.measurements)}" in text


def chromium(tmp_path, *arguments):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def opened(tmp_path, page, *arguments):
    """Console messages of a page, and what it asked of a network (the browser's own requests have no initiator)."""
    log = tmp_path / f"{page.stem}.json"
    done = chromium(tmp_path, f"--log-net-log={log}", *arguments, page.as_uri())
    events = [e.get("params", {}) for e in json.loads(log.read_text(encoding="utf-8"))["events"]]
    asked = {e["url"] for e in events if "url" in e and e.get("initiator", "not an origin") != "not an origin"}
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return errors, sorted(url for url in asked if not url.startswith(("data:", "file:")))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_opens_in_a_browser_without_error_or_request(page, tmp_path):
    shot = tmp_path / "page.png"
    errors, asked = opened(tmp_path, page, "--window-size=1100,2000", f"--screenshot={shot}")
    assert not errors and not asked
    assert shot.stat().st_size > 50_000
    # the same two readings do see an error and a request
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='http://127.0.0.1:9/x.png'><script>missing()</script>", encoding="utf-8")
    errors, asked = opened(tmp_path, bad, "--dump-dom")
    assert "missing is not defined" in errors[0] and asked == ["http://127.0.0.1:9/x.png"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_every_figure_is_drawn_and_no_prompt_runs(page, tmp_path):
    # a copy that may run one script of the test's own, which measures what was drawn
    probe = """<script>window.onload = () => { const found = JSON.stringify({
        widths: [...document.images].map(i => i.naturalWidth), title: document.title,
        wide: document.documentElement.scrollWidth - innerWidth, scripts: document.scripts.length
        }); document.body.innerHTML = "<pre id=probe></pre>"; document.body.firstChild.textContent = found; }
        </script>"""
    text = page.read_text(encoding="utf-8")
    copy = tmp_path / "copy.html"
    copy.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", probe + "</body>"), encoding="utf-8")
    for width in (1100, 600):
        done = chromium(
            tmp_path, f"--window-size={width},1500", "--virtual-time-budget=5000", "--dump-dom", copy.as_uri()
        )
        found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S).group(1)))
        assert len(found["widths"]) == 21 and min(found["widths"]) > 600
        assert found["title"].startswith("tidy_7M against fractured & <b>7M</b>") and found["scripts"] == 1
        assert found["wide"] <= 0
