"""Resampling, permutation, equivalence, multiplicity: how a number gets its uncertainty. numpy and scipy only."""

from mechdecouple.stats.agreement import alpha_replicates, kappa, krippendorff_alpha
from mechdecouple.stats.auroc import weighted_auroc
from mechdecouple.stats.equivalence import TostResult, paired_tost, supported_margin, tango_interval
from mechdecouple.stats.multiplicity import benjamini_hochberg, holm
from mechdecouple.stats.proportions import exact_mcnemar, wilson
from mechdecouple.stats.replicates import Replicates
from mechdecouple.stats.resampling import (
    group_bootstrap_weights,
    jackknife,
    jackknife_blocks,
    permutation_p,
    second_order_jackknife,
)

__all__ = [
    "Replicates",
    "TostResult",
    "alpha_replicates",
    "benjamini_hochberg",
    "exact_mcnemar",
    "group_bootstrap_weights",
    "holm",
    "jackknife",
    "jackknife_blocks",
    "kappa",
    "krippendorff_alpha",
    "paired_tost",
    "permutation_p",
    "second_order_jackknife",
    "supported_margin",
    "tango_interval",
    "weighted_auroc",
    "wilson",
]
