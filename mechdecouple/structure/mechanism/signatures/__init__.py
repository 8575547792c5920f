"""Signatures: what a model's answers and their gradients say of how they are made, whatever the basis inside."""

from mechdecouple.structure.mechanism.signatures.cyclic import Cyclic, cyclic
from mechdecouple.structure.mechanism.signatures.factors import declared, inputs, population, varying_positions
from mechdecouple.structure.mechanism.signatures.gradient_symmetry import GRADIENT_SYMMETRY, gradient_symmetry
from mechdecouple.structure.mechanism.signatures.gradients import InputGradients, gradients_cost, input_gradients
from mechdecouple.structure.mechanism.signatures.shared import SharedOptions, shared_options
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

__all__ = [
    "GRADIENT_SYMMETRY",
    "VARIANCE_INTERACTION",
    "VARIANCE_REST",
    "VARIANCE_SHARE",
    "WRONG_OPTIONS",
    "WRONG_OPTIONS_CLASS",
    "WRONG_OPTIONS_WITHIN",
    "Cyclic",
    "InputGradients",
    "SharedOptions",
    "VarianceSplit",
    "WrongOptions",
    "cyclic",
    "declared",
    "gradient_symmetry",
    "gradients_cost",
    "input_gradients",
    "inputs",
    "population",
    "shared_options",
    "split_answer",
    "variance_split",
    "varying_positions",
    "wrong_options",
]
