"""CRC: the direction along which contrast pairs differ most, once what tells the two sides apart is erased."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from mechdecouple.probes.leace import Eraser, LeaceFitter
from mechdecouple.probes.pairs import Pairs, SpectralProbe, principal_axis


@dataclasses.dataclass
class CrcFitter:
    """Fits contrastive representation clustering by the top principal component (Burns et al., arXiv 2212.03827).

    LEACE takes out of both members which of the two they are (the pseudo-label: "ends in yes"); the direction is the
    top principal component of their differences. No label is used but for the sign and the calibration.

    Assumes that truth is what pairs differ in most. Any other feature that is opposite in the members of a pair and
    stronger captures the probe, as it does CCS. ``eigenvalues`` are variances of the differences.

    Attributes:
        calibration_share: share of the groups in the labelled fold, where none is declared.
        seed: decides that fold.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> truth, yes = np.outer(2 * y - 1, [3.0, 0.0, 0.0, 0.0]), np.array([0.0, 9.0, 0.0, 0.0])
    >>> pos, neg = truth + yes + rng.normal(size=(200, 4)), -truth - yes + rng.normal(size=(200, 4))
    >>> bool(CrcFitter().fit(pos, neg, y).direction[0] > .9)
    True
    """

    calibration_share: float = 0.2
    seed: int = 0

    def fit(
        self,
        X_pos: Float[np.ndarray, "n d"],
        X_neg: Float[np.ndarray, "n2 d2"],
        y: Shaped[np.ndarray, " m"],
        groups: Shaped[np.ndarray, " k"] | None = None,
        *,
        labelled: Bool[np.ndarray, " l"] | None = None,
    ) -> SpectralProbe:
        """Pairs [n, d] and [n, d] → frozen probe; arguments and errors as in ``CcsFitter.fit``."""
        pairs = Pairs.of(X_pos, X_neg, y, groups, labelled, self.calibration_share, self.seed)
        pos, neg = pairs.unlabelled
        eraser = side_eraser(pos, neg)
        difference = eraser(pos) - eraser(neg)
        axis, energy = principal_axis(difference - difference.mean(axis=0))
        return SpectralProbe(*pairs.oriented(*before_erasing(axis, eraser)), eigenvalues=energy)


def side_eraser(
    pos: Float[np.ndarray, "n d"], neg: Float[np.ndarray, "n d"], template: Int[np.ndarray, " n"] | None = None
) -> Eraser:
    """LEACE of which member of its pair a row is, and, if given, of the template it was written in.

    One direction goes for every side and template but the last, even where they differ by chance alone: then it is any
    direction, the one of truth included.
    """
    side: Num[np.ndarray, "n2 k"] = np.repeat([1.0, 0.0], len(pos))[:, None]
    if template is not None and template.max() > 0:
        one = (template[:, None] == np.arange(template.max() + 1)).astype(np.float64)
        # One column a pair of side and template, less the last: the columns sum to one.
        side = np.block([[one, np.zeros_like(one)], [np.zeros_like(one), one]])[:, :-1]
    return LeaceFitter().fit(np.concatenate([pos, neg]), side)


def before_erasing(
    axis: Float[np.ndarray, " d"], eraser: Eraser
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " two"]]:
    """Weights and bias on raw activations that score as ``axis`` does on erased ones, with mean zero."""
    weights = axis - eraser.right.T @ (eraser.left.T @ axis)
    return weights, np.full(2, -weights @ eraser.mean)
