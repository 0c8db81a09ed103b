"""Lines of a screen as data: spans of text, each with a style."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from binance_pm.cli.output import printable


class Span(NamedTuple):
    """A part of a line."""

    text: str
    style: str = ""
    """A style in the syntax of rich, such as ``bold red``."""


Line = tuple[Span, ...]


def line(text: str = "", style: str = "") -> Line:
    """Return a line of one span."""
    return (Span(text, style),)


def text_of(spans: Iterable[Span]) -> str:
    """Return the text of a line without styles and trailing blanks."""
    return "".join(span.text for span in spans).rstrip()


def fitted(spans: Iterable[Span], width: int) -> Line:
    """Return the line cut or filled with blanks to a width; the blanks are reversed if the last span is.

    Control characters are escaped, so the line contains no terminal commands.
    """
    pieces: list[Span] = []
    left = width
    style = ""
    for raw, style in spans:
        text = printable(raw)
        taken = min(left, cell_len(text))
        pieces.append(Span(text if taken == cell_len(text) else set_cell_size(text, taken), style))
        left -= taken
    return (*pieces, Span(" " * left, style if "reverse" in style else "")) if left else tuple(pieces)


def shortened(text: str, width: int) -> str:
    """Return the text, without its middle if it is too long: names often differ at their ends."""
    if cell_len(text) <= width:
        return text
    tail = (width - 1) // 2
    while tail and cell_len(text[-tail:]) > (width - 1) // 2:
        tail -= 1
    end = text[-tail:] if tail else ""
    return set_cell_size(text, width - 1 - cell_len(end)) + "…" + end


def wrapped(text: str, width: int, *, indent: int = 0) -> list[str]:
    """Return the text in lines of a width, broken at blanks if possible; all but the first line are indented."""
    # Wide characters take two columns.
    letters = max(indent + 10, width * len(text) // max(cell_len(text), 1))
    return textwrap.wrap(text, letters, subsequent_indent=" " * indent) or [""]
