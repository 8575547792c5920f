"""Beliefs: what a model represents as true, against what it expresses."""

from mechdecouple.beliefs.claims import (
    BULLSHIT_INDEX,
    BULLSHIT_INDEX_NORMALISED,
    CLAIM_CORRELATION,
    CLAIM_RATE,
    bullshit_index,
    bullshit_index_normalised,
    claim_correlation,
    claim_rate,
    claim_rates,
    claim_table,
    cohen_kappa,
    cramers_v,
)
from mechdecouple.beliefs.erasing import ERASURE_DROP, Erasure, erase
from mechdecouple.beliefs.gap import (
    AUROC_GAP,
    EXPRESSED_AUROC,
    REPRESENTED_AUROC_SELECTED,
    Gap,
    brier,
    bullshit_index_excess,
    gap,
    log_score,
)
from mechdecouple.beliefs.hidden_knowledge import HiddenKnowledge, hidden_knowledge
from mechdecouple.beliefs.measure import Beliefs, claimed, differences, measure, measurements
from mechdecouple.beliefs.protocol import Protocol, protocol
from mechdecouple.beliefs.represent import REPRESENTED_AUROC, Represented, claimable, represent
from mechdecouple.beliefs.score_verdicts import GapVerdict, verdicts
from mechdecouple.beliefs.scores import GapReport, gap_from_scores
from mechdecouple.beliefs.steering import STEERING_NIE, STEERING_NIE_MIRROR, Steering, steer
from mechdecouple.beliefs.subspace import COMPREHENSIVENESS, SUFFICIENCY, SubspaceAblation, ablate_subspace
from mechdecouple.beliefs.table import ScoreTable
from mechdecouple.beliefs.trajectory import TRAJECTORY_GAP, Trajectories, Trajectory, trajectories, trajectory

__all__ = [
    "AUROC_GAP",
    "BULLSHIT_INDEX",
    "BULLSHIT_INDEX_NORMALISED",
    "CLAIM_CORRELATION",
    "CLAIM_RATE",
    "COMPREHENSIVENESS",
    "ERASURE_DROP",
    "EXPRESSED_AUROC",
    "REPRESENTED_AUROC",
    "REPRESENTED_AUROC_SELECTED",
    "STEERING_NIE",
    "STEERING_NIE_MIRROR",
    "SUFFICIENCY",
    "TRAJECTORY_GAP",
    "Beliefs",
    "Erasure",
    "Gap",
    "GapReport",
    "GapVerdict",
    "HiddenKnowledge",
    "Protocol",
    "Represented",
    "ScoreTable",
    "Steering",
    "SubspaceAblation",
    "Trajectories",
    "Trajectory",
    "ablate_subspace",
    "brier",
    "bullshit_index",
    "bullshit_index_excess",
    "bullshit_index_normalised",
    "claim_correlation",
    "claim_rate",
    "claim_rates",
    "claim_table",
    "claimable",
    "claimed",
    "cohen_kappa",
    "cramers_v",
    "differences",
    "erase",
    "gap",
    "gap_from_scores",
    "hidden_knowledge",
    "log_score",
    "measure",
    "measurements",
    "protocol",
    "represent",
    "steer",
    "trajectories",
    "trajectory",
    "verdicts",
]
