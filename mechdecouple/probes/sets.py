"""Linear probes of many sets of rows at once: the same layer, fitted without this fold, that pair of folds, …"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks
from mechdecouple.probes._design import Design
from mechdecouple.probes._lbfgs import minimise, principal_axes

_ENTRIES = 4_000_000
"""Scores held at once by one batch of problems."""
_CONSTANT = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class SetProbes:
    """One linear read-out for each set of rows, and for each penalty.

    Attributes:
        weights: [d, h, p] weight of each raw activation.
        bias: [h, p] score at the origin; above zero means class 1.
    """

    weights: Float[np.ndarray, "d h p"]
    bias: Float[np.ndarray, "h p"]

    def __call__(self, X: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m h p"]:
        """Scores of the rows by every probe."""
        d = len(self.weights)
        if X.shape[1] != d:
            raise InputError(f"activations have {X.shape[1]} dimensions, the probes were fitted on {d}")
        flat = np.asarray(X, np.float64) @ self.weights.reshape(d, -1)
        return flat.reshape(len(X), *self.bias.shape) + self.bias


class LogisticSets:
    """One layer made ready for logistic probes of many sets of its rows.

    Penalties mean what they mean in ``LogisticFitter``: mean log-loss + penalty/2 · ‖w‖², the columns standardised by
    each set's own rows. What all sets share is prepared once; every set and penalty then runs in the same products, in
    float32.

    Args:
        X: [n, d]; y: [n] labels 0/1.
        device: "cpu", "cuda", "auto" (the GPU where there is one), ….

    Raises:
        InputError: values that are not finite, a single class, a device that does not exist.

    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(60) % 2
    >>> X = rng.normal(size=(60, 3)) + y[:, None]
    >>> without = np.arange(60)[:, None] % 3 != np.arange(3)
    >>> LogisticSets(X, y).fit(without, [1.0, 0.1]).weights.shape
    (3, 3, 2)
    """

    def __init__(self, X: Float[np.ndarray, "n d"], y: Shaped[np.ndarray, " n"], device: str = "cpu") -> None:
        X = _checks.activations(X)
        self._y = _checks.labels(y, len(X))
        self._centre = X.mean(axis=0)
        Z = X - self._centre
        scale = np.sqrt(np.einsum("ij,ij->j", Z, Z) / len(Z))
        varies = scale > _CONSTANT * np.maximum(np.abs(self._centre), 1e-300)
        self._inverse = np.where(varies, 1 / np.maximum(scale, 1e-300), 0.0)
        Z *= self._inverse
        rows = torch.from_numpy(Z.astype(np.float32)).to(_checks.device(device))
        self._design = Design(rows, principal_axes(rows))

    def fit(
        self,
        rows: Bool[np.ndarray, "n h"],
        penalties: Sequence[float] | Float[np.ndarray, " p"] | Float[np.ndarray, "h p"],
        tolerance: float = 1e-2,
    ) -> SetProbes:
        """One probe a set and penalty.

        Args:
            rows: the rows of each set.
            penalties: candidates for every set, or [h, p] for each set its own.
            tolerance: as for ``fit_many``.

        Raises:
            InputError: a set without one of the classes, a penalty that is not above zero.
        """
        rows = _sets(rows, self._y)
        n, h = rows.shape
        ridge = np.asarray(penalties, np.float64)
        ridge = np.broadcast_to(ridge, (h, ridge.shape[-1]))
        if not ridge.size or not (ridge > 0).all() or not np.isfinite(ridge).all():
            raise InputError(f"penalties {penalties}: expected one or more numbers above zero")
        design = self._design
        p, device = ridge.shape[1], design.Z.device
        weights, bias = np.empty((len(self._centre), h, p)), np.empty((h, p))
        label = torch.from_numpy(self._y).to(device, torch.float32)[:, None]
        step = max(1, _ENTRIES // (n * p))
        for start in range(0, h, step):
            part = slice(start, min(start + step, h))
            chosen = torch.from_numpy(rows[:, part]).to(device)
            shrink = design.shrink(chosen)
            strength = torch.from_numpy(ridge[part].astype(np.float32).ravel()).to(device)
            theta, _ = minimise(
                design.Z,
                label.expand(n, len(strength)).contiguous(),
                chosen.float().repeat_interleave(p, dim=1),
                strength,
                design.axes,
                tolerance,
                shrink.repeat_interleave(p, dim=1),
            )
            found = (theta[:-1] * shrink.repeat_interleave(p, dim=1)).double().cpu().numpy()
            found *= self._inverse[:, None]
            intercept = theta[-1].double().cpu().numpy() - self._centre @ found
            weights[:, part], bias[part] = found.reshape(len(found), -1, p), intercept.reshape(-1, p)
        return SetProbes(weights, bias)


def mass_mean_sets(
    X: Float[np.ndarray, "n d"], y: Shaped[np.ndarray, " n"], rows: Bool[np.ndarray, "_n h"]
) -> SetProbes:
    """The plain mass-mean read-out (``MassMeanFitter``) of each set of rows, from one product.

    Raises:
        InputError: a set without one of the classes.
    """
    X = _checks.activations(X)
    y = _checks.labels(y, len(X))
    rows = _sets(rows, y)
    means = []
    for label in (0, 1):
        share = (rows & (y == label)[:, None]).astype(np.float64)
        means.append(X.T @ (share / share.sum(axis=0)))
    theta = means[1] - means[0]
    bias = -np.einsum("dh,dh->h", theta, means[0] + means[1]) / 2
    return SetProbes(theta[:, :, None], bias[:, None])


def _sets(rows: Bool[np.ndarray, "n h"], y: np.ndarray) -> Bool[np.ndarray, "n h"]:
    rows = np.asarray(rows, bool)
    if rows.ndim != 2 or len(rows) != len(y):
        raise InputError(f"sets of rows have shape {rows.shape}, expected ({len(y)}, sets)")
    for label in (0, 1):
        count = rows[y == label].sum(axis=0)
        if (count == 0).any():
            raise InputError(f"set {int((count == 0).argmax())} has no row of class {label}: a probe needs both")
    return rows
