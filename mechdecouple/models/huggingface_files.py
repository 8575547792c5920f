"""Hugging Face models and tokenizers from a directory or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mechdecouple.errors import ModelError
from mechdecouple.models.base import Head
from mechdecouple.models.finite import check_finite
from mechdecouple.models.hub import HubRef, absent, offline
from mechdecouple.models.quiet import quiet

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer_config.json",
)
_UNUSED = ("pooler.",)


def load_huggingface(
    ref: str, *, local: bool, device: torch.device, dtype: torch.dtype, revision: str | None = None
) -> tuple[Any, Any, Head]:
    """The model, its tokenizer (or None) and what its head expresses (None for a bare body).

    Args:
        local: ``ref`` is a directory, not a hub id; revision: branch, tag or commit of a hub id.

    Raises:
        ModelError: unreadable, unknown architecture, weights of the body missing or not finite. A language-modelling
            head without weights is left out, never filled at random.
    """
    import transformers

    from mechdecouple.models.huggingface import head_of

    only_local = local or offline()
    where = ref if revision is None else f"{ref}@{revision}"
    with quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(ref, revision=revision, local_files_only=only_local)
            cls = _class_of(config, where)
            model, info = cls.from_pretrained(
                ref, revision=revision, config=config, dtype=dtype, local_files_only=only_local,
                output_loading_info=True,
            )  # fmt: skip
        except ModelError:
            raise
        except Exception as error:  # transformers and safetensors raise many kinds for a damaged or absent model
            raise ModelError(f"{where}: {_reason(error, local, HubRef(ref, revision))}") from error
    body, prefix = model.base_model, f"{model.base_model_prefix}."
    lost = sorted(k.removeprefix(prefix) for k in info["missing_keys"] if body is model or k.startswith(prefix))
    lost = [k for k in lost if not k.startswith(_UNUSED)]
    if lost:
        raise ModelError(
            f"{where}: the weights of {lost[0]!r} are missing ({len(lost)} in all): the file is incomplete"
        )
    head = head_of(model)
    if head is None or (info["missing_keys"] and body is not model and _head_lost(info["missing_keys"], prefix)):
        model, head = body, None
    check_finite(dict(model.named_parameters()), where)
    return model.to(device), load_tokenizer(ref, local=local, revision=revision), head


def load_tokenizer(ref: str, *, local: bool, revision: str | None = None) -> Any:
    """The tokenizer stored with a model, or None where there is none."""
    import transformers

    if local and not any((Path(ref) / f).is_file() for f in _TOKENIZER_FILES):
        return None
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(
                ref, revision=revision, local_files_only=local or offline()
            )
    except Exception as error:  # as above
        if not local:
            return None
        raise ModelError(f"{ref}: its tokenizer cannot be read: {_first_line(error)}") from error


def _class_of(config: Any, ref: str) -> Any:
    import transformers

    names = config.architectures or []
    cls = getattr(transformers, names[0], None) if names else transformers.AutoModel
    if cls is None:
        raise ModelError(
            f"{ref}: architecture {names[0]!r} is not one that transformers {transformers.__version__} knows"
        )
    return cls


def _head_lost(missing: Any, prefix: str) -> bool:
    return any(not k.startswith(prefix) for k in missing)


def _reason(error: Exception, local: bool, ref: HubRef) -> str:
    return f"cannot be loaded as a Hugging Face model: {_first_line(error)}" if local else absent(ref, error)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
