"""Which latents carry what a model represents as true, which carry what it says, and which the first alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from mechdecouple import beliefs, stats
from mechdecouple.compare.latents.ranking import Strata, oriented, strata, stratified_auroc
from mechdecouple.compare.latents.removal import removal_drop
from mechdecouple.compare.side import Side
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import Replicates, benjamini_hochberg

LATENT_REPRESENTED = Metric(
    name="latent_represented",
    family="sae",
    title="AUROC of the truth in a latent, claims alike",
    measures="how well a latent ranks true statements above false ones among those that the model claims alike",
    range="[0, 1]",
    invariances="monotone maps of the latent",
    null=".5; the sign of the latent comes from other groups",
    assumes="claims are drawn with the probability that the model gives them",
)
LATENT_EXPRESSED = dataclasses.replace(
    LATENT_REPRESENTED,
    name="latent_expressed",
    title="AUROC of the claim in a latent, truth alike",
    measures="how well a latent ranks statements that are claimed above those denied among those alike in truth",
)
KNOWING_LATENTS = Metric(
    name="knowing_latents",
    family="sae",
    title="Latents that know more than is said",
    measures="share of live latents that carry the represented truth and not the claim",
    range="[0, 1]",
    null="0; a latent counts where its AUROC passes the false-discovery rate of 5 % over all of its dictionary",
    assumes=LATENT_REPRESENTED.assumes,
)
RATE, LITTLE = 0.05, 0.25
"""False-discovery rate at which a latent carries something, and the share of its strength (AUROC above one half) below
which it carries the other thing too little to count."""
MIN_ITEMS = 20
"""Items, counted by their probabilities, that must lie on each side of a question before it is asked of latents."""
_NARROW = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Knowing:
    """What the latents of one model carry.

    Attributes:
        represented, expressed: [m] AUROC on held-out groups; NaN throughout where undefined.
        knows: [m] ``"represented only"``, ``"expressed only"``, ``"both"`` or ``""``.
        open: [m] why a latent that carries one of the two is not said to carry it alone; else "".
        reasons: of an undefined ``represented`` or ``expressed``.
        drop: of the represented AUROC without the latents that carry the represented truth alone.
    """

    represented: Replicates
    expressed: Replicates
    knows: np.ndarray
    open: np.ndarray
    reasons: dict[str, str]
    drop: Estimate

    @property
    def only(self) -> np.ndarray:
        """[k] positions of the latents that carry the represented truth and not the claim."""
        return np.flatnonzero(self.knows == "represented only")

    def share(self) -> Estimate:
        """Share of the latents that know more than is said."""
        m, reason = len(self.knows), self.reasons.get("represented", "")
        if reason or not m:
            return Estimate.undefined(reason or "no latent fires", n=m, unit="latents")
        note = "no interval: each latent is tested on its own"
        return Estimate(value=len(self.only) / m, null=0.0, n=m, unit="latents", reason=note)


@dataclasses.dataclass(frozen=True, eq=False)
class Statements:
    """Rows that truth and claim are known of.

    Attributes:
        latents: [n, m]; X: [n, d] activations; directions: [m, d] what a unit of each latent adds.
        truth: [n] 0/1; claim: [n] probability of asserting.
        condition: [n] codes, 0 the honest one; context: [n] codes.
        held: [n] rows of held-out groups; groups: [n].
    """

    latents: csr_matrix
    X: np.ndarray
    directions: np.ndarray
    truth: np.ndarray
    claim: np.ndarray
    condition: np.ndarray
    context: np.ndarray
    held: np.ndarray
    groups: np.ndarray

    def question(self, name: str, rows: np.ndarray, across: bool, contexts: bool) -> Strata:
        """Rows to hold against each other: ``represented`` sets true against false among those claimed alike,
        ``expressed`` those claimed against those denied among the alike in truth."""
        true, claim = (self.truth[rows] == 1)[:, None].astype(float), self.claim[rows][:, None]
        claims, truths = np.hstack([claim, 1 - claim]), np.hstack([true, 1 - true])
        sides = (
            (true * claims, (1 - true) * claims) if name == "represented" else (claim * truths, (1 - claim) * truths)
        )
        context = self.context[rows] if contexts else np.zeros(len(rows), np.int64)
        return strata(*sides, self.condition[rows], context, across)

    def drop(self, only: np.ndarray, n_blocks: int, seed: int, reason: str) -> Estimate:
        """Fall of the represented AUROC, honest condition, without the latents ``only``."""
        if not len(only):
            return Estimate.undefined(reason or "no latent carries the represented truth alone", unit="groups")
        fit, rows = (np.flatnonzero((self.condition == 0) & (self.held == held)) for held in (False, True))
        X, truth, groups = ((x[fit], x[rows]) for x in (self.X, self.truth, self.groups))
        return removal_drop(X, truth, groups, part(self.latents, rows, only), self.directions[only], n_blocks, seed)


def part(latents: csr_matrix, rows: np.ndarray, columns: np.ndarray | None = None) -> csr_matrix:
    """Some rows and columns of a sparse table."""
    some: Any = latents
    return some[rows] if columns is None else some[rows][:, columns]


def knowing(side: Side, latents: csr_matrix, point: str, directions: np.ndarray, held: np.ndarray) -> Knowing:
    """What the latents carry.

    Args:
        latents: [rows of ``side.acts``, m]; directions: [m, d] what a unit of each adds.
        held: [rows of ``side.acts``] 1 in held-out groups, 0 in groups that signs and probe come from, -1 elsewhere.
    """
    m, reason = len(directions), _nothing_to_know(side)
    if reason:
        return _undefined(m, reason)
    assert side.task.truth is not None
    truth, claim = side.task.truth, side.answers.expressed
    condition = np.zeros(len(truth), np.int64)
    if side.task.condition is not None:
        levels = [side.task.honest, *(c for c in np.unique(side.task.condition) if c != side.task.honest)]
        condition = np.array([levels.index(c) for c in side.task.condition])
    context = np.zeros(len(truth), np.int64)
    if side.task.context is not None:
        context = np.unique(side.task.context, return_inverse=True)[1]
    use = np.flatnonzero((held >= 0) & ~np.isnan(truth) & ~np.isnan(claim) & ~side.task.shift_mask)
    statements = Statements(
        part(latents, use), side.acts[point][use], directions, truth[use], claim[use], condition[use], context[use],
        held[use] == 1, side.task.groups[use],
    )  # fmt: skip
    return carried(statements, side.config.blocks, side.config.seed)


def carried(given: Statements, n_blocks: int = 20, seed: int = 0) -> Knowing:
    """What latents carry, from arrays: signs from the rows not held, everything else on the held rows."""
    m = len(given.directions)
    parts = [np.flatnonzero(given.held), np.flatnonzero(~given.held)]
    if min(map(len, parts)) == 0 or not m:
        return _undefined(m, "no statement of known truth and claim lies in groups held out, or none elsewhere")
    columns = [csc_matrix(part(given.latents, rows)) for rows in parts]
    blocks = [stats.jackknife_blocks(given.groups[rows], n_blocks, seed) for rows in parts]
    n_groups = [len(np.unique(given.groups[rows])) for rows in parts]
    found: dict[str, Replicates] = {}
    reasons: dict[str, str] = {}
    for name in ("represented", "expressed"):
        asked = _asked(name, given, parts)
        if asked is None:
            reasons[name] = _inseparable(name, given, parts[0])
            found[name] = _nothing(m)
            continue
        # One replicate is enough for a sign.
        (held, fit) = (
            stratified_auroc(columns[i], asked[i], blocks[i] if i == 0 else np.zeros_like(blocks[i]), n_groups[i])
            for i in (0, 1)
        )
        found[name] = oriented(held, np.asarray(fit.value) < 0.5)
    knows, open_ = _told_apart(found["represented"], found["expressed"], reasons)
    drop = given.drop(np.flatnonzero(knows == "represented only"), n_blocks, seed, reasons.get("represented", ""))
    return Knowing(found["represented"], found["expressed"], knows, open_, reasons, drop)


def _nothing_to_know(side: Side) -> str:
    if side.task.truth is None:
        return "the task has no truth"
    if np.isnan(side.answers.expressed).all():
        return side.answers.expressed_reason or side.answers.reason or "the model expresses no claim"
    if side.acts.position == "all":
        return "activations are read at all tokens, and truth belongs to items"
    if "beliefs" in side.config.families and side.belief is not None:
        may, why = beliefs.claimable(side.belief.represented)
        return "" if may else why.removeprefix("No gap is claimed: ").rstrip(".")
    return ""


def _asked(name: str, given: Statements, parts: list[np.ndarray]) -> tuple[Strata, Strata] | None:
    """The strata of held and of other rows, as close as truth and claim part: within conditions before across them,
    within contexts before over them."""
    if name == "expressed" and given.claim[given.held].std() < _NARROW:
        return None
    for across in (False, True):
        for contexts in (True, False):
            held, fit = (given.question(name, rows, across, contexts) for rows in parts)
            if min(held.items, fit.items) >= MIN_ITEMS:
                return held, fit
    return None


def _inseparable(name: str, given: Statements, rows: np.ndarray) -> str:
    truth, claim = given.truth[rows], given.claim[rows]
    if name == "expressed" and claim.std() < _NARROW:
        return f"expressed probabilities hardly differ (sd {claim.std():.1g}): nothing can carry them"
    part = float(np.where(truth == 1, 1 - claim, claim).sum())
    what = "differ in truth and are claimed alike" if name == "represented" else "are alike in truth and claimed apart"
    return (
        f"too few held-out statements {what} (at least {MIN_ITEMS} are needed): claims and truth part on about "
        f"{part:.0f} of {len(rows)}"
    )


def _told_apart(
    represented: Replicates, expressed: Replicates, reasons: dict[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    """What each latent carries, and why that of one is left open.

    Not shown to carry is not shown to lack: a latent carries one alone where it carries the other ``LITTLE``, which
    the interval must show. Where claims do not vary given the truth nothing can carry them.
    """
    m, sure = len(represented), np.full(len(represented), np.inf)
    truth, claim = (
        np.nan_to_num(benjamini_hochberg(np.atleast_1d(one.p_above(0.5))), nan=1.0) < RATE
        for one in (represented, expressed)
    )
    lows = [sure if "expressed" in reasons else -sure, -sure]
    if not reasons:
        r, e = represented - 0.5, expressed - 0.5
        lows = [(r * LITTLE - e).interval()[0], (e * LITTLE - r).interval()[0]]
    truth_alone, claim_alone = truth & (lows[0] > 0), claim & (lows[1] > 0)
    knows = np.full(m, "", dtype=object)
    knows[truth & claim] = "both"
    knows[truth_alone] = "represented only"
    knows[claim_alone] = "expressed only"
    open_ = np.full(m, "", dtype=object)
    open_[(knows == "") & truth] = "carries the truth, and whether it carries the claim as well is open"
    open_[(knows == "") & claim] = "carries the claim, and whether it carries the truth as well is open"
    return knows, open_


def _nothing(m: int) -> Replicates:
    return Replicates(np.full(m, math.nan), np.full((2, m), math.nan), "jackknife", 0)


def _undefined(m: int, reason: str) -> Knowing:
    blank = np.full(m, "", dtype=object)
    reasons = {"represented": reason, "expressed": reason}
    return Knowing(_nothing(m), _nothing(m), blank, blank, reasons, Estimate.undefined(reason, unit="groups"))
