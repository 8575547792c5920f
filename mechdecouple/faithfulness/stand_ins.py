"""Stand-ins: what takes the place of a feature that is masked."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from mechdecouple.errors import InputError
from mechdecouple.models import Encoded, HookedModel

Kind = Literal["token", "resample", "mean", "remove"]
KINDS = ("auto", "token", "resample", "mean", "remove")


@dataclasses.dataclass(frozen=True, eq=False)
class StandIns:
    """What is put where features are masked.

    Attributes:
        kind: ``token``, one token for all; ``resample``, what another item has there; ``mean``, the mean over items;
            ``remove``, nothing: the token is taken out and those behind it move up.
        values: [n, t] token ids, or [n, t] numbers of tensor inputs; unused under ``remove``.
        words: what is done, for reports.
    """

    kind: Kind
    values: np.ndarray
    words: str


def stand_ins(
    model: HookedModel,
    encoded: Encoded | None,
    inputs: np.ndarray | None,
    groups: np.ndarray,
    mask: str | int,
    seed: int,
) -> StandIns:
    """What stands in for masked features; ``auto`` is the tokenizer's mask token, else resampling, and the mean of
    tensor inputs.

    Raises:
        InputError: a way of masking that is unknown, or does not fit the model.
    """
    if encoded is None:
        assert inputs is not None
        return _of_tensors(inputs.reshape(len(inputs), -1), groups, mask, seed)
    own = getattr(model.tokenizer, "mask_token_id", None)
    if mask == "auto":
        mask = "resample" if own is None else "token"
    if mask == "token":
        if own is None:
            raise InputError(f"the tokenizer of model {model.name!r} has no mask token: give a token id, or 'resample'")
        mask = int(own)
    width = int(encoded.lengths.max())
    if isinstance(mask, int) and not isinstance(mask, bool):
        if mask < 0 or (model.vocab_size is not None and mask >= model.vocab_size):
            raise InputError(f"mask token {mask} is outside the vocabulary of model {model.name!r}; choose one in it")
        return StandIns("token", np.full((len(encoded), width), mask), f"replaced by token {mask}")
    if mask == "resample":
        return StandIns("resample", _other_tokens(encoded, groups, seed), "replaced by those of another item")
    if mask == "remove":
        return StandIns("remove", np.zeros((len(encoded), width), np.int64), "taken out")
    raise InputError(f"mask {mask!r} does not fit tokens; expected a token id, 'auto', 'token', 'resample' or 'remove'")


def _of_tensors(flat: np.ndarray, groups: np.ndarray, mask: str | int, seed: int) -> StandIns:
    if mask in ("auto", "mean"):
        return StandIns("mean", np.broadcast_to(flat.mean(axis=0), flat.shape), "replaced by their mean over items")
    if mask == "resample":
        donor = _partners(np.zeros(len(flat)), groups, np.random.default_rng(seed))
        return StandIns("resample", flat[donor], "replaced by those of another item")
    raise InputError(f"mask {mask!r} does not fit tensor inputs; expected 'auto', 'mean' or 'resample'")


def _other_tokens(encoded: Encoded, groups: np.ndarray, seed: int) -> np.ndarray:
    """[n, t] the tokens of another item of the same length; where there is none, any tokens of the task."""
    rng = np.random.default_rng(seed)
    lengths = encoded.lengths
    donor = _partners(lengths, groups, rng)
    pool = np.concatenate([tokens[~special] for tokens, special in zip(encoded.tokens, encoded.special, strict=True)])
    out = np.zeros((len(encoded), int(lengths.max())), np.int64)
    for item, (other, length) in enumerate(zip(donor, lengths, strict=True)):
        out[item, :length] = encoded.tokens[other] if other != item else rng.choice(pool, length)
    return out


def _partners(kinds: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] another item of the same kind for each, of another group where there is one; itself where it is alone.

    Each is the partner of one other: groups stand in a circle in random order, and items take one about half way round.
    """
    out = np.arange(len(kinds))
    for kind in np.unique(kinds):
        own = rng.permutation(np.flatnonzero(kinds == kind))
        _, group, sizes = np.unique(groups[own], return_inverse=True, return_counts=True)
        own = own[np.argsort(rng.permutation(len(sizes))[group], kind="stable")]
        step = max(int(sizes.max()) % len(own), len(own) // 2) if len(own) > 1 else 0
        out[own] = np.roll(own, step)
    return out
