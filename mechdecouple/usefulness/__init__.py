"""What a user can do with a model: foresee its answers, trust the surest of them, get more out of what it holds."""

from mechdecouple.usefulness._found import Cell, Found, differences
from mechdecouple.usefulness.recoverable import (
    RECOVERABLE_ACCURACY,
    REFITTED_ACCURACY,
    Recoverable,
    recoverable_accuracy,
    refitted_answers,
)
from mechdecouple.usefulness.risk_coverage import (
    AURC,
    AURC_GAIN,
    EXCESS_AURC,
    SELECTIVE_ACCURACY,
    RiskCoverage,
    accuracy_at,
    aurc,
    best_aurc,
    risk_coverage,
    risks,
)
from mechdecouple.usefulness.seen import seen
from mechdecouple.usefulness.simulatability import (
    SIMULATABILITY,
    SIMULATED_AGREEMENT,
    SURROGATES,
    Simulatability,
    named_answers,
    simulatability,
)
from mechdecouple.usefulness.sparse_logistic import SparseLogistic, SparseLogisticFitter
from mechdecouple.usefulness.tree import Tree, TreeFitter

__all__ = [
    "AURC",
    "AURC_GAIN",
    "EXCESS_AURC",
    "RECOVERABLE_ACCURACY",
    "REFITTED_ACCURACY",
    "SELECTIVE_ACCURACY",
    "SIMULATABILITY",
    "SIMULATED_AGREEMENT",
    "SURROGATES",
    "Cell",
    "Found",
    "Recoverable",
    "RiskCoverage",
    "Simulatability",
    "SparseLogistic",
    "SparseLogisticFitter",
    "Tree",
    "TreeFitter",
    "accuracy_at",
    "aurc",
    "best_aurc",
    "differences",
    "named_answers",
    "recoverable_accuracy",
    "refitted_answers",
    "risk_coverage",
    "risks",
    "seen",
    "simulatability",
]
