"""The protocol of reading a belief: nested selection, generalisation, strata, controls, and what may be claimed."""

from mechdecouple.beliefs.protocol.auroc import READ_AUROC, auroc_within
from mechdecouple.beliefs.protocol.controls import (
    BEYOND_AUROC,
    IDENTITY_AUROC,
    SURFACE_AUROC,
    SURFACE_CORRELATION,
    WITHIN_DECILES_AUROC,
)
from mechdecouple.beliefs.protocol.report import Protocol
from mechdecouple.beliefs.protocol.run import protocol
from mechdecouple.beliefs.protocol.statement import Claim
from mechdecouple.beliefs.protocol.transfer import LEFT_OUT_AUROC, TRANSFER_AUROC

__all__ = [
    "BEYOND_AUROC",
    "IDENTITY_AUROC",
    "LEFT_OUT_AUROC",
    "READ_AUROC",
    "SURFACE_AUROC",
    "SURFACE_CORRELATION",
    "TRANSFER_AUROC",
    "WITHIN_DECILES_AUROC",
    "Claim",
    "Protocol",
    "auroc_within",
    "protocol",
]
