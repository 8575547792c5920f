"""Figures, tables and the HTML page of a result."""

from mechdecouple.report.plot import plot

__all__ = ["plot"]
