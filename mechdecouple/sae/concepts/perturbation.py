"""Targeted perturbation: do a concept's latents carry that concept, and no other, in the activation?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.sae.concepts._labelled import Codes, Labelled, Labels, best
from mechdecouple.stats import Replicates

SAE_PERTURBATION = Metric(
    name="sae_targeted_perturbation",
    family="sae",
    title="SAE: targeted perturbation",
    measures="fall of the accuracy of a concept's dense probe when k latents of the concept (the context) are taken "
    "out of the activation, less its fall when those of another concept are; mean over concepts",
    range="[-1, 1]",
    direction="higher",
    null="0: latents chosen for a concept matter to it no more than those chosen for another",
    assumes="concepts that do not determine each other",
    source="2411.18895",
)
SAE_PERTURBATION_TARGET = Metric(
    name="sae_perturbation_target",
    family="sae",
    title="SAE: effect of a concept's latents",
    measures="fall of the class-balanced accuracy of a concept's dense probe when k latents of the concept (the "
    "context) are taken out of the activation",
    range="[-1, 1]",
    direction="higher",
    null="0: they matter to no probe",
    source="2411.18895",
)
SAE_PERTURBATION_OTHERS = Metric(
    name="sae_perturbation_others",
    family="sae",
    title="SAE: effect on other concepts",
    measures="fall of the class-balanced accuracy of other concepts' dense probes when k latents of a concept (the "
    "context) are taken out of the activation",
    range="[-1, 1]",
    direction="lower",
    null="0: they matter to no other probe",
    source="2411.18895",
)


@dataclass(frozen=True, eq=False)
class TargetedPerturbation:
    """What taking a concept's latents out does to every concept's probe.

    Attributes:
        concepts: the c judged; left_out: those that cannot be, and why.
        k: numbers of latents taken out.
        clean: ``[c]`` class-balanced accuracy of each dense probe as it is.
        effect: ``[k, c, c]`` fall of the accuracy of the column's probe without the row's latents.
        latents: concept -> its latents by effect on its probe, chosen on all rows, best first.
    """

    concepts: tuple[str, ...]
    left_out: Mapping[str, str]
    k: tuple[int, ...]
    clean: Replicates
    effect: Replicates
    latents: Mapping[str, Int[np.ndarray, " _"]]

    def target(self, k: int) -> Replicates:
        """Mean over concepts of the fall of their own probe."""
        found, c = self._of(k), len(self.concepts)
        return Replicates.mean([found[i, i] for i in range(c)])

    def others(self, k: int) -> Replicates | None:
        """Mean over pairs of concepts of the fall of the other's probe; None with a single concept."""
        found, c = self._of(k), len(self.concepts)
        pairs = [found[i, j] for i in range(c) for j in range(c) if i != j]
        return Replicates.mean(pairs) if pairs else None

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results: the score for each k, and its two parts."""
        place = {"model": model, "hook_point": hook_point, "position": position, "family": "sae"}
        out = []
        for k in self.k:
            target, others = self.target(k), self.others(k)
            parts: list[tuple[Metric, Replicates | None]] = [
                (SAE_PERTURBATION, None if others is None else target - others),
                (SAE_PERTURBATION_TARGET, target),
                (SAE_PERTURBATION_OTHERS, others),
            ]
            for metric, found in parts:
                estimate = (
                    Estimate.undefined("one concept alone: there is no other for its latents to leave untouched")
                    if found is None
                    else found.estimate(metric, null=0.0, reason=_reason(found))
                )
                out.append(Measurement(metric=metric.name, estimate=estimate, context=f"k={k}", **place))
        return out

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a number of latents and pair of concepts."""
        low, high = self.effect.interval()
        return pd.DataFrame(
            [
                {"k": k, "latents_of": a, "probe_of": b, "clean": self.clean.value[j],
                 "effect": self.effect.value[i, r, j], "low": low[i, r, j], "high": high[i, r, j]}
                for i, k in enumerate(self.k)
                for r, a in enumerate(self.concepts)
                for j, b in enumerate(self.concepts)
            ]
        )  # fmt: skip

    def _of(self, k: int) -> Replicates:
        if k not in self.k:
            raise InputError(f"{k} latents were not taken out; there are k = {', '.join(map(str, self.k))}")
        return self.effect[self.k.index(k)]

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, float_format="%.3f", escape=True, border=0)


def targeted_perturbation(
    codes: Codes,
    labels: Labels,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    X: Float[np.ndarray, "n d"],
    decoder: Float[np.ndarray, "m d"],
    k: Sequence[int] = (1, 2, 5, 10),
    n_blocks: int = 20,
    seed: int = 0,
) -> TargetedPerturbation:
    """Take each concept's latents out of the activations, and see which concepts' probes miss them.

    In each of five folds of whole groups, a dense probe of every concept is fitted on the other folds, and there the
    latents are chosen that push it most: those with the largest (mean where the concept holds − mean where it does
    not) × (decoder · probe weights). On the fold's rows they are set to zero, the reconstruction error kept
    (x − Σ value · decoder), and all probes are asked again (2411.18895).

    Args:
        codes, labels, groups: as for ``sparse_probing``; give two concepts or more.
        X: the activations that the latents encode; decoder: what each latent adds.
        k: numbers of latents to take out; fewer go where fewer push the probe at all.

    Raises:
        InputError, MismatchError: as ``sparse_probing``; a decoder that does not fit latents and activations.

    Example:
        >>> found = targeted_perturbation(sae.encode_sparse(X), task.concepts, task.groups, X=X,
        ...                               decoder=sae.decoder)  # doctest: +SKIP
        >>> (found.target(5) - found.others(5)).interval()  # doctest: +SKIP
    """
    ks = tuple(sorted({int(one) for one in k}))
    if not ks or ks[0] < 1:
        raise InputError(f"k is {tuple(k)}; expected numbers of latents, of at least 1")
    data = Labelled.of(codes, labels, groups, n_blocks=n_blocks, seed=seed)
    X, decoder = np.asarray(X, np.float64), np.asarray(decoder, np.float64)
    if decoder.shape != (data.m, X.shape[1]):
        raise InputError(f"the decoder has shape {decoder.shape}; expected ({data.m}, {X.shape[1]}), latents by width")
    n, c = data.y.shape
    clean, without = np.full((n, c), np.nan), np.full((len(ks), c, n, c), np.nan)
    mean_weights = np.zeros((c, X.shape[1]))
    for f, probes in enumerate(data.probes(X, seed)):
        held = np.flatnonzero(data.fold == f)
        weights = np.stack([probe.weights for probe in probes])
        mean_weights += weights / (data.fold.max() + 1)
        clean[held] = X[held] @ weights.T + [probe.bias for probe in probes]
        pushes = decoder @ weights.T
        for i in range(c):
            chosen = best(data.differences[f, i] * pushes[:, i], ks[-1])
            supplied = data.columns(chosen)[held]
            for at, one in enumerate(ks):
                without[at, i, held] = clean[held] - supplied[:, :one] @ pushes[chosen[:one]]
    judged = data.scored(np.concatenate([clean[None], without.reshape(-1, n, c)]))
    accuracy = data.jackknife(judged.accuracy)
    falls = data.jackknife(lambda rows: _falls(judged.accuracy(rows), len(ks), c))
    return TargetedPerturbation(
        concepts=data.names,
        left_out=data.left_out,
        k=ks,
        clean=accuracy[0],
        effect=falls,
        latents={
            name: best(data.differences[-1, i] * (decoder @ mean_weights[i]), ks[-1])
            for i, name in enumerate(data.names)
        },
    )


def _falls(accuracy: Float[np.ndarray, "l c"], k: int, c: int) -> Float[np.ndarray, "k c c"]:
    return accuracy[0] - accuracy[1:].reshape(k, c, c)


def _reason(found: Replicates) -> str:
    return "no held-out row of one of its classes" if np.isnan(found.value) else ""
