"""How measures move along a run of checkpoints, and where they jump."""

from mechdecouple.compare.trends.steps import split_step
from mechdecouple.compare.trends.trends import Trends, trends

__all__ = ["Trends", "split_step", "trends"]
