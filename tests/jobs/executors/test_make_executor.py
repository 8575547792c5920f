import pytest

from mechdecouple.errors import InputError
from mechdecouple.jobs.executors import EXECUTORS, Processes, Serial, make_executor


def test_each_name_makes_its_executor():
    assert EXECUTORS == ("serial", "processes", "ray")
    assert type(make_executor()) is type(make_executor("serial", 1)) is Serial
    found = make_executor("processes", 3)
    assert isinstance(found, Processes)
    assert found.workers == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("slurm",), "executor 'slurm': expected one of serial, processes, ray"),
        (("serial", 2), "workers = 2: the executor 'serial' does one unit at a time; name 'processes'"),
        (("processes", -1), "workers = -1: expected 1 or more"),
        (("processes", 2, "here:1"), "address 'here:1' is for the executor 'ray'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(arguments, words):
    with pytest.raises(InputError, match=words):
        make_executor(*arguments)
