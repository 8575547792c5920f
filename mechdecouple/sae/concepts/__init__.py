"""Declared concepts in a dictionary: are they there, in how many latents, absorbed by others, and nowhere else?"""

from mechdecouple.sae.concepts.absorption import SAE_ABSORPTION, SAE_ABSORPTION_FULL, Absorption, absorption
from mechdecouple.sae.concepts.perturbation import (
    SAE_PERTURBATION,
    SAE_PERTURBATION_OTHERS,
    SAE_PERTURBATION_TARGET,
    TargetedPerturbation,
    targeted_perturbation,
)
from mechdecouple.sae.concepts.probing import (
    SAE_SPARSE_PROBING,
    SAE_SPARSE_PROBING_GAP,
    SparseProbing,
    sparse_probing,
)
from mechdecouple.sae.concepts.splitting import SAE_SPLITTING, Splitting, splitting

__all__ = [
    "SAE_ABSORPTION",
    "SAE_ABSORPTION_FULL",
    "SAE_PERTURBATION",
    "SAE_PERTURBATION_OTHERS",
    "SAE_PERTURBATION_TARGET",
    "SAE_SPARSE_PROBING",
    "SAE_SPARSE_PROBING_GAP",
    "SAE_SPLITTING",
    "Absorption",
    "SparseProbing",
    "Splitting",
    "TargetedPerturbation",
    "absorption",
    "sparse_probing",
    "splitting",
    "targeted_perturbation",
]
