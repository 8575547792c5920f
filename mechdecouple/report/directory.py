"""The directory that results go to, checked before minutes are spent on making them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mechdecouple.errors import InputError, StoreError
from mechdecouple.report.write import refuse_foreign


def check_directory(directory: str | Path) -> None:
    """Refuses a directory that results cannot be written to; changes nothing.

    Raises:
        InputError: it is a file, or holds something else than a comparison.
        StoreError: it, or the directory that it is to be made in, cannot be written.
    """
    directory = Path(directory)
    check_writable(directory)
    refuse_foreign(directory)


def check_writable(directory: str | Path) -> None:
    """Refuses a directory that cannot be made or written; changes nothing.

    Raises:
        InputError: it, or one of its parents, is a file.
        StoreError: the system does not let this user write there.
    """
    directory = Path(directory)
    try:
        nearest = next(p for p in (directory, *directory.absolute().parents) if p.exists())
        if not nearest.is_dir():
            what = "is a file" if nearest == directory else f"cannot be made: {str(nearest)!r} is a file"
            raise InputError(f"{str(directory)!r} {what}: name a directory")
        # An unnamed file: a read-only file system and a full one show themselves only when something is written.
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"\0")
            probe.flush()
    except OSError as error:
        raise StoreError(
            f"{str(directory)!r} cannot be written ({error.strerror}): make room, or name a directory you may write to"
        ) from None
