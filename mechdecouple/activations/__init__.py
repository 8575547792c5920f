"""Activations: what a model held at its hook points, one named row an item (or a token), in memory or on disk."""

from __future__ import annotations

from mechdecouple.activations.rows import Activations

__all__ = ["Activations"]
