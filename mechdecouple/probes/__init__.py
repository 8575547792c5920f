"""Linear probes, erasers and controls on plain arrays: a fitter's ``fit(X, y, groups)`` returns a frozen probe."""

from mechdecouple.probes.ccs import CcsFitter, CcsProbe
from mechdecouple.probes.crc import CrcFitter
from mechdecouple.probes.description_length import (
    DESCRIPTION_LENGTH,
    PROBE_COMPRESSION,
    DescriptionLength,
    description_length,
)
from mechdecouple.probes.lat import LatFitter
from mechdecouple.probes.leace import Eraser, LeaceFitter
from mechdecouple.probes.logistic import LogisticFitter
from mechdecouple.probes.many import CrossValidated, LogisticPath, cross_validated, fit_many
from mechdecouple.probes.mass_mean import MassMeanFitter
from mechdecouple.probes.mlp import MlpFitter, MlpProbe
from mechdecouple.probes.pairs import PairProbe
from mechdecouple.probes.pooled import PooledFitter, PooledProbe
from mechdecouple.probes.probe import LinearProbe
from mechdecouple.probes.selectivity import PROBE_SELECTIVITY, Selectivity, selectivity
from mechdecouple.probes.sets import LogisticSets, SetProbes, mass_mean_sets
from mechdecouple.probes.splits import grouped_folds, leave_one_context_out
from mechdecouple.probes.ttpd import TtpdFitter, TtpdProbe
from mechdecouple.probes.vinc import VincFitter

__all__ = [
    "DESCRIPTION_LENGTH",
    "PROBE_COMPRESSION",
    "PROBE_SELECTIVITY",
    "CcsFitter",
    "CcsProbe",
    "CrcFitter",
    "CrossValidated",
    "DescriptionLength",
    "Eraser",
    "LatFitter",
    "LeaceFitter",
    "LinearProbe",
    "LogisticFitter",
    "LogisticPath",
    "LogisticSets",
    "MassMeanFitter",
    "MlpFitter",
    "MlpProbe",
    "PairProbe",
    "PooledFitter",
    "PooledProbe",
    "Selectivity",
    "SetProbes",
    "TtpdFitter",
    "TtpdProbe",
    "VincFitter",
    "cross_validated",
    "description_length",
    "fit_many",
    "grouped_folds",
    "leave_one_context_out",
    "mass_mean_sets",
    "selectivity",
]
