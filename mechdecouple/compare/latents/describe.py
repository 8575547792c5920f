"""describe: what the latents of two models do, know and fire on, in two tables and a few sentences."""

from __future__ import annotations

import dataclasses
import html

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mechdecouple.compare.latents.effects import EXCLUSIVE_EFFECT, Effects, measure_effects
from mechdecouple.compare.latents.examples import show_examples
from mechdecouple.compare.latents.knowing import KNOWING_LATENTS, Knowing, knowing
from mechdecouple.compare.latents.removal import KNOWING_DROP
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair, Side
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Measurement, Metric
from mechdecouple.sae import SparseAutoencoder

ONLY = "only"
MOST_SHOWN = 512
"""Latents of a model whose examples are shown: those that the other model lacks first, then by effect."""
KINDS = ("side", "latent", "kind", "partners", "correlation", "low", "high", "null")
COLUMNS = (
    "side", "model", "hook_point", "latent", "kind", "partners", "correlation", "correlation_low", "correlation_high",
    "correlation_null", "density", "attribution", "attribution_low", "attribution_high", "ablation", "ablation_low",
    "ablation_high", "ablation_null", "matters", "represented", "represented_low", "represented_high", "expressed",
    "expressed_low", "expressed_high", "knows", "reason",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Described:
    """Latents of a pair of models.

    Attributes:
        features: a row a live latent of either side, with the columns ``COLUMNS``: its match in the other model, the
            share of held-out rows it fires on, what it does to the logit difference, and what it carries.
        examples: a row a latent and item: the items it fires most on, tokens and strengths.
        measurements: what the latents that the other model lacks do together, and those that know more than is said.
        words: the same in sentences.
    """

    features: pd.DataFrame
    examples: pd.DataFrame
    measurements: list[Measurement]
    words: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        return self.features

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.words)
        columns = ["side", "latent", "kind", "density", "attribution", "ablation", "represented", "expressed", "knows"]
        return said + self.features[columns].head(20).to_html(index=False, float_format="{:.3f}".format)


def describe(
    pair: Pair,
    site: Site,
    saes: tuple[SparseAutoencoder, SparseAutoencoder],
    kinds: pd.DataFrame,
    held: Bool[np.ndarray, " n"],
) -> Described:
    """What the latents at one site of both models do and know, on rows that their autoencoders were not trained on.

    Args:
        saes: one of each model.
        kinds: a row a live latent of either side, with the columns ``KINDS``.
        held: rows of ``pair.a.structural`` (and of B's) in groups held out from the training.

    Raises:
        MismatchError: ``held`` is not a mask of these rows.
        InputError: a column of ``kinds`` is missing, or a latent is beyond the dictionary.
    """
    held = np.asarray(held)
    if held.dtype != bool or held.shape != (len(pair.a.rows),):
        raise MismatchError(
            f"held has shape {held.shape} of {held.dtype}, expected a mask of the {len(pair.a.rows)} rows"
        )
    missing = [name for name in KINDS if name not in kinds]
    if missing:
        raise InputError(f"the table of kinds lacks column {missing[0]!r}; expected {', '.join(KINDS)}")
    found = [
        _OneSide(side, slot, point, sae, kinds.loc[kinds["side"] == slot], held)
        for side, slot, point, sae in ((pair.a, "a", site.a, saes[0]), (pair.b, "b", site.b, saes[1]))
    ]
    others = pair.b.name, pair.a.name
    return Described(
        features=pd.concat([one.features() for one in found], ignore_index=True),
        examples=pd.concat([one.examples() for one in found], ignore_index=True),
        measurements=[row for one, other in zip(found, others, strict=True) for row in one.measurements(other)],
        words=tuple(s for one, other in zip(found, others, strict=True) for s in one.words(other)),
    )


class _OneSide:
    """The latents of one model."""

    def __init__(
        self, side: Side, slot: str, point: str, sae: SparseAutoencoder, kinds: pd.DataFrame, held: np.ndarray
    ) -> None:
        self.side, self.slot, self.point, self.sae = side, slot, point, sae
        self.kinds = kinds.sort_values("latent", kind="stable").reset_index(drop=True)
        self.latents = self.kinds["latent"].to_numpy(np.int64)
        if len(self.latents) and not 0 <= self.latents.min() <= self.latents.max() < sae.width:
            raise InputError(
                f"the table of kinds holds latent {self.latents.max()} of side {slot!r}, whose dictionary has "
                f"{sae.width}; match the dictionaries that are described"
            )
        self.rows = side.rows[held]
        self.lacking = (self.kinds["kind"] == ONLY).to_numpy(bool)
        codes = sae.encode_sparse(side.acts[point])[:, self.latents]
        fires = np.asarray((codes[self.rows] != 0).mean(axis=0)).ravel()
        self.density = fires if len(self.rows) else np.full(len(self.latents), np.nan)
        groups = np.unique(side.labels.groups[held])
        rows_of = np.asarray(side.task.groups)[side.acts.items]
        where = np.where(np.isin(rows_of, groups), 1, -1)
        where[np.isin(rows_of, np.unique(side.labels.groups[~held]))] = 0
        self.effects: Effects = measure_effects(side, point, sae, self.latents, self.lacking, groups)
        self.knowing: Knowing = knowing(side, codes, point, sae.decoder[self.latents], where)

    def features(self) -> pd.DataFrame:
        m, nan = len(self.latents), np.full(len(self.latents), np.nan)
        k, e, known = self.kinds, self.effects, self.knowing
        table = {
            "side": [self.slot] * m, "model": [self.side.name] * m, "hook_point": [self.point] * m,
            "latent": self.latents, "kind": k["kind"].astype(str).to_numpy(object),
            "partners": [[int(x) for x in p] for p in k["partners"]],
            "correlation": k["correlation"], "correlation_low": k["low"], "correlation_high": k["high"],
            "correlation_null": k["null"], "density": self.density,
        }  # fmt: skip
        table |= _columns("attribution", e.attribution, nan)
        ablation = {name: nan.copy() for name in ("ablation", "ablation_low", "ablation_high", "ablation_null")}
        matters: list[list[str]] = [[] for _ in range(m)]
        if e.ablation is not None:
            ablation["ablation"][e.ablated] = e.ablation.value
            ablation["ablation_low"][e.ablated], ablation["ablation_high"][e.ablated] = e.ablation.interval()
            ablation["ablation_null"][e.ablated] = e.null
            for position, ids in zip(e.ablated, e.matters, strict=True):
                matters[position] = ids
        table |= ablation | {"matters": matters}
        table |= _columns("represented", known.represented, nan) | _columns("expressed", known.expressed, nan)
        table |= {"knows": known.knows, "reason": self._reasons()}
        return pd.DataFrame(table, columns=list(COLUMNS))

    def _reasons(self) -> list[str]:
        """Why a value of each latent is missing, or left open."""
        e, known = self.effects, self.knowing
        ablated = set(e.ablated.tolist())
        carried = [f"{name}: {why}" for name, why in known.reasons.items()]
        if len(set(known.reasons.values())) == 1 and len(carried) == 2:
            carried = [f"represented and expressed: {known.reasons['represented']}"]
        out = []
        for i in range(len(self.latents)):
            parts = [f"attribution and ablation: {e.reason}"] if e.reason else []
            if not e.reason and i not in ablated:
                parts.append(e.skipped)
            out.append("; ".join([*parts, *carried, *filter(None, [str(known.open[i])])]))
        return out

    def examples(self) -> pd.DataFrame:
        size = np.zeros(len(self.latents))
        if self.effects.attribution is not None:
            size = np.abs(np.asarray(self.effects.attribution.value))
        size[self.effects.ablated] += 1e-9
        order = np.lexsort((-size, ~self.lacking))[:MOST_SHOWN]
        return show_examples(self.side, self.slot, self.point, self.sae, self.latents[np.sort(order)], self.rows)

    def measurements(self, other: str) -> list[Measurement]:
        found: list[tuple[Metric, object]] = [
            (EXCLUSIVE_EFFECT, self.effects.exclusive),
            (KNOWING_LATENTS, self.knowing.share()),
            (KNOWING_DROP, self.knowing.drop),
        ]
        place = {"model": self.side.name, "hook_point": self.point, "position": self.side.acts.position}
        return [Measurement(metric=m.name, family=m.family, estimate=e, **place) for m, e in found]  # pyright: ignore

    def words(self, other: str) -> list[str]:
        return [*self._causal_words(other), *self._knowing_words()]

    def _causal_words(self, other: str) -> list[str]:
        name, m, n_only = self.side.name, len(self.latents), int(self.lacking.sum())
        if not m:
            return [f"{name}: no latent fires often enough to be described."]
        head = f"{n_only} of {m} live latents of {name} have no match in {other}"
        effect = self.effects.exclusive
        if not n_only or np.isnan(effect.value):
            return [
                f"{head}." if not n_only else f"{head}; what they do to its answers is not measured: {effect.reason}."
            ]
        falls = effect.value > 0
        low, high = (effect.low, effect.high) if falls else (-effect.high, -effect.low)
        beyond = effect.p <= 0.05 and low > 0
        said = (
            f"{head}; without them the lead of the right option's logit {'falls' if falls else 'rises'} by "
            f"{abs(effect.value):.2f} [{low:z.2f}, {high:z.2f}], {'more' if beyond else 'not shown to be more'} than "
            f"by changes as large in random directions ({effect.null:.2f})"
        )
        single = int((self.effects.beyond() & self.lacking[self.effects.ablated]).sum())
        if single:
            said += f"; ablated alone {single} of them do{'es' * (single == 1)} more than a random direction"
        return [said + "."]

    def _knowing_words(self) -> list[str]:
        known, name = self.knowing, self.side.name
        if self.side.task.truth is None:
            return []
        if "represented" in known.reasons:
            return [f"{name}: what its latents know cannot be told from what it says: {known.reasons['represented']}."]
        only = known.only
        if not len(only):
            return [f"No latent of {name} is shown to carry the truth and not its claims."]
        lacking = int(self.lacking[only].sum())
        said = (
            f"{len(only)} latent{'s' * (len(only) != 1)} of {name} ({lacking} without a match) "
            f"carr{'y' if len(only) != 1 else 'ies'} the truth and not its claims"
        )
        drop = known.drop
        if not np.isnan(drop.value):
            said += (
                f"; without them the represented AUROC falls by {drop.value:.3f} [{drop.low:+.3f}, {drop.high:+.3f}] "
                f"(changes as large in random directions: {drop.null:+.3f}, p = {drop.p:.2g})"
            )
        return [said + "."]


def _columns(name: str, found, nan: np.ndarray) -> dict[str, np.ndarray]:
    low, high = (nan, nan) if found is None else found.interval()
    return {name: nan if found is None else np.asarray(found.value), f"{name}_low": low, f"{name}_high": high}
