"""Description length: how many bits the labels take once the activations are known, by an online code."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes._design import Design, fits
from mechdecouple.probes.many import PATH
from mechdecouple.results import Metric

DESCRIPTION_LENGTH = Metric(
    name="description_length",
    family="controls",
    title="Description length, bits a label",
    measures="bits a label in an online code: labels are sent portion by portion, each coded by a linear probe fitted "
    "on those before it",
    range="[0, inf)",
    invariances="translation, scale of each dimension, rotation of standardised activations",
    null="the entropy of the base rate: the activations say nothing",
    assumes="compare at an equal number of labels",
    source="Voita & Titov, arXiv 2003.12298",
)

PROBE_COMPRESSION = Metric(
    name="probe_compression",
    family="controls",
    title="Compression of labels",
    measures="bits of a uniform code over bits of the online code: how soon and how well a concept can be read",
    range="[0, inf)",
    invariances=DESCRIPTION_LENGTH.invariances,
    null="the compression of a code that knows the base rate alone: 1 for balanced labels, at most",
    assumes="compare at an equal number of labels",
    source="Voita & Titov, arXiv 2003.12298",
)

PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Shares of the rows after which a new probe is fitted."""
_FOLDS = 4
_BITS = 1 / np.log(2)


@dataclasses.dataclass(frozen=True, eq=False)
class DescriptionLength:
    """Length of the online code, averaged over orders of the groups.

    Attributes:
        bits: code length of all labels; NaN with a ``reason``.
        base: the same of a code that learns the base rate and does not look at the activations.
        by_order: [orders] code length of each order.
        by_row: [m] bits of each row's label, averaged over orders; rows: [m] the rows of known label.
        ends: [orders, portions] number of labels sent by the end of each portion.
        reason: why the length is undefined; else empty.
    """

    bits: float
    base: float
    by_order: Float[np.ndarray, " orders"]
    by_row: Float[np.ndarray, " m"]
    rows: Int[np.ndarray, " m"]
    ends: Int[np.ndarray, "orders portions"]
    reason: str

    @property
    def bits_per_label(self) -> float:
        return self.bits / len(self.rows) if len(self.rows) else float("nan")

    @property
    def compression(self) -> float:
        """n / bits: 1 is a uniform code, more is a concept that can be read."""
        return len(self.rows) / self.bits if self.bits else float("nan")

    @property
    def base_compression(self) -> float:
        """Compression without the activations: what ``compression`` is to be set against."""
        return len(self.rows) / self.base if self.base else float("nan")

    def __call__(self, rows: Int[np.ndarray, " q"] | None = None) -> float:
        """Bits a label over the given rows alone (numbered as in X), the fitted probes left as they are."""
        kept = slice(None) if rows is None else np.isin(self.rows, rows)
        return float(self.by_row[kept].mean()) if len(self.by_row[kept]) else float("nan")


def description_length(
    X: Float[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " m"],
    groups: Shaped[np.ndarray, " g"] | None = None,
    *,
    orders: int = 4,
    seed: int = 0,
    device: str = "cpu",
) -> DescriptionLength:
    """Bits that sending the labels takes to someone who holds the activations; fewer, the more plainly they are held.

    The groups are put in random order and cut after .1, .2, .4, .8, 1.6, 3.2, 6.25, 12.5, 25, 50 and 100 % of the rows,
    never within a group. The labels of the first portion cost one bit each. Those of every other portion cost -log2 of
    the probability that a logistic probe gives them which was fitted on all portions before, its penalty chosen there
    by grouped folds (the strongest where no folds hold both classes; one bit each where the fitted labels are all of
    one class). Activations, unlike labels, are known to both sides, so they are standardised over all rows. The
    length is averaged over orders.

    Neither direction is tidier. Unlike accuracy it says how many items the reading takes. It grows with n and, for a
    rare class, shrinks without any reading: ``base`` is the length without activations.

    Args:
        y: [n] 0/1, NaN unknown; groups: [n], None for every row its own.
        orders: random orders of the groups, averaged.

    Raises:
        InputError: values that are not finite, labels other than 0, 1 and NaN, lengths that differ, orders < 1.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 500)
    >>> X = rng.normal(size=(500, 10))
    >>> found = [description_length(X + gap * y[:, None], y) for gap in (0, 4)]
    >>> bool(found[0].compression < 1.05), bool(found[1].compression > 5)
    (True, True)
    """
    X = _checks.activations(X)
    y = _checks.concept_labels(y, len(X))[:, 0]
    groups = _checks.group_codes(groups, len(X))
    if orders < 1:
        raise InputError(f"orders is {orders}: expected at least one")
    rows = np.flatnonzero(~np.isnan(y))
    y, groups = y[rows], np.unique(groups[rows], return_inverse=True)[1]
    n_groups = int(groups.max()) + 1 if len(rows) else 0
    if n_groups < 2 or y.min() == y.max():
        reason = "an online code needs labels of both classes in two groups or more"
        nothing = np.full(orders, np.nan)
        return DescriptionLength(
            np.nan, np.nan, nothing, np.full(len(rows), np.nan), rows, np.zeros((orders, 0), int), reason
        )
    rng = np.random.default_rng(seed)
    portions = np.stack([_portions(groups, rng) for _ in range(orders)])
    inner = np.stack([rng.permutation(n_groups)[groups] % _FOLDS for _ in range(orders)])
    bits = _bits(Design.of(X[rows], device), y, portions, inner)
    base = np.stack([_base_bits(y, portion) for portion in portions])
    ends = np.stack([np.searchsorted(np.sort(p), np.arange(len(PORTIONS)), side="right") for p in portions])
    return DescriptionLength(
        float(bits.sum(axis=1).mean()),
        float(base.sum(axis=1).mean()),
        bits.sum(axis=1),
        bits.mean(axis=0),
        rows,
        ends,
        "",
    )


def _portions(groups: Int[np.ndarray, " m"], rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Portion of each row: that in which the last row of its group would fall, the groups in random order."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    end = np.empty(len(sizes))
    end[order] = np.cumsum(sizes[order])
    # The first group is sent before any probe however large it is.
    return np.searchsorted(np.asarray(PORTIONS) * len(groups) * (1 + 1e-12), np.maximum(end, 1))[groups]


def _bits(
    design: Design,
    y: Float[np.ndarray, " m"],
    portions: Int[np.ndarray, "orders m"],
    inner: Int[np.ndarray, "orders m"],
) -> Float[np.ndarray, "orders m"]:
    bits = np.ones(portions.shape)
    # One probe a portion that follows another: fitted on what was sent before, over all orders.
    steps = [(o, portion) for o in range(len(portions)) for portion in np.unique(portions[o])[1:]]
    sent = np.stack([portions[o] < portion for o, portion in steps], axis=1)
    part = np.stack([inner[o] for o, _ in steps], axis=1)
    penalty = _choose(design, y, sent, part)
    for (o, portion), scores in zip(steps, _scores(design, y, sent, penalty), strict=True):
        rows = portions[o] == portion
        score, label = scores[rows], y[rows]
        if not np.isnan(score).any():
            bits[o, rows] = _BITS * (np.logaddexp(0.0, score) - label * score)
    return bits


def _choose(
    design: Design, y: np.ndarray, sent: Bool[np.ndarray, "m s"], part: Int[np.ndarray, "m s"]
) -> Float[np.ndarray, " s"]:
    """Penalty of each step, by the held-out loss over folds of what was sent before."""
    penalties = np.array(PATH)
    loss = np.zeros((sent.shape[1], len(penalties)))
    scored = np.zeros(sent.shape[1], dtype=bool)
    for f in range(_FOLDS):
        fit, test = sent & (part != f), sent & (part == f)
        for (_, found), where in _batches(design, y, fit, penalties):
            for s, step in enumerate(where):
                rows = np.flatnonzero(test[:, step])
                score = found[rows, s, 0].double().cpu().numpy()
                if len(rows) and not np.isnan(score).any():
                    loss[step] += (np.logaddexp(0.0, score) - y[rows, None] * score).sum(axis=0)
                    scored[step] = True
    return np.where(scored, penalties[loss.argmin(axis=1)], penalties[0])


def _scores(design: Design, y: np.ndarray, sent: np.ndarray, penalty: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = [np.empty(0)] * sent.shape[1]
    for value in np.unique(penalty):
        steps = np.flatnonzero(penalty == value)
        for (_, score), where in _batches(design, y, sent[:, steps], np.array([value])):
            for s, step in enumerate(where):
                found[steps[step]] = score[:, s, 0, 0].double().cpu().numpy()
    return found


def _batches(design: Design, y: np.ndarray, fit: Bool[np.ndarray, "m s"], penalties: np.ndarray):
    """``fits`` for some of the sets of rows at a time, with the numbers of those."""
    step = max(1, 2_000_000 // (len(y) * len(penalties)))
    for start in range(0, fit.shape[1], step):
        where = np.arange(start, min(start + step, fit.shape[1]))
        (found,) = fits(design, y[:, None], fit[:, where], penalties, "", 1e-2, standardise=False)
        yield found, where


def _base_bits(y: Float[np.ndarray, " m"], portions: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Bits by the base rate of the portions before, half a label of each class added (Krichevsky & Trofimov)."""
    bits = np.ones(len(y))
    for portion in np.unique(portions)[1:]:
        before, rows = y[portions < portion], portions == portion
        rate = (before.sum() + 0.5) / (len(before) + 1)
        bits[rows] = -np.log2(np.where(y[rows] == 1, rate, 1 - rate))
    return bits
