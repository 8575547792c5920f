"""Permutation nulls shared by all pairs of layers: whole groups of one model's rows change places."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from mechdecouple.errors import InputError
from mechdecouple.stats import permutation_p


def check_counts(n_permutations: int, max_null_groups: int) -> None:
    """Refuses numbers of permutations and of groups that make no test."""
    if n_permutations < 0 or max_null_groups < 4:
        raise InputError(
            f"n_permutations {n_permutations} and max_null_groups {max_null_groups}: expected at least 0 and at least 4"
        )


def chosen(codes: Int[np.ndarray, " n"], limit: int, rng: np.random.Generator) -> tuple[Int[np.ndarray, " n"], int]:
    """Codes of at most ``limit`` groups drawn at random, -1 for rows of the others, and how many groups these are."""
    n_groups = int(codes.max(initial=-1)) + 1
    count = min(n_groups, limit)
    new = np.full(n_groups, -1)
    new[np.sort(rng.choice(n_groups, count, replace=False))] = np.arange(count)
    return new[codes], count


def permuted_products(
    first: torch.Tensor, other: torch.Tensor, n_permutations: int, rng: np.random.Generator, *, symmetric: bool
) -> Float[np.ndarray, "r a b"]:
    """Inner products of [a, m, m] with [b, m, m] off the diagonal, rows and columns of the latter permuted together.

    Nothing is computed anew: a permutation re-indexes what is there. Of symmetric matrices one half is enough.
    """
    m = first.shape[1]
    rows, columns = np.triu_indices(m, 1) if symmetric else np.nonzero(~np.eye(m, dtype=bool))
    # float32 halves the traffic of the gathers.
    flat = (first[:, rows, columns] * (2 if symmetric else 1)).float()
    table = other.flatten(1).T.float().contiguous()
    rows, columns = (torch.from_numpy(i).to(first.device) for i in (rows, columns))
    out = torch.empty(n_permutations, len(first), len(other), device=first.device)
    for r in range(n_permutations):
        order = torch.from_numpy(rng.permutation(m)).to(first.device)
        out[r] = flat @ table.index_select(0, (order * m).index_select(0, rows) + order.index_select(0, columns))
    return out.cpu().numpy().astype(np.float64)


def p_values(
    observed: Float[np.ndarray, "a b"], draws: Float[np.ndarray, "r a b"]
) -> tuple[Float[np.ndarray, "a b"], Float[np.ndarray, "a b"]]:
    """Add-one p of each pair alone, and against the largest studentised draw over all pairs; large values count."""
    nothing = np.full(observed.shape, np.nan)
    defined = np.isfinite(observed) & np.isfinite(draws).all(axis=0)
    if len(draws) == 0 or not defined.any():
        return nothing, nothing
    p = np.where(defined, permutation_p(observed, draws), np.nan)
    centre, spread = draws.mean(axis=0), draws.std(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        largest = ((draws - centre) / spread)[:, defined].max(axis=1)
        score = (observed - centre) / spread
    adjusted = permutation_p(score, np.broadcast_to(largest[:, None, None], (len(draws), *score.shape)))
    return p, np.where(defined, np.maximum(adjusted, p), np.nan)
