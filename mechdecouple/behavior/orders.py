"""Option orders: the same question with its options listed in several orders, averaged, with how far answers move."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mechdecouple.behavior.answers import Answers
from mechdecouple.behavior.read import read
from mechdecouple.errors import InputError, TaskError
from mechdecouple.models import HookedModel
from mechdecouple.results import Metric
from mechdecouple.tasks import Task

FIELD = "{options}"
"""Where the prompt lists the options."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

ORDER_SPREAD = Metric(
    name="order_spread", family="behavior", title="spread over option orders", range="[0, 1]", direction="lower",
    measures="largest less smallest probability that an answer gets over the orders its options are listed in",
    null="0: what is expressed does not depend on how the question is laid out",
    assumes="the prompt lists the options; with two options there are only two orders",
    source="arXiv:2309.03882; arXiv:2310.11324",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class OrderedAnswers:
    """Answers averaged over option orders, with what the orders did to them.

    Attributes:
        answers: the average as `Answers` in the task's own option order: probabilities are means over the orders, and
            choice, confidence, margin, expressed belief and claim follow from them.
        by_order: [o, n, m] probability of each option (the task's own order) under each listing; NaN where an item has
            fewer than o orders, 0 where it has fewer than m options.
        expressed_by_order: [o, n] probability given to the affirming choice.
        spread: [n] largest less smallest ``expressed`` over the orders (of the averaged answer's probability where
            the task has no affirming choice); NaN with one order.
        steady: [n] bool: every order has the same likeliest option.
        place_bias: [m] how much more probable an option is when listed at that place than on its average over the
            orders; 0 where order does not matter. Exact where every option is seen at each place equally often (as
            many orders as options), else drawn towards 0.
    """

    answers: Answers
    by_order: np.ndarray
    expressed_by_order: np.ndarray
    spread: np.ndarray
    steady: np.ndarray
    place_bias: np.ndarray

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def n_orders(self) -> int:
        return len(self.by_order)

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row an item: the averaged answers, their spread, and whether every order agrees."""
        return self.answers.frame().assign(spread=self.spread, steady=self.steady)

    def _repr_html_(self) -> str:
        return self.frame().head(5).to_html(index=False, border=0)


def orderings(n_options: int, n_orders: int = 3, seed: int = 0) -> Int[np.ndarray, "o m"]:
    """Different orders of ``n_options`` options, the given one first; every order where there are fewer than asked for.

    Row j names the option at each place. Rotations come first (as many of them as options put each option at each place
    once), then rotations of the reverse, then random orders.

    Raises:
        InputError: fewer than two options or one order.

    >>> orderings(3, 3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    >>> orderings(2, 3).tolist()
    [[0, 1], [1, 0]]
    """
    if n_options < 2 or n_orders < 1:
        raise InputError(f"{n_orders} orders of {n_options} options; expected at least 1 order of 2 options")
    wanted = n_orders if n_options > 12 else min(n_orders, math.factorial(n_options))
    ahead = np.arange(n_options)
    rotations = (np.roll(row, -shift) for row in (ahead, ahead[::-1]) for shift in range(n_options))
    rng = np.random.default_rng(seed)
    random = (rng.permutation(n_options) for _ in itertools.count())
    found: dict[tuple[int, ...], None] = {}
    for row in itertools.chain(rotations, random):
        found[tuple(row.tolist())] = None
        if len(found) == wanted:
            break
    return np.array(list(found))


def spread(values: Float[np.ndarray, "o n"]) -> Float[np.ndarray, " n"]:
    """Largest less smallest of each column, NaN left out; NaN where fewer than two values are there.

    >>> spread(np.array([[0.2, 0.5], [0.6, np.nan]])).round(3).tolist()
    [0.4, nan]
    """
    there = np.isfinite(values)
    high, low = np.where(there, values, -np.inf).max(axis=0), np.where(there, values, np.inf).min(axis=0)
    return np.where(there.sum(axis=0) > 1, high - low, np.nan)


def place_bias(by_order: Float[np.ndarray, "o n m"], listed: Int[np.ndarray, "o n m"]) -> Float[np.ndarray, " m"]:
    """Mean surplus of an option's probability at each place over its own mean; ``listed`` -1 where there is no option.

    ``listed[j, i, k]`` is the option that order j lists at place k of item i.

    >>> by_order = np.array([[[0.7, 0.3]], [[0.3, 0.7]]])
    >>> place_bias(by_order, np.array([[[0, 1]], [[1, 0]]])).round(3).tolist()
    [0.2, -0.2]
    """
    there = listed >= 0
    n_orders = np.maximum(there.any(axis=2).sum(axis=0), 1)
    own_mean = np.where(np.isnan(by_order), 0.0, by_order).sum(axis=0) / n_orders[:, None]
    surplus = np.take_along_axis(by_order - own_mean, np.maximum(listed, 0), axis=2)
    count = there.sum(axis=(0, 1))
    total = np.where(there, surplus, 0.0).sum(axis=(0, 1))
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def read_orders(
    model: HookedModel | None, task: Task, n_orders: int = 3, *, letters: bool = False, seed: int = 0, **reading: Any
) -> OrderedAnswers:
    """Read a choice task once for each order in which the prompt lists its options, and average.

    Each prompt says where the options stand with ``{options}``. With ``letters`` they are listed as ``A. Yes`` a line
    and the model answers with a letter; without, as ``Yes, No``, and it answers with the option itself.

    Args:
        n_orders: three or more, so that no single layout speaks for the model; items with two options have two.
        reading: as for `read`.

    Raises:
        TaskError: the task has no choices or no prompts; a prompt without ``{options}``, or with it twice.
        InputError: fewer than one order, or more options than letters.
    """
    listed = _listed(task, n_orders, letters, seed)
    n_orders, n, m = listed.shape
    by_order, expressed = np.full((n_orders, n, m), np.nan), np.full((n_orders, n), np.nan)
    mass = np.full((n_orders, n), np.nan)
    for j, of_order in enumerate(listed):
        for rows, part in _relisted(task, of_order, letters):
            answers = read(model, part, **reading)
            if answers.reason:
                return _nothing(task, answers.reason, listed.shape)
            prob = answers.prob
            assert prob is not None
            assert answers.option_mass is not None
            for row, of_item in zip(rows, prob, strict=True):
                options = of_order[row][of_order[row] >= 0]
                by_order[j, row] = 0.0
                by_order[j, row, options] = of_item[: len(options)]
            expressed[j, rows], mass[j, rows] = answers.expressed, answers.option_mass
    with np.errstate(divide="ignore"):
        logp = np.log(np.nanmean(by_order, axis=0))
    averaged = _averaged(task, logp, expressed, np.nanmean(mass, axis=0))
    assert averaged.choice is not None
    moved = expressed if task.affirm is not None else by_order[:, np.arange(n), averaged.choice]
    best = np.where(np.isnan(by_order), -np.inf, by_order).argmax(axis=2)
    unread = np.isnan(by_order).all(axis=2)
    return OrderedAnswers(
        answers=averaged, by_order=by_order, expressed_by_order=expressed, spread=spread(moved),
        steady=((best == best[0]) | unread).all(axis=0), place_bias=place_bias(by_order, listed),
    )  # fmt: skip


def _listed(task: Task, n_orders: int, letters: bool, seed: int) -> np.ndarray:
    """[o, n, m] the option at each place of each item's list; -1 beyond its options or its orders."""
    if task.choices is None or task.prompts is None:
        raise TaskError(f"{task.name}: option orders need prompts and choices; give the task both columns")
    for row, prompt in enumerate(task.prompts):
        if prompt.count(FIELD) != 1:
            raise TaskError(
                f"{task.place(row)}, column prompt: holds {FIELD} {prompt.count(FIELD)} times; write it once, where "
                "the options are to be listed"
            )
    sizes = [len(options) for options in task.choices]
    if letters and max(sizes) > len(LETTERS):
        raise InputError(f"{max(sizes)} options are more than the {len(LETTERS)} letters; leave out letters")
    orders = {size: orderings(size, n_orders, seed) for size in set(sizes)}
    out = np.full((max(map(len, orders.values())), len(task), max(sizes)), -1)
    for row, size in enumerate(sizes):
        out[: len(orders[size]), row, :size] = orders[size]
    return out


def _relisted(task: Task, listed: np.ndarray, letters: bool) -> list[tuple[np.ndarray, Task]]:
    """Row indices and task of each part that one call can read: with letters, a part for each affirming letter."""
    assert task.choices is not None
    assert task.prompts is not None
    frame = task.frame.copy()
    there = np.flatnonzero(listed[:, 0] >= 0)
    affirm = np.full(len(task), -1)
    for row in there:
        options = [task.choices[row][k] for k in listed[row] if k >= 0]
        shown = ", ".join(options)
        if letters:
            shown = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
            names = tuple(LETTERS[: len(options)])
            frame.at[row, "answer"] = names[options.index(task.frame.at[row, "answer"])]
            frame.at[row, "choices"] = names
            affirm[row] = options.index(task.affirm) if task.affirm in options else -1
        else:
            frame.at[row, "choices"] = tuple(options)
        frame.at[row, "prompt"] = task.prompts[row].replace(FIELD, shown)
    whole = dataclasses.replace(task, frame=frame)
    if not letters:
        return [(there, whole.select(there))]
    parts = []
    for place in np.unique(affirm[there]):
        rows = there[affirm[there] == place]
        named = dataclasses.replace(whole, affirm=LETTERS[place] if place >= 0 else None)
        parts.append((rows, named.select(rows)))
    return parts


def _averaged(task: Task, logp: np.ndarray, expressed: np.ndarray, mass: np.ndarray) -> Answers:
    assert task.choices is not None
    assert task.answers is not None
    rows, choice = np.arange(len(task)), logp.argmax(axis=1)
    right = np.array([options.index(answer) for options, answer in zip(task.choices, task.answers, strict=True)])
    others = logp.copy()
    others[rows, right] = -np.inf
    correct = choice == right
    mean = np.full(len(task), np.nan)
    known = np.isfinite(expressed).any(axis=0)
    mean[known] = np.nanmean(expressed[:, known], axis=0)
    claims = np.array([options[c] == task.affirm for options, c in zip(task.choices, choice, strict=True)], float)
    return Answers.of(
        task, score=correct.astype(np.float64), correct=correct, choice=choice, logp=logp, option_mass=mass,
        answer_text=np.array([options[c] for options, c in zip(task.choices, choice, strict=True)]),
        confidence=np.exp(logp[rows, choice]), margin=logp[rows, right] - others.max(axis=1), expressed=mean,
        claim=np.where(known, claims, np.nan), chance=float(np.mean([1 / len(o) for o in task.choices])),
    )  # fmt: skip


def _nothing(task: Task, reason: str, shape: tuple[int, ...]) -> OrderedAnswers:
    return OrderedAnswers(
        answers=Answers.nothing(task, reason), by_order=np.full(shape, np.nan),
        expressed_by_order=np.full(shape[:2], np.nan), spread=np.full(len(task), np.nan),
        steady=np.zeros(len(task), bool), place_bias=np.full(shape[2], np.nan),
    )  # fmt: skip
