"""Absorption: rows of a concept on which its own latents stay silent because more specific ones speak for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.probes import LinearProbe
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.sae.concepts._labelled import Codes, Labelled, Labels
from mechdecouple.sae.concepts.splitting import main_latents
from mechdecouple.stats import Replicates

MIN_SHARE = 0.4
"""Share of a row's projection on the probe that other latents must supply to count as absorbing it."""
MIN_COSINE = 0.1
"""Cosine of an absorbing latent's decoder direction with the probe."""
MIN_COSINE_FULL = 0.025
"""The same where a single latent takes the whole."""
ABSORBERS = 3
"""Latents that may absorb a row together."""
MIN_PRECISION = 0.5
"""How far from the base rate towards 1 the precision of a concept's own latents must lie for them to stand for it."""

SAE_ABSORPTION = Metric(
    name="sae_absorption",
    family="sae",
    title="SAE: absorption",
    measures="share of a concept's projection on its probe that latents other than the concept's own supply, mean over "
    "held-out rows of the concept that the probe tells",
    range="[0, 1]",
    direction="lower",
    null="0: the concept's own latents speak wherever it holds",
    assumes="no other concept goes along with it whose latents point the same way",
    source="2409.14507, 2503.09532",
)
SAE_ABSORPTION_FULL = Metric(
    name="sae_absorption_full",
    family="sae",
    title="SAE: full absorption",
    measures="share of held-out rows of a concept, told by its probe, on which none of its own latents fires and one "
    "other supplies at least .4 of the projection on the probe",
    range="[0, 1]",
    direction="lower",
    null=SAE_ABSORPTION.null,
    assumes=SAE_ABSORPTION.assumes,
    source="2409.14507",
)


@dataclass(frozen=True, eq=False)
class Absorption:
    """How far other latents take over the rows of each concept.

    Attributes:
        concepts: the c judged; left_out: those that cannot be, and why: no latents stand for them, say.
        fraction: ``[c]`` mean share absorbed; full: ``[c]`` share of rows absorbed by one latent.
        silent: ``[c]`` share of the rows on which none of the concept's own latents fires, absorbed or not.
        rows: ``[c]`` rows judged: of the concept, and told by the dense probe.
        latents: concept -> its own latents, most often chosen first.
        absorbers: concept -> frame with ``latent`` and ``share`` of the judged rows of whose absorption it does most.
    """

    concepts: tuple[str, ...]
    left_out: Mapping[str, str]
    fraction: Replicates
    full: Replicates
    silent: Replicates
    rows: Int[np.ndarray, " c"]
    latents: Mapping[str, Int[np.ndarray, " _"]]
    absorbers: Mapping[str, pd.DataFrame]

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results, two a concept."""
        place = {"model": model, "hook_point": hook_point, "position": position, "family": "sae"}
        out = []
        for metric, found in ((SAE_ABSORPTION, self.fraction), (SAE_ABSORPTION_FULL, self.full)):
            for c, concept in enumerate(self.concepts):
                reason = "the probe tells none of its rows" if np.isnan(found[c].value) else ""
                estimate = found[c].estimate(metric, null=0.0, reason=reason)
                out.append(Measurement(metric=metric.name, estimate=estimate, concept=concept, **place))
            for concept, reason in self.left_out.items():
                nothing = Estimate.undefined(reason)
                out.append(Measurement(metric=metric.name, estimate=nothing, concept=concept, **place))
        return out

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a concept."""
        table: dict[str, object] = {"concept": list(self.concepts), "rows": self.rows}
        for name, found in (("fraction", self.fraction), ("full", self.full), ("silent", self.silent)):
            low, high = np.clip(found.interval(), 0, 1)
            table |= {name: found.value, f"{name}_low": low, f"{name}_high": high}
        table["latents"] = [self.latents[c].tolist() for c in self.concepts]
        table["absorbers"] = [self.absorbers[c].latent.tolist() for c in self.concepts]
        return pd.DataFrame(table)

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, float_format="%.3f", escape=True, border=0)


def absorption(
    codes: Codes,
    labels: Labels,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    X: Float[np.ndarray, "n d"],
    decoder: Float[np.ndarray, "m d"],
    b_dec: Float[np.ndarray, " d"] | None = None,
    n_blocks: int = 20,
    seed: int = 0,
) -> Absorption:
    """Look for rows of a concept on which other latents stand in for the concept's own.

    In each of five folds of whole groups, a dense probe and the concept's own latents (those of ``splitting``) are
    fitted on the other folds. On the fold's rows that hold the concept and that the probe tells, each latent supplies
    its value times its decoder's projection on the probe. Up to three others, aligned with the probe, absorb a row if
    they supply at least .4 of its projection; the share absorbed is theirs of theirs and the own latents' together
    (2409.14507, with the fraction of 2503.09532).

    Absorption is about concepts that some latents stand for: where the own latents fire they must mean the concept
    (recall is what absorption costs). A concept whose latents fire for it hardly more than its base rate is left out.

    Args:
        codes, labels, groups: as for ``sparse_probing``.
        X: the activations that the latents encode.
        decoder: what each latent adds; b_dec: what is there without any, from where projections are measured (0 if not
            given).

    Raises:
        InputError, MismatchError: as ``sparse_probing``; a decoder that does not fit latents and activations.

    Example:
        >>> absorption(sae.encode_sparse(X), task.concepts, task.groups, X=X, decoder=sae.decoder,
        ...            b_dec=sae.b_dec).frame()  # doctest: +SKIP
    """
    data = Labelled.of(codes, labels, groups, n_blocks=n_blocks, seed=seed)
    X, decoder = np.asarray(X, np.float64), np.asarray(decoder, np.float64)
    if decoder.shape != (data.m, X.shape[1]):
        raise InputError(f"the decoder has shape {decoder.shape}; expected ({data.m}, {X.shape[1]}), latents by width")
    probes = data.probes(X, seed)
    origin = np.zeros(X.shape[1]) if b_dec is None else np.asarray(b_dec, np.float64)
    fraction, full, silent = np.full((3, *data.y.shape), np.nan)
    own: list[list[int]] = [[] for _ in data.names]
    taken: list[list[int]] = [[] for _ in data.names]
    own_fire = np.zeros(data.y.shape, bool)
    by_row = data.codes.tocsr()
    for f, of_fold in enumerate(probes):
        for c, probe in enumerate(of_fold):
            latents = main_latents(data, f, c)
            own[c] += latents.tolist()
            _, held = data.rows(f, c)
            own_fire[held, c] = (data.columns(latents)[held] != 0).any(1)
            told = probe.decision_function(X[held]) > data.base[held, c]
            rows = held[(data.y[held, c] == 1) & told]
            projection = (X[rows] - origin) @ probe.direction
            shares = _Shares(decoder, probe, latents)
            for row, whole in zip(rows, projection, strict=True):
                at = slice(by_row.indptr[row], by_row.indptr[row + 1])
                fraction[row, c], full[row, c], silent[row, c], absorbers = shares(
                    by_row.indices[at], by_row.data[at], float(whole)
                )
                taken[c] += absorbers
    return _result(data, np.stack([fraction, full, silent]), _unfit(data, own_fire), own, taken)


class _Shares:
    """What latents supply of a row's projection on one probe."""

    def __init__(self, decoder: np.ndarray, probe: LinearProbe, own: np.ndarray) -> None:
        self._onto = decoder @ probe.direction
        lengths = np.linalg.norm(decoder, axis=1)
        self._cosine = np.divide(self._onto, lengths, out=np.zeros(len(lengths)), where=lengths > 0)
        self._own = np.isin(np.arange(len(decoder)), own)

    def __call__(
        self, latents: Int[np.ndarray, " k"], values: Float[np.ndarray, " k"], whole: float
    ) -> tuple[float, float, float, list[int]]:
        """Share absorbed, whether by one latent, whether the own are silent, and who absorbs most; of one row."""
        firing = values != 0
        latents, values = latents[firing], values[firing]
        supplied = values * self._onto[latents]
        own = self._own[latents]
        silent, mine = not own.any(), float(supplied[own].sum())
        others = np.flatnonzero(~own & (supplied > 0) & (self._cosine[latents] >= MIN_COSINE))
        others = others[np.argsort(-supplied[others], kind="stable")][:ABSORBERS]
        theirs = float(supplied[others].sum())
        absorbed = 0.0
        if whole > 0 and mine < whole and theirs >= MIN_SHARE * whole:
            theirs = min(theirs, whole - mine)
            absorbed = 1.0 if mine <= 0 else theirs / (theirs + mine)
        who = latents[others[:1]].tolist() if absorbed else []
        first = int(np.argmax(supplied)) if len(supplied) else 0
        alone = (
            silent
            and whole > 0
            and len(supplied) > 0
            and self._cosine[latents[first]] >= MIN_COSINE_FULL
            and supplied[first] >= MIN_SHARE * whole
        )
        return absorbed, float(alone), float(silent), who


def _unfit(data: Labelled, own_fire: Bool[np.ndarray, "n c"]) -> dict[str, str]:
    """Concepts that no latents stand for, and why."""
    reasons = {}
    for c, name in enumerate(data.names):
        known = ~np.isnan(data.y[:, c])
        base, fired = data.y[known, c].mean(), known & own_fire[:, c]
        precision = data.y[fired, c].mean() if fired.any() else 0.0
        if precision < base + MIN_PRECISION * (1 - base):
            reasons[name] = (
                f"no latents stand for it: it holds on {precision:.0%} of the rows where its best ones fire, and on "
                f"{base:.0%} of all"
            )
    return reasons


def _result(
    data: Labelled,
    values: Float[np.ndarray, "v n c"],
    unfit: dict[str, str],
    own: list[list[int]],
    taken: list[list[int]],
) -> Absorption:
    kept = [c for c, name in enumerate(data.names) if name not in unfit]
    values = values[:, :, kept]
    count = (~np.isnan(values[0])).sum(0)

    def mean(rows: np.ndarray) -> np.ndarray:
        judged = ~np.isnan(values[0, rows])
        total = np.where(judged, values[:, rows], 0.0).sum(1)
        return np.divide(total, judged.sum(0), out=np.full(total.shape, np.nan), where=judged.any(0))

    found = data.jackknife(mean)
    latents, absorbers = {}, {}
    for c, n in zip(kept, count, strict=True):
        chosen, times = np.unique(np.array(own[c], int), return_counts=True)
        latents[data.names[c]] = chosen[np.argsort(-times, kind="stable")]
        who, times = np.unique(np.array(taken[c], int), return_counts=True)
        order = np.argsort(-times, kind="stable")
        absorbers[data.names[c]] = pd.DataFrame({"latent": who[order], "share": times[order] / max(1, n)})
    names = tuple(data.names[c] for c in kept)
    return Absorption(names, data.left_out | unfit, found[0], found[1], found[2], count, latents, absorbers)
