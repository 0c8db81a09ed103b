"""The progress of a long command on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from binance_pm.cli.output import Output

_LINE_SECONDS: Final = 10.0


class ShownProgress(Protocol):
    """A progress that is shown."""

    def show(self, count: int, fraction: float | None) -> None:
        """Show how much there is, and which part of the work is done, if that is known."""
        ...

    def stop(self) -> None:
        """Show nothing from now on, so that other text can be printed."""
        ...


@contextmanager
def shown_progress(noun: str, *, clock: Callable[[], float] = time.monotonic) -> Generator[ShownProgress]:
    """Provide a progress on stderr that stops when the block ends."""
    progress = _Bar(noun) if sys.stderr.isatty() else _Lines(noun, clock)
    try:
        yield progress
    finally:
        progress.stop()


class _Bar:
    """A bar on a terminal."""

    def __init__(self, noun: str) -> None:
        self._bar: Final = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn(f"{{task.fields[count]:,}} {noun}"),
            TimeElapsedColumn(),
            console=Output(stderr=True),
            transient=True,
        )
        self._task: Final = self._bar.add_task("", total=None, count=0)
        self._bar.start()

    def show(self, count: int, fraction: float | None) -> None:
        """See `ShownProgress.show`."""
        self._bar.update(self._task, total=None if fraction is None else 1.0, completed=fraction or 0.0, count=count)

    def stop(self) -> None:
        """See `ShownProgress.stop`."""
        self._bar.stop()


class _Lines:
    """Lines for a log."""

    def __init__(self, noun: str, clock: Callable[[], float]) -> None:
        self._noun: Final = noun
        self._clock: Final = clock
        self._shown_at: float = clock()

    def show(self, count: int, fraction: float | None) -> None:
        """See `ShownProgress.show`."""
        now = self._clock()
        if now - self._shown_at >= _LINE_SECONDS:
            self._shown_at = now
            part = "" if fraction is None else f", {fraction:.0%}"
            print(f"{count:,} {self._noun}{part}", file=sys.stderr, flush=True)

    def stop(self) -> None:
        """See `ShownProgress.stop`."""
