"""The main job: two models in, one answer out."""

from mechdecouple.compare.comparison import Comparison
from mechdecouple.compare.config import CompareConfig, make_config, read_config
from mechdecouple.compare.gate import Gate, Stratum, equal_performance
from mechdecouple.compare.many import ManyComparison, compare_many
from mechdecouple.compare.run import compare
from mechdecouple.compare.verdict import Contrast, Verdict

__all__ = [
    "CompareConfig",
    "Comparison",
    "Contrast",
    "Gate",
    "ManyComparison",
    "Stratum",
    "Verdict",
    "compare",
    "compare_many",
    "equal_performance",
    "make_config",
    "read_config",
]
