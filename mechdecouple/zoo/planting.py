"""Planted codes: factors, and the contexts they occur in, written into activations by a rule known in closed form.

A linear code gives factor f in context c the direction u_fc; the doses of obliqueness, copies and fracture combine.
A conjunctive code gives every combination of factors a direction of its own. Each is read by the same kind of linear
readout, whose logits are the factors themselves.
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to plant.

    Attributes:
        n_factors, n_contexts, dims: k binary factors (±1), C contexts, d dimensions.
        cosine: between the directions of any two factors, in [0, 1) (Cholesky mixing).
        copies: m equal copies of every direction, 1/√m as long each.
        fracture: α in [0, 1]: u_fc = √(1 − α) e_f + √α e_fc, one shared direction and one of its own in each context.
        conjunctive: one direction for each combination of factors instead; the three doses above do not apply.
        noise: standard deviation in every dimension outside the signal's span: it leaves the logits as they are.
            Noise projected off the *readout* instead would give the readout away.
        noise_inside: the same inside the span: it moves the logits.
        inert, inert_scale: dimensions of large noise that nothing reads, and its standard deviation.
        rotation: seed of a rotation off the axes; None for none.
    """

    n_factors: int = 6
    n_contexts: int = 8
    dims: int = 128
    cosine: float = 0.0
    copies: int = 1
    fracture: float = 0.0
    conjunctive: bool = False
    noise: float = 0.1
    noise_inside: float = 0.0
    inert: int = 0
    inert_scale: float = 2.0
    rotation: int | None = None

    def __post_init__(self) -> None:
        for name, value, low, high in (("cosine", self.cosine, 0, 0.999), ("fracture", self.fracture, 0, 1)):
            if not low <= value <= high:
                raise InputError(f"{name} is {value}: expected a number from {low} to {high}")
        if self.conjunctive and (self.cosine, self.copies, self.fracture) != (0.0, 1, 0.0):
            raise InputError("a conjunctive code takes no cosine, copies or fracture: leave them at their defaults")
        if self.width + self.inert > self.dims:
            raise InputError(f"code and inert dimensions need {self.width} + {self.inert} of dims={self.dims}")

    @property
    def width(self) -> int:
        """Dimensions that the signal is written into."""
        if self.conjunctive:
            return 2**self.n_factors
        blocks = (self.fracture < 1) + self.n_contexts * (self.fracture > 0)
        return self.copies * blocks * self.n_factors


@dataclasses.dataclass(frozen=True, eq=False)
class Code:
    """A plan in numbers.

    Attributes:
        points: ``[C, 2^k, d]`` place of every combination of factors (rows of `combinations`) in every context.
        readout: ``[d, k]`` of least norm with points @ readout = combinations.
        spread: ``[d, d]`` activations get ``N(0, 1) @ spread``.
    """

    points: Float[np.ndarray, "c j d"]
    readout: Float[np.ndarray, "d k"]
    spread: Float[np.ndarray, "d d"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """Items drawn from a planted code.

    Attributes:
        X: ``[n, d]`` activations; factors: ``[n, k]`` of ±1; context: ``[n]``; readout: ``[d, k]``, X @ it = logits.
    """

    X: Float[np.ndarray, "n d"]
    factors: Float[np.ndarray, "n k"]
    context: Int[np.ndarray, " n"]
    readout: Float[np.ndarray, "d k"]

    @property
    def labels(self) -> Int[np.ndarray, "n k"]:
        """The factors as 0 and 1."""
        return (self.factors > 0).astype(np.int64)


def combinations(k: int) -> Float[np.ndarray, "j k"]:
    """All 2^k combinations of k factors ±1; the last factor runs fastest."""
    return np.array(list(itertools.product((-1.0, 1.0), repeat=k)))


@lru_cache(maxsize=32)
def encode(plan: Plan) -> Code:
    """Points, readout and noise of a plan.

    >>> code = encode(Plan(fracture=0.5))
    >>> bool(np.allclose(code.points @ code.readout, combinations(6)))
    True
    """
    signs, d = combinations(plan.n_factors), plan.dims
    if plan.conjunctive:
        axes = np.eye(len(signs), d)
        points = np.broadcast_to(np.sqrt(plan.n_factors) * axes, (plan.n_contexts, *axes.shape))
        readout = axes.T @ signs / np.sqrt(plan.n_factors)
    else:
        directions = _directions(plan)
        points = np.einsum("jk,ckd->cjd", signs, directions)
        left, sizes, axes = np.linalg.svd(directions.reshape(-1, d), full_matrices=False)
        kept = sizes > 1e-9 * sizes[0]
        left, sizes, axes = left[:, kept], sizes[kept], axes[kept]
        targets = np.tile(np.eye(plan.n_factors), (plan.n_contexts, 1))
        readout = axes.T @ (left.T @ targets / sizes[:, None])
        readout[np.abs(readout) < 1e-12] = 0.0  # rounding is no use that the readout makes of a dimension
    inside = axes.T @ axes
    spread = plan.noise * (np.eye(d) - inside) + plan.noise_inside * inside
    unused = np.arange(plan.width, plan.width + plan.inert)
    spread[unused, unused] = plan.inert_scale
    if plan.rotation is not None:
        turn = np.linalg.qr(np.random.default_rng(plan.rotation).normal(size=(d, d)))[0]
        points, readout, spread = points @ turn, turn.T @ readout, spread @ turn
    return Code(points, readout, spread)


def plant(plan: Plan, n: int = 8192, seed: int = 0, *, noise_seed: int = 0, balanced: int = 0) -> Sample:
    """Items of a plan: factors and contexts uniform and independent, or each combination ``balanced`` times (no ``n``).

    The same ``seed`` gives the same items to every plan of the same size; ``noise_seed`` gives them other noise.

    >>> sample = plant(Plan(copies=4), n=100)
    >>> bool(np.allclose(sample.X @ sample.readout, sample.factors))
    True
    """
    if n < 1 or balanced < 0:
        raise InputError(f"n is {n}, balanced {balanced}: expected at least one item")
    code, signs, rng = encode(plan), combinations(plan.n_factors), np.random.default_rng(seed)
    if balanced:
        context, which = np.divmod(np.arange(plan.n_contexts * len(signs)).repeat(balanced), len(signs))
    else:
        context, which = rng.integers(plan.n_contexts, size=n), rng.integers(len(signs), size=n)
    noise = np.random.default_rng((seed, noise_seed)).normal(size=(len(context), plan.dims))
    return Sample(code.points[context, which] + noise @ code.spread, signs[which], context, code.readout)


def _directions(plan: Plan) -> Float[np.ndarray, "c k d"]:
    k, alpha = plan.n_factors, plan.fracture
    mixing = np.linalg.cholesky((1 - plan.cosine) * np.eye(k) + plan.cosine)
    blocks = [(np.sqrt(1 - alpha), np.ones(plan.n_contexts))] if alpha < 1 else []
    blocks += [(np.sqrt(alpha), row) for row in np.eye(plan.n_contexts)] if alpha > 0 else []
    parts = [size * where[:, None, None] * mixing for size, where in blocks]
    single = np.concatenate(parts, axis=2).repeat(plan.copies, axis=2) / np.sqrt(plan.copies)
    return np.pad(single, ((0, 0), (0, 0), (0, plan.dims - single.shape[2])))
