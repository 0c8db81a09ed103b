"""Text that is safe to print on a terminal, and the console for the commands' tables."""

from __future__ import annotations

import json

from rich.console import Console


def printable(text: str) -> str:
    """Return the text with control characters escaped as in JSON: responses may contain terminal commands.

    A line of JSON stays equivalent JSON.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


class Output(Console):
    """A console that raises on a closed pipe, so that `main` decides; rich itself would exit with 1."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`; called by rich when the pipe is closed."""
        raise BrokenPipeError
