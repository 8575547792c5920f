"""Features of the pair: small sparse autoencoders on both, and how many latents they share beyond two seeds of one."""

from __future__ import annotations

import dataclasses

import numpy as np

from mechdecouple import sae
from mechdecouple.compare.dictionaries import Dictionaries, dictionaries
from mechdecouple.compare.latents import Described, describe
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair
from mechdecouple.compare.verdict import Contrast
from mechdecouple.results import Estimate, Measurement
from mechdecouple.structure import SUPERPOSITION_DIMENSIONALITY, SUPERPOSITION_INTERFERENCE, superposition

UNSTABLE = "unstable"
MIN_GROUPS = 100
MIN_BASELINE = 0.2
"""Twice the margin of the matched share: below it, sharing less than two seeds do could hardly show."""


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """What two models' dictionaries at one site share.

    Attributes:
        site: where they were trained; reason: why features are not spoken of, empty where they may be.
        a, b: the dictionaries; sharing: their latents matched; None where there was nothing to train on.
    """

    site: Site
    reason: str
    a: Dictionaries | None = None
    b: Dictionaries | None = None
    sharing: sae.Sharing | None = None


def find_features(pair: Pair, progress: bool) -> Features:
    """Train autoencoders of two seeds on each model at one site, judge them on held-out groups, match A's with B's."""
    config, labels, site = pair.a.config, pair.a.labels, choose_site(pair)
    if labels.n_groups < MIN_GROUPS:
        reason = f"{labels.n_groups} groups of items are too few to train a dictionary on (at least {MIN_GROUPS})"
        return Features(site, reason)
    held = sae.holdout(labels.groups, share=1 / 3, seed=config.seed)
    for side, point in ((pair.a, site.a), (pair.b, site.b)):
        if _constant(side.structural[point][~held]):
            return Features(site, f"the activations of {side.name} at {point} are constant")
    a, b = dictionaries(pair.a, site.a, held, progress), dictionaries(pair.b, site.b, held, progress)
    sharing = sae.matched_share_excess(
        a.codes,
        b.codes,
        groups=labels.groups[held],
        decoders=([one.decoder for one in a.saes], [one.decoder for one in b.saes]),
        n_permutations=min(config.permutations, 99),
        n_blocks=config.blocks,
        seed=config.seed,
    )
    reasons = [f"{side.name}: {of.shortcomings}" for side, of in ((pair.a, a), (pair.b, b)) if of.shortcomings]
    baseline = min(sharing.seed_a.value, sharing.seed_b.value)
    if not reasons and not baseline >= MIN_BASELINE:
        reasons.append(f"two seeds of one model share {baseline:.2f} of their latents, less than {MIN_BASELINE:g}")
    reason = "not good enough to speak of features: " + "; ".join(reasons) if reasons else ""
    return Features(site, reason, a, b, sharing)


def feature_contrast(found: Features) -> Contrast:
    """The matched share against the seed baseline; undefined where features are not to be spoken of."""
    if found.reason or found.sharing is None:
        return Contrast(sae.MATCHED_SHARE_EXCESS, None, reason=found.reason)
    sharing, over = found.sharing, f"at {found.site.a}; for each model the share between two seeds of it is given"
    seeds = sharing.seed_a.value, sharing.seed_b.value
    return Contrast(sae.MATCHED_SHARE_EXCESS, sharing.replicates, *seeds, over=over, needs_seeds=True)


def feature_rows(pair: Pair, found: Features) -> list[Measurement]:
    """Every measurement of the dictionaries and of what they share."""
    if found.a is None or found.b is None or found.sharing is None:
        return []
    site, position, rows = found.site, pair.a.config.position, []
    for side, point, of in ((pair.a, site.a, found.a), (pair.b, site.b, found.b)):
        rows += of.judged[0].measurements(side.name, hook_point=point, position=position)
        rows += [] if of.spliced[0] is None else of.spliced[0].measurements()
        rows += _superposition(of.saes[0].decoder, side.name, point, position, of.judged[0].shortcomings)
    place = {"hook_point": site.a, "hook_point_b": site.b, "position": position}
    return [
        *rows,
        *found.sharing.measurements(*pair.names, **place),
        *found.sharing.kind_measurements(*pair.names, **place),
    ]


def describe_features(pair: Pair, found: Features) -> Described | None:
    """What the latents of both models do to the answers, know and fire on; None where features are not to be spoken of.

    A latent that neither the other model nor a second autoencoder of its own model has was found by chance: it is of
    kind ``unstable``, and that the other model lacks it is not held against the models.
    """
    if found.reason or found.a is None or found.b is None or found.sharing is None:
        return None
    kinds = found.sharing.latents(0, 1)
    chance = (kinds["kind"] == "only") & (kinds["seed_kind"] == "only")
    kinds["kind"] = kinds["kind"].mask(chance, UNSTABLE)
    return describe(pair, found.site, (found.a.saes[0], found.b.saes[1]), kinds, found.a.held)


def _superposition(decoder: np.ndarray, model: str, point: str, position: str, shortcomings: str) -> list[Measurement]:
    """How far the dictionary's features share dimensions, with the level of as many random directions."""
    found = superposition(decoder)
    m, d = found.dimensionality.shape[0] - found.n_dead, found.d
    facts = {"n": m, "unit": "latents", "reason": shortcomings or "no interval: one dictionary of one seed"}
    place = {"model": model, "hook_point": point, "position": position}
    values = (
        (SUPERPOSITION_DIMENSIONALITY, found.mean_dimensionality, found.random_dimensionality),
        (SUPERPOSITION_INTERFERENCE, found.mean_interference, (m - 1) / d),
    )
    return [
        Measurement(
            metric=metric.name,
            family=metric.family,
            estimate=Estimate(value=value, null=null, direction=metric.direction, **facts),
            **place,
        )
        for metric, value, null in values
    ]


def _constant(X: np.ndarray) -> bool:
    """Whether the rows [n, d] differ by no more than rounding, so that there is nothing to train on."""
    return not np.linalg.norm(X.std(axis=0, dtype=float)) > 1e-5 * np.linalg.norm(X.mean(axis=0, dtype=float))


def choose_site(pair: Pair) -> Site:
    """The site asked for, else the one nearest to mid-depth among those the answers depend on."""
    wanted = pair.a.config.sae_hook_point
    if wanted is not None:
        return next(site for site in pair.sites if site.a == wanted)
    live = [site for site in pair.sites if pair.active[site] and site.depth > 0] or list(pair.sites)
    return min(live, key=lambda site: abs(site.depth - 0.5))
