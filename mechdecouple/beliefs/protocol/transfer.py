"""Does the read-out carry over? Trained in one context and tested in another, and with one context left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mechdecouple.beliefs._nested import Fitter, Reading, Split, readings
from mechdecouple.beliefs.protocol.auroc import auroc_estimate, replicates
from mechdecouple.beliefs.represent import choose, too_little
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Metric

TRANSFER_AUROC = Metric(
    name="belief_transfer_auroc",
    family="beliefs",
    title="AUROC in another context",
    measures="how well a read-out chosen and fitted in one context ranks statements of another, on unseen groups",
    range="[0, 1]",
    null="0.5; below it the direction of truth turns over",
    assumes="groups are whole across contexts: a group's rows are never fitted on and scored, in whatever context",
    source="Marks & Tegmark, arXiv 2310.06824",
)
LEFT_OUT_AUROC = dataclasses.replace(
    TRANSFER_AUROC,
    name="belief_left_out_auroc",
    title="AUROC in the context left out",
    measures="how well a read-out chosen and fitted in all other contexts ranks statements of this one",
)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Table:
    """The rows that all parts of the protocol share.

    Attributes:
        truth: 0, 1 or NaN [n]; group: codes [n]; usable: honest rows of known truth [n]; fold: outer folds [n].
        weights: bootstrap weights of each row's group [b, n].
    """

    truth: Float[np.ndarray, " n"]
    group: Int[np.ndarray, " n"]
    usable: Bool[np.ndarray, " n"]
    fold: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, "b n"]

    def auroc(
        self,
        score: Float[np.ndarray, " n"],
        rows: Bool[np.ndarray, " n"],
        metric: Metric,
        cells: Shaped[np.ndarray, " n"] | None = None,
    ) -> Estimate:
        """AUROC of these rows of known truth, pairs from the same fold (or the same of ``cells``)."""
        kept = np.flatnonzero(rows & ~np.isnan(self.truth))
        found = replicates(score, self.truth, self.fold if cells is None else cells, self.group, kept, self.weights)
        return auroc_estimate(found, self.truth[kept], metric)


@dataclasses.dataclass(frozen=True, eq=False)
class Reader:
    """How a pool of rows is read: candidates, families, penalties. One pass over the hook points serves all pools."""

    activations: Mapping[str, Float[np.ndarray, "n _d"]]
    families: Mapping[str, Fitter | None]
    penalties: Sequence[float]
    seed: int
    device: str

    def __call__(self, table: Table, pools: Sequence[Bool[np.ndarray, " n"]]) -> list[np.ndarray | str]:
        """For each pool the out-of-fold belief of every row [n], or why there is none."""
        splits: dict[int, Split] = {}
        found: list[np.ndarray | str] = []
        for i, pool in enumerate(pools):
            reason = too_little(table.truth[pool], table.group[pool])
            if not reason:
                try:
                    splits[i] = Split.of(table.truth, table.group, pool, table.fold, self.seed)
                except InputError as error:
                    reason = str(error)
            found.append(reason)
        if not splits:
            return found
        candidates: list[dict[tuple[str, str], Reading]] = [{} for _ in splits]
        for name, X in self.activations.items():
            given = (table.truth, table.group, list(splits.values()), self.families, self.penalties, self.device)
            for family, each in readings(X, *given).items():
                for pool, reading in zip(candidates, each, strict=True):
                    pool[name, family] = reading
        for i, pool in zip(splits, candidates, strict=True):
            found[i] = choose(pool, table.fold)[0]
        return found


def transfer(
    read: Reader, table: Table, context: Shaped[np.ndarray, " n"]
) -> tuple[dict[tuple[str, str], Estimate], dict[str, Estimate]]:
    """(train context, test context) → AUROC, and context left out → AUROC, on honest rows of unseen groups.

    Hook point, family and penalty are chosen anew within each training context. Contexts may share groups (a statement
    and its negation): a row is scored by a probe fitted without its fold, so none of its group's rows was seen, in any
    context.
    """
    names = [str(name) for name in np.unique(context)]
    here = {name: table.usable & (context == name) for name in names}
    pools = [here[name] for name in names]
    if len(names) > 2:
        pools += [table.usable & (context != name) for name in names]
    beliefs = read(table, pools)
    single = dict(zip(names, beliefs, strict=False))
    others = dict(zip(names, beliefs[len(names) :] if len(names) > 2 else beliefs[::-1], strict=True))

    def cell(belief: np.ndarray | str, test: str, metric: Metric) -> Estimate:
        if isinstance(belief, str):
            return Estimate.undefined(belief, unit="groups")
        return table.auroc(belief, here[test], metric)

    matrix = {(a, b): cell(single[a], b, TRANSFER_AUROC) for a in names for b in names}
    return matrix, {name: cell(others[name], name, LEFT_OUT_AUROC) for name in names}
