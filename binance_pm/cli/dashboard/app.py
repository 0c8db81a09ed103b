"""The dashboard at a terminal: asks for the lines of the screen, draws what has changed, and passes keys on."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Final

import msgspec
from rich.segment import Segment
from rich.style import Style
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key, Resize
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from binance_pm.cli import INTERRUPTED
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.dashboard.line import Line
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.table import ColumnName
from binance_pm.cli.dashboard.view import View, pressed
from binance_pm.fleet import Fleet, FleetState

_REFRESH_SECONDS: Final = 0.25


class Canvas(Widget):
    """Lines, drawn where they differ from those before."""

    DEFAULT_CSS: ClassVar[str] = "Canvas { width: 100%; height: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def draw(self, lines: list[Line]) -> None:
        """Show these lines."""
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        changed = [
            Region(0, y, self.size.width, 1)
            for y, (old, new) in enumerate(zip(before, lines, strict=True))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    def render_line(self, y: int) -> Strip:
        """Called by Textual for each line that it draws."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width)
        return Strip([Segment(text, Style.parse(style)) for text, style in self._lines[y] if text])


class Dashboard(App[int]):
    """The screen.

    Args:
        look: what is known now.
        history: what was told.
        every: seconds between two snapshots; None to draw only when a key is pressed or `draw` is called.
    """

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "interrupt", priority=True, show=False)]

    def __init__(
        self, look: Callable[[], FleetState], history: History, *, every: float | None = _REFRESH_SECONDS
    ) -> None:
        # The terminal's own colours: what is readable there, its user has chosen.
        super().__init__(ansi_color=True)
        self._look: Final = look
        self._history: Final = history
        self._every: Final = every
        self._canvas: Final = Canvas()
        self._view: View = View()
        self._since: Final = look().at
        self._labels: list[str] = []
        self._body: int = 1
        self._widths: Mapping[ColumnName, int] = {}

    def compose(self) -> ComposeResult:
        """The one thing on the screen."""
        yield self._canvas

    def on_mount(self) -> None:
        """Begin to draw."""
        # Textual has tasks of the whole event loop start at once, which the fleet's own do not expect.
        asyncio.get_running_loop().set_task_factory(None)
        if self._every is not None:
            self.set_interval(self._every, self.draw)

    def on_resize(self, _: Resize) -> None:
        """Columns may become narrower on another screen."""
        self._widths = {}
        self.draw()

    def on_key(self, event: Key) -> None:
        """Change the view."""
        if event.key == "q" and not self._view.is_typing:
            self.exit(0)
            return
        self._view = pressed(
            self._view, event.key, event.character, labels=self._labels, known=self._look(), page=self._body
        )
        self.draw()

    def draw(self) -> None:
        """Show what is known now."""
        width, height = self.size
        shown = screen_of(
            self._look(),
            self._history,
            self._view,
            width=width,
            height=height,
            since=self._since,
            widths=self._widths,
        )
        self._labels, self._body, self._widths = shown.labels, shown.body, shown.widths
        self._view = msgspec.structs.replace(self._view, scrolled=shown.scrolled)
        self._canvas.draw(shown.lines)

    def action_interrupt(self) -> None:
        """Ctrl-C, which a terminal in this mode sends as a key."""
        self.exit(INTERRUPTED)


async def show(fleet: Fleet, history: History) -> int:
    """Show a fleet that is open until the person leaves, and say with which exit code to end.

    Args:
        fleet: somebody else takes its events.
        history: a receiver of them.
    """
    dashboard = Dashboard(fleet.state, history)
    try:
        with history.keeping_logs(fleet.now), _left_on_interrupt(dashboard):
            # Without the mouse, the terminal's own selection copies text.
            code = await dashboard.run_async(mouse=False)
    finally:
        sys.stdout.flush()
    return 1 if code is None else code


@contextmanager
def _left_on_interrupt(dashboard: Dashboard) -> Generator[None]:
    """While the block lasts, SIGINT leaves the dashboard: Textual may swallow the cancellation it would become."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, dashboard.exit, INTERRUPTED)
    except (NotImplementedError, RuntimeError, ValueError):
        # Some systems have no such handlers, nor have other threads.
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
