"""Layers: checked activations of one or two models, centred and scaled, held or read a run of rows at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from mechdecouple.errors import InputError, MismatchError
from mechdecouple.stats import jackknife_blocks

_HELD_BYTES = 2**30
_RUN_BYTES = 2**29
_SHIFT_ROWS = 1024


@runtime_checkable
class Layer(Protocol):
    """Activations [n, d]: an array, or anything with a shape and a dtype that gives the rows ``layer[start:stop]``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, rows: slice, /) -> Any: ...


class Layers:
    """L layers of the same n rows, each minus its mean and at unit mean square; a constant layer is all zero.

    The arithmetic is float64 where any layer is, else float32. Layers that are small together are held; of larger ones
    a run of rows is read at a time, as often as it is asked for. Within a run the rows lie block by block.

    Args:
        layers: arrays [n, d_l] or lazy layers; names: one each, for errors. blocks: block of each row; a single block
        if not given. device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for cuda where there is one. held_bytes: how large
        layers that are held may be together, 1 GiB if not given.

    Attributes:
        sources: the layers as given; n: rows; widths: [L]; dtype, device: of the arithmetic; held: see above.
        blocks: block of each row [n]; counts: rows of each block [b].
        sums: the centred rows of each layer summed by block, float64 [b, d_l].
        runs: (start, stop) of each run; orders: row numbers of each run as they lie; edges: block and place of each
        stretch of rows of one block.

    Raises:
        InputError: not a finite real matrix (names layer, row and column), or no such device.
        MismatchError: different numbers of rows.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        names: Sequence[str],
        blocks: Int[np.ndarray, " n"] | None = None,
        device: str = "cpu",
        held_bytes: float | None = None,
    ) -> None:
        check_shapes(layers, names)
        self.sources, self._names = layers, names
        self.n, self.widths = int(layers[0].shape[0]), [int(layer.shape[1]) for layer in layers]
        self.device = torch_device(device)
        self.dtype = torch.float64 if any(np.dtype(x.dtype) == np.float64 for x in layers) else torch.float32
        self.held = self.n * sum(self.widths) * self.dtype.itemsize <= (
            _HELD_BYTES if held_bytes is None else held_bytes
        )
        step = max(1, self.n if self.held else _RUN_BYTES // (sum(self.widths) * self.dtype.itemsize))
        self.runs = [(a, min(a + step, self.n)) for a in range(0, self.n, step)] or [(0, 0)]
        self.blocks = np.zeros(self.n, dtype=np.int64) if blocks is None else blocks
        self.counts = np.bincount(self.blocks, minlength=1)
        self.orders = [a + np.argsort(self.blocks[a:b], kind="stable") for a, b in self.runs]
        self.edges = [_stretches(self.blocks[order]) for order in self.orders]
        self._kept: list[torch.Tensor] = []
        self._centre: list[tuple[np.ndarray, torch.Tensor, float]] = []
        self.sums: list[torch.Tensor] = []
        for l in range(len(layers)):
            self._survey(l)

    def __len__(self) -> int:
        return len(self.widths)

    @property
    def constant(self) -> list[bool]:
        """Whether each layer is the same in all rows."""
        return [scale == 0 for *_, scale in self._centre]

    @property
    def row_blocks(self) -> torch.Tensor:
        """Block of each row [n], the rows as they lie in the runs, one run after the other."""
        return torch.from_numpy(self.blocks[np.concatenate(self.orders)]).to(self.device)

    def centre(self, l: int) -> tuple[Float[np.ndarray, " d"], float]:
        """What a layer's rows are less by, and what they are then multiplied by."""
        shift, mean, scale = self._centre[l]
        return shift + mean.cpu().numpy(), scale

    def rows(self, l: int, run: int) -> torch.Tensor:
        """The centred rows [m, d_l] of a layer in a run, block by block."""
        if self.held:
            return self._kept[l]
        shift, mean, scale = self._centre[l]
        return self._read(l, run, shift).sub_(mean.to(self.dtype)).mul_(scale)

    def group_means(self, group: Int[np.ndarray, " n"], n_groups: int) -> list[torch.Tensor]:
        """Mean row [n_groups, d_l] of each group in each layer; rows of group -1 are left out."""
        size = torch.from_numpy(np.bincount(group[group >= 0], minlength=n_groups)).to(self.device, self.dtype)
        means = [torch.zeros(n_groups, width, dtype=self.dtype, device=self.device) for width in self.widths]
        for run, order in enumerate(self.orders):
            here = np.flatnonzero(group[order] >= 0)
            if len(here) == 0:
                continue
            wanted, place = (torch.from_numpy(i).to(self.device) for i in (here, group[order[here]]))
            for l, total in enumerate(means):
                total.index_add_(0, place, self.rows(l, run)[wanted])
        return [total / size[:, None] for total in means]

    def _read(self, l: int, run: int, shift: np.ndarray | None = None) -> torch.Tensor:
        """Rows of a run minus ``shift``: a large common offset goes before it can round."""
        start, stop = self.runs[run]
        rows = np.asarray(self.sources[l][start:stop])
        if rows.shape != (stop - start, self.widths[l]):
            raise InputError(f"rows {start} to {stop} of {self._names[l]} come as {rows.shape}: expected all of them")
        if len(self.counts) > 1:
            rows = rows[self.orders[run] - start]
        shift = np.zeros(self.widths[l]) if shift is None else shift
        dtype = np.float64 if self.dtype == torch.float64 else np.float32
        with np.errstate(invalid="ignore", over="ignore"):
            return torch.from_numpy(np.subtract(rows, shift.astype(dtype), dtype=dtype)).to(self.device)

    def _survey(self, l: int) -> None:
        """Mean, scale and sums by block of a layer, and its rows if they are to be held."""
        with np.errstate(invalid="ignore", over="ignore"):
            head = np.asarray(self.sources[l][: min(self.n, _SHIFT_ROWS)])
            shift = head.mean(axis=0, dtype=np.float64) if len(head) else np.zeros(self.widths[l])
        # An offset that is not finite would hide the place of the value that is to blame.
        shift = np.where(np.isfinite(shift), shift, 0.0)
        sums = torch.zeros(len(self.counts), self.widths[l], dtype=torch.float64, device=self.device)
        square, rows = 0.0, torch.empty(0)
        for run, edges in enumerate(self.edges):
            rows = self._read(l, run, shift)
            for block, place in edges:
                sums[block] += rows[place].sum(dim=0)
            # Not in the layer's own precision, in which the squares of small values are zero.
            square += float(torch.linalg.vector_norm(rows, dtype=torch.float64).square())
            if not np.isfinite(square):
                self._refuse(l, run, rows)
        mean = sums.sum(dim=0) / max(1, self.n)
        size = np.sqrt(max(0.0, square / max(1, self.n * self.widths[l]) - float((mean**2).mean()) * (self.n > 0)))
        eps = min(np.finfo(self.sources[l].dtype).eps, np.finfo(np.float32).eps)
        scale = float(1 / size) if size > 8 * eps * float(np.abs(shift).max(initial=0.0)) else 0.0
        counts = torch.from_numpy(self.counts).to(self.device, torch.float64)
        self.sums.append((sums - counts[:, None] * mean) * scale)
        self._centre.append((shift, mean, scale))
        if self.held:
            self._kept.append(rows.sub_(mean.to(self.dtype)).mul_(scale))

    def _refuse(self, l: int, run: int, rows: torch.Tensor) -> None:
        place = torch.nonzero(~torch.isfinite(rows))
        if len(place) == 0:
            raise InputError(f"{self._names[l]} holds values too large to square: rescale them")
        row, column = (int(i) for i in place[torch.argmin(torch.from_numpy(self.orders[run])[place[:, 0].cpu()])])
        value = float(np.asarray(self.sources[l][int(self.orders[run][row]) :][:1])[0, column])
        raise InputError(
            f"{self._names[l]} is {value} at row {self.orders[run][row]}, column {column}: expected finite activations"
        )


def read_pair(
    A: Sequence[Layer],
    B: Sequence[Layer],
    groups: Shaped[np.ndarray, " g"] | None,
    n_blocks: int,
    seed: int,
    device: str,
) -> tuple[Layers, Int[np.ndarray, " n"]]:
    """The layers of A, then those of B, in jackknife blocks (0: in one block), and the number of each row's group."""
    if n_blocks != 0 and n_blocks < 2:
        raise InputError(f"n_blocks is {n_blocks}: expected 2 or more, or 0 for no intervals")
    for name, layers in (("A", A), ("B", B)):
        if len(layers) == 0:
            raise InputError(f"{name} holds no layers: give at least one [n, d] array")
    layers, names = [*A, *B], layer_names("A", A) + layer_names("B", B)
    check_shapes(layers, names)
    n = int(layers[0].shape[0])
    if groups is not None and len(groups) != n:
        raise MismatchError(f"{len(groups)} groups for {n} rows: give one group a row")
    codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    blocks = jackknife_blocks(codes, n_blocks, seed) if n_blocks else None
    return Layers(layers, names, blocks, device), codes


def torch_device(device: str) -> torch.device:
    """The torch device of that name; ``"auto"`` is cuda where there is one, else the processor."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise InputError(f"device {device!r} is not there: use 'cpu', 'auto', or 'cuda' on a machine that has it")
    return torch.device(device)


def layer_names(name: str, layers: Sequence[Layer]) -> list[str]:
    """What errors call the layers of one model."""
    return [name] if len(layers) == 1 else [f"{name}[{i}]" for i in range(len(layers))]


def check_shapes(layers: Sequence[Layer], names: Sequence[str]) -> None:
    """All layers are real matrices with the same rows; else an error that names the layer."""
    for layer, name in zip(layers, names, strict=True):
        if len(layer.shape) != 2 or not np.issubdtype(np.dtype(layer.dtype), np.floating):
            raise InputError(f"{name} is {layer.dtype} {tuple(layer.shape)}: expected real numbers [n, d]")
        if layer.shape[0] != layers[0].shape[0]:
            raise MismatchError(
                f"{name} has {layer.shape[0]} rows, {names[0]} has {layers[0].shape[0]}: "
                "use the same items in the same order"
            )


def row_squares(rows: torch.Tensor) -> torch.Tensor:
    """Squared length of each row, float64."""
    return torch.linalg.vector_norm(rows, dim=1).double().square()


def checked(layers: Sequence[np.ndarray], name: str = "X") -> list[np.ndarray]:
    """The layers, all finite real matrices with the same rows; else an error that names layer and place."""
    if len(layers) == 0:
        raise InputError(f"{name} holds no layers: give at least one [n, d] array")
    names = layer_names(name, layers)
    check_shapes(layers, names)
    for layer, where in zip(layers, names, strict=True):
        finite = np.isfinite(layer)
        if not finite.all():
            row, column = (int(k) for k in np.argwhere(~finite)[0])
            raise InputError(
                f"{where} is {layer[row, column]} at row {row}, column {column}: expected finite activations"
            )
    return list(layers)


def centred(X: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Rows minus their mean, at unit mean square; all zero where only rounding is left. float64 stays float64."""
    return Layers([X], ["X"], held_bytes=np.inf).rows(0, 0).cpu().numpy()


def _stretches(blocks: np.ndarray) -> list[tuple[int, slice]]:
    """Block and place of each stretch of rows of one block."""
    cuts = np.r_[0, np.flatnonzero(np.diff(blocks)) + 1, len(blocks)]
    return [(int(blocks[a]), slice(int(a), int(b))) for a, b in itertools.pairwise(cuts) if b > a]
