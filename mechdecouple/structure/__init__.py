"""How representations are organised: arrays in, numbers out; one idea a file."""

from mechdecouple.structure.additive import ADDITIVE_SHARE, AdditiveShare, additive_share
from mechdecouple.structure.ccgp import CCGP, Ccgp, ccgp
from mechdecouple.structure.conditions import (
    CCGP_CONCEPTS,
    PARALLELISM_CONCEPTS,
    CcgpOverConcepts,
    ParallelismOverConcepts,
    other_concepts,
)
from mechdecouple.structure.erasure import CODING_ENERGY_LEFT, ERASURE_RESIDUAL, ErasureResidual, erasure_residual
from mechdecouple.structure.geometry import (
    EFFECTIVE_RANK,
    PARTICIPATION_RATIO,
    effective_rank,
    effective_rank_jackknife,
    participation_ratio,
    participation_ratio_jackknife,
)
from mechdecouple.structure.intrinsic_dimension import (
    INTRINSIC_DIMENSION,
    IntrinsicDimension,
    intrinsic_dimension,
    intrinsic_dimension_subsampled,
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
from mechdecouple.structure.similarity import CKA, cka, cka_matrix
from mechdecouple.structure.similarity_matrix import SimilarityMatrix

__all__ = [
    "ADDITIVE_SHARE",
    "CCGP",
    "CCGP_CONCEPTS",
    "CKA",
    "CODING_ENERGY_LEFT",
    "CODING_OVERLAP",
    "EFFECTIVE_RANK",
    "ERASURE_RESIDUAL",
    "INTRINSIC_DIMENSION",
    "NOISE_TOLERANCE",
    "NOISE_TOLERANCE_TOTAL",
    "OVERLAP_REASON",
    "PARALLELISM",
    "PARALLELISM_CONCEPTS",
    "PARTICIPATION_RATIO",
    "PROBE_ACCURACY",
    "AdditiveShare",
    "Ccgp",
    "CcgpOverConcepts",
    "ErasureResidual",
    "IntrinsicDimension",
    "NoiseTolerance",
    "Parallelism",
    "ParallelismOverConcepts",
    "ProbeAccuracy",
    "SimilarityMatrix",
    "additive_share",
    "ccgp",
    "cka",
    "cka_matrix",
    "coding_overlap",
    "effective_rank",
    "effective_rank_jackknife",
    "erasure_residual",
    "functional_rms",
    "intrinsic_dimension",
    "intrinsic_dimension_subsampled",
    "noise_std",
    "noise_tolerance",
    "other_concepts",
    "parallelism",
    "participation_ratio",
    "participation_ratio_jackknife",
    "probe_accuracy",
    "random_overlap",
    "total_rms",
]
