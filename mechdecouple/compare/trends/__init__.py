"""How measures move along a run of checkpoints, and where they jump."""

from mechdecouple.compare.trends.find import Trends, trends
from mechdecouple.compare.trends.steps import split_step

__all__ = ["Trends", "split_step", "trends"]
