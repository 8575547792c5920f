"""Many runs of several recipes: the unit is the run."""

from mechdecouple.compare.many.comparison import ManyComparison
from mechdecouple.compare.many.run import compare_many

__all__ = ["ManyComparison", "compare_many"]
