"""Tree: a decision tree small enough to be read, as a stand-in for a model's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from mechdecouple.errors import InputError

_SAME = 1e-12


@dataclasses.dataclass(frozen=True, eq=False)
class Tree:
    """A fitted tree; node 0 is the root.

    Attributes:
        feature, threshold: [nodes] the question of each node: is the feature above the threshold? -1 at leaves.
        below, above: [nodes] where to go on; label: [nodes] commonest label there.
    """

    feature: Int[np.ndarray, " m"]
    threshold: Float[np.ndarray, " m"]
    below: Int[np.ndarray, " m"]
    above: Int[np.ndarray, " m"]
    label: Int[np.ndarray, " m"]

    def predict(self, X: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Labels [n]."""
        return self.label[self.leaves(X)]

    def leaves(self, X: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """The node at which each item ends [n]."""
        at = np.zeros(len(X), dtype=np.int64)
        rows = np.arange(len(X))
        while (self.feature[at] >= 0).any():
            inner = self.feature[at] >= 0
            up = X[rows, np.maximum(self.feature[at], 0)] > self.threshold[at]
            at = np.where(inner, np.where(up, self.above[at], self.below[at]), at)
        return at

    @property
    def size(self) -> int:
        """Leaves."""
        return int((self.feature < 0).sum())

    def rules(self, features: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
        """One sentence a leaf: which answer under which conditions."""
        said = []

        def walk(node: int, conditions: tuple[str, ...]) -> None:
            if self.feature[node] < 0:
                label = labels[self.label[node]]
                said.append(f"if {' and '.join(conditions)}: {label}" if conditions else f"always: {label}")
                return
            name, edge = features[self.feature[node]], self.threshold[node]
            walk(int(self.below[node]), (*conditions, f"{name} ≤ {edge:.4g}"))
            walk(int(self.above[node]), (*conditions, f"{name} > {edge:.4g}"))

        walk(0, ())
        return tuple(said)


@dataclasses.dataclass(frozen=True)
class TreeFitter:
    """Grows a tree by the Gini index, each split the best for its node (CART; Breiman et al. 1984).

    Ties go to the first feature and the lowest threshold. A split that gains nothing by itself is made where both sides
    are large enough and the node is not pure, as two questions may say what neither does.

    Attributes:
        depth: most questions asked of an item; 0 always gives the commonest label.
        min_leaf: fewest items in a leaf.
    """

    depth: int = 3
    min_leaf: int = 5

    @property
    def name(self) -> str:
        return f"tree of depth {self.depth}"

    def fit(self, X: Float[np.ndarray, "n d"], y: Int[np.ndarray, " n"], n_labels: int) -> Tree:
        """X [n, d] finite, y [n] labels 0 … n_labels - 1 → tree.

        Raises:
            InputError: no items, a negative depth, or fewer than one item a leaf.
        """
        if len(X) == 0 or self.depth < 0 or self.min_leaf < 1:
            raise InputError(
                f"{len(X)} items, depth {self.depth}, {self.min_leaf} items a leaf: expected at least 1, 0 and 1"
            )
        hot = np.eye(n_labels)[y]
        nodes: list[list[float]] = []

        def grow(rows: np.ndarray, left: int) -> int:
            own, counts = len(nodes), hot[rows].sum(axis=0)
            nodes.append([-1, np.nan, -1, -1, int(counts.argmax())])
            found = None if left == 0 or counts.max() == len(rows) else _split(X[rows], hot[rows], self.min_leaf)
            if found is not None:
                feature, threshold = found
                up = X[rows, feature] > threshold
                below, above = grow(rows[~up], left - 1), grow(rows[up], left - 1)
                if nodes[below][0] < 0 and nodes[above][0] < 0 and nodes[below][4] == nodes[above][4]:
                    del nodes[own + 1 :]  # two leaves of one label are one
                else:
                    nodes[own][:4] = [feature, threshold, below, above]
            return own

        grow(np.arange(len(X)), self.depth)
        feature, threshold, below, above, label = (np.array(column) for column in zip(*nodes, strict=True))
        whole = [column.astype(np.int64) for column in (feature, below, above, label)]
        return Tree(whole[0], threshold.astype(float), whole[1], whole[2], whole[3])


def _split(X: np.ndarray, hot: np.ndarray, min_leaf: int) -> tuple[int, float] | None:
    """The feature and threshold with the purest two sides; None where no threshold leaves enough on both."""
    n = len(X)
    if n < 2 * min_leaf:
        return None
    order = np.argsort(X, axis=0, kind="stable")
    ranked = np.take_along_axis(X, order, axis=0)
    below = np.cumsum(hot[order], axis=0)[:-1]  # [n - 1, d, labels]
    sizes = np.arange(1, n)[:, None]
    above = below[-1:] + hot[order][-1:] - below
    purity = (below**2).sum(axis=2) / sizes + (above**2).sum(axis=2) / (n - sizes)
    allowed = (ranked[1:] > ranked[:-1]) & (sizes >= min_leaf) & (n - sizes >= min_leaf)
    if not allowed.any():
        return None
    purity = np.where(allowed, purity, -np.inf)
    best = purity.max()
    feature = int(np.flatnonzero((purity >= best - _SAME * max(1.0, best)).any(axis=0))[0])
    at = int(np.flatnonzero(purity[:, feature] >= best - _SAME * max(1.0, best))[0])
    return feature, float((ranked[at, feature] + ranked[at + 1, feature]) / 2)
