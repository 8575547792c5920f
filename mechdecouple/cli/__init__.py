"""The command line: thin, and light until a command needs its tools."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mechdecouple.cli.arguments import parser, unknown
from mechdecouple.errors import InputError, MechDecoupleError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 2 bad input (one line on stderr), 3 a difference named by ``--fail-on``."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        options, rest = parser(argv).parse_known_args(argv)
        if rest:
            raise InputError(unknown(rest[0], options))
        return options.run(options)
    except MechDecoupleError as error:
        print(f"mechdecouple: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the output (head, say) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("mechdecouple: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
