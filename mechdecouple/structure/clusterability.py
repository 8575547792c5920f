"""Clusterability: do a network's neurons fall into groups that are wired mostly among themselves?"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.results import Estimate, Metric
from mechdecouple.stats import permutation_p

CLUSTERABILITY = Metric(
    name="clusterability",
    family="entanglement",
    title="Clusterability",
    measures="normalised cut of the best clustering of neurons, in standard deviations from shuffled weights",
    range="(-inf, inf)",
    direction="lower",
    invariances="order of neurons, signs of weights, scale of a layer where it is alone",
    null="0: weights placed at random within their layers",
    assumes="neurons are the units; shuffles also undo strong and weak neurons, so z tells of any order of weights",
    source="Filan et al. 2021, arXiv 2103.03386",
)

_RESTARTS = 5
_ITERATIONS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Clusterability:
    """The normalised cut of a network and of the same network with shuffled weights.

    Attributes:
        ncut: in [0, n_clusters]; 0 for groups without a connection between them, about n_clusters - 1 without any.
        shuffled: [s] the same after each shuffle.
        clusters: for each layer of neurons, inputs first, the cluster of each neuron; -1 where unconnected.
        n_clusters: clusters looked for.
    """

    ncut: float
    shuffled: Float[np.ndarray, " s"]
    clusters: tuple[Int[np.ndarray, " _neurons"], ...]
    n_clusters: int

    reason = "shuffling the weights changes nothing: they are all of one size"

    @property
    def z(self) -> float:
        """Standard deviations of the cut from the shuffled ones; negative is tidier. NaN for the ``reason``."""
        spread = float(self.shuffled.std(ddof=1))
        return float(self.ncut - self.shuffled.mean()) / spread if spread > 1e-9 else math.nan

    @property
    def p(self) -> float:
        """Add-one share of shuffles that are cut as cleanly."""
        return float(permutation_p(self.ncut, self.shuffled, "lower"))

    def estimate(self) -> Estimate:
        """z with its null and p."""
        facts = {"unit": "shuffles", "n": len(self.shuffled), "direction": CLUSTERABILITY.direction}
        facts["invariances"] = CLUSTERABILITY.invariances
        if math.isnan(self.z):
            return Estimate.undefined(self.reason, **facts)
        return Estimate(value=self.z, null=0.0, p=self.p, method="weights shuffled within layers", **facts)


def clusterability(
    weights: Sequence[Float[np.ndarray, "_out _in"]], n_clusters: int = 12, n_shuffles: int = 100, seed: int = 0
) -> Clusterability:
    """Normalised cut of the graph of neurons, against shuffles of the weights within each layer; lower z is tidier.

    Neurons are nodes, |weights| edges. Spectral clustering (Shi & Malik 2000) embeds the neurons by the leading
    eigenvectors of the normalised graph and groups them by k-means, weighted by degree, the best of five starts; the
    cut is Σ over clusters of the share of a cluster's weight that leaves it. Shuffled networks go through the same.
    Neurons without a connection are left out. Memory and time are those of dense layers.

    Args:
        weights: one matrix [out, in] a layer, consecutive: each one's inputs are the outputs of the one before.
        n_clusters: clusters looked for, at most as many as there are neurons in the layers of either parity.
        seed: of the shuffles and the starts of k-means.

    Raises:
        InputError: no layers, weights that are not finite or all zero, too many clusters, fewer than two shuffles.
        MismatchError: a layer that does not fit the one before.

    >>> blocks = np.kron(np.eye(4), np.ones((6, 6)))
    >>> found = clusterability([blocks, blocks], n_clusters=4, n_shuffles=20)
    >>> round(found.ncut, 6), found.z < -10, round(found.p, 3)
    (0.0, True, 0.048)
    """
    layers = _layers(weights)
    if n_shuffles < 2:
        raise InputError(f"n_shuffles is {n_shuffles}: expected at least 2")
    graph = _biadjacency(layers)
    fewest = min(int(graph.any(axis=1 - side).sum()) for side in (0, 1))
    if not 2 <= n_clusters <= fewest:
        raise InputError(
            f"n_clusters is {n_clusters}: expected 2 to {fewest}, the connected neurons in the layers of one parity"
        )
    rng = np.random.default_rng(seed)
    ncut, labels = _cut(graph, n_clusters, rng)
    shuffled = np.empty(n_shuffles)
    for i in range(n_shuffles):
        moved = [rng.permutation(layer.ravel()).reshape(layer.shape) for layer in layers]
        shuffled[i] = _cut(_biadjacency(moved), n_clusters, rng)[0]
    return Clusterability(ncut, shuffled, _by_layer(labels, layers), n_clusters)


def _layers(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """|weights| in float64, checked."""
    if len(weights) == 0:
        raise InputError("there are no layers: give at least one matrix of weights [out, in]")
    layers = []
    for i, weight in enumerate(weights):
        if np.ndim(weight) != 2 or 0 in np.shape(weight):
            raise InputError(f"weights[{i}] has shape {np.shape(weight)}, expected [out, in] with at least one of each")
        if not np.isfinite(weight).all():
            row, column = np.argwhere(~np.isfinite(weight))[0]
            raise InputError(f"weights[{i}] is {weight[row, column]} at [{row}, {column}]: expected finite weights")
        if i and weight.shape[1] != len(weights[i - 1]):
            raise MismatchError(
                f"weights[{i}] has {weight.shape[1]} inputs, weights[{i - 1}] {len(weights[i - 1])} outputs: "
                "give consecutive layers"
            )
        layers.append(np.abs(weight.astype(np.float64)))
    if not any(layer.any() for layer in layers):
        raise InputError("all weights are zero: there is no graph to cut")
    return layers


def _places(layers: list[np.ndarray]) -> tuple[list[slice], list[int]]:
    """Where the neurons of each layer (inputs are layer 0) stand among those of its parity, and how many these are."""
    places, filled = [], [0, 0]
    for l, width in enumerate([layers[0].shape[1], *map(len, layers)]):
        places.append(slice(filled[l % 2], filled[l % 2] + width))
        filled[l % 2] += width
    return places, filled


def _biadjacency(layers: list[np.ndarray]) -> Float[np.ndarray, "even odd"]:
    """Edges between the neurons of even and of odd layers: a chain of layers has no others."""
    places, filled = _places(layers)
    graph = np.zeros(filled)
    for l, (layer, (source, target)) in enumerate(zip(layers, itertools.pairwise(places), strict=True)):
        if l % 2:
            graph[target, source] = layer
        else:
            graph[source, target] = layer.T
    return graph


def _by_layer(labels: Int[np.ndarray, " neurons"], layers: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    places, filled = _places(layers)
    parts = np.split(labels, [filled[0]])
    return tuple(parts[l % 2][place] for l, place in enumerate(places))


def _cut(
    graph: Float[np.ndarray, "even odd"], n_clusters: int, rng: np.random.Generator
) -> tuple[float, Int[np.ndarray, " neurons"]]:
    """Normalised cut of the best clustering, and the cluster of each neuron (even ones first; -1 unconnected)."""
    live = np.concatenate([graph.any(axis=1), graph.any(axis=0)])
    graph = graph[np.ix_(live[: len(graph)], live[len(graph) :])]
    degrees = graph.sum(axis=1), graph.sum(axis=0)
    points, degree = _embedding(graph, *degrees, n_clusters), np.concatenate(degrees)
    best, found = math.inf, np.zeros(len(points), dtype=int)
    for _ in range(_RESTARTS):
        labels = _k_means(points, degree, n_clusters, rng)
        member = np.eye(n_clusters)[labels]
        even, odd = np.split(member, [len(graph)])
        within = 2 * np.einsum("ec,ec->c", even, graph @ odd)
        volume = degree @ member
        filled = volume > 0
        ncut = float((1 - within[filled] / volume[filled]).sum())
        if ncut < best:
            best, found = ncut, labels
    every = np.full(len(live), -1)
    every[live] = found
    return best, every


def _embedding(
    graph: Float[np.ndarray, "even odd"], even: Float[np.ndarray, " even"], odd: Float[np.ndarray, " odd"], size: int
) -> Float[np.ndarray, "neurons size"]:
    """Leading eigenvectors of the random walk on the graph, from the singular vectors of the normalised graph."""
    normal = graph / np.sqrt(even[:, None] * odd)
    wide = normal.shape[0] <= normal.shape[1]
    side = normal if wide else normal.T
    size = min(size, len(side))
    energy, first = eigh(side @ side.T, subset_by_index=[len(side) - size, len(side) - 1])
    # A direction without energy has no partner on the other side.
    scale = np.sqrt(np.maximum(energy, 0.0))
    second = np.divide(side.T @ first, scale, out=np.zeros((side.shape[1], size)), where=scale > 1e-9)
    vectors = (first, second) if wide else (second, first)
    return np.concatenate([v / np.sqrt(d)[:, None] for v, d in zip(vectors, (even, odd), strict=True)])


def _k_means(
    points: Float[np.ndarray, "n p"], weight: Float[np.ndarray, " n"], k: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Weighted k-means from k-means++ seeds; no cluster is empty while there are points enough."""
    nearest = np.full(len(points), np.inf)
    centres = np.empty((k, points.shape[1]))
    for c in range(k):
        chance = weight * np.where(np.isfinite(nearest), nearest, 1.0)
        chance = chance if chance.sum() > 0 else weight
        centres[c] = points[rng.choice(len(points), p=chance / chance.sum())]
        nearest = np.minimum(nearest, ((points - centres[c]) ** 2).sum(axis=1))
    labels = np.full(len(points), -1)
    for _ in range(_ITERATIONS):
        distance = (centres**2).sum(axis=1) - 2 * points @ centres.T
        new = distance.argmin(axis=1)
        for c in np.setdiff1d(np.arange(k), new):
            crowded = np.bincount(new, minlength=k)[new] > 1
            away = ((points - centres[new]) ** 2).sum(axis=1)
            new[np.where(crowded, away, -1.0).argmax()] = c
        if (new == labels).all():
            break
        labels = new
        member = np.eye(k)[labels] * weight[:, None]
        centres = (member.T @ points) / member.sum(axis=0)[:, None]
    return labels
