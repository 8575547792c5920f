"""Models of every kind behind one face: named hook points that can be read and edited.

Importing this package does not import transformer_lens; loading or wrapping a model does, where it is needed.
"""

from mechdecouple.models.base import HookedModel
from mechdecouple.models.batch import Batch, Edit, Forward
from mechdecouple.models.build import build
from mechdecouple.models.encode import Encoded, batches, collate, encode, encode_texts
from mechdecouple.models.hooked_files import save_hooked
from mechdecouple.models.load import load_pretrained
from mechdecouple.models.untrained import untrained
from mechdecouple.models.wrap import wrap

__all__ = [
    "Batch",
    "Edit",
    "Encoded",
    "Forward",
    "HookedModel",
    "batches",
    "build",
    "collate",
    "encode",
    "encode_texts",
    "load_pretrained",
    "save_hooked",
    "untrained",
    "wrap",
]
