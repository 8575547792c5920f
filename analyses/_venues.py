"""Figures in the widths of venues: laid out anew for each, letters as much smaller as the figure is narrower."""

from __future__ import annotations

import re
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

from mechdecouple.errors import InputError
from mechdecouple.report.style import COLUMN, PAGE, save_pdf, styled

VENUES = {"neurips": {COLUMN: 3.25, PAGE: 5.5}, "icml": {COLUMN: 3.25, PAGE: 6.75}}
"""Venue -> inches that a figure of one column and one of a page's width take there."""


def save_for_venues(figure: Figure, name: str, directory: Path) -> None:
    """``directory/VENUE/name.pdf`` for every venue; a figure of another width than a column's or a page's keeps it.

    The figure is left as it was, but for where its layout put things.
    """
    width, height = figure.get_size_inches()
    letters = {text: text.get_fontsize() for text in figure.findobj(Text)}
    for venue, widths in VENUES.items():
        fitted = next((new for own, new in widths.items() if abs(own - width) < 1e-9), width)
        (directory / venue).mkdir(parents=True, exist_ok=True)
        figure.set_size_inches(fitted, height)
        for text, size in letters.items():
            text.set_fontsize(size * fitted / width)
        with styled():
            save_pdf(figure, directory / venue / f"{name}.pdf")
    figure.set_size_inches(width, height)
    for text, size in letters.items():
        text.set_fontsize(size)


def check_pdf(path: Path) -> float:
    """Width in inches of a PDF by matplotlib whose fonts are all embedded as TrueType.

    Raises:
        InputError: a font is a Type 3 one or is not embedded, or this is no such PDF.
    """
    content = path.read_bytes()
    box = re.search(rb"/MediaBox \[ ?([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) ?\]", content)
    if box is None:
        raise InputError(f"{path} is no PDF by matplotlib: run the study again")
    described = len(re.findall(rb"/Type /FontDescriptor\b", content))
    if b"/Type3" in content or described != len(re.findall(rb"/FontFile2\b", content)):
        raise InputError(f"{path} holds fonts that are not embedded as TrueType: set pdf.fonttype to 42, run it again")
    return (float(box[3]) - float(box[1])) / 72
