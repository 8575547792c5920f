"""Shapes in signatures are checked at test time; the pure-array modules are instrumented before they are imported."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook(["mechdecouple.structure", "mechdecouple.probes", "mechdecouple.stats"], "beartype.beartype")
