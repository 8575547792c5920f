"""The rating sheet as a page: one file, nothing loaded from elsewhere, which hands back a filled-in table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import jinja2

from mechdecouple.report.rating.questions import Question

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem 5rem; color: #1a1a1a; }
section { border-top: 1px solid #bbb; padding: 1rem 0; }
h2 { font-size: 1rem; color: #555; margin: 0; }
.shown { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .6rem .8rem; margin: .3rem 0; }
.label { font-size: .85rem; color: #555; margin-top: .6rem; }
fieldset { border: 0; padding: 0; margin: .8rem 0 0; }
label { display: inline-block; padding: .2rem .6rem; }
footer { position: fixed; bottom: 0; left: 0; right: 0; background: #fff; border-top: 1px solid #bbb; padding: .7rem;
  text-align: center; }
button { font: inherit; padding: .3rem 1rem; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>Please rate each of the {{ shown|length }} texts by itself, in this order. Leave a question open where you cannot
tell. At the end, save your ratings with the button below and send the file back. Nothing leaves your machine before.</p>
{% for row in shown %}
<section data-code="{{ row.code }}">
<h2>{{ loop.index }} of {{ shown|length }} · {{ row.code }}</h2>
{% for name in ("prompt", "text", "answer") if row[name] %}
<div class="label">{{ name }}</div>
<div class="shown">{{ row[name] }}</div>
{% endfor %}
{% for question in questions %}
{% set number = loop.index0 %}
<fieldset><legend>{{ question.text }}</legend>
<span>{{ question.low }}</span>
{% for level in range(1, question.levels + 1) %}
<label><input type="radio" name="{{ row.code }}-{{ number }}" value="{{ level }}"> {{ level }}</label>
{% endfor %}
<span>{{ question.high }}</span>
</fieldset>
{% endfor %}
</section>
{% endfor %}
<footer><span id="done"></span> <button type="button" id="save">Save ratings</button></footer>
<script>
"use strict";
const asked = {{ names|tojson }}, file = {{ rater|tojson }} + ".csv", store = "rating-" + {{ sheet|tojson }};
const sections = [...document.querySelectorAll("section")];
const chosen = (code, i) => document.querySelector(`input[name="${code}-${i}"]:checked`)?.value ?? "";
const rows = () => sections.map(s => [s.dataset.code, ...asked.map((_, i) => chosen(s.dataset.code, i))]);
const quoted = cell => '"' + cell.replaceAll('"', '""') + '"';
function tell() {
  const found = rows(), done = found.filter(r => r.every(cell => cell !== "")).length;
  document.getElementById("done").textContent = `${done} of ${found.length} rated`;
  try { localStorage.setItem(store, JSON.stringify(found)); } catch { /* private windows keep nothing */ }
}
try {
  for (const [code, ...given] of JSON.parse(localStorage.getItem(store) ?? "[]"))
    given.forEach((value, i) => {
      const input = document.querySelector(`input[name="${code}-${i}"][value="${value}"]`);
      if (input) input.checked = true;
    });
} catch { /* nothing kept */ }
document.addEventListener("change", tell);
document.getElementById("save").addEventListener("click", () => {
  const text = [["code", ...asked], ...rows()].map(row => row.map(quoted).join(",")).join("\\r\\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = file;
  link.click();
});
tell();
</script>
</body>
</html>
"""  # noqa: E501


def form(shown: Sequence[Mapping[str, str]], questions: Sequence[Question], *, title: str, rater: str) -> str:
    """The page for one rater: texts in the order given, each with its questions; all text escaped."""
    sheet = hashlib.sha256("".join(row["code"] for row in shown).encode()).hexdigest()[:16]
    template = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.ChainableUndefined).from_string(
        _PAGE
    )
    names = [question.name for question in questions]
    return template.render(shown=shown, questions=questions, title=title, rater=rater, sheet=sheet, names=names)
