"""Linear probes and erasers on plain arrays: a mutable fitter's ``fit(X, y, groups)`` returns a frozen probe."""

from mechdecouple.probes.leace import Eraser, LeaceFitter
from mechdecouple.probes.logistic import LogisticFitter
from mechdecouple.probes.many import CrossValidated, LogisticPath, cross_validated, fit_many
from mechdecouple.probes.mass_mean import MassMeanFitter
from mechdecouple.probes.probe import LinearProbe
from mechdecouple.probes.splits import grouped_folds, leave_one_context_out

__all__ = [
    "CrossValidated",
    "Eraser",
    "LeaceFitter",
    "LinearProbe",
    "LogisticFitter",
    "LogisticPath",
    "MassMeanFitter",
    "cross_validated",
    "fit_many",
    "grouped_folds",
    "leave_one_context_out",
]
