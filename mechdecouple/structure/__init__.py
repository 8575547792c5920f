"""How representations are organised: arrays in, numbers out; one idea a file."""

from mechdecouple.structure.ccgp import CCGP, Ccgp, ccgp
from mechdecouple.structure.erasure import CODING_ENERGY_LEFT, ERASURE_RESIDUAL, ErasureResidual, erasure_residual
from mechdecouple.structure.geometry import (
    EFFECTIVE_RANK,
    PARTICIPATION_RATIO,
    effective_rank,
    effective_rank_jackknife,
    participation_ratio,
    participation_ratio_jackknife,
)
from mechdecouple.structure.overlap import CODING_OVERLAP, OVERLAP_REASON, coding_overlap, random_overlap
from mechdecouple.structure.parallelism import PARALLELISM, Parallelism, parallelism
from mechdecouple.structure.probe_accuracy import PROBE_ACCURACY, ProbeAccuracy, probe_accuracy
from mechdecouple.structure.robustness import (
    NOISE_TOLERANCE,
    NOISE_TOLERANCE_TOTAL,
    NoiseTolerance,
    functional_rms,
    noise_std,
    noise_tolerance,
    total_rms,
)
from mechdecouple.structure.similarity import CKA, CKAMatrix, cka, cka_matrix

__all__ = [
    "CCGP",
    "CKA",
    "CODING_ENERGY_LEFT",
    "CODING_OVERLAP",
    "EFFECTIVE_RANK",
    "ERASURE_RESIDUAL",
    "NOISE_TOLERANCE",
    "NOISE_TOLERANCE_TOTAL",
    "OVERLAP_REASON",
    "PARALLELISM",
    "PARTICIPATION_RATIO",
    "PROBE_ACCURACY",
    "CKAMatrix",
    "Ccgp",
    "ErasureResidual",
    "NoiseTolerance",
    "Parallelism",
    "ProbeAccuracy",
    "ccgp",
    "cka",
    "cka_matrix",
    "coding_overlap",
    "effective_rank",
    "effective_rank_jackknife",
    "erasure_residual",
    "functional_rms",
    "noise_std",
    "noise_tolerance",
    "parallelism",
    "participation_ratio",
    "participation_ratio_jackknife",
    "probe_accuracy",
    "random_overlap",
    "total_rms",
]
