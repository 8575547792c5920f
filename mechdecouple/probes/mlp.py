"""MLP probe: a read-out that may bend, never without its selectivity, for it can memorise what a linear one cannot."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num, Shaped
from scipy.special import expit
from torch import Tensor

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes.probe import calibration_fold, platt
from mechdecouple.probes.selectivity import control_tasks
from mechdecouple.stats import weighted_auroc

_STEPS, _RATE, _DRAWS = 200, 0.01, 3


@dataclasses.dataclass(frozen=True, eq=False)
class MlpProbe:
    """A frozen read-out by one hidden layer of rectified units, with what it could have memorised.

    Attributes:
        hidden: [d, h] and [h] weights and biases of the units; out: [h] their weights; bias: of the score.
        slope, offset: Platt's map from score to log-odds, fitted on groups that the weights never saw.
        auroc: of the concept where rows within types are held out; control: [draws] the same on random labels of types.
        reason: why these are NaN; else empty.
    """

    hidden: tuple[Float[np.ndarray, "d h"], Float[np.ndarray, " h"]]
    out: Float[np.ndarray, " h"]
    bias: float
    slope: float
    offset: float
    auroc: float
    control: Float[np.ndarray, " draws"]
    reason: str

    @property
    def selectivity(self) -> float:
        """AUROC on the concept − AUROC on labels that mean nothing, at most .5; NaN with a ``reason``.

        About 0: what it reads shows no more than that types can be told apart.
        """
        return float(self.auroc - self.control.mean())

    def decision_function(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Score of each row; above zero means class 1."""
        X = _checks.activations(X)
        weights, biases = self.hidden
        if X.shape[1] != len(weights):
            raise InputError(f"activations have {X.shape[1]} dimensions, the probe was fitted on {len(weights)}")
        return np.maximum(X @ weights + biases, 0) @ self.out + self.bias

    def predict_proba(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """Calibrated probability of class 1, in [0, 1]."""
        return expit(self.slope * self.decision_function(X) + self.offset)


@dataclasses.dataclass
class MlpFitter:
    """Fits mean log-loss + penalty/2 · squared weights by Adam on standardised inputs; all networks run together.

    Beside the probe itself, networks of the same shape read the concept and random labels of types (Hewitt & Liang,
    arXiv 1909.03368), with rows held out within types, so that the accuracy comes with what memory alone gives.

    Attributes:
        width: units in the hidden layer.
        penalty: L2.
        calibration_share: share of the groups kept aside for Platt's calibration.
        seed: of the starts, the control labels and the folds.
        device: where the networks train, in float64: "cpu", "cuda" or "auto".
    """

    width: int = 32
    penalty: float = 1e-3
    calibration_share: float = 0.2
    seed: int = 0
    device: str = "cpu"

    def fit(
        self,
        X: Float[np.ndarray, "n d"],
        y: Num[np.ndarray, " n"] | Bool[np.ndarray, " n"],
        groups: Shaped[np.ndarray, " n"] | None = None,
        types: Shaped[np.ndarray, " n"] | None = None,
    ) -> MlpProbe:
        """X [n, d], y [n] of 0 and 1, groups [n] (None: every row its own) → frozen probe with its selectivity.

        Args:
            types: what could be memorised (a word, an entity); the groups when absent.

        Raises:
            InputError: values that are not finite, one class, too few groups to calibrate, width < 1, penalty < 0, a
                device that does not exist.

        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(400, 2))
        >>> xor = (X[:, 0] > 0) ^ (X[:, 1] > 0)
        >>> probe = MlpFitter().fit(X, xor, groups=np.arange(400) // 4)
        >>> bool(((probe.decision_function(X) > 0) == xor).mean() > .9), bool(probe.selectivity > .3)
        (True, True)
        """
        if self.width < 1 or not self.penalty >= 0:
            raise InputError(f"width {self.width} and penalty {self.penalty}: expected at least 1 and at least 0")
        X = _checks.activations(X)
        y, groups = _checks.labels(y, len(X)), _checks.group_codes(groups, len(X))
        types = groups if types is None else _checks.group_codes(types, len(X))
        aside = calibration_fold(y, groups, self.calibration_share, self.seed)
        tasks = control_tasks(y, types, draws=_DRAWS, seed=self.seed)
        columns, used = [y], [~aside]
        if not tasks.reason:
            rows, labels = np.zeros(len(X), bool), np.zeros((len(X), 1 + _DRAWS))
            rows[tasks.rows], labels[tasks.rows] = True, tasks.labels
            fold = np.full(len(X), -1)
            fold[tasks.rows] = tasks.fold
            for held in range(int(fold.max()) + 1):
                columns += list(labels.T)
                used += [rows & (fold != held)] * (1 + _DRAWS)
        networks = self._train(X, np.stack(columns, axis=1), np.stack(used, axis=1))
        auroc, control = float("nan"), np.full(_DRAWS, np.nan)
        if not tasks.reason:
            scores = np.zeros((len(X), 1 + _DRAWS))
            for held in range(int(fold.max()) + 1):
                left = fold == held
                scores[left] = _scores(networks, X[left])[:, 1 + held * (1 + _DRAWS) :][:, : 1 + _DRAWS]
            found = [float(weighted_auroc(scores[rows, i], labels[rows, i])) for i in range(1 + _DRAWS)]
            auroc, control = found[0], np.array(found[1:])
        weights, biases, out, bias = (part[0] for part in networks)
        score = _scores(networks, X[aside])[:, 0]
        slope, offset = platt(score, y[aside])
        return MlpProbe((weights, biases), out, float(bias), slope, offset, auroc, control, tasks.reason)

    def _train(
        self, X: np.ndarray, labels: Float[np.ndarray, "n b"] | Int[np.ndarray, "n b"], used: Bool[np.ndarray, "n b"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """One network for each column of labels, on the rows it uses; weights for inputs as they come."""
        centre, scale = X.mean(axis=0), X.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-300), scale, np.inf)
        (d, b), device = (X.shape[1], labels.shape[1]), _checks.device(self.device)
        given = (X - centre) / scale, labels.astype(float), used / used.sum(0)
        Z, target, weight = (torch.from_numpy(part).to(device) for part in given)
        generator = torch.Generator().manual_seed(self.seed)
        # every network starts alike, so that they differ by their labels alone
        inner = torch.randn(1, d, self.width, generator=generator, dtype=torch.float64).repeat(b, 1, 1) * (2 / d) ** 0.5
        outer = torch.randn(1, self.width, generator=generator, dtype=torch.float64).repeat(b, 1) / self.width**0.5
        parts = [inner, torch.zeros(b, self.width).double(), outer, torch.zeros(b).double()]
        parts = [part.to(device).requires_grad_() for part in parts]
        adam = torch.optim.Adam(parts, lr=_RATE)
        course = torch.optim.lr_scheduler.CosineAnnealingLR(adam, _STEPS)
        for _ in range(_STEPS):
            score = _forward(Z, *parts)
            loss = (weight * (torch.nn.functional.softplus(score) - target * score)).sum()
            loss = loss + self.penalty / 2 * sum(part.square().sum() for part in (parts[0], parts[2]))
            adam.zero_grad()
            loss.backward()
            adam.step()
            course.step()
        inner, biases, outer, bias = (part.detach().cpu().numpy() for part in parts)
        inner = inner / scale[:, None]
        return inner, biases - centre @ inner, outer, bias


def _forward(
    Z: Float[Tensor, "n d"],
    inner: Float[Tensor, "b d h"],
    biases: Float[Tensor, "b h"],
    outer: Float[Tensor, "b h"],
    bias: Float[Tensor, " b"],
) -> Float[Tensor, "n b"]:
    heights = torch.relu(torch.matmul(Z, inner) + biases[:, None])
    return torch.einsum("bnh,bh->nb", heights, outer) + bias


def _scores(networks: tuple[np.ndarray, ...], X: np.ndarray) -> Float[np.ndarray, "n b"]:
    inner, biases, outer, bias = (torch.from_numpy(np.asarray(part)) for part in networks)
    return _forward(torch.from_numpy(X), inner, biases, outer, bias).numpy()
