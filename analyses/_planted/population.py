"""What the metrics of a planted code are in the limit of many items, from its points, readout and noise alone.

Nothing here calls a metric of the package: these are the right answers that the metrics are held against.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from mechdecouple.zoo.planting import Code, Plan, combinations, encode


def factored_like(plan: Plan) -> Plan:
    """The factored code of the same size with the usual noise: what similarities are taken to."""
    return Plan(n_factors=plan.n_factors, n_contexts=plan.n_contexts, dims=plan.dims)


def population(plan: Plan) -> dict[str, float]:
    """Right answers by metric name; those without a closed form are left out."""
    code = encode(plan)
    signs = np.tile(combinations(plan.n_factors), (plan.n_contexts, 1))
    context = np.repeat(np.arange(plan.n_contexts), 2**plan.n_factors)
    return (
        _geometry(code)
        | _similarity(code, encode(factored_like(plan)))
        | _coding(code)
        | {"additive_share": _additive(code, signs, context)}
        | _effects(code)
        | (_tolerance(code) if plan.noise_inside == 0 else {})
    )


def _moments(code: Code, basis: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Centred points ``[cells, d]`` and covariance ``[d, d]``, in a basis if one is given."""
    points = code.points.reshape(-1, code.points.shape[-1])
    points, spread = points - points.mean(axis=0), code.spread
    if basis is not None:
        points, spread = points @ basis, spread @ basis
    return points, points.T @ points / len(points) + spread.T @ spread


def _used(code: Code) -> np.ndarray:
    return np.linalg.qr(code.readout)[0]


def _ratio(sigma: np.ndarray) -> float:
    return float(np.trace(sigma) ** 2 / np.sum(sigma**2))


def _geometry(code: Code) -> dict[str, float]:
    sigma = _moments(code)[1]
    share = np.sqrt(np.maximum(np.linalg.eigvalsh(sigma), 0))
    share = share[share > 1e-9 * share.max()] / share.sum()
    return {
        "participation_ratio": _ratio(sigma),
        "functional_participation_ratio": _ratio(_moments(code, _used(code))[1]),
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
    }


def _similarity(code: Code, reference: Code) -> dict[str, float]:
    found = {}
    for prefix, basis, base in (("", None, None), ("functional_", _used(code), _used(reference))):
        (x, sx), (y, sy) = _moments(code, basis), _moments(reference, base)
        cross = x.T @ y / len(x)
        found[f"{prefix}cka"] = float(np.sum(cross**2) / np.sqrt(np.sum(sx**2) * np.sum(sy**2)))
        if not prefix:
            cosine = np.linalg.svd(cross, compute_uv=False).sum() / np.sqrt(np.trace(sx) * np.trace(sy))
            found["procrustes"] = float(np.arccos(min(1.0, cosine)))
    return found


def _coding(code: Code) -> dict[str, float]:
    """Cosines of coding vectors: between contexts, between combinations of the other factors, between factors."""
    c, _, d = code.points.shape
    k = code.readout.shape[1]
    table = code.points.reshape(c, *[2] * k, d)
    sigma = _moments(code)[1]
    over_contexts, over_factors, vectors, left = [], [], [], []
    for f in range(k):
        step = np.take(table, 1, axis=f + 1) - np.take(table, 0, axis=f + 1)  # [C, 2, …, 2, d]
        by_context = step.reshape(c, -1, d).mean(axis=1)
        over_contexts.append(_mean_cosine(by_context))
        over_factors.append(_mean_cosine(step.mean(axis=0).reshape(-1, d)))
        vectors.append(by_context.mean(axis=0))
        left.append(_energy_left(by_context, sigma))
    return {
        "coding_energy_left": float(np.mean(left)),
        "parallelism": float(np.mean(over_contexts)),
        "parallelism_concepts": float(np.mean(over_factors)),
        "coding_overlap": _mean_cosine(np.array(vectors), absolute=True),
    }


def _energy_left(vectors: np.ndarray, sigma: np.ndarray) -> float:
    """Share of the coding vectors' squared length behind the oblique projection that erases their mean."""
    mean = vectors.mean(axis=0)
    across = np.linalg.pinv(sigma, rcond=1e-10, hermitian=True) @ mean
    erased = vectors - np.outer(vectors @ across, mean) / (across @ mean)
    return float(np.sum(erased**2) / np.sum(vectors**2))


def _mean_cosine(vectors: np.ndarray, absolute: bool = False) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return float(np.mean(np.abs(cosine) if absolute else cosine))


def _additive(code: Code, signs: np.ndarray, context: np.ndarray) -> float:
    points = _moments(code)[0]
    design = np.column_stack([signs, np.eye(context.max() + 1)[context]])
    fitted = design @ np.linalg.lstsq(design, points, rcond=None)[0]
    return float(np.sum(fitted**2) / np.sum(points**2))


def _effects(code: Code) -> dict[str, float]:
    """1 less the entropy of mean-ablation effects, over factors a unit and over units a factor."""
    points = _moments(code)[0]
    sd = np.linalg.norm(code.spread, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, points / sd, np.inf)
    size = np.where(
        sd > 0, 2 * sd * norm.pdf(z) + np.abs(points) * (1 - 2 * norm.cdf(-np.abs(np.nan_to_num(z)))), np.abs(points)
    ).mean(axis=0)
    effect = size[:, None] * np.abs(code.readout)
    by_unit, by_factor = _focus(effect), _focus(effect.T)
    return {
        "dci_disentanglement": float(np.average(by_unit, weights=effect.sum(axis=1))),
        "dci_completeness": float(np.average(by_factor, weights=effect.sum(axis=0))),
    }


def _focus(effect: np.ndarray) -> np.ndarray:
    total = effect.sum(axis=1, keepdims=True)
    share = np.divide(effect, total, out=np.zeros_like(effect), where=total > 0)
    entropy = -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=1)
    return 1 - entropy / np.log(effect.shape[1])


def _tolerance(code: Code) -> dict[str, float]:
    """Noise of standard deviation s turns a logit of ±1 read with weights w right with probability Φ(1 / (s |w|))."""
    length = np.linalg.norm(code.readout, axis=0)
    sd = brentq(lambda s: float(norm.cdf(1 / (s * length)).mean()) - 0.9, 1e-3, 1e3)
    total, used = (np.trace(_moments(code, basis)[1]) for basis in (None, _used(code)))
    root = np.sqrt(code.points.shape[-1])
    return {
        "noise_tolerance": float(sd * root / np.sqrt(used)),
        "noise_tolerance_total": float(sd * root / np.sqrt(total)),
    }
