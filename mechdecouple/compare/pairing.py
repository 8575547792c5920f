"""Which hook points of two models are compared, and what about the two cannot be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mechdecouple.compare.config import CompareConfig
from mechdecouple.errors import InputError
from mechdecouple.models import HookedModel


@dataclasses.dataclass(frozen=True)
class Site:
    """A hook point of A, the hook point of B it is compared with, and how deep they are in the model with fewer."""

    a: str
    b: str
    depth: float


def choose_points(model: HookedModel, names: Sequence[str] | None, limit: int = 13) -> tuple[str, ...]:
    """The hook points named, or the model's layers, thinned evenly to ``limit`` with the first and the last kept."""
    if names is not None:
        if not names:
            raise InputError("hook_points is empty; name at least one hook point, or leave it out for every layer")
        model.check_hook_points(names)
        return tuple(names)
    points = model.layer_points
    keep = np.unique(np.linspace(0, len(points) - 1, min(limit, len(points))).round().astype(int))
    return tuple(points[i] for i in keep)


def pair(
    model_a: HookedModel, points_a: Sequence[str], model_b: HookedModel, points_b: Sequence[str]
) -> tuple[Site, ...]:
    """Pair hook points in order where there are equally many, else each of the fewer with the nearest in depth."""
    few, many = len(points_a), len(points_b)
    if few == many:
        pairs = [(i, i) for i in range(few)]
    else:
        depth_a, depth_b = ([m.depth(p) for p in ps] for m, ps in ((model_a, points_a), (model_b, points_b)))
        gap = np.abs(np.subtract.outer(depth_a, depth_b))
        pairs = (
            list(enumerate(gap.argmin(axis=1))) if few < many else [(i, j) for j, i in enumerate(gap.argmin(axis=0))]
        )
    return sites(model_a, points_a, model_b, points_b, pairs)


def sites(
    model_a: HookedModel,
    points_a: Sequence[str],
    model_b: HookedModel,
    points_b: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> tuple[Site, ...]:
    """The sites of ``pairs`` (place among the points of A, place among those of B), as of an ``Alignment``."""
    by_a = len(points_a) <= len(points_b)
    return tuple(
        Site(points_a[i], points_b[j], model_a.depth(points_a[i]) if by_a else model_b.depth(points_b[j]))
        for i, j in pairs
    )


def comparability(a: HookedModel, b: HookedModel, config: CompareConfig) -> tuple[str, ...]:
    """What differs between the two that limits a comparison, in sentences.

    Raises:
        InputError: the two cannot be compared at all (text against tensors, unlike weight processing).
    """
    if a.input_kind != b.input_kind:
        raise InputError(
            f"{a.name!r} takes {a.input_kind} and {b.name!r} takes {b.input_kind}, but both must see the same items; "
            "compare two models that take the same kind of input"
        )
    if {a.processing, b.processing} == {"none", "fold_ln"}:
        folded, raw = (a, b) if a.processing == "fold_ln" else (b, a)
        raise InputError(
            f"{folded.name!r} has LayerNorm folded into its weights and {raw.name!r} has not; load both alike (fold_ln)"
        )
    notes = []
    if a.tokenizer_hash != b.tokenizer_hash and a.input_kind == "tokens":
        notes.append(
            "The models have different tokenizers: they see the same text cut into different tokens, so token-by-token "
            "comparison is left out and losses are given per byte of text."
        )
    if a.architecture != b.architecture:
        notes.append(f"The models are of different families ({a.architecture}, {b.architecture}).")
    if a.processing != b.processing:
        notes.append(f"Weight processing: {a.name} {a.processing!r}, {b.name} {b.processing!r} (no LayerNorm to fold).")
    if len(a.layer_points) != len(b.layer_points):
        rule = "hook points are paired by relative depth" if config.alignment == "depth" else "see how they are paired"
        notes.append(
            f"The models differ in depth ({len(a.layer_points)} and {len(b.layer_points)} layer hook points): {rule}."
        )
    for model in (a, b):
        if model.head is None:
            notes.append(
                f"{model.name} has no output head: it expresses no answers, so only its inside can be measured."
            )
    if config.position == "all" and a.tokenizer_hash != b.tokenizer_hash:
        raise InputError(
            "position 'all' compares token by token, but the tokenizers differ: use 'last', 'mean' or a position column"
        )
    return tuple(notes)
