"""How representations are organised: arrays in, numbers out; one idea a file."""

from mechdecouple.structure.geometry import (
    EFFECTIVE_RANK,
    PARTICIPATION_RATIO,
    effective_rank,
    effective_rank_jackknife,
    participation_ratio,
    participation_ratio_jackknife,
)
from mechdecouple.structure.similarity import CKA, CKAMatrix, cka, cka_matrix

__all__ = [
    "CKA",
    "EFFECTIVE_RANK",
    "PARTICIPATION_RATIO",
    "CKAMatrix",
    "cka",
    "cka_matrix",
    "effective_rank",
    "effective_rank_jackknife",
    "participation_ratio",
    "participation_ratio_jackknife",
]
