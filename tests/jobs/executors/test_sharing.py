from collections import deque

import numpy as np
import pytest

from mechdecouple.errors import MechDecoupleError
from mechdecouple.jobs.executors import Outcome
from mechdecouple.jobs.executors.sharing import Word, nearest, share_out
from mechdecouple.jobs.store import UnitStore
from mechdecouple.jobs.units import Unit


def unit(label, *needs, **spec):
    spec = {"threads": 1, "label": label, **spec}
    return Unit("extract", spec, {}, needs=tuple(need.key for need in needs), label=label)


class Crew:
    """Workers that answer in the order in which they were asked; some units kill them, some workers never start."""

    def __init__(self, kills=None, absent=()):
        self.kills, self.absent = dict(kills or {}), absent
        self.words, self.started, self.given, self.free = deque(), [], [], set()

    def start(self, worker):
        self.started.append(worker)
        self.words.append(Word(worker, lost="no room" if worker in self.absent else ""))

    def give(self, worker, unit):
        self.given.append((worker, unit.label))
        self.free.remove(worker)
        if self.kills.get(unit.label, 0):
            self.kills[unit.label] -= 1
            self.words.append(Word(worker, lost="process killed by SIGKILL"))
        else:
            self.words.append(Word(worker, Outcome(unit.stage, unit.key, unit.label)))

    def hear(self):
        word = self.words.popleft()
        (self.free.discard if word.lost else self.free.add)(word.worker)
        return word


def reasons(units, folder, crew, size=2):
    return {outcome.label: outcome.reason for outcome in share_out(units, folder, crew, size)}


@pytest.mark.parametrize("size", [1, 2, 7])
def test_every_unit_is_done_once_after_what_it_needs(tmp_path, size):
    rng = np.random.default_rng(size)
    units = []
    for i in range(40):
        chosen = rng.choice(i, size=min(i, 2), replace=False) if i else []
        units.append(unit(f"u{i}", *(units[j] for j in chosen)))
    crew = Crew()
    order = [outcome.key for outcome in share_out(units, tmp_path, crew, size)]
    assert sorted(order) == sorted(u.key for u in units)
    assert all(order.index(need) < order.index(u.key) for u in units for need in u.needs)
    assert {worker for worker, _ in crew.given} == set(range(size))


def test_a_unit_whose_worker_is_lost_is_tried_once_more(tmp_path):
    units = [unit("a"), unit("b"), unit("c")]
    crew = Crew({"b": 1})
    assert reasons(units, tmp_path, crew) == {"a": "", "b": "", "c": ""}
    assert [label for _, label in crew.given].count("b") == 2
    assert len(crew.started) == 3
    assert UnitStore(tmp_path).failure(units[1]) == ""


def test_a_unit_that_costs_two_workers_has_failed_and_the_rest_is_done(tmp_path, caplog):
    bad = unit("bad")
    units = [unit("a"), bad, unit("needs it", bad), unit("c")]
    found = reasons(units, tmp_path, Crew({"bad": 9}))
    assert found["a"] == found["c"] == ""
    assert "lost twice (process killed by SIGKILL)" in found["bad"]
    assert found["needs it"] == "needs extract of bad, which failed"
    assert UnitStore(tmp_path).failure(bad) == found["bad"]
    assert caplog.messages == ["extract of bad: process killed by SIGKILL; it is tried once more"]


def test_a_worker_that_never_starts_is_done_without(tmp_path):
    crew = Crew(absent={0})
    assert reasons([unit("a"), unit("b")], tmp_path, crew) == {"a": "", "b": ""}
    assert crew.started == [0, 1]
    with pytest.raises(MechDecoupleError, match="no worker could be started: no room"):
        reasons([unit("a"), unit("b")], tmp_path, Crew(absent={0, 1}))


def test_a_worker_that_dies_with_nothing_to_do_is_made_anew(tmp_path):
    class Frail(Crew):
        def start(self, worker):
            super().start(worker)
            if worker == 1 and self.started.count(1) == 1:
                self.words.append(Word(1, lost="process killed by SIGTERM"))

    first, crew = unit("first"), Frail()
    assert reasons([first, unit("second", first)], tmp_path, crew) == {"first": "", "second": ""}
    assert crew.started == [0, 1, 1]


def test_no_more_workers_are_made_than_there_are_units(tmp_path):
    crew = Crew()
    reasons([unit("a")], tmp_path, crew, size=8)
    assert crew.started == [0]
    assert list(share_out([], tmp_path, Crew(), 8)) == []


def test_each_model_stays_with_the_worker_that_holds_it(tmp_path):
    units = [unit(f"{model}{task}", model=model) for task in "123" for model in "xyz"]
    crew = Crew()
    reasons(units, tmp_path, crew, size=3)
    places = {model: {worker for worker, label in crew.given if label[0] == model} for model in "xyz"}
    assert all(len(workers) == 1 for workers in places.values())


def test_nearest_prefers_what_is_held_then_what_nobody_holds_then_the_first():
    ab, ac, d, e = unit("ab", a="A", b="B"), unit("ac", a="A", b="C"), unit("d", model="D"), unit("e", model="E")
    assert nearest([d, ac, ab], {"A", "B"}, {"A", "B"}) is ab
    assert nearest([ab, d, e], (), {"A"}) is d
    assert nearest([e, d], (), ()) is e
    assert nearest([], {"A"}, ()) is None
