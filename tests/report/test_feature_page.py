"""The feature page: what it holds, how it escapes, how small it stays, and what a reader can do with it."""

import base64
import hashlib
import html
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mechdecouple.errors import InputError, StoreError
from mechdecouple.report import feature_page
from mechdecouple.report.feature_page import BYTES, render_features, write_features
from mechdecouple.report.feature_rows import EXAMPLES, FEATURES

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
)  # fmt: skip
NASTY = "</script><script>window.ran = 1</script><img src=x onerror=\"window.ran=1\"> & 'quotes'\n{{ 7*7 }} \u202eevil"
SHOWN = NASTY.replace("\n", "↵").replace("\u202e", "⟨202E⟩")
NAMES = ("tidy_7M", f"B {NASTY}")
KINDS = ("shared", "split", "merged", "only")
KNOWS = ("", "represented only", "expressed only", "both")


def around(name, value, half=0.05):
    return {name: value, f"{name}_low": value - half, f"{name}_high": value + half}


def make_features(n=12, seed=0):
    """``n`` latents a side; latent i is of kind i mod 4; every fifth has no effect, truth or claim."""
    rng = np.random.default_rng(seed)
    rows = []
    for side, model in zip("ab", NAMES, strict=True):
        for i in range(n):
            value = rng.uniform(0.1, 0.9, 6)
            value[2:5] = np.nan if i % 5 == 4 else value[2:5]
            row = {
                "side": side, "model": model, "hook_point": "blocks.1.hook_resid_post", "latent": 3 * i,
                "kind": KINDS[i % 4], "partners": [[3 * i], [0, 3], [6], []][i % 4], "density": value[1],
                **around("correlation", value[0]), "correlation_null": 0.125,
                **around("attribution", value[2] * (-1) ** i), **around("ablation", -value[2]),
                "ablation_null": 0.015, "matters": ["item 1"] if i == 0 else [],
                **around("represented", value[3]), **around("expressed", value[4]),
                "knows": KNOWS[(i // 2) % 4], "reason": "too few items" if i % 5 == 4 else "",
            }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows, columns=list(FEATURES))


def example(side, latent, rank, tokens, strengths, name="item 1", prompt=""):
    peak = max(strengths, default=1.0)
    return dict(zip(EXAMPLES, (side, latent, rank, name, peak, tokens, strengths, prompt), strict=True))


def make_examples(features, n=3):
    rows = []
    for row in features.itertuples():
        space = "Ġ" if row.side == "a" else "▁"
        for rank in range(1, n + 1):
            tokens = ["The", f"{space}zebra{row.latent}{row.side}", f"{space}runs", f"{space}far"]
            rows.append(example(row.side, row.latent, rank, tokens, [0.0, 4.0 / rank, 1.0, 0.0], f"item {rank}"))
    table = pd.DataFrame(rows, columns=list(EXAMPLES))
    table.at[0, "tokens"], table.at[0, "strengths"] = ["x", NASTY, "Ġy"], [0.0, 4.0, 0.0]
    table.at[0, "id"] = NASTY
    return table


@pytest.fixture(scope="module")
def tables():
    features = make_features()
    return features, make_examples(features)


@pytest.fixture(scope="module")
def page(tables, tmp_path_factory):
    made = SimpleNamespace(
        a=NAMES[0], b=NAMES[1], task=f"task {NASTY}", notes=(f"note {NASTY}",), features=tables[0], examples=tables[1]
    )
    return write_features(made, tmp_path_factory.mktemp("features") / "new")


class Elements(HTMLParser):
    """Elements with attributes and text; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.script = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in {"meta", "img", "input", "br", "link"}:
            self.open.append(self.found[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def of(self, tag, **attributes):
        return [
            "".join(text) for t, a, text in self.found if t == tag and all(a.get(k) == v for k, v in attributes.items())
        ]


def parsed(*arguments, **options):
    return Elements(render_features(*arguments, **options))


def test_one_file_whose_policy_lets_only_its_own_script_run(page):
    elements = Elements(page.read_text(encoding="utf-8"))
    assert {tag for tag, *_ in elements.found}.isdisjoint({"link", "iframe", "object", "form", "base", "style/link"})
    for _, attributes, _ in elements.found:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#") or attributes["href"] == "report.html"
    (script,) = elements.of("script")
    policy = next(a["content"] for _, a, _ in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}';" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval", "Function("):
        assert word not in script


def test_every_text_is_escaped_and_shows_what_hides(page):
    raw = page.read_text(encoding="utf-8")
    elements = Elements(raw)
    assert raw.count("<script") == 1 and "<img src=x" not in raw and "\u202e" not in raw
    assert elements.of("mark", title="4")[0] == SHOWN.strip()[:48].rstrip() or SHOWN[:40] in "".join(
        elements.of("mark")
    )
    assert any(SHOWN in text for text in elements.of("bdi")) and f"note {SHOWN}" in elements.of("li")
    assert f"task {SHOWN}" in elements.of("h1")[0] and f"task {SHOWN}" in elements.of("title")[0]


def test_what_a_row_says(tables):
    features, examples = tables
    row = features.iloc[0]
    elements = parsed(features, examples, NAMES)
    body = elements.of("tbody", id="a-0")[0]
    for name in ("correlation", "attribution", "ablation", "represented", "expressed"):
        signed = "+" if name in ("attribution", "ablation") else ""
        value, low, high = (f"{row[n]:{signed}.3f}" for n in (name, f"{name}_low", f"{name}_high"))
        assert f"{value} [{low}, {high}]".replace("-", "−") in body, name
    for words in ("A 0", "shared", "B 0", "0.125", "±0.015", "Matters most for item 1", "blocks.1.hook_resid_post"):
        assert words in re.sub("± ", "±", body), words
    undefined = elements.of("tbody", id="a-12")[0]
    assert undefined.count("–") >= 4 and "Too few items." in undefined and "nan" not in undefined
    hrefs = [a["href"] for tag, a, _ in elements.found if tag == "a" and a["href"].startswith("#")]
    ids = [a["id"] for _, a, _ in elements.found if "id" in a]
    assert len(ids) == len(set(ids)) and {h[1:] for h in hrefs} <= set(ids)
    assert {f"#{s}-{p}" for s in "ab" for p in (0, 3, 6)} <= set(hrefs)


def test_reasons_that_hold_for_all_latents_of_a_model_are_told_once(tables):
    features = tables[0].assign(reason=[f"no truth in {r.side}; latent {r.latent}" for r in tables[0].itertuples()])
    elements = parsed(features, tables[1], NAMES)
    assert elements.of("p", **{"class": "note"})[:2] == [f"Every latent of {s.upper()}: No truth in {s}." for s in "ab"]
    body = elements.of("tbody", id="a-3")[0]
    assert "Latent 3." in body and "no truth" not in body.lower()


def test_tokens_are_marked_by_strength(tables):
    strengths = [0.0, 10.0, 5.0, 0.4, math.nan, 0.6, -3.0]
    tokens = ["Ġnone", "Ġmost", "Ġhalf", "Ġfaint", "Ġnan", "Ġlow", "Ġminus"]
    examples = pd.DataFrame([example("a", 0, 1, tokens, strengths), example("a", 0, 2, ["Ġweaker"], [2.5])])
    examples.activation = [10.0, 2.5]
    elements = parsed(tables[0], examples, NAMES)
    marks = [(a["class"], a["title"], "".join(text)) for tag, a, text in elements.found if tag == "mark"]
    assert marks == [("m9", "10", "most"), ("m5", "5", "half"), ("m1", "0.6", "low"), ("m3", "2.5", "weaker")]
    assert elements.of("samp") == [" none most half faint nan low minus", " weaker"]


def test_a_long_item_is_cut_around_the_token_it_was_ranked_by(tables, monkeypatch):
    monkeypatch.setattr(feature_page, "_FITTING", ((1, 5), (0, 0)))
    tokens = [f"Ġw{i}" for i in range(400)]
    strengths = np.zeros(400)
    # it fires more strongly where the model was not read
    strengths[[50, 300]] = 9.0, 4.0
    rows = [example("a", 0, 1, tokens, strengths.tolist()), example("a", 0, 2, tokens, strengths.tolist())]
    examples = pd.DataFrame(rows).assign(activation=4.0)
    elements = parsed(tables[0], examples, NAMES)
    assert elements.of("samp") == ["… w298 w299 w300 w301 w302…"]
    (said,) = elements.of("p", **{"class": "cut"})
    assert "at most 1 items of each latent are shown, and of each item at most 5 tokens" in said


def test_models_that_take_tensors_show_their_items(tables):
    examples = pd.DataFrame([example("a", 0, 1, [], [], name="row 7"), example("b", 3, 1, [], [], prompt="p" * 400)])
    elements = parsed(tables[0], examples, NAMES)
    assert sorted(elements.of("samp")) == ["", "p" * 300 + "…"]
    assert "row 7" in elements.of("bdi")


def test_small_whatever_it_is_given_and_says_what_it_left_out():
    features = make_features(400)
    features["reason"] = [f"latent {i}: " + "because " * 30 for i in range(len(features))]
    features.at[0, "partners"] = [7]
    rng = np.random.default_rng(1)
    rows = [
        example(r.side, r.latent, rank, ["Ġ<&>'\"<&>'\"long"] * 40, rng.uniform(1, 9, 40).tolist(), f"item {rank}")
        for r in features.itertuples() if r.latent // 24 % 2 == 0
        for rank in range(1, 4)
    ]  # fmt: skip
    text = render_features(features, pd.DataFrame(rows), NAMES, ("note " * 2000,))
    assert 0.8 * BYTES < len(text.encode()) <= BYTES
    latents = re.findall(r'<tbody id="([ab])-(\d+)" [^>]*data-kind="(\w+)"', text)
    assert len(latents) == 512 and {kind for *_, kind in latents} == {*KINDS}
    assert min(sum(side == s for side, *_ in latents) for s in "ab") > 200
    said = text.partition('<p class="cut">')[2].partition("</p>")[0]
    assert "Of 800 live latents 512 are shown" in said and re.search(r"of each item at most \d\d tokens", said)
    # latents with examples are all here, and a match that is not is no link
    assert {(side, int(latent)) for side, latent, _ in latents} > {(r["side"], r["latent"]) for r in rows}
    assert '<span title="not on this page">B 7</span>' in text
    with pytest.raises(InputError, match="shorten the notes"):
        render_features(features.head(1), pd.DataFrame(), NAMES, ("x" * BYTES,))


def test_latents_with_the_largest_effects_stay(tables, monkeypatch):
    monkeypatch.setattr(feature_page, "LATENTS", 8)
    features = tables[0].assign(knows="", ablation=np.nan)
    shown = {a["id"] for tag, a, _ in parsed(features, tables[1], NAMES).found if tag == "tbody" and "id" in a}
    first = features.assign(size=features.attribution.abs()).sort_values("size", ascending=False)
    first = first.groupby(["side", "kind"]).head(1)
    assert shown == {f"{r.side}-{r.latent}" for r in first.itertuples()}


def test_no_latents_and_no_examples(tables):
    nothing = parsed(pd.DataFrame(), pd.DataFrame(), NAMES, ("too few groups",))
    assert "too few groups" in nothing.of("li") and not nothing.of("table")
    bare = parsed(tables[0], pd.DataFrame(), NAMES)
    assert len(bare.of("summary", **{"class": "meta"})) == len(tables[0])


def test_tables_read_back_from_parquet_give_the_same_page(tables, tmp_path):
    back = []
    for i, table in enumerate(tables):
        table.to_parquet(tmp_path / f"{i}.parquet", index=False)
        back.append(pd.read_parquet(tmp_path / f"{i}.parquet"))
    assert render_features(*back, NAMES) == render_features(*tables, NAMES)


def test_bad_tables_are_refused(tables, tmp_path):
    features, examples = tables
    for table, other, words in (
        (features.drop(columns="knows"), examples, "features has no column 'knows'"),
        (features, examples.drop(columns="rank"), "examples has no column 'rank'"),
        (pd.concat([features, features.head(1)]), examples, "latent 0 of side 'a' .* twice"),
        (features.assign(kind="alien"), examples, "kind 'alien' is not known"),
        (features.assign(knows="all"), examples, "knows 'all' is not known"),
        (features, examples.assign(strengths=[[1.0]] * len(examples)), "3 tokens and 1 strengths"),
    ):
        with pytest.raises(InputError, match=words):
            render_features(table, other, NAMES)
    (tmp_path / "file").write_text("")
    made = SimpleNamespace(a="a", b="b", task="t", notes=(), features=pd.DataFrame(), examples=pd.DataFrame())
    with pytest.raises(StoreError, match="cannot be written"):
        write_features(made, tmp_path / "file" / "below")


PROBE = """
(async () => {
const log = {}, at = (id) => document.getElementById(id), table = at("latents");
const ids = () => [...table.tBodies].filter((b) => !b.hidden).map((b) => b.id);
const pick = (id, value) => { at(id).value = value; at(id).dispatchEvent(new Event("change")); };
const type = (words) => { at("search").value = words; at("search").dispatchEvent(new Event("input")); };
const key = (on, name) => on.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const wait = () => new Promise((done) => setTimeout(done, 150));
const channel = (x) => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; };
const light = (c) => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
const rgba = (text) => { const c = text.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c; };
const under = (e) => {
  if (!e) return [255, 255, 255, 1];
  const c = rgba(getComputedStyle(e).backgroundColor);
  const below = c[3] === 1 ? c : under(e.parentElement);
  return [0, 1, 2].map((i) => c[3] * c[i] + (1 - c[3]) * below[i]);
};
const contrast = (e) => {
  const [x, y] = [light(rgba(getComputedStyle(e).color)), light(under(e))].sort((u, v) => v - u);
  return (x + .05) / (y + .05);
};
log.controls = !at("controls").hidden;
log.start = ids();
log.sorted = [...table.tHead.rows[0].cells].map((c) => c.getAttribute("aria-sort"));
type("  ZEBRA12B "); log.search = ids(); log.count = at("count").textContent;
type("item 2"); log.item = ids().length;
type("no such thing"); log.nothing = [ids().length, at("none").hidden];
key(at("search"), "Escape"); log.cleared = [ids().length, at("none").hidden, at("search").value];
pick("by-kind", "only"); pick("by-side", "b"); log.filtered = ids();
pick("by-kind", "*"); pick("by-side", "*"); pick("by-knows", ""); log.neither = ids();
at("clear").click(); log.after = ids().length;
const head = (name) => table.tHead.querySelector(`[data-key="${name}"]`);
head("density").click(); log.down = ids(); head("density").click(); log.up = ids();
log.way = head("density").parentElement.getAttribute("aria-sort");
head("attribution").click(); log.size = ids(); at("turn").click(); log.small = ids();
pick("order", "latent"); log.names = ids();
at("open").click(); log.open = [...table.querySelectorAll("details")].every((d) => d.open);
at("open").click(); log.closed = [...table.querySelectorAll("details")].every((d) => !d.open);
pick("by-side", "a");
table.querySelector("#a-0 a[href='#b-0']").click(); await wait();
const target = at("b-0"), box = target.getBoundingClientRect();
log.jump = [target.hidden, target.querySelector("details").open, box.top >= 0 && box.top < innerHeight,
  document.activeElement === target, at("by-side").value];
target.querySelector("details").open = false;
scrollTo(0, 0); target.querySelector("th a").click(); await wait(); log.again = target.querySelector("details").open;
document.activeElement.blur(); key(document.body, "/"); log.slash = document.activeElement.id;
try { document.body.innerHTML = "<p>"; log.html = "made"; } catch (error) { log.html = error.name; }
log.ran = [window.ran ?? 0, document.images.length, document.querySelectorAll("#latents img").length];
log.nasty = table.querySelector("#a-0 mark").textContent;
log.wide = document.documentElement.scrollWidth - innerWidth;
log.paper = rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3);
at("open").click();
log.contrast = {};
for (const how of ["mark.m9", "mark.m5", "summary small", ".facts small", ".facts th a", ".facts td a", ".kind", "td"])
  log.contrast[how] = Math.min(...[...table.querySelectorAll(how)].map(contrast));
log.contrast.controls = Math.min(...[...at("controls").querySelectorAll("label, button, output")].map(contrast));
const out = document.createElement("pre"); out.id = "probe"; out.textContent = JSON.stringify(log);
document.body.replaceChildren(out);
})();
"""


def browse(page, folder, *flags):
    """What the probe finds in a copy of the page whose policy allows it too; console errors; requests."""
    text = page.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    copy, log = folder / "copy.html", folder / "net.json"
    text = text.replace("script-src ", f"script-src 'sha256-{digest}' ").replace(
        "</body>", f"<script>{PROBE}</script></body>"
    )
    copy.write_text(text, encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", *flags]
    command += ["--virtual-time-budget=5000", "--dump-dom", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    events = [e.get("params", {}) for e in json.loads(log.read_text(encoding="utf-8"))["events"]]
    asked = {e["url"] for e in events if "url" in e and e.get("initiator", "not an origin") != "not an origin"}
    errors = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.S).group(1)))
    return found, errors, {url for url in asked if not url.startswith(("data:", "file:"))}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_reader_searches_filters_sorts_and_follows_matches(page, tables, tmp_path):
    found, errors, asked = browse(page, tmp_path, "--window-size=1200,900")
    features = tables[0].assign(anchor=[f"{r.side}-{r.latent}" for r in tables[0].itertuples()])

    def order(by, ascending):
        keyed = features.assign(key=by).sort_values("key", ascending=ascending, na_position="last")
        return keyed.anchor[keyed.key.notna()].tolist()

    size = features.attribution.abs()
    known = int(size.notna().sum())
    assert found["controls"] and found["start"][:known] == order(size, False)
    assert sorted(found["start"]) == sorted(features.anchor) and found["sorted"][4] == "descending"
    assert found["search"] == ["b-12"] and found["count"] == "1 of 24 latents"
    assert found["item"] == 24 and found["nothing"] == [0, False] and found["cleared"] == [24, True, ""]
    only = features[(features.kind == "only") & (features.side == "b")]
    assert sorted(found["filtered"]) == sorted(only.anchor)
    assert sorted(found["neither"]) == sorted(features.anchor[features.knows == ""]) and found["after"] == 24
    assert found["down"] == order(features.density, False) and found["up"] == order(features.density, True)
    assert found["way"] == "ascending"
    # what is undefined stays last in either direction
    assert found["size"][:known] == order(size, False) and found["small"][:known] == order(size, True)
    assert found["names"] == [f"{s}-{3 * i}" for s in "ab" for i in range(12)]
    assert found["open"] and found["closed"]
    assert found["jump"] == [False, True, True, True, "*"] and found["again"] and found["slash"] == "search"
    assert found["html"] == "TypeError" and found["ran"] == [0, 1, 0] and SHOWN.startswith(found["nasty"].rstrip("…"))
    # the one error is the probe's own attempt at making elements of text
    assert all("TrustedHTML" in line for line in errors) and len(errors) <= 1 and not asked
    assert found["wide"] <= 0 and min(found["paper"]) > 250 and min(found["contrast"].values()) >= 4.5


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_narrow_and_dark(page, tmp_path):
    found, _, _ = browse(page, tmp_path, "--window-size=500,900", "--blink-settings=preferredColorScheme=0")
    assert found["wide"] <= 0 and max(found["paper"]) < 40 and min(found["contrast"].values()) >= 4.5
    assert found["search"] == ["b-12"] and found["jump"][:3] == [False, True, True]
