"""LAT: the principal axis of pair differences."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mechdecouple.probes.pairs import Pairs, SpectralProbe, principal_axis


@dataclasses.dataclass
class LatFitter:
    """Fits linear artificial tomography: PCA of pair differences (Zou et al., arXiv 2310.01405).

    The paper shuffles the members of each pair before it takes differences, so that their mean is zero and what all
    pairs share stays in. Here the average over all such orders is taken at once: the axis of the largest mean square
    of the differences about zero. Whatever all positive members share ("ends in yes") therefore stays in as well, and
    captures the direction if it is stronger than truth; ``CrcFitter`` is the one that takes it out.

    No label is used but for the sign and the calibration. ``eigenvalues`` are mean squares of the differences.

    Attributes:
        calibration_share: share of the groups in the labelled fold, where none is declared.
        seed: decides that fold.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> truth = np.outer(2 * y - 1, [3.0, 0.0, 0.0, 0.0])
    >>> pos, neg = truth + rng.normal(size=(200, 4)), -truth + rng.normal(size=(200, 4))
    >>> bool(LatFitter().fit(pos, neg, y).direction[0] > .9)
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
        axis, energy = principal_axis(pos - neg)
        middle = (pos.mean(axis=0) + neg.mean(axis=0)) / 2
        return SpectralProbe(*pairs.oriented(axis, np.full(2, -axis @ middle)), eigenvalues=energy)
