"""Splitting: over how many latents a declared concept is spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.sae.concepts._labelled import Codes, Labelled, Labels
from mechdecouple.sae.concepts._logistic import log_odds
from mechdecouple.sae.concepts.probing import few_latents
from mechdecouple.stats import Replicates

MIN_GAIN = 0.03
"""Gain in F1 that makes one more latent a part of the concept (2409.14507)."""

SAE_SPLITTING = Metric(
    name="sae_splitting",
    family="sae",
    title="SAE: latents of a concept",
    measures="latents that fire for a concept until one more adds less than .03 to the held-out F1 of a probe of them",
    range="[1, ∞)",
    direction="lower",
    null="1: one latent stands for the concept",
    assumes="the concept is held at all: see sparse probing",
    source="2409.14507",
)


@dataclass(frozen=True, eq=False)
class Splitting:
    """Over how many latents each concept is spread.

    Attributes:
        concepts: the c judged; left_out: those that cannot be, and why.
        f1: ``[k, c]`` held-out F1 of a probe of the first 1 … k latents.
        count: ``[c]`` latents until the gain falls short; the whole of ``most`` where it never does.
        latents: concept -> those latents, chosen on all rows.
    """

    concepts: tuple[str, ...]
    left_out: Mapping[str, str]
    f1: Replicates
    count: Int[np.ndarray, " c"]
    latents: Mapping[str, Int[np.ndarray, " _"]]

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results, one a concept."""
        place = {"model": model, "hook_point": hook_point, "position": position}
        facts = {"n": self.f1.n, "unit": "groups", "direction": SAE_SPLITTING.direction, "null": 1.0}
        found = {
            concept: Estimate(value=float(n), reason="no interval: a count by a threshold", **facts)
            for concept, n in zip(self.concepts, self.count, strict=True)
        }
        found |= {concept: Estimate.undefined(reason) for concept, reason in self.left_out.items()}
        return [
            Measurement(metric=SAE_SPLITTING.name, family="sae", estimate=estimate, concept=concept, **place)
            for concept, estimate in found.items()
        ]

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a concept and number of latents."""
        low, high = np.clip(self.f1.interval(), 0, 1)
        rows = [
            {"concept": concept, "k": k + 1, "f1": self.f1.value[k, c], "f1_low": low[k, c], "f1_high": high[k, c],
             "counted": bool(k < self.count[c])}
            for c, concept in enumerate(self.concepts)
            for k in range(len(self.f1))
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, float_format="%.3f", escape=True, border=0)


def splitting(
    codes: Codes,
    labels: Labels,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    most: int = 10,
    n_blocks: int = 20,
    seed: int = 0,
) -> Splitting:
    """Count the latents that share a concept between them.

    Latents that fire more where the concept holds are taken one by one, those whose mean differs most first, for as
    long as each adds ``MIN_GAIN`` to the F1 of a logistic probe on held-out groups (2409.14507).

    Args:
        codes, labels, groups: as for ``sparse_probing``.
        most: latents to try.

    Raises:
        InputError, MismatchError: as ``sparse_probing``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y, half = rng.integers(0, 2, (2, 500))
        >>> codes = np.stack([y * half, y * (1 - half), rng.integers(0, 2, 500)], axis=1).astype(float)
        >>> splitting(codes, {"split in two": y}).count
        array([2])
    """
    if most < 1:
        raise InputError(f"most is {most}; expected at least 1 latent to try")
    data = Labelled.of(codes, labels, groups, n_blocks=n_blocks, seed=seed)
    ks = range(1, min(most, data.m) + 1)
    said = few_latents(data, ks, signed=True) > data.base

    def f1(rows: np.ndarray) -> np.ndarray:
        return _f1(said[:, rows], data.y[rows])

    found = data.jackknife(f1)
    count = np.array([gains(curve) for curve in np.asarray(found.value).T])
    latents = {name: data.top(-1, c, int(count[c]), signed=True) for c, name in enumerate(data.names)}
    return Splitting(data.names, data.left_out, found, count, latents)


def main_latents(data: Labelled, fold: int, concept: int, most: int = 10) -> Int[np.ndarray, " _"]:
    """The latents that stand for a concept, chosen and counted on the rows outside a fold."""
    fit, _ = data.rows(fold, concept)
    y = data.y[fit, concept]
    latents = data.top(fold, concept, most, signed=True)
    Z = data.columns(latents)[fit]
    base = np.log(y.mean() / (1 - y.mean()))
    curve = [_f1(log_odds(Z[:, :k], y, Z[:, :k]) > base, y) for k in range(1, len(latents) + 1)]
    return latents[: gains(np.array(curve))]


def gains(f1: Float[np.ndarray, " k"]) -> int:
    """Latents until one more gains less than ``MIN_GAIN``; at least one."""
    short = np.flatnonzero(np.diff(f1) < MIN_GAIN)
    return int(short[0]) + 1 if len(short) else max(1, len(f1))


def _f1(said: np.ndarray, y: np.ndarray) -> np.ndarray:
    """F1 over the next to last axis (rows), of those known; 0 where nothing true was found."""
    axis = -1 if y.ndim == 1 else -2
    true, false = y == 1, y == 0
    hits = (said & true).sum(axis)
    wrong = (said & false).sum(axis) + (~said & true).sum(axis)
    return np.divide(2 * hits, 2 * hits + wrong, out=np.zeros(np.shape(hits)), where=2 * hits + wrong > 0)
