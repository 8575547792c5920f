"""Contrast pairs: their checks, the fold that gives a direction its sign, and the frozen probe that comes out."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy.special import expit

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import _checks
from mechdecouple.probes.probe import calibration_fold, platt
from mechdecouple.stats import weighted_auroc

_ROUNDING = 1e-10
"""Spread of scores, as a share of the length of what is scored, that rounding alone may give."""


@dataclasses.dataclass(frozen=True, eq=False)
class PairProbe:
    """A frozen linear read-out of contrast pairs: is it the positive member that is true?

    Attributes:
        weights: [d] weight of each raw activation, the same for both members.
        bias: [2] score at the origin of a positive and of a negative member; they differ where the fitter takes out
            what tells the members apart whatever is true.
        slope, offset: Platt's map from the pair's score to log-odds, from the labelled fold; slope >= 0.
        sign_auroc: AUROC of the labelled fold, at least .5 as it decided the sign: near .5 the sign is a guess. Not a
            performance: score other pairs for that.
        labelled: pairs in that fold.
    """

    weights: Float[np.ndarray, " d"]
    bias: Float[np.ndarray, " two"]
    slope: float
    offset: float
    sign_auroc: float
    labelled: int

    @property
    def direction(self) -> Float[np.ndarray, " d"]:
        """Unit vector along which truth grows (zeros for a probe that found nothing)."""
        norm = np.linalg.norm(self.weights)
        return self.weights / norm if norm > 0 else self.weights.copy()

    def members(
        self, X_pos: Float[np.ndarray, "n d"], X_neg: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Scores of the positive and of the negative member of each pair, each higher the truer."""
        pos, neg = member_rows(X_pos, X_neg)
        if pos.shape[1] != len(self.weights):
            raise InputError(f"activations have {pos.shape[1]} dimensions, the probe was fitted on {len(self.weights)}")
        return pos @ self.weights + self.bias[0], neg @ self.weights + self.bias[1]

    def decision_function(
        self, X_pos: Float[np.ndarray, "n d"], X_neg: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, " n"]:
        """Half the difference of the members' scores; above zero means that the positive member is the true one."""
        pos, neg = self.members(X_pos, X_neg)
        return (pos - neg) / 2

    def predict_proba(
        self, X_pos: Float[np.ndarray, "n d"], X_neg: Float[np.ndarray, "n d"]
    ) -> Float[np.ndarray, " n"]:
        """Calibrated probability that the positive member is the true one, in [0, 1]."""
        return expit(self.slope * self.decision_function(X_pos, X_neg) + self.offset)


@dataclasses.dataclass(frozen=True, eq=False)
class SpectralProbe(PairProbe):
    """A pair probe along the top eigenvector of a symmetric matrix.

    Attributes:
        eigenvalues: [r] of that matrix, largest first. Where the first is close to the second, other rows would have
            given another direction.
    """

    eigenvalues: Float[np.ndarray, " r"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Checked pairs with their labelled fold.

    Attributes:
        pos, neg: [n, d] members; y: [n] 1 where the positive member is true, 0 where the negative one is, NaN unknown.
        labelled: [n] True for the pairs whose labels give sign and calibration; the direction is found on the others.
    """

    pos: Float[np.ndarray, "n d"]
    neg: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, " n"]
    labelled: Bool[np.ndarray, " n"]

    @classmethod
    def of(
        cls,
        X_pos: np.ndarray,
        X_neg: np.ndarray,
        y: Shaped[np.ndarray, " m"],
        groups: Shaped[np.ndarray, " k"] | None,
        labelled: Bool[np.ndarray, " l"] | None,
        share: float,
        seed: int,
    ) -> Pairs:
        """Pairs with the declared labelled fold, or with one of whole groups drawn (about ``share`` of them).

        Raises:
            InputError: values that are not finite, labels other than 0, 1 and NaN, a label unknown in the fold, one
                class in it, a group on both sides of it, fewer than two pairs outside it.
            MismatchError: members of different shapes.
        """
        pos, neg = member_rows(X_pos, X_neg)
        n = len(pos)
        label = _checks.concept_labels(y, n)[:, 0]
        codes = _checks.group_codes(groups, n)
        if labelled is None:
            if np.isnan(label).any():
                row = int(np.flatnonzero(np.isnan(label))[0])
                raise InputError(f"label of pair {row} is unknown: name the pairs whose labels count in `labelled`")
            if label.min() == label.max():
                raise InputError(
                    f"every label is {label[0]:g}: the sign needs pairs of both kinds; swap the members of some pairs"
                )
            labelled = calibration_fold(label.astype(np.int64), codes, share, seed)
        labelled = _declared(np.asarray(labelled), label, codes, groups)
        return cls(pos, neg, label, labelled)

    @property
    def unlabelled(self) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "m d"]]:
        """Members of the pairs that the direction is found on."""
        return self.pos[~self.labelled], self.neg[~self.labelled]

    def oriented(
        self, weights: Float[np.ndarray, " d"], bias: Float[np.ndarray, " two"]
    ) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " two"], float, float, float, int]:
        """The read-out turned so that the labelled fold ranks right, and calibrated there.

        A read-out that scores all pairs alike, up to rounding, has found nothing: its weights become zero.

        Returns:
            the first six attributes of a ``PairProbe``.
        """
        y = self.y[self.labelled].astype(np.int64)
        score = (self.pos - self.neg) @ weights / 2 + (bias[0] - bias[1]) / 2
        if score.std() <= _ROUNDING * np.linalg.norm(weights) * np.sqrt(np.square(self.pos).sum(axis=1).mean()):
            weights, bias, score = np.zeros_like(weights), np.zeros_like(bias), np.zeros_like(score)
        score = score[self.labelled]
        auroc = float(weighted_auroc(score, y))
        sign = -1.0 if auroc < 0.5 else 1.0
        slope, offset = platt(sign * score, y)
        return sign * weights, sign * bias, slope, offset, max(auroc, 1 - auroc), len(y)


def member_rows(X_pos: np.ndarray, X_neg: np.ndarray) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """Both members as finite float64 matrices of one shape.

    Raises:
        InputError: values that are not finite, no rows.
        MismatchError: shapes that differ.
    """
    pos, neg = _checks.activations(X_pos), _checks.activations(X_neg)
    if pos.shape != neg.shape:
        raise MismatchError(
            f"positive members have shape {pos.shape}, negative ones {neg.shape}: row i of each is pair i"
        )
    return pos, neg


def _declared(
    labelled: np.ndarray, y: Float[np.ndarray, " n"], codes: Int[np.ndarray, " n"], groups: np.ndarray | None
) -> Bool[np.ndarray, " n"]:
    if labelled.shape != y.shape or labelled.dtype != bool:
        raise InputError(
            f"`labelled` has shape {labelled.shape} and type {labelled.dtype}, expected ({len(y)},) of True and False"
        )
    unknown = labelled & np.isnan(y)
    if unknown.any():
        raise InputError(f"label of pair {int(np.flatnonzero(unknown)[0])} is unknown, yet it is in the labelled fold")
    if len(np.unique(y[labelled])) < 2:
        raise InputError(
            f"the labelled fold holds {int(labelled.sum())} pairs and not both classes: the sign needs pairs of either"
        )
    if (~labelled).sum() < 2:
        raise InputError(f"{int((~labelled).sum())} pairs are left outside the labelled fold: a direction needs two")
    across = np.flatnonzero(np.isin(codes, codes[labelled]) & ~labelled)
    if len(across):
        name = codes[across[0]] if groups is None else np.asarray(groups)[across[0]]
        raise InputError(f"group {name} lies both in and outside the labelled fold; keep groups whole")
    return labelled


def principal_axis(rows: Float[np.ndarray, "n d"]) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " r"]]:
    """Unit vector of the largest mean square of the rows, and the mean squares along all axes, largest first."""
    n, d = rows.shape
    if d <= n:
        energy, axes = np.linalg.eigh(rows.T @ rows / n)
        axis = axes[:, -1]
    else:
        energy, axes = np.linalg.eigh(rows @ rows.T / n)
        axis = rows.T @ axes[:, -1]
        axis /= max(float(np.linalg.norm(axis)), 1e-300)
    return axis, np.maximum(energy[::-1], 0.0)
