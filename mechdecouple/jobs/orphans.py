"""Orphans: folders of units that were begun, and that the job in their folder no longer asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from mechdecouple.jobs.locks import alone
from mechdecouple.jobs.store import LOCK, PARTIAL, UnitStore
from mechdecouple.jobs.units import Unit


def orphans(store: UnitStore, units: Iterable[Unit]) -> tuple[Path, ...]:
    """Partial folders that none of these units goes on from. Nothing is changed.

    Of a store that several jobs share, the partial folders of the other jobs are among them.
    """
    known = {store.partial(unit) for unit in units}
    return tuple(sorted(path for path in store.folder.glob(f"units/*/*{PARTIAL}") if path not in known))


def clean(store: UnitStore, units: Iterable[Unit]) -> tuple[Path, ...]:
    """Removes the orphans, and records of failure of units that are none of these; returns the folders removed.

    What a process is working on stays, whoever's it is.
    """
    units, gone = list(units), []
    store.sweep()
    for path in orphans(store, units):
        with alone(path.with_name(path.name.removesuffix(PARTIAL) + LOCK), wait=False) as mine:
            if mine:
                shutil.rmtree(path, ignore_errors=True)
                gone.append(path)
    known = {unit.key for unit in units}
    for path in store.folder.glob("failed/*.json"):
        if path.stem not in known:
            path.unlink(missing_ok=True)
    return tuple(gone)
