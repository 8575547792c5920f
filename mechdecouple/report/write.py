"""Writing: a report, or all of a comparison's results, whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from mechdecouple.activations.store import locked
from mechdecouple.compare import Comparison, ManyComparison
from mechdecouple.errors import BusyError, InputError, StoreError
from mechdecouple.report.feature_page import write_features
from mechdecouple.report.figures.many import figure as figure_many
from mechdecouple.report.page import FEATURES, Picture, render
from mechdecouple.report.page_many import render_many
from mechdecouple.report.plot import SHEETS as KINDS
from mechdecouple.report.style import png, save_pdf
from mechdecouple.report.tables import tables
from mechdecouple.report.view import View

PAGE = "report.html"
SHEETS = {name: sheet for name, sheet in KINDS.items() if name != "overview"}
"""The overview repeats panels of the others."""
ACTIVATIONS = "activations"
_CSS = 130
"""Pixels on the page an inch of a figure: small type of a column reads well on a screen."""
_PARTIAL = ".partial-"
_TABLES = ("gate.tex", "contrasts.tex", "structure.tex", "beliefs.tex")
_REPORT = (
    PAGE,
    FEATURES,
    *(f"figures/{name}.{kind}" for name in SHEETS for kind in ("pdf", "png")),
    *(f"tables/{name}" for name in _TABLES),
)
_RECORDS = ("comparison.json", "many.json")
_TABLES_OF_NUMBERS = (
    "metrics.parquet", "items.parquet", "features.parquet", "examples.parquet",
    "parts.parquet", "evidence.parquet",
)  # fmt: skip
_PICTURE = "many"
_EVERYTHING = (*_REPORT, *_RECORDS, *_TABLES_OF_NUMBERS, f"figures/{_PICTURE}.pdf", f"figures/{_PICTURE}.png")
"""All that a result of either kind, of two models or of many runs, puts into its directory."""


def write_report(comparison: Comparison, directory: str | Path) -> Path:
    """Write ``report.html``, ``figures/*.{pdf,png}``, ``tables/*.tex`` and, where latents were described,
    ``features.html`` into a directory; returns the page.

    Files of an earlier report are replaced, others are left alone. Figures have the same bytes each time.

    Raises:
        InputError: ``directory`` is a file.
        StoreError: it cannot be written; nothing of this report is left in it, an earlier one is as it was.
    """
    directory = Path(directory)
    write_whole(directory, lambda folder: _report(comparison, folder), _REPORT)
    return directory / PAGE


def write_results(comparison: Comparison, directory: str | Path) -> Path:
    """Write everything: what ``Comparison.save`` writes, and the report; returns the page.

    A directory that does not exist is made; one with an earlier result is replaced, its ``activations`` stay.

    Raises:
        InputError: ``directory`` is a file, or holds something else than a comparison.
        StoreError: it cannot be written; nothing of this comparison is left in it, an earlier one is as it was.
    """
    directory = Path(directory)
    refuse_foreign(directory)

    def make(folder: Path) -> None:
        comparison.save(folder)
        _report(comparison, folder)

    write_whole(directory, make, _EVERYTHING)
    return directory / PAGE


def write_many(many: ManyComparison, directory: str | Path) -> Path:
    """Write what ``ManyComparison.save`` writes, ``figures/many.{pdf,png}`` and the page; returns the page.

    A directory that does not exist is made; one with an earlier result is replaced, its ``activations`` stay.

    Raises:
        InputError: ``directory`` is a file, or holds something else than a comparison.
        StoreError: it cannot be written; nothing of this comparison is left in it, an earlier one is as it was.
    """
    directory = Path(directory)
    refuse_foreign(directory)

    def make(folder: Path) -> None:
        many.save(folder)
        (folder / "figures").mkdir()
        image, width, height = draw_files(figure_many(many), folder, _PICTURE)
        (folder / PAGE).write_text(render_many(many, image, width, height), encoding="utf-8")

    write_whole(directory, make, _EVERYTHING)
    return directory / PAGE


def _report(comparison: Comparison, folder: Path) -> None:
    view = View(comparison)
    for name in ("figures", "tables"):
        (folder / name).mkdir()
    pictures, missing = {}, {}
    for name, sheet in SHEETS.items():
        why = sheet.missing(view)
        if why:
            missing[name] = why
            continue
        pictures[name] = Picture(sheet, *draw_files(sheet.figure(view), folder, name))
    for name, text in tables(view).items():
        (folder / "tables" / name).write_text(text, encoding="utf-8")
    (folder / PAGE).write_text(render(view, pictures, missing), encoding="utf-8")
    if len(comparison.features):
        write_features(comparison, folder)


def draw_files(figure: Figure, folder: Path, name: str) -> tuple[bytes, int, int]:
    """Save a figure both ways; its PNG, and the size on the page in CSS pixels."""
    image = png(figure)
    (folder / "figures" / f"{name}.png").write_bytes(image)
    # laid out once: the same places for both kinds of file
    figure.set_layout_engine("none")
    save_pdf(figure, folder / "figures" / f"{name}.pdf")
    width, height = figure.get_size_inches()
    return image, round(width * _CSS), round(height * _CSS)


def refuse_foreign(directory: Path) -> None:
    """Refuses a directory that holds other things than a comparison, whole or half moved in when its writer was
    killed."""
    if not directory.is_dir() or any((directory / name).exists() for name in _RECORDS):
        return
    if any(directory.glob(f"{_PARTIAL}*")):
        return
    other = sorted(p.name for p in directory.iterdir() if p.name != ACTIVATIONS and not p.name.startswith("."))
    if other:
        raise InputError(
            f"{str(directory)!r} holds files that are no comparison ({other[0]!r}): name a new or an empty directory"
        )


def write_whole(directory: Path, make: Callable[[Path], None], own: tuple[str, ...]) -> None:
    """Build in a hidden folder inside ``directory``, so that moving in is a renaming, whatever is mounted where.

    Raises:
        BusyError: another process is writing there.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{str(directory)!r} is a file: name a directory")
    made = next((p for p in (*reversed(directory.parents), directory) if not p.exists()), None)
    partial = None
    done = False
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory, "results"):
            partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=directory))
            # After the new one is made: as long as there is any, what lies beside it may be the half of a result.
            for stale in set(directory.glob(f"{_PARTIAL}*")) - {partial}:
                shutil.rmtree(stale)
            built, aside = partial / "new", partial / "old"
            built.mkdir()
            make(built)
            _move_in(built, aside, directory, own)
            done = True
            shutil.rmtree(partial, ignore_errors=True)
    except BusyError:
        raise
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise StoreError(
            f"{str(directory)!r} cannot be written ({reason}); nothing was changed in it: make room or name another "
            f"directory"
        ) from None
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        if made is not None and not done:
            shutil.rmtree(made, ignore_errors=True)


def _move_in(built: Path, aside: Path, directory: Path, own: tuple[str, ...]) -> None:
    """Put the new files in place of the old ones; where that fails midway, put the old ones back."""
    moved: list[tuple[Path, Path]] = []
    try:
        for name in own:
            old, new = directory / name, built / name
            if old.exists():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                old.rename(aside / name)
                moved.append((aside / name, old))
            if new.exists():
                old.parent.mkdir(exist_ok=True)
                new.rename(old)
                moved.append((old, new))
    except OSError:
        for now, before in reversed(moved):
            now.rename(before)
        raise
