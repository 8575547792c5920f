"""Features of the pair: small sparse autoencoders on both, and how many latents they share beyond two seeds of one."""

from __future__ import annotations

import numpy as np

from mechdecouple import sae
from mechdecouple.compare.pairing import Site
from mechdecouple.compare.side import Pair
from mechdecouple.compare.verdict import Contrast
from mechdecouple.results import Estimate, Measurement
from mechdecouple.structure import SUPERPOSITION_DIMENSIONALITY, SUPERPOSITION_INTERFERENCE, superposition

SEEDS = 2
MIN_GROUPS = 100
MIN_BASELINE = 0.2
"""Twice the margin of the matched share: below it, sharing less than two seeds do could hardly show."""


def compare_features(pair: Pair, progress: bool) -> tuple[Contrast, list[Measurement]]:
    """Train two seeds on each model at one site, judge them on held-out groups, and match A's with B's.

    Returns:
        the contrast of the matched share against the seed baseline, and every measurement. Where an autoencoder is
        not good enough to speak of features, the contrast is undefined and says so.
    """
    config, labels = pair.a.config, pair.a.labels
    metric = sae.MATCHED_SHARE_EXCESS
    if labels.n_groups < MIN_GROUPS:
        reason = f"{labels.n_groups} groups of items are too few to train a dictionary on (at least {MIN_GROUPS})"
        return Contrast(metric, None, reason=reason), []
    held = sae.holdout(labels.groups, share=1 / 3, seed=config.seed)
    rows: list[Measurement] = []
    latents: list[list[np.ndarray]] = []
    shortcomings: list[str] = []
    site = choose_site(pair)
    for side, point in ((pair.a, site.a), (pair.b, site.b)):
        if _constant(side.structural[point][~held]):
            return Contrast(metric, None, reason=f"the activations of {side.name} at {point} are constant"), []
    for side, point in ((pair.a, site.a), (pair.b, site.b)):
        X = side.structural[point]
        trained = [
            sae.train(
                X[~held],
                width=config.sae_width,
                k=config.sae_k,
                seed=config.seed + i,
                model=side.name,
                hook_point=point,
                device=str(side.model.device),
                progress=progress,
            )
            for i in range(SEEDS)
        ]
        judged = [
            sae.evaluate(one, X[held], groups=labels.groups[held], n_blocks=config.blocks, seed=config.seed)
            for one in trained
        ]
        rows += judged[0].measurements(side.name, hook_point=point, position=config.position)
        rows += _superposition(trained[0].decoder, side.name, point, config.position, judged[0].shortcomings)
        shortcomings += [f"{side.name}: {one.shortcomings}" for one in judged if one.shortcomings]
        latents.append([one.encode(X[held]) for one in trained])
    sharing = sae.matched_share_excess(
        *latents,
        groups=labels.groups[held],
        n_permutations=min(config.permutations, 99),
        n_blocks=config.blocks,
        seed=config.seed,
    )
    rows += sharing.measurements(*pair.names, hook_point=site.a, hook_point_b=site.b, position=config.position)
    baseline = min(sharing.seed_a.value, sharing.seed_b.value)
    if not shortcomings and not baseline >= MIN_BASELINE:
        shortcomings.append(f"two seeds of one model share {baseline:.2f} of their latents, less than {MIN_BASELINE:g}")
    if shortcomings:
        return Contrast(metric, None, reason="not good enough to speak of features: " + "; ".join(shortcomings)), rows
    over = f"at {site.a}; for each model the share between two seeds of it is given"
    contrast = Contrast(
        metric, sharing.replicates, sharing.seed_a.value, sharing.seed_b.value, over=over, needs_seeds=True
    )
    return contrast, rows


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
