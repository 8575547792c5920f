"""VINC: a direction of variance, paraphrase invariance and negative covariance, in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.crc import before_erasing, side_eraser
from mechdecouple.probes.pairs import Pairs, SpectralProbe


@dataclasses.dataclass
class VincFitter:
    """Fits VINC, the top eigenvector of α·A_var + β·A_inv + γ·A_neg (Belrose, Mallen et al., blog.eleuther.ai/vincs).

    A_var = Cov(x̄⁺) + Cov(x̄⁻) and A_neg = −Cov(x̄⁺, x̄⁻) − Cov(x̄⁻, x̄⁺) over the centroids of clusters of paraphrases;
    A_inv = minus the mean covariance within a cluster, of either side. LEACE first takes out the side and the template.
    Without paraphrases and with α = γ this is ``CrcFitter``. No label is used but for the sign and the calibration.

    Assumes that truth varies over statements, is opposite in the members of a pair and the same in paraphrases, more so
    than anything else. ``eigenvalues`` are those of the matrix and may be negative; where none is positive the probe
    has found nothing, and its weights are zero.

    Attributes:
        variance, invariance, negation: α, β and γ, 0 or more.
        calibration_share: share of the groups in the labelled fold, where none is declared.
        seed: decides that fold.

    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(rng.integers(2, size=100), 3)
    >>> signal = np.outer(2 * y - 1, [2.0, 0.0, 0.0]) + np.outer(rng.normal(size=300), [0.0, 4.0, 0.0]) + [0, 0, 9]
    >>> pos, neg = signal + rng.normal(size=(300, 3)), -signal + rng.normal(size=(300, 3))
    >>> probe = VincFitter().fit(pos, neg, y, clusters=np.repeat(np.arange(100), 3))
    >>> bool(probe.direction[0] > .9)
    True
    """

    variance: float = 1.0
    invariance: float = 1.0
    negation: float = 1.0
    calibration_share: float = 0.2
    seed: int = 0

    def fit(
        self,
        X_pos: Float[np.ndarray, "n d"],
        X_neg: Float[np.ndarray, "n2 d2"],
        y: Shaped[np.ndarray, " m"],
        groups: Shaped[np.ndarray, " k"] | None = None,
        *,
        clusters: Shaped[np.ndarray, " c"] | None = None,
        templates: Shaped[np.ndarray, " t"] | None = None,
        labelled: Bool[np.ndarray, " l"] | None = None,
    ) -> SpectralProbe:
        """Pairs [n, d] and [n, d] → frozen probe; other arguments and errors as in ``CcsFitter.fit``.

        Args:
            groups: [n] names; None makes every cluster its own.
            clusters: [n] name of the statement that a pair is a paraphrase of; None makes every pair its own.
            templates: [n] name of the wording that the pair is put in, to be erased; None for a single one.

        Raises:
            InputError: a negative weight or none above zero that rewards anything, a cluster in several groups, other
                lengths.
        """
        weights = (self.variance, self.invariance, self.negation)
        if not all(0 <= w < np.inf for w in weights) or self.variance + self.negation == 0:
            raise InputError(
                f"variance, invariance and negation are {weights}: expected 0 or more each, the first or last above 0"
            )
        pairs = Pairs.of(
            X_pos, X_neg, y, clusters if groups is None else groups, labelled, self.calibration_share, self.seed
        )
        n = len(pos := pairs.pos)
        cluster, template = _checks.group_codes(clusters, n), None
        if groups is not None and clusters is not None:
            _check_nested(np.asarray(clusters), _checks.group_codes(groups, n))
        fitted = ~pairs.labelled
        if templates is not None:
            template = np.unique(_checks.group_codes(templates, n)[fitted], return_inverse=True)[1]
        eraser = side_eraser(pos[fitted], pairs.neg[fitted], template)
        cluster = np.unique(cluster[fitted], return_inverse=True)[1]
        axis, values = vinc_axis(eraser(pos[fitted]), eraser(pairs.neg[fitted]), cluster, *weights)
        return SpectralProbe(*pairs.oriented(*before_erasing(axis, eraser)), eigenvalues=values)


def vinc_axis(
    pos: Float[np.ndarray, "n d"],
    neg: Float[np.ndarray, "n d"],
    cluster: Int[np.ndarray, " n"],
    variance: float,
    invariance: float,
    negation: float,
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " r"]]:
    """Unit vector of the most positive eigenvalue (zero if there is none) and all eigenvalues within the rows' span."""
    size = np.bincount(cluster)
    m = len(size)
    centres, spread = [], []
    for side in (pos, neg):
        centre = np.zeros((m, side.shape[1]))
        np.add.at(centre, cluster, side)
        centre /= size[:, None]
        spread.append((side - centre[cluster]) / np.sqrt(m * size[cluster])[:, None])
        centres.append((centre - centre.mean(axis=0)) / np.sqrt(m))
    # With D and S the centroids' difference and sum, A_var is (D'D + S'S)/2 and A_neg is (D'D - S'S)/2.
    rows = np.concatenate([centres[0] - centres[1], centres[0] + centres[1], *spread])
    gain = np.repeat(
        [(variance + negation) / 2, (variance - negation) / 2, -invariance, -invariance], [m, m, len(pos), len(neg)]
    )
    rows, gain = rows[gain != 0], gain[gain != 0]
    basis = np.linalg.qr(rows.T)[0] if rows.shape[1] > len(rows) else np.eye(rows.shape[1])
    inside = rows @ basis
    values, vectors = np.linalg.eigh((inside * gain[:, None]).T @ inside)
    scale = float(np.abs(gain) @ np.square(rows).sum(axis=1))
    found = values[-1] > 1e-12 * scale
    return (basis @ vectors[:, -1] if found else np.zeros(rows.shape[1])), values[::-1]


def _check_nested(clusters: Shaped[np.ndarray, " n"], group: Int[np.ndarray, " n"]) -> None:
    names, code = np.unique(clusters, return_inverse=True)
    first, last = np.full(len(names), group.max() + 1), np.full(len(names), -1)
    np.minimum.at(first, code, group)
    np.maximum.at(last, code, group)
    across = np.flatnonzero(first != last)
    if len(across):
        raise InputError(f"cluster {names[across[0]]} lies in several groups; paraphrases of a statement belong in one")
