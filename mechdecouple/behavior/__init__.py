"""What a model expresses: its answers to a task's items, and how well their confidence fits."""

from mechdecouple.behavior.answers import Answers
from mechdecouple.behavior.forwards import EditsFor
from mechdecouple.behavior.read import prepare, read

__all__ = ["Answers", "EditsFor", "prepare", "read"]
