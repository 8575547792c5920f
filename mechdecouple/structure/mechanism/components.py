"""components(rig): the parts of a model that can be taken out, found from its hook points."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mechdecouple.errors import InputError, ModelError
from mechdecouple.models import Batch, HookedModel, collate
from mechdecouple.structure.mechanism.component import Component, combined
from mechdecouple.structure.mechanism.rig import Rig

INPUTS = 8
"""Positions at which tokens vary are components of their own where there are at most so many."""
_LOOK = 8
_CLOSE = 1e-4


def components(rig: Rig, *, heads: bool = True) -> tuple[Component, ...]:
    """The parts of a model, those that other models have too first, then each attention head.

    Transformers: token embeddings, all of them and at each position where prompts of one length differ; of each layer
    attention patterns, attention, MLP, and the skip paths around the two (around the layer where they stand side by
    side; none where the stream is normalised after the sum); all patterns, all attention and all MLPs at once; heads
    (what they put out, and their patterns). Plain modules: the outputs of named submodules, without the answer itself
    and without those that pass on what another one gave.

    Hook points that the model names but does not reach, or that run several times, are left out.

    Args:
        heads: look for attention heads, too.

    Raises:
        InputError: nothing can be taken out.
    """
    found = _submodules(rig) if rig.model.input_kind == "array" else _transformer(rig, heads)
    if not found:
        raise InputError(
            f"model {rig.model.name!r} has no parts to take out: its hook points are {', '.join(rig.model.hook_points)}"
        )
    return tuple(found)


def units(rig: Rig, point: str, per_group: int = 1) -> tuple[Component, ...]:
    """The last axis of an activation as components: single units, or groups of neighbours.

    Raises:
        InputError: the hook point holds pairs of tokens, or cannot be read; fewer than one unit a group.
    """
    rig.model.check_hook_points([point])
    values = look(rig, [point])
    if per_group < 1:
        raise InputError(f"per_group is {per_group}: expected at least 1 unit")
    if point not in values or point.endswith((".hook_pattern", ".hook_attn_scores")):
        raise InputError(f"hook point {point!r} has no units to take out: choose one that gives features")
    d, depth = values[point].shape[-1], rig.model.depth(point)
    cut = [tuple(range(i, min(i + per_group, d))) for i in range(0, d, per_group)]
    names = [str(c[0]) if len(c) == 1 else f"{c[0]}-{c[-1]}" for c in cut]
    return tuple(Component(f"{point} {n}", "units", point, depth, index=c) for n, c in zip(names, cut, strict=True))


def look(rig: Rig, points: Sequence[str]) -> dict[str, Tensor]:
    """What passes hook points on the first few items, without those that cannot be read."""
    return _captured(rig.model, _first(rig), points)


def latent(name: str, point: str, directions: np.ndarray, depth: float) -> Component:
    """The span of directions ([d] or [k, d], e.g. decoder rows of a dictionary) at a hook point, as a component.

    Raises:
        InputError: directions that are not finite or all zero.
    """
    rows = np.atleast_2d(np.asarray(directions, np.float64))
    if rows.ndim != 2 or not np.isfinite(rows).all() or not rows.any():
        raise InputError(f"directions of {name!r} are not [d] or [k, d] finite numbers other than zero")
    _, singular, basis = np.linalg.svd(rows, full_matrices=False)
    return Component(name, "latents", point, depth, basis=basis[singular > singular[0] * 1e-10])


def _transformer(rig: Rig, heads: bool) -> list[Component]:
    model = rig.model
    layers = [int(m[1]) for p in model.hook_points if (m := re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", p))]
    names = ("hook_resid_pre", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    inner = ("attn.hook_pattern", "attn.hook_z")
    wanted = [f"blocks.{i}.{n}" for i in layers for n in (*names, *inner)]
    # Apart: those inside attention may be out of reach where the others are not.
    values = look(rig, [p for p in wanted if p in model.hook_points and ".attn." not in p])
    values |= look(rig, [p for p in wanted if p in model.hook_points and ".attn." in p])
    coarse, fine = list(_embeddings(rig)), list[Component]()
    for i in layers:
        here = {p.removeprefix(f"blocks.{i}."): v for p, v in values.items() if p.startswith(f"blocks.{i}.")}
        coarse.extend(_layer(i, len(layers), here))
        fine.extend(_heads(i, len(layers), here) if heads else ())
    for kind, name in (("pattern", "all patterns"), ("attention", "all attention"), ("mlp", "all MLPs")):
        parts = [c for c in coarse if c.kind == kind]
        coarse.extend([combined(name, kind, parts)] if len(parts) > 1 else [])
    return coarse + fine


def _embeddings(rig: Rig) -> Iterator[Component]:
    if "hook_embed" not in rig.model.hook_points:
        return
    yield Component("embedding", "embedding", "hook_embed", 0.0)
    assert rig.encoded is not None
    if len(set(map(len, rig.encoded.tokens))) == 1:
        tokens = np.stack(rig.encoded.tokens)
        varying = np.flatnonzero((tokens != tokens[:1]).any(axis=0))
        if 1 < len(varying) <= INPUTS:
            for p in varying:
                yield Component(f"token {p}", "input", "hook_embed", 0.0, -2, (int(p),))


def _layer(i: int, n: int, here: Mapping[str, Tensor]) -> Iterator[Component]:
    """The parts of layer i of n whose hook points are among ``here``."""
    first, second, prefix = i / n, (i + 0.5) / n, f"blocks.{i}."
    if "attn.hook_pattern" in here:
        yield Component(f"L{i} patterns", "pattern", f"{prefix}attn.hook_pattern", first)
    if "hook_attn_out" in here:
        yield Component(f"L{i} attention", "attention", f"{prefix}hook_attn_out", first)
    if "hook_mlp_out" in here:
        yield Component(f"L{i} MLP", "mlp", f"{prefix}hook_mlp_out", second)
    pre, attn, mid, mlp, post = (
        here.get(f"hook_{p}") for p in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    )
    if _adds_up(post, pre, attn, mlp) and not _adds_up(mid, pre, attn):
        name = f"skip around L{i}"
        yield Component(name, "skip", f"{prefix}hook_attn_out", first, source=f"{prefix}hook_resid_pre")
        return
    if _adds_up(mid, pre, attn):
        name = f"skip around L{i} attention"
        yield Component(name, "skip", f"{prefix}hook_attn_out", first, source=f"{prefix}hook_resid_pre")
    if _adds_up(post, mid, mlp):
        name = f"skip around L{i} MLP"
        yield Component(name, "skip", f"{prefix}hook_mlp_out", second, source=f"{prefix}hook_resid_mid")
    elif mlp is None and mid is None and _adds_up(post, pre, attn):
        name = f"skip around L{i} attention"
        yield Component(name, "skip", f"{prefix}hook_attn_out", first, source=f"{prefix}hook_resid_pre")


def _heads(i: int, n: int, here: Mapping[str, Tensor]) -> Iterator[Component]:
    pattern, z = here.get("attn.hook_pattern"), here.get("attn.hook_z")
    count = pattern.shape[1] if pattern is not None else z.shape[-2] if z is not None and z.ndim == 4 else 0
    if count < 2:
        return
    for h in range(count):
        if z is not None and z.ndim == 4:
            yield Component(f"L{i}H{h}", "head", f"blocks.{i}.attn.hook_z", i / n, -2, (h,))
        elif z is not None:
            width = z.shape[-1] // count
            index = tuple(range(h * width, (h + 1) * width))
            yield Component(f"L{i}H{h}", "head", f"blocks.{i}.attn.hook_z", i / n, -1, index)
    if pattern is not None:
        for h in range(count):
            yield Component(f"L{i}H{h} pattern", "head pattern", f"blocks.{i}.attn.hook_pattern", i / n, -3, (h,))


def _submodules(rig: Rig) -> list[Component]:
    model, values = rig.model, look(rig, rig.model.hook_points)
    with torch.no_grad():
        logits = model.forward(_first(rig)).logits
    assert logits is not None
    kept: dict[str, Tensor] = {}
    for point, value in values.items():
        if not _same(value, logits) and not any(
            _same(value, v) and _passes_on(model, point, p) for p, v in kept.items()
        ):
            kept[point] = value
    return [Component(point, "module", point, model.depth(point)) for point in kept]


def _passes_on(model: HookedModel, point: str, other: str) -> bool:
    """Whether a submodule that gives what another one gave is no part of its own: it holds that one, or no weights."""
    return other.startswith(f"{point}.") or not any(True for _ in model.module.get_submodule(point).parameters())


def _adds_up(total: Tensor | None, *parts: Tensor | None) -> bool:
    """Whether an activation is the sum of others: only then can a path be cut without touching what it joins."""
    if total is None or any(p is None for p in parts):
        return False
    rest = total - sum(p for p in parts if p is not None)
    return bool(rest.abs().max() <= _CLOSE * total.abs().max())


def _same(a: Tensor, b: Tensor) -> bool:
    return a.numel() == b.numel() and bool(torch.equal(a.flatten(1), b.flatten(1)))


def _first(rig: Rig) -> Batch:
    """A few items as the model takes them."""
    rows = np.arange(min(_LOOK, len(rig)))
    inputs = rig.task.inputs if rig.encoded is None else rig.encoded
    assert inputs is not None
    return collate(inputs, rows, model=rig.model)


def _captured(model: HookedModel, batch: Batch, points: Sequence[str]) -> dict[str, Tensor]:
    with torch.no_grad():
        try:
            # To the end of the pass: only there it shows what runs several times.
            return dict(model.forward(batch, capture=points).activations)
        except ModelError:
            if len(points) < 2:
                return {}
        except RuntimeError:  # what TransformerLens raises where it cannot follow a Hugging Face model inside
            if model.input_kind == "array":
                raise
            return {}
        out: dict[str, Tensor] = {}
        for point in points:
            out.update(_captured(model, batch, [point]))
        return out
