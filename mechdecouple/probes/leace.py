"""LEACE: erase a concept so that no linear probe beats the base rate on the fitted rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from concept_erasure import LeaceFitter as _Leace
from jaxtyping import Bool, Float, Num

from mechdecouple.errors import InputError
from mechdecouple.probes import _checks


@dataclasses.dataclass(frozen=True, eq=False)
class Eraser:
    """A frozen affine map x ↦ x − L R (x − mean) that has lost the concept.

    Attributes:
        left: [d, k]; right: [k, d]; mean: [d], which the map leaves in place.
    """

    left: Float[np.ndarray, "d k"]
    right: Float[np.ndarray, "k d"]
    mean: Float[np.ndarray, " d"]

    def __call__(self, X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """The rows of X without the concept."""
        X = _checks.activations(X)
        if X.shape[1] != len(self.mean):
            raise InputError(f"activations have {X.shape[1]} dimensions, the eraser was fitted on {len(self.mean)}")
        return X - ((X - self.mean) @ self.right.T) @ self.left.T


@dataclasses.dataclass
class LeaceFitter:
    """Fits LEACE (Belrose et al., arXiv 2306.03819): the smallest change that makes the concept linearly unreadable.

    Attributes:
        shrinkage: estimate the covariance with optimal linear shrinkage; the guarantee holds either way.
    """

    shrinkage: bool = True

    def fit(
        self,
        X: Float[np.ndarray, "n d"],
        Z: Num[np.ndarray, " *m"] | Bool[np.ndarray, " *m"],
    ) -> Eraser:
        """X [n, d] and one or more concepts Z [n] or [n, k] (numbers; classes one-hot) → frozen eraser.

        Raises:
            InputError: NaN or infinite values, fewer than two rows, lengths that differ.
        """
        X = _checks.activations(X)
        Z = np.asarray(Z, dtype=np.float64).reshape(len(Z), -1)
        if len(Z) != len(X) or len(X) < 2:
            raise InputError(
                f"{len(X)} rows of activations and {len(Z)} of concepts: expected equal lengths of 2 or more"
            )
        if not np.isfinite(Z).all():
            row = int(np.argwhere(~np.isfinite(Z))[0, 0])
            raise InputError(f"concept value at row {row} is not finite; drop rows whose label is unknown")
        # Constraining the trace mixes in a projection that does not erase; a coarse tolerance leaves weak concepts in.
        fitter = _Leace(
            X.shape[1],
            Z.shape[1],
            dtype=torch.float64,
            shrinkage=self.shrinkage,
            constrain_cov_trace=False,
            svd_tol=1e-10,
        )
        eraser = fitter.update(torch.from_numpy(X), torch.from_numpy(Z)).eraser
        return Eraser(left=eraser.proj_left.numpy(), right=eraser.proj_right.numpy(), mean=X.mean(axis=0))
