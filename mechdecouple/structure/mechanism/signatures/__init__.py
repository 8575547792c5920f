"""Signatures: what a model's answers and their gradients say of how they are made, whatever the basis inside."""

from mechdecouple.structure.mechanism.signatures.additivity import ADDITIVITY, additivity
from mechdecouple.structure.mechanism.signatures.agreement import (
    COMPONENT_AGREEMENT,
    INFLUENCE_AGREEMENT,
    Agreement,
    pattern_agreement,
)
from mechdecouple.structure.mechanism.signatures.contrast import SignatureContrast, contrast
from mechdecouple.structure.mechanism.signatures.cyclic import Cyclic, cyclic
from mechdecouple.structure.mechanism.signatures.effective_components import (
    EFFECTIVE_COMPONENTS,
    effective_components,
)
from mechdecouple.structure.mechanism.signatures.entries import Entry
from mechdecouple.structure.mechanism.signatures.factors import declared, inputs, population, varying_positions
from mechdecouple.structure.mechanism.signatures.gradient_symmetry import GRADIENT_SYMMETRY, gradient_symmetry
from mechdecouple.structure.mechanism.signatures.gradients import InputGradients, gradients_cost, input_gradients
from mechdecouple.structure.mechanism.signatures.group_basis import GroupBasis, fourier_basis, table_basis, task_basis
from mechdecouple.structure.mechanism.signatures.group_sparsity import (
    EFFECTIVE_BLOCKS,
    GROUP_SPARSITY,
    SPECTRUM_OVERLAP,
    effective_blocks,
    group_sparsity,
    overlap_null,
    spectrum,
    spectrum_overlap,
)
from mechdecouple.structure.mechanism.signatures.influence import (
    EFFECTIVE_INPUTS,
    INFLUENCE_SHARE,
    Influence,
    influence,
)
from mechdecouple.structure.mechanism.signatures.shared import SharedOptions, shared_options
from mechdecouple.structure.mechanism.signatures.signature import Signature, signature, signature_cost
from mechdecouple.structure.mechanism.signatures.variance_split import (
    VARIANCE_INTERACTION,
    VARIANCE_REST,
    VARIANCE_SHARE,
    VarianceSplit,
    split_answer,
    variance_split,
)
from mechdecouple.structure.mechanism.signatures.wrong_options import (
    WRONG_OPTIONS,
    WRONG_OPTIONS_CLASS,
    WRONG_OPTIONS_WITHIN,
    WrongOptions,
    wrong_options,
)

SIGNATURE_METRICS = (
    VARIANCE_SHARE,
    VARIANCE_INTERACTION,
    VARIANCE_REST,
    GRADIENT_SYMMETRY,
    ADDITIVITY,
    WRONG_OPTIONS_WITHIN,
    INFLUENCE_SHARE,
    EFFECTIVE_INPUTS,
    EFFECTIVE_COMPONENTS,
    GROUP_SPARSITY,
    EFFECTIVE_BLOCKS,
)
"""Those of one model."""
CONTRAST_METRICS = (
    WRONG_OPTIONS,
    WRONG_OPTIONS_CLASS,
    INFLUENCE_AGREEMENT,
    COMPONENT_AGREEMENT,
    SPECTRUM_OVERLAP,
)
"""Those of two models beyond the differences of the others."""

__all__ = [
    "ADDITIVITY",
    "COMPONENT_AGREEMENT",
    "CONTRAST_METRICS",
    "EFFECTIVE_BLOCKS",
    "EFFECTIVE_COMPONENTS",
    "EFFECTIVE_INPUTS",
    "GRADIENT_SYMMETRY",
    "GROUP_SPARSITY",
    "INFLUENCE_AGREEMENT",
    "INFLUENCE_SHARE",
    "SIGNATURE_METRICS",
    "SPECTRUM_OVERLAP",
    "VARIANCE_INTERACTION",
    "VARIANCE_REST",
    "VARIANCE_SHARE",
    "WRONG_OPTIONS",
    "WRONG_OPTIONS_CLASS",
    "WRONG_OPTIONS_WITHIN",
    "Agreement",
    "Cyclic",
    "Entry",
    "GroupBasis",
    "Influence",
    "InputGradients",
    "SharedOptions",
    "Signature",
    "SignatureContrast",
    "VarianceSplit",
    "WrongOptions",
    "additivity",
    "contrast",
    "cyclic",
    "declared",
    "effective_blocks",
    "effective_components",
    "fourier_basis",
    "gradient_symmetry",
    "gradients_cost",
    "group_sparsity",
    "influence",
    "input_gradients",
    "inputs",
    "overlap_null",
    "pattern_agreement",
    "population",
    "shared_options",
    "signature",
    "signature_cost",
    "spectrum",
    "spectrum_overlap",
    "split_answer",
    "table_basis",
    "task_basis",
    "variance_split",
    "varying_positions",
    "wrong_options",
]
