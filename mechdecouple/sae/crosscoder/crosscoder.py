"""Crosscoder: one set of latents for two models on the same rows, with a decoder of its own for each model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from mechdecouple.errors import InputError, MismatchError, StoreError

KINDS = ("batchtopk", "l1", "dedicated")

_FORMAT = 1
_ARRAYS = ("encoder_a", "encoder_b", "bias", "threshold", "decoder_a", "decoder_b", "b_dec_a", "b_dec_b", "mean_a",
           "mean_b")  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True)
class Crosscoder:
    """m latents over activations of two models, of widths d_a and d_b that may differ; made by ``train_crosscoder``.

    Each model is centred and scaled on its own before it is encoded; decoders are in raw units. A latent's value is the
    length of what it adds to both models together, in scaled units.

    Attributes:
        encoder_a, encoder_b: ``[d_a, m]`` and ``[d_b, m]``, of scaled rows; bias: ``[m]``.
        threshold: ``[m]`` a latent fires where its value exceeds this.
        decoder_a, decoder_b: ``[m, d_a]`` and ``[m, d_b]`` what a latent of value 1 adds to a model, raw units.
        b_dec_a, b_dec_b: a model's reconstruction where nothing fires, raw units.
        mean_a, mean_b, scale_a, scale_b: rows of a model are scaled as (x − mean)·scale.
        kind: batchtopk, l1 or dedicated.
        training: what it was trained with (hook points, seed, steps, loss curve ...).
    """

    encoder_a: Float[np.ndarray, "da m"]
    encoder_b: Float[np.ndarray, "db m"]
    bias: Float[np.ndarray, " m"]
    threshold: Float[np.ndarray, " m"]
    decoder_a: Float[np.ndarray, "m da"]
    decoder_b: Float[np.ndarray, "m db"]
    b_dec_a: Float[np.ndarray, " da"]
    b_dec_b: Float[np.ndarray, " db"]
    mean_a: Float[np.ndarray, " da"]
    mean_b: Float[np.ndarray, " db"]
    scale_a: float
    scale_b: float
    kind: str
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """m, the number of latents."""
        return len(self.bias)

    @property
    def d_a(self) -> int:
        """Width of model A's activations."""
        return len(self.mean_a)

    @property
    def d_b(self) -> int:
        """Width of model B's activations."""
        return len(self.mean_b)

    @property
    def relative_norm(self) -> Float[np.ndarray, " m"]:
        """Share of model A in a latent's decoder norms, scaled units, in [0, 1]: 1 only in A, .5 equal, 0 only in B.

        NaN for a latent that writes to neither. Alone it is no evidence of exclusivity: see ``exclusivity``.
        """
        a = np.linalg.norm(self.decoder_a, axis=1) * self.scale_a
        b = np.linalg.norm(self.decoder_b, axis=1) * self.scale_b
        with np.errstate(invalid="ignore"):
            return a / (a + b)

    def encode(self, a: Float[np.ndarray, "n da"], b: Float[np.ndarray, "n db"]) -> Float[np.ndarray, "n m"]:
        """Latents of the rows, float32, dense; both models are needed.

        Raises:
            InputError: a table of another width than the model's, or NaN or infinity in one.
            MismatchError: another number of rows in A than in B.
        """
        a, b = self._checked("A", a, self.d_a), self._checked("B", b, self.d_b)
        if len(a) != len(b):
            raise MismatchError(f"model A has {len(a)} rows and model B {len(b)}; give the same items of both")
        found = (a - self.mean_a) * np.float32(self.scale_a) @ self.encoder_a
        found += (b - self.mean_b) * np.float32(self.scale_b) @ self.encoder_b
        found += self.bias
        return np.where(found > self.threshold, found, np.float32(0))

    def encode_sparse(
        self, a: Float[np.ndarray, "n da"], b: Float[np.ndarray, "n db"], *, batch_size: int = 1024
    ) -> csr_matrix:
        """Latents as a sparse matrix, float32 [n, m]: memory beyond the nonzeros does not grow with n."""
        parts = [
            csr_matrix(self.encode(a[start : start + batch_size], b[start : start + batch_size]))
            for start in range(0, max(len(a), len(b), 1), batch_size)
        ]
        values, latents = (np.concatenate([getattr(p, name) for p in parts]) for name in ("data", "indices"))
        ends = np.concatenate([[0], *(np.diff(p.indptr) for p in parts)]).cumsum()
        return csr_matrix((values, latents, ends), shape=(len(ends) - 1, self.width))

    def decode_a(self, latents: Float[np.ndarray, "n m"] | csr_matrix) -> Float[np.ndarray, "n da"]:
        """Model A's activations rebuilt from latents, float32."""
        return self._decoded(latents, self.decoder_a, self.b_dec_a)

    def decode_b(self, latents: Float[np.ndarray, "n m"] | csr_matrix) -> Float[np.ndarray, "n db"]:
        """Model B's activations rebuilt from latents, float32."""
        return self._decoded(latents, self.decoder_b, self.b_dec_b)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write ``crosscoder.json`` and ``crosscoder.safetensors``."""
        path = Path(directory)
        about = {"format": _FORMAT, "kind": self.kind, "scale_a": self.scale_a, "scale_b": self.scale_b,
                 "training": self.training}  # fmt: skip
        try:
            path.mkdir(parents=True, exist_ok=True)
            arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
            save_file(arrays, path / "crosscoder.safetensors")
            (path / "crosscoder.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot write the crosscoder to {path}: {error}; choose another directory") from error
        return path

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Crosscoder:
        """Read a directory that ``save`` wrote.

        Raises:
            StoreError: a file is missing or damaged, or the two do not fit together.
        """
        path = Path(directory)
        try:
            about = json.loads((path / "crosscoder.json").read_text(encoding="utf-8"))
            arrays = load_file(path / "crosscoder.safetensors")
        except FileNotFoundError as error:
            raise StoreError(
                f"no {Path(error.filename or 'crosscoder.safetensors').name} in {path}; "
                "expected a directory that Crosscoder.save wrote"
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            raise StoreError(f"cannot read the crosscoder in {path}: {error}; save it again") from error
        expected = {"format", "kind", "scale_a", "scale_b", "training"}
        if not isinstance(about, dict) or set(about) != expected or about["format"] != _FORMAT:
            raise StoreError(f"crosscoder.json in {path} is not of format {_FORMAT}; save the crosscoder again")
        _check_shapes(arrays, path)
        return cls(
            **arrays,
            kind=about["kind"],
            scale_a=about["scale_a"],
            scale_b=about["scale_b"],
            training=about["training"],
        )

    def _checked(self, name: str, rows: np.ndarray, width: int) -> Float[np.ndarray, "n d"]:
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != width:
            raise InputError(
                f"rows of model {name} have shape {rows.shape}, this crosscoder reads [rows, {width}] of model {name}; "
                "use the hook points it was trained on"
            )
        if not np.isfinite(rows).all():
            row = int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise InputError(f"row {row} of model {name} holds NaN or infinity; drop such rows in both models")
        return rows

    def _decoded(self, latents: np.ndarray | csr_matrix, decoder: np.ndarray, b_dec: np.ndarray) -> np.ndarray:
        shape: tuple[int, ...] = tuple(latents.shape or ())
        if len(shape) != 2 or shape[1] != self.width:
            raise InputError(f"latents have shape {shape}, expected [n, {self.width}]; pass what encode returned")
        return np.asarray(latents @ decoder + b_dec, np.float32)

    def __repr__(self) -> str:
        return f"Crosscoder({self.kind}, {self.d_a} + {self.d_b} -> {self.width} latents)"


def _check_shapes(arrays: dict[str, np.ndarray], path: Path) -> None:
    if set(arrays) != set(_ARRAYS):
        odd = sorted(set(arrays) ^ set(_ARRAYS))[0]
        raise StoreError(f"crosscoder.safetensors in {path} has or lacks {odd!r}; save the crosscoder again")
    m, d = len(arrays["bias"]), {"a": len(arrays["mean_a"]), "b": len(arrays["mean_b"])}
    expected: dict[str, tuple[int, ...]] = {"bias": (m,), "threshold": (m,)}
    for side, width in d.items():
        expected |= {f"encoder_{side}": (width, m), f"decoder_{side}": (m, width)}
        expected |= {f"b_dec_{side}": (width,), f"mean_{side}": (width,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise StoreError(f"{name} in {path} has shape {arrays[name].shape} or is not finite, expected {shape}")
