"""Values that several commands take."""

from __future__ import annotations

import argparse


def seed(text: str) -> int:
    """A whole number from 0.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed; give a whole number from 0")
    return int(text)
