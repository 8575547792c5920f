"""Dictionaries: the sparse autoencoders of one model at one hook point, and whether they deserve to be spoken of."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from jaxtyping import Bool
from scipy import sparse

from mechdecouple import sae
from mechdecouple.compare.side import Side

SEEDS = 2
LIMIT = 256
"""Most held-out items that are read with reconstructions in place."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dictionaries:
    """Autoencoders of ``SEEDS`` seeds on one model's rows, judged and read on groups that they were not trained on.

    Attributes:
        saes: trained on the rows that are not ``held``; judged: each on the held-out rows; spliced: what the model
            does with the reconstructions of each, None where its answers cannot be intervened on.
        codes: latents of the held-out rows [n, m], by seed.
        held: rows of ``side.structural`` that were held out.
    """

    saes: tuple[sae.SparseAutoencoder, ...]
    judged: tuple[sae.Evaluation, ...]
    spliced: tuple[sae.Spliced | None, ...]
    codes: tuple[sparse.csr_matrix, ...]
    held: Bool[np.ndarray, " n"]

    @cached_property
    def shortcomings(self) -> str:
        """Why one should not speak of their features; empty where they are good enough."""
        found = (sae.judge(*one).shortcomings for one in zip(self.judged, self.spliced, strict=True))
        return "; ".join(dict.fromkeys(filter(None, found)))


def dictionaries(side: Side, point: str, held: Bool[np.ndarray, " n"], progress: bool) -> Dictionaries:
    """Train them on the rows that are not ``held``; once a side and hook point."""
    if point not in side.dictionaries:
        side.dictionaries[point] = _train(side, point, held, progress)
    return side.dictionaries[point]


def _train(side: Side, point: str, held: np.ndarray, progress: bool) -> Dictionaries:
    config, groups = side.config, side.labels.groups
    X = side.structural[point]
    trained = tuple(
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
    )
    judged = tuple(
        sae.evaluate(one, X[held], groups=groups[held], n_blocks=config.blocks, seed=config.seed) for one in trained
    )
    inside = tuple(_spliced(side, point, one, held) for one in trained)
    return Dictionaries(trained, judged, inside, tuple(one.encode_sparse(X[held]) for one in trained), held)


def _spliced(side: Side, point: str, one: sae.SparseAutoencoder, held: np.ndarray) -> sae.Spliced | None:
    """On at most ``LIMIT`` held-out items."""
    config, items = side.config, np.unique(side.acts.items[side.rows[held]])
    if side.subject is None or side.untestable or config.position == "mean":
        return None
    if len(items) > LIMIT:
        items = np.sort(np.random.default_rng(config.seed).choice(items, LIMIT, replace=False))
    options = {
        "position": config.position, "chat": config.chat, "batch_tokens": config.batch_tokens,
        "max_new_tokens": config.max_new_tokens,
    }  # fmt: skip
    return sae.spliced(
        one, side.model, side.task.select(items), point, n_blocks=config.blocks, seed=config.seed, **options
    )
