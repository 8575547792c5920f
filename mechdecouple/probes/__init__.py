"""Linear probes, erasers and controls on plain arrays: a fitter's ``fit(X, y, groups)`` returns a frozen probe."""

from mechdecouple.probes.description_length import (
    DESCRIPTION_LENGTH,
    PROBE_COMPRESSION,
    DescriptionLength,
    description_length,
)
from mechdecouple.probes.leace import Eraser, LeaceFitter
from mechdecouple.probes.logistic import LogisticFitter
from mechdecouple.probes.many import CrossValidated, LogisticPath, cross_validated, fit_many
from mechdecouple.probes.mass_mean import MassMeanFitter
from mechdecouple.probes.probe import LinearProbe
from mechdecouple.probes.selectivity import PROBE_SELECTIVITY, Selectivity, selectivity
from mechdecouple.probes.splits import grouped_folds, leave_one_context_out

__all__ = [
    "DESCRIPTION_LENGTH",
    "PROBE_COMPRESSION",
    "PROBE_SELECTIVITY",
    "CrossValidated",
    "DescriptionLength",
    "Eraser",
    "LeaceFitter",
    "LinearProbe",
    "LogisticFitter",
    "LogisticPath",
    "MassMeanFitter",
    "Selectivity",
    "cross_validated",
    "description_length",
    "fit_many",
    "grouped_folds",
    "leave_one_context_out",
    "selectivity",
]
