"""Paths: how much of a model's answers depends on what one part hands directly to another."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mechdecouple import progress as bars
from mechdecouple.errors import InputError
from mechdecouple.results import Estimate, Measurement, Metric
from mechdecouple.stats import Replicates
from mechdecouple.structure.mechanism._scores import Score, Scorer, filled, sampled
from mechdecouple.structure.mechanism.attribution import PASSES, along, differentiated, replayed
from mechdecouple.structure.mechanism.component import Component, ablating, hook_points, restoring, together
from mechdecouple.structure.mechanism.components import components as find_components
from mechdecouple.structure.mechanism.rig import Rig
from mechdecouple.structure.mechanism.tape import Ablation, Plan, Tape

PATH_SHARE = Metric(
    name="path_share", family="mechanism", title="share of the answer that depends on the path", range="[0, 1]",
    measures="mean squared change of the centred option logits when what one part hands directly to another is that of "
    "an ablated one, over the sum of their variances before and after",
    invariances="rotation and scale of the activations, constants added to all logits of an item",
    null="0: the second part does not use the first, or nothing uses what it makes of it",
    assumes="ablated activations leave the rest of the network in a state that it knows",
    source="path patching, arXiv:2211.00593, arXiv:2304.05969",
)  # fmt: skip
KINDS = ("embedding", "attention", "mlp", "module")
"""Paths lead between parts of these kinds by default."""
BUDGET = 6_000
"""Item passes that paths may take."""
ITEMS = 64
"""Paths are measured on so many items by default."""
ANSWER = "answer"


@dataclasses.dataclass(frozen=True, eq=False)
class Paths:
    """Effects of single paths. NaN where a path was only attributed.

    Attributes:
        name: the model. ids, groups: [n] the items and their unit of resampling.
        components: the parts, in the order of the pass. ablation: what the first part's output is replaced by.
        pairs: p paths as rows (from, to) of ``components``; to is None for the path straight to the answer.
        effect: [p, n] drop of the right option's centred logit; share: [p] of the answer that depends on the path;
            accuracy: [p] left without it.
        attributed: [p, n] the effect to first order, where the budget did not hold all paths.
        passes: item passes it took; they do not count in the rig it was made from.
    """

    name: str
    ids: np.ndarray
    groups: np.ndarray
    components: tuple[Component, ...]
    ablation: Ablation
    pairs: tuple[tuple[int, int | None], ...]
    effect: Float[np.ndarray, "p n"]
    share: Replicates
    accuracy: Replicates
    attributed: Float[np.ndarray, "p n"] | None = None
    passes: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(from, to) of each path."""
        return tuple((self.components[u].name, ANSWER if v is None else self.components[v].name) for u, v in self.pairs)

    @property
    def exact(self) -> Bool[np.ndarray, " p"]:
        """Which paths were ablated, not only attributed."""
        return np.asarray(~np.isnan(self.effect).any(axis=1))

    def measurements(self) -> list[Measurement]:
        """Share of each path: ``position`` and ``context`` name its ends, the hook points are theirs."""
        out = []
        for (u, v), (first, second), value in zip(self.pairs, self.names, self.share, strict=True):
            estimate = Estimate.undefined("not ablated: the budget was spent on paths with a larger attributed effect")
            out.append(
                Measurement(
                    metric=PATH_SHARE.name, family=PATH_SHARE.family, model=self.name,
                    hook_point=self.components[u].hook_point,
                    hook_point_b="" if v is None else self.components[v].hook_point, position=first,
                    context=f"to {second}, {self.ablation}",
                    estimate=estimate if math.isnan(value.value) else value.estimate(PATH_SHARE),
                )
            )  # fmt: skip
        return out

    def frame(self) -> pd.DataFrame:
        """One row a path, the largest share first, with the ends of 95 % intervals."""
        low, high = (np.clip(end, 0, 1) for end in self.share.interval())
        first, second = zip(*self.names, strict=True)
        table = pd.DataFrame(
            {
                "model": self.name, "from": first, "to": second, "share": self.share.value, "share_low": low,
                "share_high": high, "accuracy": self.accuracy.value, "effect": self.effect.mean(axis=1),
                "attributed": math.nan if self.attributed is None else self.attributed.mean(axis=1),
                "exact": self.exact,
            }
        )  # fmt: skip
        return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)

    def _repr_html_(self) -> str:
        title = f"{self.name}: paths under {self.ablation} ablation on {len(self.ids)} items"
        return f"<div><b>{html.escape(title)}</b>{self.frame().head(20).round(3).to_html(index=False, border=0)}</div>"


def paths(
    rig: Rig,
    components: Sequence[Component] | None = None,
    *,
    ablation: Ablation = "resample",
    budget: int = BUDGET,
    limit: int = ITEMS,
    seed: int = 0,
    progress: bool = False,
) -> Paths:
    """Effect of every path from one part to another, and of those straight to the answer.

    A reading with the first part ablated and all others held at what they put out before tells what each later one
    would have put out, had the first alone changed (and what the answer would be: the path straight to it). A second
    reading gives that to one of them. Where the budget does not hold all second readings, they go to the paths with
    the largest effect to first order, the slope of the answer along the second part's output times its change.

    Args:
        components: the parts, no skip paths; by default embedding, attention and MLPs, or submodules.
        limit: most items, whole groups drawn at random. budget: most item passes, see `paths_cost`.

    Raises:
        InputError: fewer than two parts, skip paths or parts at several hook points among them, a budget too small.
    """
    nodes = _nodes(rig, components)
    rows, wanted = sampled(rig.task.groups, limit, seed), _links(rig, nodes)
    rig, budget = rig.select(rows), budget // len(rows)
    straight = len(nodes)
    attributed, chosen = None, wanted
    if 1 + straight + len(wanted) > budget:
        count = budget - 1 - straight - PASSES - straight
        if count < 0:
            raise InputError(
                f"a budget of {budget * len(rows)} item passes holds no paths among {straight} parts on {len(rows)} "
                f"items: give {(1 + PASSES + 2 * straight) * len(rows)} or more"
            )
        attributed = _attributed(rig, nodes, wanted, ablation, seed)
        order = np.argsort(-(attributed[: len(wanted)] ** 2).mean(axis=1), kind="stable")[:count]
        chosen = [wanted[i] for i in sorted(order)]
    tape = rig.tape(hook_points(nodes))
    scorer = Scorer(rig.clean, rig.task.groups, seed)
    scores: dict[tuple[int, int | None], Score] = {}
    with bars.bar(total=straight + len(chosen), desc=f"{rig.name}: paths", progress=progress) as shown:
        for u in range(straight):
            receivers = [v for first, v in chosen if first == u]
            logits, changed = rig.record(
                hook_points([nodes[v] for v in receivers]), _alone(nodes, u, tape, ablation, seed)
            )
            scores[u, None] = scorer.score(logits, drawn=ablation == "resample")
            shown.update()
            for v in receivers:
                scores[u, v] = scorer.score(rig.read(restoring([nodes[v]], changed)), drawn=ablation == "resample")
                shown.update()
    return _result(rig, nodes, [*wanted, *((u, None) for u in range(straight))], scores, scorer, ablation, attributed,
                   rig.passes)  # fmt: skip


def paths_cost(
    rig: Rig, components: Sequence[Component] | None = None, *, budget: int = BUDGET, limit: int = ITEMS
) -> int:
    """Item passes that `paths` will take, never above the budget."""
    nodes = _nodes(rig, components)
    n = len(sampled(rig.task.groups, limit))
    whole = n * (1 + len(nodes) + len(_links(rig, nodes)))
    return min(whole, budget // n * n)


def _nodes(rig: Rig, components: Sequence[Component] | None) -> list[Component]:
    found = components if components is not None else [
        c for c in find_components(rig, heads=False) if c.kind in KINDS and not c.parts
    ]  # fmt: skip
    wrong = [c.name for c in found if c.parts or c.source]
    if len(found) < 2 or wrong:
        raise InputError(
            f"paths lead between at least two parts at one hook point each; got {len(found)}"
            + (f", among them {wrong[0]!r}" if wrong else "")
        )
    return sorted(found, key=lambda c: rig.model.hook_points.index(c.hook_point))


def _links(rig: Rig, nodes: Sequence[Component]) -> list[tuple[int, int]]:
    at = [rig.model.hook_points.index(c.hook_point) for c in nodes]
    return [(u, v) for u in range(len(nodes)) for v in range(len(nodes)) if at[u] < at[v]]


def _alone(nodes: Sequence[Component], u: int, tape: Tape, ablation: Ablation, seed: int) -> Plan:
    """One part ablated, all others held."""
    held = [c for i, c in enumerate(nodes) if i != u]
    return together(ablating([nodes[u]], tape, ablation, seed), restoring(held, tape))


def _attributed(
    rig: Rig, nodes: Sequence[Component], links: Sequence[tuple[int, int]], ablation: Ablation, seed: int
) -> Float[np.ndarray, "p n"]:
    """First-order effect of the links; NaN for the paths straight to the answer, which are all read."""
    values, slopes = differentiated(rig, hook_points(nodes))
    out = np.full((len(links) + len(nodes), len(rig)), np.nan)
    for u in range(len(nodes)):
        receivers = [(i, v) for i, (first, v) in enumerate(links) if first == u]
        changed = replayed(rig, hook_points([nodes[v] for _, v in receivers]), _alone(nodes, u, values, ablation, seed))
        for i, v in receivers:
            node = nodes[v]
            for chunk in values.chunks:
                clean = values.clean(node.hook_point, chunk.number)
                new = node.put(clean, changed.clean(node.hook_point, chunk.number))
                out[i, chunk.items] = -along(slopes, node.hook_point, chunk, new - clean)
    return out


def _result(rig, nodes, pairs, scores, scorer, ablation, attributed, passes) -> Paths:
    made = list(scores)
    where = np.array([made.index(pair) if pair in scores else -1 for pair in pairs])
    several = list(scores.values())
    share = scorer.share(several)
    return Paths(
        name=rig.name, ids=rig.task.ids, groups=rig.task.groups, components=tuple(nodes), ablation=ablation,
        pairs=tuple(pairs), effect=filled([s.effect for s in several], where),
        share=Replicates(filled(share.value, where), filled(share.replicates.T, where).T, "jackknife", share.n),
        accuracy=scorer.mean(filled([s.correct for s in several], where), share_of_items=True),
        attributed=attributed, passes=passes,
    )  # fmt: skip
