"""Matching: which latents of two dictionaries are the same feature, beside what two seeds of one model share."""

from mechdecouple.sae.matching.kinds import KIND_EXCESSES, KIND_SEEDS, KIND_SHARES, KINDS, SIDES, Kinds
from mechdecouple.sae.matching.match import MATCHED_SHARE, Matching, match
from mechdecouple.sae.matching.seeds import (
    MATCHED_SHARE_EXCESS,
    MATCHED_SHARE_SEED,
    KindShare,
    Sharing,
    matched_share_excess,
)

__all__ = [
    "KINDS",
    "KIND_EXCESSES",
    "KIND_SEEDS",
    "KIND_SHARES",
    "MATCHED_SHARE",
    "MATCHED_SHARE_EXCESS",
    "MATCHED_SHARE_SEED",
    "SIDES",
    "KindShare",
    "Kinds",
    "Matching",
    "Sharing",
    "match",
    "matched_share_excess",
]
