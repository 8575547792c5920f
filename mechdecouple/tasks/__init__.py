"""Tasks: the items two models are compared on, validated once and named row by row."""

from mechdecouple.tasks.check import PERFORMANCES
from mechdecouple.tasks.task import Task

__all__ = ["PERFORMANCES", "Task"]
