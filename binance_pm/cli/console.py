"""What may go to a terminal, and where the commands print what is more than a line."""

from __future__ import annotations

import json

from rich.console import Console


def printable(text: str) -> str:
    """The text with escapes, as in JSON, for what a terminal would obey: whoever answers may write anything.

    What was one line of JSON stays the same JSON.
    """
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


class Output(Console):
    """Leaves it to `main` what a closed pipe means; rich on its own would end the process with 1."""

    def on_broken_pipe(self) -> None:
        """Called by rich when nobody reads on."""
        raise BrokenPipeError
