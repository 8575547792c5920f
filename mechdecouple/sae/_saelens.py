"""The one door to SAELens: opened on first use, because its import takes seconds, and quiet while it opens."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mechdecouple.errors import InputError, StoreError

if TYPE_CHECKING:
    from sae_lens import SAE

_FILES = ("cfg.json", "sae_weights.safetensors")
_UNSCALED = ("expected_average_only_in", "covariance_whitening")


def saelens() -> ModuleType:
    """The ``sae_lens`` package. It warns while importing, of its own use of older names, which no caller can mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens
    return sae_lens


def read_directory(path: Path, device: str) -> SAE:
    """The SAE in a directory of SAELens.

    Raises:
        StoreError: one of its two files is missing, or they do not fit together.
    """
    for name in _FILES:
        if not (path / name).is_file():
            raise StoreError(
                f"no {name} in {path}; expected a directory that SAELens or SparseAutoencoder.save wrote, or a release "
                "with its sae_id"
            )
    try:
        return saelens().SAE.load_from_disk(path, device=device)
    except Exception as error:  # SAELens, json, safetensors and torch each raise their own kinds on a damaged file
        raise StoreError(f"cannot read the SAE in {path}: {_first_line(error)}; save it again") from error


def read_release(release: str, sae_id: str, device: str) -> SAE:
    """A published SAE, from SAELens' list or a repository on the hub.

    Raises:
        StoreError: it cannot be found or fetched.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of older names, and of scale factors: one that is missing is refused
            return saelens().SAE.from_pretrained(release, sae_id, device=device)
    except Exception as error:  # SAELens and the hub's client each raise their own kinds
        reason = _first_line(error)
        raise StoreError(
            f"cannot load SAE {sae_id!r} of release {release!r}: {reason}; check both names and the network"
        ) from error


def check_kind(sae: Any) -> None:
    """Refuse what does not rebuild single rows of raw activations.

    Raises:
        InputError: it is none of SAELens' inference SAEs, a transcoder or a temporal SAE, or it needs activations that
            were scaled by a factor that it does not carry.
    """
    lens = saelens()
    name = type(sae).__name__
    if not isinstance(sae, lens.SAE):
        raise InputError(f"{name} is no SAE of SAELens; expected an sae_lens.SAE")
    if isinstance(sae, lens.TrainingSAE):
        raise InputError(f"{name} is in training; use SparseAutoencoder.load(sae), which takes its inference form")
    if "transcoder" in sae.cfg.architecture() or isinstance(sae, lens.TemporalSAE):
        raise InputError(f"{name} does not rebuild single rows of what it reads; expected a plain sparse autoencoder")
    if sae.cfg.normalize_activations in _UNSCALED:
        raise InputError(
            f"the SAE expects activations prepared by {sae.cfg.normalize_activations!r}, which it does not carry; fold "
            "that in first, with SAELens' fold_activation_norm_scaling_factor or fold_activation_whitening"
        )


@contextlib.contextmanager
def flat(sae: SAE) -> Iterator[None]:
    """Heads side by side in a row, as rows are kept here, for an SAE that splits and joins them itself."""
    split = sae.hook_z_reshaping_mode
    if split:
        sae.turn_off_forward_pass_hook_z_reshaping()
    try:
        yield
    finally:
        if split:
            sae.turn_on_forward_pass_hook_z_reshaping()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
