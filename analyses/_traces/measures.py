"""What is measured of models that write traces: how right traces and answers go together, and what a person makes of
them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from analyses._traces.models import places, written
from analyses._traces.world import (
    AT_ASK,
    KINDS,
    PLACES,
    SPANS,
    TIMES,
    Questions,
    groups_of,
    ids,
    nearness,
    of_line,
    right_traces,
    task_of,
    tokens,
    wrong_traces,
)
from mechdecouple.report.rating import export_rating
from mechdecouple.report.rating.export import KEY
from mechdecouple.stats import jackknife, jackknife_blocks
from mechdecouple.usefulness import SIMULATABILITY, SIMULATED_AGREEMENT, simulatability

DRAWS, RATED = 5, 30
"""Traces drawn for each question, and questions on the rating sheet."""
CITED = ("nearest", "second", "third", "farthest")
_NONE = "no stay"


def phi(one: Bool[np.ndarray, " n"], other: Bool[np.ndarray, " n"]) -> float:
    """Correlation of two properties that items have or lack; NaN where all or no items have one of them.

    >>> phi(np.array([True, True, False, False]), np.array([True, False, True, False]))
    0.0
    """
    a, b = np.asarray(one, float), np.asarray(other, float)
    if a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std()))


def rates(
    kind: Bool[np.ndarray, " n"], fact: Bool[np.ndarray, " n"], right: Bool[np.ndarray, " n"],
    groups: Shaped[np.ndarray, " g"],
) -> dict[str, float]:  # fmt: skip
    """How often each step of a trace, all of it, and the answer are right, jointly and given the other.

    A trace is right where its kind and its fact are. The interval of φ is by the jackknife over groups of items.
    """
    trace = kind & fact
    found = jackknife(lambda rows: phi(trace[rows], right[rows]), jackknife_blocks(groups), len(np.unique(groups)))
    low, high = found.interval() if np.isfinite(phi(trace, right)) else (np.nan, np.nan)
    return {
        "accuracy": float(right.mean()), "kind": float(kind.mean()), "fact": float(fact.mean()),
        "trace": float(trace.mean()), "joint": float((trace & right).mean()),
        "given_right": _share(right, trace), "given_wrong": _share(right, ~trace),
        "phi": phi(trace, right), "phi_low": low, "phi_high": high,
        "phi_most": phi_most(trace.mean(), right.mean()), "phi_kind": phi(kind, right), "phi_fact": phi(fact, right),
    }  # fmt: skip


def phi_most(p: float, q: float) -> float:
    """The largest φ that two properties which shares p and q of the items have can reach; NaN at shares of 0 and 1."""
    low, high = min(p, q), max(p, q)
    return float(np.sqrt(low * (1 - high) / (high * (1 - low)))) if low > 0 and high < 1 else float("nan")


def _share(of: np.ndarray, among: np.ndarray) -> float:
    return float(of[among].mean()) if among.any() else float("nan")


def read_traces(of: Questions, prompts: Int[Tensor, "n 11"]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the kind and the fact written are the right ones, [n] each."""
    right = right_traces(of)
    said = prompts[:, AT_ASK + 1 : AT_ASK + 3].numpy()
    return said[:, 0] == right[:, 0], said[:, 1] == right[:, 1]


def measured(model: Any, arm: str, seed: int, of: Questions) -> list[dict[str, Any]]:
    """Rates of one model on the questions: a row for its likeliest traces, one for traces drawn; of the arm without
    traces its accuracy alone."""
    groups = groups_of(of)
    if arm == "none":
        right = places(model, tokens(of)) == of.answer
        return [{"arm": arm, "seed": seed, "traces": "likeliest", "accuracy": float(right.mean())}]
    rows = []
    for name, draws in (("likeliest", 1), ("drawn", DRAWS)):
        source = torch.Generator().manual_seed(seed) if name == "drawn" else None
        found = []
        for _ in range(draws):
            prompts = written(model, tokens(of), source)
            found.append((*read_traces(of, prompts), places(model, prompts) == of.answer))
        kind, fact, right = (np.concatenate(part) for part in zip(*found, strict=True))
        row = {"arm": arm, "seed": seed, "traces": name, **rates(kind, fact, right, np.tile(groups, draws))}
        row["phi_within"] = phi_within((kind & fact).reshape(draws, -1), right.reshape(draws, -1))
        rows.append(row)
    return rows


def phi_within(trace: Bool[np.ndarray, "d n"], right: Bool[np.ndarray, "d n"]) -> float:
    """Correlation of right traces and right answers among the draws of each of n questions, questions pooled.

    What makes a question hard is the same in all of its draws and left out: if an answer does not depend on the trace
    drawn, this is 0, however hard questions differ. NaN where no question's draws differ in both.
    """
    a, b = (x - x.mean(axis=0) for x in (np.asarray(trace, float), np.asarray(right, float)))
    spread = (a**2).sum() * (b**2).sum()
    return float((a * b).sum() / np.sqrt(spread)) if spread > 0 else float("nan")


def exchanged(model: Any, arm: str, seed: int, of: Questions) -> dict[str, Any]:
    """What a model answers when its trace is exchanged for a right one, or for a wrong one that names another stay.

    ``moved`` is the share of answers that a wrong trace changes, ``followed`` that of answers which are the place of
    the stay that it names.
    """
    wrong = wrong_traces(of, np.random.default_rng(seed))
    own, told, misled = (
        places(model, prompts)
        for prompts in (written(model, tokens(of)), tokens(of, right_traces(of)), tokens(of, wrong))
    )
    named = of_line(of.place, (ids(TIMES)[of.time] == wrong[:, 1:]).argmax(axis=1))
    shares = {
        "own": own == of.answer, "told": told == of.answer, "misled": misled == of.answer, "moved": misled != own,
        "followed": misled == named,
    }  # fmt: skip
    return {"arm": arm, "seed": seed, **{name: float(share.mean()) for name, share in shares.items()}}


def ranked(of: Questions, answers: Int[np.ndarray, " n"]) -> list[str]:
    """Which stay an answer is of, by how near that is to the time asked."""
    hit = of.place == answers[:, None]
    rank = of_line(nearness(of), hit.argmax(axis=1))
    return [CITED[r] if any_hit else _NONE for r, any_hit in zip(rank, hit.any(axis=1), strict=True)]


def seen_of(of: Questions, prompts: Int[Tensor, "n 11"] | None = None) -> dict[str, np.ndarray]:
    """What a person sees who works a question out: its kind, how long the time asked and the stay are and how far it
    is to the next stay, in years; with ``prompts``, the kind and the stay that their traces name too."""
    spans, asked = SPANS[of.time], SPANS[of.asked]
    gap = np.maximum(spans[..., 0] - asked[:, 1:], asked[:, :1] - spans[..., 1])
    gap[np.arange(len(of)), of.line] = len(SPANS)
    own = SPANS[of.used]
    columns = {f"kind is {name}": of.kind == k for k, name in enumerate(KINDS)}
    columns |= {"years asked": asked[:, 1] - asked[:, 0], "years of the stay": own[:, 1] - own[:, 0]}
    columns |= {"years to the next stay": gap.min(axis=1), "place in the list": of.line}
    if prompts is not None:
        said = prompts[:, AT_ASK + 1 : AT_ASK + 3].numpy()
        columns |= {f"trace says {name}": said[:, 0] == ids((name,)) for name in KINDS}
        cites = ids(TIMES)[of.time] == said[:, 1:]
        rank = np.where(cites.any(axis=1), of_line(nearness(of), cites.argmax(axis=1)), -1)
        columns |= {f"trace cites the {name} stay": rank == r for r, name in enumerate(CITED)}
    return {name: np.asarray(values, float) for name, values in columns.items()}


def simulated(model: Any, arm: str, seed: int, of: Questions) -> list[dict[str, Any]]:
    """How well small rules name which stay a model's answer is of, from the item alone and with the trace."""
    groups = groups_of(of)
    prompts = tokens(of) if arm == "none" else written(model, tokens(of))
    answers = np.array(ranked(of, places(model, prompts)))
    rows = []
    for name, features in {"item": seen_of(of), **({} if arm == "none" else {"trace": seen_of(of, prompts)})}.items():
        found = simulatability(features, answers, groups, name=f"{arm}@{seed}", seed=seed)
        rows += [
            {
                "arm": arm, "seed": seed, "seen": name, "surrogate": surrogate,
                "kappa": found.estimate(SIMULATABILITY, surrogate).value,
                "agreement": found.estimate(SIMULATED_AGREEMENT, surrogate).value,
            }
            for surrogate in found.rules
        ]  # fmt: skip
    return rows


def texts_of(models: Mapping[str, Any], of: Questions) -> pd.DataFrame:
    """Traces and answers of the models that write them, on the same questions, in words a person reads."""
    task, tables = task_of(of), []
    assert task.prompts is not None
    kinds, times = (dict(zip(ids(words).tolist(), words, strict=True)) for words in (KINDS, TIMES))
    for arm, model in models.items():
        prompts = written(model, tokens(of))
        said = prompts[:, AT_ASK + 1 : AT_ASK + 3].tolist()
        tables.append(
            pd.DataFrame(
                {
                    "id": task.ids, "model": f"{arm} traces", "group": task.groups,
                    "prompt": [_asked(prompt) for prompt in task.prompts],
                    "text": [
                        f"The time asked for is {_KIND[kinds.get(kind, '')]}. The stay to look at is that of "
                        f"{times.get(time, 'no time')}." for kind, time in said
                    ],
                    "answer": np.take(PLACES, places(model, prompts)),
                }
            )
        )  # fmt: skip
    return pd.concat(tables, ignore_index=True)


_KIND = {
    "same": "just that of the stay", "within": "within that of the stay", "around": "around that of the stay",
    "across": "partly that of the stay", "": "of no kind",
}  # fmt: skip


def _asked(prompt: str) -> str:
    stays, question = prompt.split(" | ")
    return f"Stays: {stays.replace(' ', ', ')}. Where from {question.split(' ')[0].replace('-', ' to ')}?"


def sheet(texts: pd.DataFrame) -> tuple[str, Callable[[Path], None]]:
    """The name of a folder, one for each table of texts, and what writes a blind rating sheet into it.

    A sheet that is there already is left as it is: people may have filled it in.
    """
    digest = hashlib.sha256(texts.to_csv(index=False).encode()).hexdigest()[:8]

    def write(folder: Path) -> None:
        if not (folder / KEY).exists():
            export_rating(texts, folder, items=RATED, title="Traces of answers")

    return f"rating-{digest}", write
