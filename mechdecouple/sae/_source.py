"""Rows to evaluate on, of an array or of Activations: checked, in batches, with their groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError
from mechdecouple.sae.autoencoder import SparseAutoencoder, check_activations

_READ = 4096


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one hook point.

    Attributes:
        source: an array [n, d], or Activations.
        hook_point: which of the Activations' hook points; empty for an array.
    """

    source: np.ndarray | Activations
    hook_point: str

    @classmethod
    def of(cls, sae: Any, source: np.ndarray | Activations, hook_point: str | None) -> Rows:
        """Rows of what a dictionary reads.

        Raises:
            InputError: no rows, rows that are not a table, another width than the SAE's, or no telling which hook point
                is meant.
            MismatchError: another hook point than the SAE was trained on.
        """
        if not isinstance(source, Activations):
            source = np.asarray(source)
            if source.ndim != 2 or len(source) == 0:
                check_activations(source)
            hook_point = ""
        else:
            hook_point = reading(sae, hook_point, source.hook_points)
            if len(source) == 0:
                raise InputError("the activations hold no rows; extract or select at least one")
        rows = cls(source, hook_point)
        if isinstance(sae, SparseAutoencoder) and rows.width != sae.d:
            raise InputError(
                f"activations have width {rows.width}, this SAE reads width {sae.d}; use the hook point it was "
                "trained on"
            )
        return rows

    def __len__(self) -> int:
        return len(self.source)

    @property
    def width(self) -> int:
        if isinstance(self.source, Activations):
            return self.source.width(self.hook_point)
        return self.source.shape[1]

    @property
    def groups(self) -> Shaped[np.ndarray, " n"]:
        """The item of each row; each row of an array on its own."""
        return self.source.items if isinstance(self.source, Activations) else np.arange(len(self))

    def batches(self, size: int) -> Iterator[tuple[int, Float[np.ndarray, "b d"]]]:
        """Number of the first row, and the rows.

        Raises:
            InputError: a row holds NaN or infinity; its number, and its item where it has one, are named.
        """
        start = 0
        if isinstance(self.source, Activations):
            parts = self.source.batches(self.hook_point, size)
        else:
            source = self.source
            parts = (source[at : at + size] for at in range(0, len(source), size))
        for part in parts:
            part = np.asarray(part)
            self._check(part, start)
            yield start, part
            start += len(part)

    def mean(self) -> Float[np.ndarray, " d"]:
        """The mean row, summed in float64."""
        total = np.zeros(self.width)
        for _, part in self.batches(_READ):
            total += part.sum(0, dtype=np.float64)
        return total / len(self)

    def _check(self, part: np.ndarray, start: int) -> None:
        try:
            check_activations(part, first=start)
        except InputError as error:
            if not isinstance(self.source, Activations):
                raise
            row = start + int(np.argmin(np.isfinite(part).all(axis=1)))
            raise InputError(f"item {str(self.source.ids[row])!r}, {error}") from None


def reading(sae: Any, hook_point: str | None, known: tuple[str, ...]) -> str:
    """The hook point to read for a dictionary: the one asked for, the one it was trained on, or the only one.

    Raises:
        InputError: none of these tells, or it is not among the known ones.
        MismatchError: the one asked for is not the one it was trained on.
    """
    trained = trained_on(sae)
    chosen = hook_point or trained or (known[0] if len(known) == 1 else "")
    if not chosen:
        raise InputError(f"which hook point does this SAE read? name one of {', '.join(known)}")
    if trained and chosen != trained:
        raise MismatchError(
            f"this SAE was trained on hook point {trained!r}, not {chosen!r}; features of one are not those of another"
        )
    if chosen not in known:
        raise InputError(f"hook point {chosen!r} of the SAE is not here; there are {', '.join(known[:8])}")
    return chosen


def trained_on(sae: Any) -> str:
    """The hook point that a dictionary's metadata name; empty where they name none."""
    if not isinstance(sae, SparseAutoencoder):
        return ""
    return sae.hook_point
