"""Values and flags that several commands take."""

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


def shard(text: str) -> tuple[int, int]:
    """``i/n``, as (i, n).

    Raises:
        ArgumentTypeError: it is none.
    """
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and int(i) < int(n)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; give i/n with i from 0 to n - 1, such as 0/4")
    return int(i), int(n)


def add_voice(parser: argparse.ArgumentParser) -> None:
    """Flags on how a command speaks."""
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr but errors")
    parser.add_argument("--log-json", action="store_true", help="each line on stderr a JSON object")
