"""Sparse probing: how much of a declared concept a few latents hold, beside a probe of the whole activation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.probes import cross_validated
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.sae.concepts._labelled import Codes, Labelled, Labels
from mechdecouple.sae.concepts._logistic import log_odds
from mechdecouple.stats import Replicates

SAE_SPARSE_PROBING = Metric(
    name="sae_sparse_probing",
    family="sae",
    title="SAE: probe of k latents",
    measures="held-out AUROC of a concept read from the k latents whose mean differs most by it (k is the context; "
    "'dense' reads the activation itself)",
    range="[0, 1]",
    direction="higher",
    null=".5: the latents hold nothing of the concept",
    assumes="the concept is one that the activation holds: see the dense probe",
    source="2503.09532",
)
SAE_SPARSE_PROBING_GAP = Metric(
    name="sae_sparse_probing_gap",
    family="sae",
    title="SAE: dense probe above k latents",
    measures="held-out AUROC of a dense probe of the activation less that of k latents (the context)",
    range="[-1, 1]",
    direction="lower",
    null="0: the k latents hold all that a linear probe finds",
    assumes=SAE_SPARSE_PROBING.assumes,
    source="2503.09532",
)


@dataclass(frozen=True, eq=False)
class SparseProbing:
    """Probes of few latents, all scored on groups that neither chose the latents nor fitted the probe.

    Attributes:
        concepts: the c judged; left_out: those that cannot be, and why.
        k: numbers of latents.
        auroc, accuracy: ``[k, c]``; accuracy is class-balanced, .5 for a coin.
        dense_auroc, dense_accuracy: ``[c]`` of the dense probe on the same folds; None without activations.
        latents: concept -> the latents chosen on all rows, best first (the scores come from choices of their own).
    """

    concepts: tuple[str, ...]
    left_out: Mapping[str, str]
    k: tuple[int, ...]
    auroc: Replicates
    accuracy: Replicates
    dense_auroc: Replicates | None
    dense_accuracy: Replicates | None
    latents: Mapping[str, Int[np.ndarray, " _"]]

    def measurements(self, model: str = "", *, hook_point: str = "", position: str = "") -> list[Measurement]:
        """Its rows of the table of results, concept by concept."""
        place = {"model": model, "hook_point": hook_point, "position": position, "family": "sae"}
        out: list[Measurement] = []
        for c, concept in enumerate(self.concepts):
            at = {**place, "concept": concept}
            for i, k in enumerate(self.k):
                found = self.auroc[i, c].estimate(SAE_SPARSE_PROBING, null=0.5, reason=_reason(self.auroc[i, c]))
                out.append(Measurement(metric=SAE_SPARSE_PROBING.name, estimate=found, context=f"k={k}", **at))
            if self.dense_auroc is None:
                continue
            dense = self.dense_auroc[c]
            found = dense.estimate(SAE_SPARSE_PROBING, null=0.5, reason=_reason(dense))
            out.append(Measurement(metric=SAE_SPARSE_PROBING.name, estimate=found, context="dense", **at))
            for i, k in enumerate(self.k):
                gap = dense - self.auroc[i, c]
                found = gap.estimate(SAE_SPARSE_PROBING_GAP, null=0.0, reason=_reason(gap))
                out.append(Measurement(metric=SAE_SPARSE_PROBING_GAP.name, estimate=found, context=f"k={k}", **at))
        for concept, reason in self.left_out.items():
            nothing = Estimate.undefined(reason)
            out.append(Measurement(metric=SAE_SPARSE_PROBING.name, estimate=nothing, concept=concept, **place))
        return out

    def frame(self) -> pd.DataFrame:
        """Tidy table, one row a concept and number of latents; the dense probe has 0 latents."""
        probes = [(k, self.auroc[i], self.accuracy[i]) for i, k in enumerate(self.k)]
        if self.dense_auroc is not None and self.dense_accuracy is not None:
            probes.append((0, self.dense_auroc, self.dense_accuracy))
        rows = []
        for k, auroc, accuracy in probes:
            (low, high), (accuracy_low, accuracy_high) = (np.clip(p.interval(), 0, 1) for p in (auroc, accuracy))
            for c, concept in enumerate(self.concepts):
                rows.append(
                    {
                        "concept": concept, "k": k, "auroc": auroc.value[c], "auroc_low": low[c],
                        "auroc_high": high[c], "accuracy": accuracy.value[c], "accuracy_low": accuracy_low[c],
                        "accuracy_high": accuracy_high[c], "latents": self.latents[concept][:k].tolist(),
                    }
                )  # fmt: skip
        return pd.DataFrame(rows).sort_values("concept", kind="stable", ignore_index=True)

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, float_format="%.3f", escape=True, border=0)


def sparse_probing(
    codes: Codes,
    labels: Labels,
    groups: Shaped[np.ndarray, " n"] | None = None,
    *,
    k: Sequence[int] = (1, 2, 5, 10),
    X: Float[np.ndarray, "n d"] | None = None,
    n_blocks: int = 20,
    seed: int = 0,
) -> SparseProbing:
    """Read declared concepts from few latents.

    In each of five folds of whole groups, the latents whose mean differs most between the classes are chosen on the
    other folds, a logistic probe of them is fitted there, and the fold is scored (2503.09532). Intervals come from a
    delete-a-block jackknife over the scored groups, with choices and fits left as they are.

    Args:
        codes: ``[n, m]`` latents, dense or sparse; ``sparse_probing(X, …)`` gives the same for raw dimensions.
        labels: concept -> ``[n]`` of 0, 1 and NaN for unknown (``Task.concepts``), a frame of such columns, or an array
            ``[n]`` or ``[n, c]``.
        groups: rows that belong together; each row on its own by default.
        k: numbers of latents; fewer are read where fewer differ at all.
        X: ``[n, d]`` activations, for the dense probe.

    Raises:
        InputError, MismatchError: rows that differ in number, latents that are not finite, labels other than 0, 1 and
            NaN, k below 1, or too few groups.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 2, 400)
        >>> codes = rng.random((400, 30)) * (rng.random((400, 30)) < 0.2)
        >>> codes[:, 7] = y * rng.random(400)
        >>> found = sparse_probing(codes, {"sunny": y}, k=(1, 5))
        >>> int(found.latents["sunny"][0]), bool(found.auroc.value[0, 0] > 0.95)
        (7, True)
    """
    ks = tuple(sorted({int(one) for one in k}))
    if not ks or ks[0] < 1:
        raise InputError(f"k is {tuple(k)}; expected numbers of latents, of at least 1")
    data = Labelled.of(codes, labels, groups, n_blocks=n_blocks, seed=seed)
    score = few_latents(data, ks)
    if X is not None:
        if len(X) != len(data.y):
            raise MismatchError(f"{len(X)} rows of activations for {len(data.y)} of latents; give those they encode")
        dense = cross_validated([X], data.y, fold=data.fold, seed=seed).score
        score = np.concatenate([score, dense])
    judged = data.scored(score)
    auroc, accuracy = data.jackknife(judged.auroc), data.jackknife(judged.accuracy)
    n = len(ks)
    return SparseProbing(
        concepts=data.names,
        left_out=data.left_out,
        k=ks,
        auroc=auroc[:n],
        accuracy=accuracy[:n],
        dense_auroc=None if X is None else auroc[n],
        dense_accuracy=None if X is None else accuracy[n],
        latents={name: data.top(-1, c, ks[-1]) for c, name in enumerate(data.names)},
    )


def few_latents(data: Labelled, ks: Sequence[int], *, signed: bool = False) -> Float[np.ndarray, "k n c"]:
    """Held-out log-odds of each concept from its k best latents, chosen and fitted outside each row's fold."""
    score = np.full((len(ks), *data.y.shape), np.nan)
    for f in range(int(data.fold.max()) + 1):
        for c in range(len(data.names)):
            fit, held = data.rows(f, c)
            Z = data.columns(data.top(f, c, max(ks), signed=signed))
            for i, k in enumerate(ks):
                score[i, held, c] = log_odds(Z[fit, :k], data.y[fit, c], Z[held, :k])
    return score


def _reason(found: Replicates) -> str:
    return "no fold holds both of its classes" if np.isnan(found.value) else ""
