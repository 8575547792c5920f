"""The published pairs of coordinate networks: pickled arrays, read as numbers without running what is in the file."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from analyses._same_output.networks import FUNCTIONS, N_COLOURS, N_INPUTS, Network
from mechdecouple.errors import InputError

_LARGEST = 1 << 24
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE")
_KINDS = {"cache": "identity"}


def published_pairs(directory: Path) -> dict[str, tuple[Network, Network]]:
    """Of every image whose two networks are there (``picbreeder_NAME``, ``sgd_NAME``): the evolved and the trained one.

    Raises:
        InputError: no pair, or files of another form.
    """
    evolved = sorted(path for path in directory.rglob("picbreeder_*") if path.is_dir())
    names = [path for path in evolved if (path.parent / path.name.replace("picbreeder_", "sgd_", 1)).is_dir()]
    if not names:
        raise InputError(f"{str(directory)!r} holds no pair: expected folders picbreeder_NAME and sgd_NAME")
    return {
        path.name.removeprefix("picbreeder_"): (
            read_network(path), read_network(path.parent / path.name.replace("picbreeder_", "sgd_", 1)),
        )
        for path in names
    }  # fmt: skip


def read_network(directory: Path) -> Network:
    """From ``arch.pkl`` (how many layers, and units of each kind) and ``params.pkl`` (all weights, one after another).

    Raises:
        InputError: files of another form.
    """
    n_hidden, kinds = architecture(_text(directory / "arch.pkl"))
    width = sum(n for _, n in kinds)
    flat = numbers(directory / "params.pkl")
    sizes = [(N_INPUTS, width), *[(width, width)] * (n_hidden - 1), (width, N_COLOURS)]
    expected = sum(a * b for a, b in sizes)
    if len(flat) != expected:
        raise InputError(f"{directory.name}: {len(flat)} weights, expected {expected} of {n_hidden} layers of {width}")
    weights: dict[int, Tensor] = {}
    # One after another in the order of the layers' names as strings: 0, 1, 10, 11, 12, 2, …
    for layer in sorted(range(len(sizes)), key=str):
        a, b = sizes[layer]
        weights[layer] = torch.from_numpy(flat[: a * b].reshape(a, b).T.copy())
        flat = flat[a * b :]
    return Network([weights[i] for i in range(len(sizes))], kinds).eval()


def architecture(text: str) -> tuple[int, tuple[tuple[str, int], ...]]:
    """``"12;cache:15,gaussian:4"``: hidden layers, and the units of each by kind, in order.

    Raises:
        InputError: another form, or a kind that is not known.
    """
    try:
        depth, listed = text.split(";")
        parts = [part.split(":") for part in listed.split(",")]
        kinds = tuple((_KINDS.get(kind, kind), int(n)) for kind, n in parts)
        n_hidden = int(depth)
    except ValueError:
        raise InputError(f"architecture {text!r}: expected e.g. '12;cache:15,gaussian:4'") from None
    unknown = [kind for kind, _ in kinds if kind not in FUNCTIONS]
    if unknown:
        raise InputError(f"architecture {text!r}: no kind {unknown[0]!r}; known are cache, {', '.join(FUNCTIONS)}")
    return n_hidden, kinds


def numbers(path: Path) -> np.ndarray:
    """The one array of little-endian float32 in a pickle, by reading its opcodes: nothing in it is called.

    Raises:
        InputError: no such file, or anything but one flat array of finite float32.
    """
    ops = _opcodes(path)
    texts = [value for name, value in ops if name in _TEXTS]
    runs = [value for name, value in ops if isinstance(value, bytes) and len(value) > 1]
    if "f4" not in texts or ">" in texts or len(runs) != 1 or len(runs[0]) % 4:
        raise InputError(f"{str(path)!r} is not one array of little-endian float32")
    found = np.frombuffer(runs[0], dtype="<f4")
    if not np.isfinite(found).all():
        raise InputError(f"{str(path)!r} holds NaN or infinity")
    return found


def _text(path: Path) -> str:
    texts = [value for name, value in _opcodes(path) if name in _TEXTS]
    if len(texts) != 1:
        raise InputError(f"{str(path)!r} holds {len(texts)} texts, expected one")
    return str(texts[0])


def _opcodes(path: Path) -> list[tuple[str, object]]:
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{str(path)!r} is larger than {_LARGEST} bytes")
        return [(op.name, value) for op, value, _ in pickletools.genops(path.read_bytes())]
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from None
    except (ValueError, IndexError, KeyError):
        raise InputError(f"{str(path)!r} is no pickle, or a damaged one") from None


def colours(outputs: np.ndarray) -> np.ndarray:
    """Hue, saturation and value ``[..., 3]`` as the networks give them, to red, green and blue in [0, 1].

    >>> colours(np.array([[0.0, 1.0, -1.0], [-1.5, 2.0, 1.0]]))
    array([[1., 0., 0.],
           [0., 1., 1.]])
    """
    from matplotlib.colors import hsv_to_rgb

    h, s, v = np.moveaxis(outputs, -1, 0)
    return hsv_to_rgb(np.stack([(h + 1) % 1, np.clip(s, 0, 1), np.clip(np.abs(v), 0, 1)], axis=-1))
