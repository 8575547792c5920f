"""Base against tuned: two models with one ancestor share a basis, so their states and weights can be subtracted."""

from mechdecouple.compare.ancestry.rows import ancestry_rows, ancestry_verdict
from mechdecouple.compare.ancestry.shared import Ancestry, ancestry

__all__ = ["Ancestry", "ancestry", "ancestry_rows", "ancestry_verdict"]
