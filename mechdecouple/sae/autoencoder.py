"""SparseAutoencoder: a trained dictionary over one hook point, held by SAELens and spoken to in numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix

from mechdecouple.activations import Activations
from mechdecouple.errors import InputError, MismatchError, StoreError
from mechdecouple.sae._saelens import check_kind, flat, read_directory, read_release, saelens
from mechdecouple.sae.architectures import inference_sae

if TYPE_CHECKING:
    from sae_lens import SAE, TrainingSAE

    from mechdecouple.sae._source import Rows

_RECORD = "mechdecouple"
_BY_ROW = ("layer_norm", "constant_norm_rescale")


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A sparse autoencoder of any SAELens architecture; m latents over activations of width d.

    The wrapped ``sae`` is SAELens' own inference class, so everything that takes a SAELens SAE takes ``self.sae``.
    One trained here has decoder rows of unit norm: a latent's value is the length of what it adds.

    Raises:
        InputError: ``sae`` is none of SAELens' inference SAEs, reads something else than single rows (transcoders,
            temporal SAEs), or needs activations scaled by a factor that it does not carry.

    Example:
        >>> sae = SparseAutoencoder.load("saes/000")  # doctest: +SKIP
        >>> latents = sae.encode_sparse(Activations.open("acts"))  # doctest: +SKIP
    """

    sae: SAE

    def __post_init__(self) -> None:
        check_kind(self.sae)

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
        rows = _numpy(self.sae.W_dec)
        if getattr(self.sae.cfg, "rescale_acts_by_decoder_norm", False):
            rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-8)
        return rows

    @property
    def b_dec(self) -> Float[np.ndarray, " d"]:
        """The reconstruction of nothing: what is left when no latent fires."""
        return _numpy(self.sae.b_dec)

    @property
    def training(self) -> dict[str, Any]:
        """What it was trained with (seed, steps, activation scale, loss curve ...); empty for one trained elsewhere."""
        return dict(self.sae.cfg.metadata.get(_RECORD) or {})

    @property
    def hook_point(self) -> str:
        """Where it was trained; empty where it does not say."""
        return str(self.sae.cfg.metadata.hook_name or "")

    @property
    def model(self) -> str:
        """Name of the model that it was trained on; empty where it does not say."""
        return str(self.sae.cfg.metadata.model_name or "")

    @property
    def by_row(self) -> bool:
        """Whether it brings each row to a common scale and back, so that latents alone do not say what they rebuild."""
        return self.sae.cfg.normalize_activations in _BY_ROW

    def check_model(self, activations: Activations) -> None:
        """Makes sure that activations are of the model that it was trained on, as far as both say by weights.

        Raises:
            MismatchError: they are another model's.
        """
        own = (self.training.get("source") or {}).get("model") or {}
        there = activations.manifest.get("model") or {}
        if own.get("weight_hash", "") != there.get("weight_hash", "") and own.get("weight_hash") and there:
            raise MismatchError(
                f"this SAE was trained on model {own.get('name')!r}, the activations are of {there.get('name')!r} with "
                "other weights; to read them all the same, pass the array at the hook point"
            )

    def encode(
        self, X: Float[np.ndarray, "n d"] | Activations, hook_point: str | None = None, *, batch_size: int = 4096
    ) -> Float[np.ndarray, "n m"]:
        """Latents of every row, float32, dense; zero where a latent does not fire.

        Args:
            X: an array, or Activations of the model and at the hook point that it was trained on.
            hook_point: which of the Activations' hook points, for one that does not say what it was trained on.

        Raises:
            InputError: X is not a table of width d, or holds NaN or infinity.
            MismatchError: X is of another model or hook point.
        """
        rows = self._rows(X, hook_point)
        return self._mapped(rows.batches(batch_size), self.sae.encode, (len(rows), self.width))

    def encode_sparse(
        self, X: Float[np.ndarray, "n d"] | Activations, hook_point: str | None = None, *, batch_size: int = 1024
    ) -> csr_matrix:
        """As ``encode``, as a sparse matrix [n, m] with sorted indices; only what fires is stored.

        The dense latents of one batch are held at a time, so memory beyond the nonzeros does not grow with n.
        """
        rows = self._rows(X, hook_point)
        values, latents, counts = [], [], []
        for _, part in rows.batches(batch_size):
            dense = self._mapped([(0, part)], self.sae.encode, (len(part), self.width))
            at, latent = np.nonzero(dense)
            values.append(dense[at, latent])
            latents.append(latent.astype(np.int32))
            counts.append(np.bincount(at, minlength=len(part)))
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
        parts = np.concatenate(values), np.concatenate(latents), indptr
        return csr_matrix(parts, shape=(len(rows), self.width))

    def reconstruct(
        self, X: Float[np.ndarray, "n d"] | Activations, hook_point: str | None = None, *, batch_size: int = 4096
    ) -> Float[np.ndarray, "n d"]:
        """Every row as its latents rebuild it, float32; raises as ``encode`` does."""
        rows = self._rows(X, hook_point)
        return self._mapped(
            rows.batches(batch_size), lambda x: self.sae.decode(self.sae.encode(x)), (len(rows), self.d)
        )

    def decode(self, latents: Float[np.ndarray, "n m"], *, batch_size: int = 4096) -> Float[np.ndarray, "n d"]:
        """Activations rebuilt from latents, float32.

        Raises:
            InputError: latents of another shape; an SAE that needs the rows too (``by_row``).
        """
        if latents.ndim != 2 or latents.shape[1] != self.width:
            raise InputError(
                f"latents have shape {latents.shape}, expected [n, {self.width}]; pass what encode() returned"
            )
        if self.by_row:
            raise InputError(
                f"this SAE brings each row to a common scale ({self.sae.cfg.normalize_activations}), which latents do "
                "not tell; use reconstruct(X)"
            )
        parts = ((at, latents[at : at + batch_size]) for at in range(0, len(latents), batch_size))
        return self._mapped(parts, self.sae.decode, (len(latents), self.d))

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
    def load(
        cls, source: str | os.PathLike[str] | SAE | TrainingSAE, sae_id: str | None = None, *, device: str = "cpu"
    ) -> SparseAutoencoder:
        """Read an SAE from wherever SAELens keeps them.

        Args:
            source: a directory, written here or by SAELens; with ``sae_id`` a release (see ``from_pretrained``); or an
                object of SAELens, one in training too.

        Raises:
            StoreError: the directory lacks one of the two files, or they do not fit together.
            InputError: an SAE of a kind that cannot be used.
        """
        if not isinstance(source, str | os.PathLike):
            found: Any = source
            return cls(inference_sae(found, {}) if isinstance(found, saelens().TrainingSAE) else found)
        if sae_id is not None:
            return cls.from_pretrained(str(source), sae_id, device=device)
        return cls(read_directory(Path(source), device))

    @classmethod
    def from_pretrained(cls, release: str, sae_id: str, *, device: str = "cpu") -> SparseAutoencoder:
        """Fetch a published SAE through SAELens.

        Args:
            release: a name in SAELens' list of releases, or a repository on the Hugging Face hub.
            sae_id: which SAE of the release; for a repository, the folder in it.

        Raises:
            StoreError: it cannot be found or fetched.
            InputError: an SAE of a kind that cannot be used.
        """
        return cls(read_release(release, sae_id, device))

    def _rows(self, X: np.ndarray | Activations, hook_point: str | None) -> Rows:
        from mechdecouple.sae._source import Rows

        if isinstance(X, Activations):
            self.check_model(X)
        return Rows.of(self, X, hook_point)

    def _mapped(
        self,
        parts: Iterator[tuple[int, np.ndarray]] | list[tuple[int, np.ndarray]],
        function: Callable[[torch.Tensor], torch.Tensor],
        shape: tuple[int, int],
    ) -> np.ndarray:
        """The function of each part, put at its first row."""
        out = np.empty(shape, np.float32)
        with torch.inference_mode(), flat(self.sae):
            for start, part in parts:
                batch = torch.tensor(part, dtype=self.sae.dtype, device=self.sae.device)
                out[start : start + len(part)] = _numpy(function(batch))
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
