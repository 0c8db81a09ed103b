"""Where the commands print what is more than a line."""

from __future__ import annotations

from rich.console import Console


class Output(Console):
    """Leaves it to `main` what a closed pipe means; rich on its own would end the process with 1."""

    def on_broken_pipe(self) -> None:
        """Called by rich when nobody reads on."""
        raise BrokenPipeError
