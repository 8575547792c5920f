"""mechdecouple compares two equally accurate models: their internal structure, and what they represent and say.

The public names are loaded on first use: importing the package imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "compare": "mechdecouple.compare",
    "compare_many": "mechdecouple.compare",
    "Comparison": "mechdecouple.compare",
    "ManyComparison": "mechdecouple.compare",
    "CompareConfig": "mechdecouple.compare",
    "compare_mechanisms": "mechdecouple.structure.mechanism",
    "load": "mechdecouple.refs",
    "load_task": "mechdecouple.refs",
    "Task": "mechdecouple.tasks",
    "run_job": "mechdecouple.jobs.run",
    "open_results": "mechdecouple.jobs.result_set",
    "trends": "mechdecouple.compare.trends",
    "extract": "mechdecouple.extract",
    "Activations": "mechdecouple.activations",
    "plot": "mechdecouple.report",
    "write_report": "mechdecouple.report",
    "export_rating": "mechdecouple.report.rating",
    "read_ratings": "mechdecouple.report.rating",
    "Estimate": "mechdecouple.results",
    "Measurement": "mechdecouple.results",
    "MechDecoupleError": "mechdecouple.errors",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from mechdecouple.activations import Activations as Activations
    from mechdecouple.compare import CompareConfig as CompareConfig
    from mechdecouple.compare import Comparison as Comparison
    from mechdecouple.compare import ManyComparison as ManyComparison
    from mechdecouple.compare import compare as compare
    from mechdecouple.compare import compare_many as compare_many
    from mechdecouple.compare.trends import trends as trends
    from mechdecouple.errors import MechDecoupleError as MechDecoupleError
    from mechdecouple.extract import extract as extract
    from mechdecouple.jobs.result_set import open_results as open_results
    from mechdecouple.jobs.run import run_job as run_job
    from mechdecouple.refs import load as load
    from mechdecouple.refs import load_task as load_task
    from mechdecouple.report import plot as plot
    from mechdecouple.report import write_report as write_report
    from mechdecouple.report.rating import export_rating as export_rating
    from mechdecouple.report.rating import read_ratings as read_ratings
    from mechdecouple.results import Estimate as Estimate
    from mechdecouple.results import Measurement as Measurement
    from mechdecouple.structure.mechanism import compare_mechanisms as compare_mechanisms
    from mechdecouple.tasks import Task as Task


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mechdecouple' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(types.ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the subpackage `mechdecouple.compare` must not hide the function `mechdecouple.compare`.
        if not (name in _HOME and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
