"""CCS: the probe whose answers to a statement and its negation are consistent and confident."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from scipy.special import expit
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.pairs import PairProbe, Pairs

_LEAST_RESTARTS = 10


@dataclasses.dataclass(frozen=True, eq=False)
class CcsProbe(PairProbe):
    """A pair probe found by contrast-consistent search.

    Attributes:
        losses: [restarts] unsupervised loss each restart ended at; the probe is that of the smallest. 0 is perfectly
            consistent and confident, .25 is what a probe has that always answers ½.
    """

    losses: Float[np.ndarray, " restarts"]

    def credence(self, X_pos: Float[np.ndarray, "n d"], X_neg: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """The paper's ½(p⁺ + 1 − p⁻), in [0, 1]; it is on the same side of ½ as ``decision_function`` is of 0.

        Not calibrated: the loss drives it towards 0 and 1 whether it is right or not.
        """
        pos, neg = self.members(X_pos, X_neg)
        return (expit(pos) + expit(-neg)) / 2


@dataclasses.dataclass
class CcsFitter:
    """Fits contrast-consistent search (Burns et al., arXiv 2212.03827), all restarts in one batch.

    Each side is brought to mean zero, so that "ends in yes" is no longer to be read from the mean, and columns to unit
    spread, by the fitted pairs alone. (One spread for both sides, where the paper has one each: the probe keeps a
    single direction.) On them, θ and b minimise the mean of (p⁺ + p⁻ − 1)² + min(p⁺, p⁻)² by AdamW; the restart of the
    smallest loss is taken. No label is used but for the sign and the calibration, from the labelled fold.

    Assumes that truth is what is consistent and confident over pairs: any other such feature (what a character
    believes, which answer sounds better) captures it if it is more salient. Check against a supervised probe.

    Attributes:
        restarts: 10 or more. steps, learning_rate, weight_decay: of AdamW on all pairs at once.
        calibration_share: share of the groups in the labelled fold, where none is declared.
        seed: decides that fold and the starting points, which are drawn evenly from the unit sphere.
        device: where the search runs, in float64.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(2, size=200)
    >>> truth = np.outer(2 * y - 1, [3.0, 0.0, 0.0, 0.0])
    >>> pos, neg = truth + rng.normal(size=(200, 4)), -truth + rng.normal(size=(200, 4))
    >>> probe = CcsFitter(steps=200).fit(pos, neg, y)
    >>> bool(abs(probe.direction[0]) > .9), bool(((probe.predict_proba(pos, neg) > .5) == y).mean() > .95)
    (True, True)
    """

    restarts: int = 10
    steps: int = 1000
    learning_rate: float = 1e-2
    weight_decay: float = 1e-2
    calibration_share: float = 0.2
    seed: int = 0
    device: str = "cpu"

    def fit(
        self,
        X_pos: Float[np.ndarray, "n d"],
        X_neg: Float[np.ndarray, "n2 d2"],
        y: Shaped[np.ndarray, " m"],
        groups: Shaped[np.ndarray, " k"] | None = None,
        *,
        labelled: Bool[np.ndarray, " l"] | None = None,
    ) -> CcsProbe:
        """Pairs [n, d] and [n, d] → frozen probe.

        Args:
            y: [n] 1 where the positive member is the true one, 0 where the negative is; NaN outside ``labelled``.
            groups: [n] names; None makes every pair its own.
            labelled: [n] True for the pairs whose labels count; None draws whole groups.

        Raises:
            InputError: fewer than 10 restarts; whatever ``Pairs.of`` refuses.
            MismatchError: members of different shapes.
        """
        if self.restarts < _LEAST_RESTARTS:
            raise InputError(f"restarts is {self.restarts}: expected {_LEAST_RESTARTS} or more, single runs often fail")
        if self.steps < 1:
            raise InputError(f"steps is {self.steps}: expected one or more")
        pairs = Pairs.of(X_pos, X_neg, y, groups, labelled, self.calibration_share, self.seed)
        pos, neg = pairs.unlabelled
        centre = np.stack([pos.mean(axis=0), neg.mean(axis=0)])
        spread = np.sqrt((pos.var(axis=0) + neg.var(axis=0)) / 2)
        shrink = np.where(spread > 1e-12 * np.maximum(np.abs(centre).max(axis=0), 1e-300), 1 / (spread + 1e-300), 0.0)
        theta, loss = self._search((pos - centre[0]) * shrink, (neg - centre[1]) * shrink)
        best = theta[:, np.argmin(loss)]
        weights = best[:-1] * shrink
        return CcsProbe(*pairs.oriented(weights, best[-1] - centre @ weights), losses=loss)

    def _search(
        self, pos: Float[np.ndarray, "n d"], neg: Float[np.ndarray, "n d"]
    ) -> tuple[Float[np.ndarray, "e r"], Float[np.ndarray, " r"]]:
        draw = torch.Generator().manual_seed(self.seed)
        start = torch.randn(pos.shape[1] + 1, self.restarts, generator=draw, dtype=torch.float64)
        device = _checks.device(self.device)
        rows = torch.from_numpy(pos).to(device), torch.from_numpy(neg).to(device)
        theta = minimise_ccs(
            *rows,
            (start / start.norm(dim=0)).to(device),
            self.steps,
            self.learning_rate,
            self.weight_decay,
        )
        loss = ccs_loss(*(torch.sigmoid(side @ theta[:-1] + theta[-1]) for side in rows))
        return theta.cpu().numpy(), loss.cpu().numpy()


def ccs_loss(p_pos: Float[Tensor, "n r"], p_neg: Float[Tensor, "n r"]) -> Float[Tensor, " r"]:
    """Mean over pairs of (p⁺ + p⁻ − 1)² + min(p⁺, p⁻)² for each of r probes, 0 (consistent and confident) to 2."""
    return ((p_pos + p_neg - 1).square() + torch.minimum(p_pos, p_neg).square()).mean(dim=0)


def minimise_ccs(
    pos: Float[Tensor, "n d"],
    neg: Float[Tensor, "n d"],
    start: Float[Tensor, "e r"],
    steps: int,
    learning_rate: float,
    weight_decay: float,
) -> Float[Tensor, "e r"]:
    """Weights and, as the last row, biases [d + 1, r] after so many AdamW steps on the loss of each start.

    AdamW works entry by entry, so that a batch of starts ends where single runs would.
    """
    theta = start.clone()
    optimiser = torch.optim.AdamW([theta], lr=learning_rate, weight_decay=weight_decay)
    for _ in range(steps):
        p_pos = torch.sigmoid(pos @ theta[:-1] + theta[-1])
        p_neg = torch.sigmoid(neg @ theta[:-1] + theta[-1])
        inconsistent = p_pos + p_neg - 1
        smaller = (p_pos <= p_neg).to(theta.dtype)
        scale = 2 / len(pos)
        on_pos = scale * (inconsistent + smaller * p_pos) * p_pos * (1 - p_pos)
        on_neg = scale * (inconsistent + (1 - smaller) * p_neg) * p_neg * (1 - p_neg)
        theta.grad = torch.cat([pos.T @ on_pos + neg.T @ on_neg, (on_pos + on_neg).sum(dim=0, keepdim=True)])
        optimiser.step()
    return theta
