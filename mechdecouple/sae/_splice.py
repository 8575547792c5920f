"""The edits behind splicing: which tokens are replaced, and by what."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechdecouple.behavior import EditsFor
from mechdecouple.errors import InputError
from mechdecouple.extract.pick import picked_tokens
from mechdecouple.interventions import splice
from mechdecouple.models import Batch, Encoded
from mechdecouple.sae._saelens import flat
from mechdecouple.sae.autoencoder import SparseAutoencoder
from mechdecouple.tasks import Task

if TYPE_CHECKING:
    from mechdecouple.sae.evaluate import Dictionary

_CHUNK = 1024


class Places:
    """Which tokens of a batch are replaced."""

    def __init__(self, encoded: Encoded, task: Task, position: str, special: bool) -> None:
        self._after = position == "all"
        picked = picked_tokens(encoded, task, position, special)
        self._prompt = [np.isin(np.arange(n), kept) for n, kept in zip(encoded.lengths, picked, strict=True)]

    def __call__(self, batch: Batch, items: np.ndarray) -> np.ndarray:
        """[b, t] bool; what follows a prompt (options, generated text) counts at position all."""
        assert batch.mask is not None
        mask = batch.mask.cpu().numpy()
        out = mask & self._after
        for row, item in enumerate(items):
            prompt = self._prompt[item][: mask.shape[1]]
            out[row, : len(prompt)] = prompt & mask[row, : len(prompt)]
        return out


class Mean:
    """Leaves rows as they are and sums them up."""

    def __init__(self) -> None:
        self.count, self._total = 0, torch.zeros(())

    def __call__(self, rows: Tensor) -> Tensor:
        self.count += len(rows)
        self._total = self._total + rows.sum(dim=0, dtype=torch.float64).cpu()
        return rows

    def mean(self, like: Tensor) -> Tensor:
        """The mean row, in the type of other rows."""
        return (self._total / max(1, self.count)).to(like)


def edits_of(hook_point: str, replace: Callable[[Tensor], Tensor], where: Places | None) -> EditsFor:
    """Edits that put ``replace(rows [k, d])`` in the place of the rows named by ``where`` (None: all of them)."""

    def edits(batch: Batch, items: np.ndarray, _last: np.ndarray | None) -> dict:
        positions = None if where is None else torch.as_tensor(where(batch, items))
        return {hook_point: splice(lambda x: replace(_table(x)).reshape(x.shape), positions)}

    return edits


def _table(x: Tensor) -> Float[Tensor, "b d"]:
    return x.flatten(1) if x.ndim > 1 else x[:, None]


def rebuilt_of(sae: SparseAutoencoder | Dictionary, rows: Float[Tensor, "b d"], place: str) -> Float[Tensor, "b d"]:
    """Rows as the dictionary rebuilds them; ``place`` is where they are from, for errors.

    Raises:
        InputError: rows of another width than the SAE's, or reconstructions that are not finite.
    """
    reads = getattr(sae, "d", rows.shape[1])
    if reads != rows.shape[1]:
        raise InputError(
            f"{place} has width {rows.shape[1]}, this SAE reads width {reads}; use the model and hook point it was "
            "trained on"
        )
    parts = []
    for part in rows.split(_CHUNK):
        if isinstance(sae, SparseAutoencoder):
            given = part.to(sae.sae.device, sae.sae.dtype)
            with flat(sae.sae):
                out = sae.sae.decode(sae.sae.encode(given))
        else:
            out = torch.as_tensor(sae.decode(sae.encode(part.float().cpu().numpy())))
        parts.append(out.to(rows.device, rows.dtype))
    out = torch.cat(parts)
    if not torch.isfinite(out).all():
        raise InputError("the SAE rebuilds activations as NaN or infinity; check its weights, or train it again")
    return out
