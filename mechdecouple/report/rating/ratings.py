"""Ratings read back: which model was rated how, and how far raters agree."""

from __future__ import annotations

import csv
import dataclasses
import html
import io
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from mechdecouple import stats
from mechdecouple.errors import InputError
from mechdecouple.report.rating.export import FORMAT, Table
from mechdecouple.report.rating.questions import Question
from mechdecouple.results import Estimate, Measurement, Metric, frame

RATING = Metric(
    name="rating", family="use", title="rating by people", range="the question's scale",
    measures="mean over items of what raters, who did not know the model, gave to its text",
    null="none: a scale has no honest zero; compare models on the same items",
    assumes="raters use the scale alike; which way is better is up to the question",
    source="questions of arXiv:2505.13792",
)  # fmt: skip
RATER_ALPHA = Metric(
    name="rater_alpha", family="use", title="agreement of raters", range="[-1, 1]",
    measures="Krippendorff's alpha (ordinal) of all raters over all texts; models are not told apart",
    null="0: raters agree as by chance", source="Krippendorff 2011",
)  # fmt: skip
RATER_KAPPA = Metric(
    name="rater_kappa", family="use", title="agreement of two raters", range="[-1, 1]",
    measures="Cohen's kappa, weighted by the square of the difference, of two raters on the texts that both rated",
    null="0: raters agree as by chance", source="doi:10.1037/h0026256",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Ratings:
    """What raters gave, with the names of the models.

    Attributes:
        table: one row a rater, text and question: ``rater``, ``code``, ``id``, ``model``, ``group``, ``question``,
            ``rating`` (NaN where it was left open).
    """

    table: pd.DataFrame
    questions: tuple[Question, ...]

    @property
    def models(self) -> list[str]:
        return sorted(self.table.model.unique())

    @property
    def raters(self) -> list[str]:
        return sorted(self.table.rater.unique())

    def means(self, n_blocks: int = 20, seed: int = 0) -> list[Measurement]:
        """Mean rating of each model by question, and paired differences of every two models on the items that both
        were rated on; the question stands as ``concept``. Jackknife over groups of items: it tells of other items, not
        of other raters."""
        rows = []
        for question in self.questions:
            own = self.table[self.table.question == question.name]
            wide = own.groupby(["group", "id", "model"]).rating.mean().unstack("model").reindex(columns=self.models)
            for model in self.models:
                found = _mean(wide[[model]].dropna(), n_blocks, seed)
                rows.append(_row(RATING, found, question, model=model))
            for a, b in combinations(self.models, 2):
                rated = wide[[a, b]].dropna()
                found = _mean((rated[a] - rated[b]).to_frame(), n_blocks, seed, compared=True)
                rows.append(_row(RATING, found, question, model=a, model_b=b))
        return rows

    def agreement(self, n_resamples: int = 1000, seed: int = 0) -> list[Measurement]:
        """Alpha of all raters and kappa of every two, by question, with the bootstrap over groups of items."""
        rows = []
        for question in self.questions:
            own = self.table[self.table.question == question.name]
            wide = own.pivot(index=["group", "code"], columns="rater", values="rating").reindex(columns=self.raters)
            groups = wide.index.get_level_values("group").to_numpy()
            values = wide.to_numpy(float)
            found = stats.alpha_replicates(values, groups, n_resamples=n_resamples, seed=seed)
            rows.append(_row(RATER_ALPHA, _agreed(found, RATER_ALPHA), question, context="all raters"))
            for i, j in combinations(range(len(self.raters)), 2):
                both = ~np.isnan(values[:, [i, j]]).any(axis=1)
                found = _kappa(values[both][:, [i, j]], groups[both], question.levels, n_resamples, seed)
                pair = f"{self.raters[i]}, {self.raters[j]}"
                rows.append(_row(RATER_KAPPA, _agreed(found, RATER_KAPPA), question, context=pair))
        return rows

    def frame(self) -> pd.DataFrame:
        """Means, differences and agreement (columns: ``mechdecouple.results.COLUMNS``)."""
        return frame([*self.means(), *self.agreement()])

    def _repr_html_(self) -> str:
        shown = self.frame()[
            ["metric", "concept", "model", "model_b", "context", "value", "low", "high", "n", "reason"]
        ]
        head = html.escape(f"{len(self.raters)} raters, {self.table.code.nunique()} texts of {', '.join(self.models)}")
        return f"<div><p>{head}</p>{shown.to_html(index=False, border=0)}</div>"


def read_ratings(files: str | Path | Sequence[str | Path], key: str | Path) -> Ratings:
    """Read filled-in tables, and say which text was whose.

    Args:
        files: a folder of ``.csv`` files, or the files, one a rater, each named after the rater. Commas, semicolons or
            tabs part the cells; only the columns ``code`` and those of the questions are read.
        key: ``key.json``, which `export_rating` wrote.

    Raises:
        InputError: a file that is no such table, a code of another sheet or twice, a rating off its scale, a table
            without any rating.
    """
    questions, texts = _read_key(Path(key))
    paths = sorted(Path(files).glob("*.csv")) if isinstance(files, str | Path) and Path(files).is_dir() else None
    paths = paths if paths is not None else [Path(f) for f in ([files] if isinstance(files, str | Path) else files)]
    if not paths:
        raise InputError(f"there is no filled-in table (.csv) in {str(files)!r}")
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"two tables are called {max(names, key=names.count)!r}: name each after its rater")
    found = [_read_table(path, questions, texts).assign(rater=path.stem) for path in paths]
    table: Table = pd.concat(found, ignore_index=True)
    return Ratings(table[["rater", "code", "id", "model", "group", "question", "rating"]], questions)


def _read_key(path: Path) -> tuple[tuple[Question, ...], pd.DataFrame]:
    try:
        key = json.loads(path.read_text(encoding="utf-8"))
        if key["format"] != FORMAT:
            raise InputError(f"key {str(path)!r} is of format {key['format']!r}; this version reads {FORMAT}")
        texts = pd.DataFrame(key["texts"])[["code", "id", "model", "group"]].set_index("code")
        return tuple(Question(**question) for question in key["questions"]), texts
    except OSError as error:
        raise InputError(f"key {str(path)!r} cannot be read: {error.strerror}") from None
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError):
        raise InputError(f"{str(path)!r} is not the key of a rating sheet (key.json)") from None


def _read_table(path: Path, questions: Sequence[Question], texts: pd.DataFrame) -> pd.DataFrame:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{str(path)!r} is not UTF-8 text: save it as CSV UTF-8") from None
    head = text.split("\n", 1)[0]
    parted = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    rows = [row for row in parted if any(cell.strip() for cell in row)]
    columns = [cell.strip().casefold() for cell in rows[0]] if rows else []
    for name in ("code", *(question.name for question in questions)):
        if columns.count(name.casefold()) != 1:
            raise InputError(f"{path.name}: expected one column {name!r}, found {', '.join(columns) or 'nothing'}")
    found, codes = [], set()
    for line, row in enumerate(rows[1:], start=2):
        cells = dict(zip(columns, (cell.strip() for cell in row), strict=False))
        code = cells.get("code", "")
        if code not in texts.index or code in codes:
            why = "stands there twice" if code in codes else "is not of this sheet"
            raise InputError(f"{path.name}, row {line}: code {code!r} {why}")
        codes.add(code)
        for question in questions:
            rating = _rating(cells.get(question.name.casefold(), ""), question, f"{path.name}, row {line}")
            found.append({"code": code, "question": question.name, "rating": rating})
    table = pd.DataFrame(found, columns=["code", "question", "rating"])
    if not table.rating.notna().any():
        raise InputError(f"{path.name} holds no rating: fill in the columns of the questions")
    return table.join(texts, on="code")


def _rating(cell: str, question: Question, place: str) -> float:
    if not cell:
        return float("nan")
    try:
        value = float(cell.replace(",", "."))
    except ValueError:
        value = float("nan")
    if value not in range(1, question.levels + 1):
        raise InputError(f"{place}: {question.name} is {cell!r}; expected a whole number from 1 to {question.levels}")
    return value


def _mean(wide: Table, n_blocks: int, seed: int, compared: bool = False) -> Estimate:
    """Mean of one column over items, by the jackknife over groups."""
    groups, values = wide.index.get_level_values("group").to_numpy(), wide.to_numpy(float)[:, 0]
    n = len(np.unique(groups))
    if n < 2:
        return Estimate.undefined(f"rated on items of {n} group{'s' * (n != 1)}: at least two are needed")
    found = stats.jackknife(lambda rows: values[rows].mean(), stats.jackknife_blocks(groups, n_blocks, seed), n)
    return found.estimate(RATING, null=0.0, p=float(found.p_differs(0.0))) if compared else found.estimate(RATING)


def _kappa(values: np.ndarray, groups: np.ndarray, levels: int, n_resamples: int, seed: int) -> stats.Replicates:
    if not len(values):
        return stats.Replicates(np.nan, np.full(n_resamples, np.nan), "bootstrap", 0)
    a, b = values.T.astype(np.int64) - 1
    weights = stats.group_bootstrap_weights(groups, n_resamples, seed)
    drawn = np.asarray(stats.kappa(a, b, levels, "quadratic", weights))
    return stats.Replicates(stats.kappa(a, b, levels, "quadratic"), drawn, "bootstrap", len(np.unique(groups)))


def _agreed(found: stats.Replicates, metric: Metric) -> Estimate:
    if np.isnan(found.value):
        why = "no text has ratings of two raters" if found.n == 0 else "all ratings that can be compared are the same"
        return Estimate.undefined(why, n=found.n, unit="groups")
    return found.estimate(metric, null=0.0)


def _row(
    metric: Metric, found: Estimate, question: Question, *, model: str = "", model_b: str = "", context: str = ""
) -> Measurement:
    return Measurement(
        metric=metric.name, family=metric.family, estimate=found, model=model, model_b=model_b, concept=question.name,
        context=context,
    )  # fmt: skip
