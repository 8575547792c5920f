"""Extraction: model × task × hook points -> Activations, in memory or streamed to disk."""

from __future__ import annotations

from mechdecouple.extract.planning import Plan, plan
from mechdecouple.extract.run import extract

__all__ = ["Plan", "extract", "plan"]
