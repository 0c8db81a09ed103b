"""The dashboard as a Textual application: draws the lines of the screen that have changed, and passes keys on."""

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

from binance_pm.cli.dashboard.history import History
from binance_pm.cli.dashboard.line import Line
from binance_pm.cli.dashboard.live import live_lines
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.table import ColumnName
from binance_pm.cli.dashboard.view import View, pressed
from binance_pm.fleet import Fleet, FleetState
from binance_pm.stream.live import LiveAccount

_REFRESH_SECONDS: Final = 0.25
_INTERRUPTED: Final = 128 + signal.SIGINT


class Canvas(Widget):
    """A widget of lines, of which only changed ones are drawn again."""

    DEFAULT_CSS: ClassVar[str] = "Canvas { width: 100%; height: 100%; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []

    def draw(self, lines: list[Line]) -> None:
        """Replace the lines, and draw those that have changed."""
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
        """Return one line; called by Textual when it draws."""
        if y >= len(self._lines):
            return Strip.blank(self.size.width)
        return Strip([Segment(text, Style.parse(style)) for text, style in self._lines[y] if text])


class Dashboard(App[int]):
    """The Textual application, which draws every ``every`` seconds, or only on keys and calls of `draw` if None."""

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "interrupt", priority=True, show=False)]

    def __init__(
        self, look: Callable[[], FleetState], history: History, *, every: float | None = _REFRESH_SECONDS
    ) -> None:
        # Use the terminal's own colors, which the user has chosen to be readable.
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
        """Return the only widget of the screen."""
        yield self._canvas

    def on_mount(self) -> None:
        """Start drawing."""
        # Textual makes all tasks of the event loop start eagerly, which the fleet's tasks do not support.
        asyncio.get_running_loop().set_task_factory(None)
        if self._every is not None:
            self.set_interval(self._every, self.draw)

    def on_resize(self, _: Resize) -> None:
        """Draw again; columns may become narrower on a screen of another size."""
        self._widths = {}
        self.draw()

    def on_key(self, event: Key) -> None:
        """Change the view, or leave the dashboard on ``q``."""
        if event.key == "q" and not self._view.is_typing:
            self.exit(0)
            return
        self._view = pressed(
            self._view, event.key, event.character, labels=self._labels, known=self._look(), page=self._body
        )
        self.draw()

    def draw(self) -> None:
        """Draw the current state."""
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
        """Leave the dashboard on Ctrl-C, which a terminal in this mode sends as a key."""
        self.exit(_INTERRUPTED)


class LiveScreen(App[int]):
    """One live account as a Textual application, drawn again every ``every`` seconds."""

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "interrupt", priority=True, show=False)]

    def __init__(self, live: LiveAccount, label: str, *, every: float | None = _REFRESH_SECONDS) -> None:
        super().__init__(ansi_color=True)
        self._live: Final = live
        self._label: Final = label
        self._every: Final = every
        self._canvas: Final = Canvas()
        self._scrolled: int = 0

    def compose(self) -> ComposeResult:
        """Return the only widget of the screen."""
        yield self._canvas

    def on_mount(self) -> None:
        """Start drawing."""
        # Textual makes all tasks of the event loop start eagerly; the tasks of the stream must not.
        asyncio.get_running_loop().set_task_factory(None)
        if self._every is not None:
            self.set_interval(self._every, self.draw)

    def on_resize(self, _: Resize) -> None:
        """Draw again."""
        self.draw()

    def on_key(self, event: Key) -> None:
        """Scroll, or leave the screen on ``q``."""
        if event.key == "q":
            self.exit(0)
            return
        steps = {"up": -1, "down": 1, "pageup": -self.size.height, "pagedown": self.size.height}
        self._scrolled = max(0, self._scrolled + steps.get(event.key, 0))
        self.draw()

    def draw(self) -> None:
        """Draw the current state."""
        width, height = self.size
        self._canvas.draw(live_lines(self._live, self._label, width=width, height=height, scrolled=self._scrolled))

    def action_interrupt(self) -> None:
        """Leave the screen on Ctrl-C, which a terminal in this mode sends as a key."""
        self.exit(_INTERRUPTED)


async def show_live(live: LiveAccount, label: str) -> int:
    """Show an open live account until the user leaves, and return the exit code."""
    screen = LiveScreen(live, label)
    try:
        with _left_on_interrupt(screen):
            code = await screen.run_async(mouse=False)
    finally:
        sys.stdout.flush()
    return 1 if code is None else code


async def show(fleet: Fleet, history: History) -> int:
    """Show an open fleet until the user leaves, and return the exit code; the caller passes events to the history."""
    dashboard = Dashboard(fleet.state, history)
    try:
        with history.keeping_logs(fleet.now), _left_on_interrupt(dashboard):
            # Without the mouse, the terminal's own selection copies text.
            code = await dashboard.run_async(mouse=False)
    finally:
        sys.stdout.flush()
    return 1 if code is None else code


@contextmanager
def _left_on_interrupt(dashboard: App[int]) -> Generator[None]:
    """While the block lasts, SIGINT leaves the dashboard; a cancellation on SIGINT could be swallowed by Textual."""
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGINT)
    try:
        loop.add_signal_handler(signal.SIGINT, dashboard.exit, _INTERRUPTED)
    except (NotImplementedError, RuntimeError, ValueError):
        # Some systems, and threads other than the main thread, do not support signal handlers.
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
