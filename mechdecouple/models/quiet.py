"""Keep the chatter of third-party loaders out of the user's terminal, only while they load."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within: no warnings, no progress bars and no log lines below ERROR from transformers and TransformerLens."""
    from transformers.utils import logging as hf_logging

    loggers = [logging.getLogger(n) for n in ("transformers", "huggingface_hub", "transformer_lens")]
    levels = [logger.level for logger in loggers]
    root = logging.root.manager.disable
    bars = hf_logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        hf_logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.disable(root)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if bars:
                hf_logging.enable_progress_bar()
