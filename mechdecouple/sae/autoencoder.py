"""SparseAutoencoder: a trained dictionary over one hook point, held by SAELens and spoken to in numpy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix

from mechdecouple.errors import InputError, StoreError
from mechdecouple.sae._saelens import saelens

if TYPE_CHECKING:
    from sae_lens import SAE

_RECORD = "mechdecouple"


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder of any SAELens architecture; m latents over activations of width d.

    The wrapped ``sae`` is SAELens' own inference class, so everything that takes a SAELens SAE takes ``self.sae``.
    One trained here has decoder rows of unit norm: a latent's value is the length of what it adds.
    """

    sae: SAE

    @property
    def architecture(self) -> str:
        """SAELens' name of the inference architecture (BatchTopK and Matryoshka are kept as ``jumprelu``)."""
        return self.sae.cfg.architecture()

    @property
    def width(self) -> int:
        """m, the number of latents."""
        return int(self.sae.cfg.d_sae)

    @property
    def d(self) -> int:
        """Width of the activations it reads."""
        return int(self.sae.cfg.d_in)

    @property
    def decoder(self) -> Float[np.ndarray, "m d"]:
        """What each latent adds to the reconstruction, a unit of activation each."""
        return _numpy(self.sae.W_dec)

    @property
    def b_dec(self) -> Float[np.ndarray, " d"]:
        """The reconstruction of nothing: what is left when no latent fires."""
        return _numpy(self.sae.b_dec)

    @property
    def training(self) -> dict[str, Any]:
        """What it was trained with (seed, steps, activation scale, loss curve ...); empty for one trained elsewhere."""
        return dict(self.sae.cfg.metadata.get(_RECORD) or {})

    def encode(self, X: Float[np.ndarray, "n d"], *, batch_size: int = 4096) -> Float[np.ndarray, "n m"]:
        """Latents of every row, float32, dense; zero where a latent does not fire.

        Raises:
            InputError: X is not a table of width d, or holds NaN or infinity.
        """
        check_activations(X, width=self.d)
        return self._mapped(X, self.sae.encode, self.width, batch_size)

    def encode_sparse(self, X: Float[np.ndarray, "n d"], *, batch_size: int = 1024) -> csr_matrix:
        """Latents of every row as a sparse matrix, float32 [n, m] with sorted indices; only what fires is stored.

        The dense latents of one batch are held at a time, so memory beyond the nonzeros does not grow with n.

        Raises:
            InputError: X is not a table of width d, or holds NaN or infinity.
        """
        if X.ndim != 2 or len(X) == 0:
            check_activations(X)
        values, latents, counts = [], [], []
        for start in range(0, len(X), batch_size):
            rows = np.asarray(X[start : start + batch_size])
            check_activations(rows, width=self.d, first=start)
            dense = self._mapped(rows, self.sae.encode, self.width, batch_size)
            at, latent = np.nonzero(dense)
            values.append(dense[at, latent])
            latents.append(latent.astype(np.int32))
            counts.append(np.bincount(at, minlength=len(rows)))
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        parts = np.concatenate(values), np.concatenate(latents), indptr
        return csr_matrix(parts, shape=(len(X), self.width))

    def decode(self, latents: Float[np.ndarray, "n m"], *, batch_size: int = 4096) -> Float[np.ndarray, "n d"]:
        """Activations rebuilt from latents, float32."""
        if latents.ndim != 2 or latents.shape[1] != self.width:
            raise InputError(
                f"latents have shape {latents.shape}, expected [n, {self.width}]; pass what encode() returned"
            )
        return self._mapped(latents, self.sae.decode, self.d, batch_size)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``cfg.json`` and ``sae_weights.safetensors``, as ``sae_lens.SAE.load_from_disk`` reads them."""
        path = Path(directory)
        try:
            self.sae.save_model(path)
        except OSError as error:
            raise StoreError(
                f"cannot write the SAE to {path}: {error}; choose a directory that can be written"
            ) from error
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str], *, device: str = "cpu") -> SparseAutoencoder:
        """Read a SAELens directory, written here or by SAELens.

        Raises:
            StoreError: the directory lacks one of the two files, or they do not fit together.
        """
        path = Path(directory)
        for name in ("cfg.json", "sae_weights.safetensors"):
            if not (path / name).is_file():
                raise StoreError(
                    f"no {name} in {path}; expected a directory that SAELens or SparseAutoencoder.save wrote"
                )
        try:
            return cls(saelens().SAE.load_from_disk(path, device=device))
        except Exception as error:  # SAELens, json, safetensors and torch each raise their own kinds on a damaged file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StoreError(f"cannot read the SAE in {path}: {reason}; save it again") from error

    def _mapped(self, rows: np.ndarray, function: Any, width: int, batch_size: int) -> np.ndarray:
        out = np.empty((len(rows), width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), batch_size):
                batch = torch.tensor(rows[start : start + batch_size], dtype=self.sae.dtype, device=self.sae.device)
                out[start : start + batch_size] = _numpy(function(batch))
        return out

    def __repr__(self) -> str:
        return f"SparseAutoencoder({self.architecture}, {self.d} -> {self.width} latents)"


def check_activations(X: np.ndarray, *, width: int | None = None, first: int = 0) -> None:
    """Refuse what is not a finite table of activations, one row an item.

    Args:
        width: values a row must have.
        first: number of X's first row in the table that it was cut from.

    Raises:
        InputError: wrong number of dimensions, no rows, another width, NaN or infinity (the first such row is named).
    """
    if X.ndim != 2 or len(X) == 0:
        raise InputError(f"activations have shape {X.shape}, expected [rows, width] with at least one row")
    if width is not None and X.shape[1] != width:
        raise InputError(
            f"activations have width {X.shape[1]}, this SAE reads width {width}; use the hook point it was trained on"
        )
    finite = np.isfinite(X).all(axis=1)
    if not finite.all():
        row = first + int(np.argmin(finite))
        raise InputError(f"row {row} of the activations holds NaN or infinity; drop such rows first")


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()
