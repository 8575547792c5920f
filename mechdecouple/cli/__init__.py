"""The command line: thin, and light until a command needs its tools."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence

from mechdecouple.cli.answer import BAD_INPUT, Answer
from mechdecouple.cli.arguments import parser, unknown
from mechdecouple.cli.logs import shown, stdout_kept
from mechdecouple.errors import InputError, MechDecoupleError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Exit codes: 0 done, 1 units of a job failed, 2 bad input (one line on stderr), 3 a difference named by
    ``--fail-on``. With ``--json`` stdout holds one JSON object, whatever the exit code, and nothing else.
    """
    argv, began = list(sys.argv[1:] if argv is None else argv), time.perf_counter()
    # Known before the arguments are parsed: they say how to tell what is wrong with the arguments.
    how = argparse.Namespace(quiet="--quiet" in argv, json="--json" in argv, log_json="--log-json" in argv)
    with shown(how):
        try:
            answer = _answer(argv, how)
            if how.json:
                command = next((word for word in argv if not word.startswith("-")), "")
                print(answer.json(command, time.perf_counter() - began))
            elif answer.text:
                print(answer.text)
            sys.stdout.flush()
            if answer.error and how.log_json:
                logging.getLogger("mechdecouple").error("%s", answer.error)
            elif answer.error:
                print(f"mechdecouple: {answer.error}", file=sys.stderr)
        except BrokenPipeError:  # the reader of the output (head, say) has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
    return answer.code


def _answer(argv: list[str], how: argparse.Namespace) -> Answer:
    try:
        options, rest = parser(argv).parse_known_args(argv)
        if rest:
            raise InputError(unknown(rest[0], options))
        with stdout_kept(how) if how.json else contextlib.nullcontext():
            return options.run(options)
    except MechDecoupleError as error:
        return Answer(code=BAD_INPUT, error=" ".join(str(error).split()))
    except KeyboardInterrupt:
        return Answer(code=130, error="interrupted; run the same command again to continue")
