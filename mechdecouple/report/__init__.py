"""Figures, tables and the HTML page of a result."""

from mechdecouple.report.plot import plot
from mechdecouple.report.write import write_many, write_report, write_results

__all__ = ["plot", "write_many", "write_report", "write_results"]
