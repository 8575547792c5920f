"""Counterfactuals: what would be right if one declared concept of an item had another value, from the task's table."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.structure.mechanism.options import right_options
from mechdecouple.tasks import Task

_HELD = 0.5
"""A concept is held where at least this share of items still have others that differ in the swapped one alone."""
_CONTESTED = 0.05
"""Most combinations of several items that may have several answers."""
_MISSING, _OPEN = -1, -2


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Items with what is put into them, and what is right then.

    Attributes:
        base, source: [m] rows of a task.
        right: [m] index of the option, or the class, that is right for the base once it has the source's value.
        changes: [m] whether that is another one than the base's own; crossed: than the source's own.
    """

    base: Int[np.ndarray, " m"]
    source: Int[np.ndarray, " m"]
    right: Int[np.ndarray, " m"]
    changes: Bool[np.ndarray, " m"]
    crossed: Bool[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.base)


@dataclasses.dataclass(frozen=True, eq=False)
class Counterfactuals:
    """One concept's values, what stays when they change, and the answers that the table gives for each.

    Attributes:
        concept: its name. values: [l] its levels, sorted. code: [n] level of each item.
        held: what a counterfactual keeps: what else the table declares, as far as it varies freely.
        follows: declared concepts that cannot be held, and so change with it.
        cell: [n] number of each item's combination of what is held.
        reason: why there are no counterfactuals; empty where there are.
    """

    concept: str
    values: Shaped[np.ndarray, " l"]
    code: Int[np.ndarray, " n"]
    held: tuple[str, ...]
    follows: tuple[str, ...]
    cell: Int[np.ndarray, " n"]
    reason: str
    _task: Task = dataclasses.field(repr=False)
    _answers: Int[np.ndarray, "c l"] = dataclasses.field(repr=False)
    _columns: Int[np.ndarray, "n a"] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, task: Task, concept: str) -> Counterfactuals:
        """Look a concept up in a task's table.

        An item's counterfactual for another value of the concept is the answer of the items that have that value and
        agree with it in all that is held: the question asked, the condition, the context and the other concepts, each
        in turn, as long as the swapped one still varies for half of the items. A concept that has to give way, as a sum
        does to its parts, changes with the swapped one. What is held must settle the answers, though: where several
        items have one combination and value, nearly all such sets must agree.

        Args:
            concept: name of a ``concept_`` column without the prefix. A number is taken as a factor, too.

        Raises:
            InputError: no such concept; a task without answers among options or classes.
        """
        factors = declared(task)
        if concept not in factors:
            known = ", ".join(factors) or "none: add concept_ columns"
            raise InputError(f"task {task.name!r} declares no concept {concept!r}; it has {known}")
        if task.answers is None or task.performance not in ("choice", "class"):
            raise InputError(f"task {task.name!r} has no answers among options or classes; counterfactuals need them")
        values, code = np.unique(factors.pop(concept), return_inverse=True)
        held, cell, given_way = _hold(task, code, factors)
        answers = _table(np.unique(np.asarray(task.answers), return_inverse=True)[1], code, cell)
        reason, follows = _reason(concept, values, code, cell, given_way, answers), tuple(given_way)
        return cls(concept, values, code, held, follows, cell, reason, task, answers, _columns(task))

    def pairs(self, bases: Int[np.ndarray, " b"], sources: Int[np.ndarray, " s"], limit: int, seed: int = 0) -> Pairs:
        """Up to ``limit`` bases, each with a source of another value.

        A third are pairs whose answer should stay as it is, where there are any; the others change it. Where there is a
        choice, the source's own answer is not the one that becomes right, or else a code of nothing but the answer
        could pass for the concept; nor are its other concepts those that the base gets with the concept, as a total
        would be that could pass for its part; and the source differs in more than the concept.
        """
        rng = np.random.default_rng(seed)
        right = right_options(self._task)
        given, crossed, other = (
            np.stack(x) for x in zip(*(self._offers(i, sources) for i in bases.tolist()), strict=True)
        )
        changes = (given >= 0) & (given != right[bases][:, None])
        stays = (given >= 0) & ~changes
        moved, kept = _drawn(changes.any(axis=1), stays.any(axis=1), limit, rng)
        drawn = []
        for chosen, kind in ((moved, changes), (kept, stays)):
            for b in chosen:
                worth = np.where(kind[b], other[b] + crossed[b] * (1 + other.max()), -1)
                drawn.append((b, int(rng.choice(np.flatnonzero(worth == worth.max())))))
        b, s = np.array(sorted(drawn), np.int64).reshape(-1, 2).T
        return Pairs(bases[b], sources[s], given[b, s], changes[b, s], crossed[b, s])

    def _offers(
        self, base: int, sources: Int[np.ndarray, " s"]
    ) -> tuple[Int[np.ndarray, " s"], Bool[np.ndarray, " s"], Int[np.ndarray, " s"]]:
        """What each source makes right for a base (-1: nothing known); whether its own answer is another; and how much
        else of it is not what the base gets."""
        cell, level = self.cell[base], self.code[sources]
        answer = self._answers[cell, level]
        known = (answer >= 0) & (level != self.code[base])
        given = np.where(known, self._columns[base][answer], _MISSING)
        own = np.unique(np.asarray(self._task.answers), return_inverse=True)[1]
        other = (self.cell[sources] != cell).astype(np.int64)
        for value, table in self._moved:
            other += 2 * (value[sources] != table[cell, level])
        return given, own[sources] != answer, other

    @cached_property
    def _moved(self) -> list[tuple[Int[np.ndarray, " n"], Int[np.ndarray, "c l"]]]:
        """The concepts that change along: level of each item, and in each cell at each value of the concept."""
        factors = declared(self._task)
        levels = [np.unique(factors[name], return_inverse=True)[1] for name in self.follows]
        return [(level, _table(level, self.code, self.cell)) for level in levels]

    def matched(self, rows: Int[np.ndarray, " m"], seed: int = 0) -> Int[np.ndarray, "p 2"]:
        """Pairs among ``rows`` that agree in all that is held and differ in the concept: up to two an item."""
        rng = np.random.default_rng(seed)
        found = set()
        for cell in np.unique(self.cell[rows]):
            inside = rng.permutation(rows[self.cell[rows] == cell])
            for step in (1, 2):
                for a, b in zip(inside, np.roll(inside, step), strict=True):
                    if self.code[a] != self.code[b]:
                        found.add((min(int(a), int(b)), max(int(a), int(b))))
        return np.array(sorted(found), np.int64).reshape(-1, 2)

    def others(self) -> Int[np.ndarray, "n h"]:
        """[n, h] level of each item in each of what is held."""
        factors = declared(self._task) | _background(self._task)
        columns = [np.unique(factors[name], return_inverse=True)[1] for name in self.held]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.code), 0), np.int64)


def _drawn(
    changes: np.ndarray, stays: np.ndarray, limit: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Bases of pairs that change the answer and of others that do not, given which can be had with which."""
    order = rng.permutation(len(changes))
    staying = order[stays[order]]
    # Those first that cannot change.
    kept = staying[np.argsort(changes[staying], kind="stable")][: limit // 3]
    moved = order[changes[order] & ~np.isin(order, kept)]
    return moved[: limit - len(kept)], kept


def declared(task: Task) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Concept -> [n] its value on each item, names as they stand in the table."""
    out: dict[str, np.ndarray] = {}
    for column in task.frame.columns:
        if column.startswith("concept_"):
            values = task.frame[column]
            number = values.dtype.kind == "f"
            name = column.removeprefix("concept_")
            out[name] = values.to_numpy(np.float64) if number else np.asarray(values.tolist(), dtype=np.str_)
    return out


def _background(task: Task) -> dict[str, np.ndarray]:
    """What an answer may depend on besides concepts."""
    given = {"asks": task.asks, "condition": task.condition, "context": task.context}
    return {name: values for name, values in given.items() if values is not None and len(np.unique(values)) > 1}


def _hold(
    task: Task, code: np.ndarray, factors: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    held, given_way, cell = [], {}, np.zeros(len(code), np.int64)
    for name, values in (_background(task) | factors).items():
        level = np.unique(values, return_inverse=True)[1]
        finer = _combined(cell, level)
        if _varies(code, finer).mean() >= _HELD:
            held.append(name)
            cell = finer
        elif name in factors:
            given_way[name] = level
    return tuple(held), cell, given_way


def _reason(
    concept: str,
    values: np.ndarray,
    code: np.ndarray,
    cell: np.ndarray,
    given_way: dict[str, np.ndarray],
    answers: np.ndarray,
) -> str:
    if len(values) < 2:
        return f"concept {concept!r} has one value: nothing can be swapped"
    if 2 * len(values) > len(code):
        return f"concept {concept!r} has {len(values)} values on {len(code)} items: too many to find some that agree"
    several = np.unique(_combined(cell, code), return_counts=True)[1] > 1
    known = (answers >= 0).sum(axis=1) >= 2
    if (answers == _OPEN).sum() > _CONTESTED * several.sum() or not known.any():
        loose = f" ({', '.join(given_way)} cannot be held)" if given_way else ""
        return f"the declared concepts do not settle the answers when {concept!r} is swapped{loose}"
    differs = [len(np.unique(row[row >= 0])) > 1 for row in answers[known]]
    return "" if any(differs) else f"no right answer depends on {concept!r}: nothing could follow it"


def _varies(code: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """[n] whether an item's cell holds more than one level."""
    low, high = np.full(cell.max() + 1, code.max()), np.zeros(cell.max() + 1, np.int64)
    np.minimum.at(low, cell, code)
    np.maximum.at(high, cell, code)
    return (low != high)[cell]


def _combined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.unique(a * (b.max() + 1) + b, return_inverse=True)[1]


def _table(
    given: Int[np.ndarray, " n"], code: Int[np.ndarray, " n"], cell: Int[np.ndarray, " n"]
) -> Int[np.ndarray, "c l"]:
    """What is given in each cell at each level: below 0 where no item is there, or several say several."""
    out = np.full((cell.max() + 1, code.max() + 1), _MISSING)
    for c, v, g in zip(cell, code, given, strict=True):
        out[c, v] = g if out[c, v] in (_MISSING, g) else _OPEN
    return out


def _columns(task: Task) -> Int[np.ndarray, "n a"]:
    """Index among an item's options, or class, of each answer that occurs; -1 where it is not offered."""
    assert task.answers is not None
    names = np.unique(task.answers)
    if task.performance == "class":
        return np.tile(names, (len(task), 1))
    assert task.choices is not None
    kept: dict[tuple[str, ...], np.ndarray] = {}
    for options in task.choices:
        if options not in kept:
            kept[options] = np.array([options.index(a) if a in options else _MISSING for a in names.tolist()])
    return np.stack([kept[options] for options in task.choices])
