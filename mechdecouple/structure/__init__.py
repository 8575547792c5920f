"""How representations are organised: arrays in, numbers out; one idea a file."""

from mechdecouple.structure.ablation_curve import (
    ABLATION_AREA,
    AblationArea,
    ablation_area,
    ablation_counts,
    ablation_curve,
)
from mechdecouple.structure.additive import ADDITIVE_SHARE, AdditiveShare, additive_share
from mechdecouple.structure.cca import R2_CCA, cca_matrix, mean_r2_cca
from mechdecouple.structure.ccgp import CCGP, Ccgp, ccgp
from mechdecouple.structure.clusterability import CLUSTERABILITY, Clusterability, clusterability
from mechdecouple.structure.collateral import ERASURE_COLLATERAL, ErasureCollateral, erasure_collateral
from mechdecouple.structure.conditions import (
    CCGP_CONCEPTS,
    PARALLELISM_CONCEPTS,
    CcgpOverConcepts,
    ParallelismOverConcepts,
    other_concepts,
)
from mechdecouple.structure.dci import (
    DCI_COMPLETENESS,
    DCI_DISENTANGLEMENT,
    Dci,
    completeness,
    disentanglement,
    readout_effects,
    unit_effects,
)
from mechdecouple.structure.erasure import CODING_ENERGY_LEFT, ERASURE_RESIDUAL, ErasureResidual, erasure_residual
from mechdecouple.structure.functional import functional_basis, project
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
from mechdecouple.structure.invariance import invariant_share
from mechdecouple.structure.mutual_knn import MUTUAL_KNN, mutual_knn, mutual_knn_matrix
from mechdecouple.structure.neural_collapse import NEURAL_COLLAPSE, NeuralCollapse, neural_collapse
from mechdecouple.structure.overlap import CODING_OVERLAP, OVERLAP_REASON, coding_overlap, random_overlap
from mechdecouple.structure.parallelism import PARALLELISM, Parallelism, parallelism
from mechdecouple.structure.probe_accuracy import PROBE_ACCURACY, ProbeAccuracy, probe_accuracy
from mechdecouple.structure.procrustes import PROCRUSTES, procrustes, procrustes_matrix
from mechdecouple.structure.robustness import (
    NOISE_TOLERANCE,
    NOISE_TOLERANCE_TOTAL,
    NoiseTolerance,
    functional_rms,
    noise_std,
    noise_tolerance,
    total_rms,
)
from mechdecouple.structure.sharpness import RELATIVE_SHARPNESS, RelativeSharpness
from mechdecouple.structure.similarity import CKA, cka, cka_matrix
from mechdecouple.structure.similarity_matrix import SimilarityMatrix
from mechdecouple.structure.superposition import (
    SUPERPOSITION_DIMENSIONALITY,
    SUPERPOSITION_INTERFERENCE,
    Superposition,
    superposition,
)
from mechdecouple.structure.weight_noise import (
    NOISE_SIZES,
    WEIGHT_NOISE_SLOPE,
    WeightNoise,
    filter_scales,
    noisy_losses,
    weight_noise_slope,
)
from mechdecouple.structure.weight_sweep import (
    WEIGHT_MODULARITY,
    WEIGHT_MODULARITY_EXCESS,
    WeightSweep,
    fresh_weights,
    weight_effects,
    weight_modularity,
    weight_sweep,
)

__all__ = [
    "ABLATION_AREA",
    "ADDITIVE_SHARE",
    "CCGP",
    "CCGP_CONCEPTS",
    "CKA",
    "CLUSTERABILITY",
    "CODING_ENERGY_LEFT",
    "CODING_OVERLAP",
    "DCI_COMPLETENESS",
    "DCI_DISENTANGLEMENT",
    "EFFECTIVE_RANK",
    "ERASURE_COLLATERAL",
    "ERASURE_RESIDUAL",
    "INTRINSIC_DIMENSION",
    "MUTUAL_KNN",
    "NEURAL_COLLAPSE",
    "NOISE_SIZES",
    "NOISE_TOLERANCE",
    "NOISE_TOLERANCE_TOTAL",
    "OVERLAP_REASON",
    "PARALLELISM",
    "PARALLELISM_CONCEPTS",
    "PARTICIPATION_RATIO",
    "PROBE_ACCURACY",
    "PROCRUSTES",
    "R2_CCA",
    "RELATIVE_SHARPNESS",
    "SUPERPOSITION_DIMENSIONALITY",
    "SUPERPOSITION_INTERFERENCE",
    "WEIGHT_MODULARITY",
    "WEIGHT_MODULARITY_EXCESS",
    "WEIGHT_NOISE_SLOPE",
    "AblationArea",
    "AdditiveShare",
    "Ccgp",
    "CcgpOverConcepts",
    "Clusterability",
    "Dci",
    "ErasureCollateral",
    "ErasureResidual",
    "IntrinsicDimension",
    "NeuralCollapse",
    "NoiseTolerance",
    "Parallelism",
    "ParallelismOverConcepts",
    "ProbeAccuracy",
    "RelativeSharpness",
    "SimilarityMatrix",
    "Superposition",
    "WeightNoise",
    "WeightSweep",
    "ablation_area",
    "ablation_counts",
    "ablation_curve",
    "additive_share",
    "cca_matrix",
    "ccgp",
    "cka",
    "cka_matrix",
    "clusterability",
    "coding_overlap",
    "completeness",
    "disentanglement",
    "effective_rank",
    "effective_rank_jackknife",
    "erasure_collateral",
    "erasure_residual",
    "filter_scales",
    "fresh_weights",
    "functional_basis",
    "functional_rms",
    "intrinsic_dimension",
    "intrinsic_dimension_subsampled",
    "invariant_share",
    "mean_r2_cca",
    "mutual_knn",
    "mutual_knn_matrix",
    "neural_collapse",
    "noise_std",
    "noise_tolerance",
    "noisy_losses",
    "other_concepts",
    "parallelism",
    "participation_ratio",
    "participation_ratio_jackknife",
    "probe_accuracy",
    "procrustes",
    "procrustes_matrix",
    "project",
    "random_overlap",
    "readout_effects",
    "superposition",
    "total_rms",
    "unit_effects",
    "weight_effects",
    "weight_modularity",
    "weight_noise_slope",
    "weight_sweep",
]
