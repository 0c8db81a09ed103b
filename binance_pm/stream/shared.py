"""What all streams of a session share: the pace of their connections, and what has been proven of the exchange."""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Literal
from weakref import WeakKeyDictionary

import anyio.lowlevel

from binance_pm.session import Session
from binance_pm.stream.policy import ConnectPacer, StreamSettings, confirm_interval
from binance_pm.transport.http import TransportSettings
from binance_pm.transport.reason import Progress
from binance_pm.transport.tls import source_of_settings, tls_settings

_TICK_SECONDS: Final = 0.1
_SUCCESSION_SECONDS: Final = 5.0
"""How long it may take until another stream ticks, after the one that did is closed."""
_QUIET_ROUNDS: Final = 5
"""Rounds of the event loop without a message after which nothing that has arrived is unread."""
_MOST_ROUNDS: Final = 50

StreamProduct = Literal["pm", "pro"]
"""Portfolio Margin or Portfolio Margin Pro: their streams have different addresses and listen keys."""


class SessionStreams:
    """The streams of one session.

    Args:
        settings: the settings of the first stream.
        processes: how many programs use the limits of the IP.
    """

    def __init__(self, settings: StreamSettings, processes: int = 1) -> None:
        self._processes: Final = processes
        self.pacer: Final = ConnectPacer(
            max(1, settings.attempts_per_second // processes), max(1, settings.attempts_per_5_minutes // processes)
        )
        self._tls: ssl.SSLContext | None = None
        self.serves_both: Final[set[tuple[str, StreamProduct]]] = set()
        """The servers that were seen to deliver one event on two connections of one listen key."""
        self.received: int = 0
        """How many messages the readers of all streams have received."""
        self.responsive_at: float = -math.inf
        """Everything that had arrived by this time was read."""
        self._is_ticking: bool = False
        self.open_streams: Final[dict[StreamProduct, int]] = {"pm": 0, "pro": 0}

    async def turn(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait until a stream may connect."""
        now = clock()
        await sleep(self.pacer.reserve(now) - now)

    async def tick(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        """Record regularly when the event loop is not busy; one stream of the session does so for all.

        A message that is read after the event loop was busy may have arrived long before.
        """
        while True:
            if self._is_ticking:
                await sleep(_SUCCESSION_SECONDS)
                continue
            self._is_ticking = True
            try:
                while True:
                    began = clock()
                    if await have_settled(lambda: self.received):
                        self.responsive_at = began
                    await sleep(_TICK_SECONDS)
            finally:
                self._is_ticking = False

    def tls(self, settings: TransportSettings) -> ssl.SSLContext:
        """Return the settings for wss.

        Raises:
            ValueError: the trusted certificates cannot be read.
        """
        if settings.tls is not None:
            return settings.tls
        if self._tls is None:
            try:
                self._tls = tls_settings(trust_env=settings.trust_env)
            except OSError as error:
                cause = Progress(None).cause(error)
                raise ValueError(f"{source_of_settings(trust_env=settings.trust_env)} {cause}") from error
        return self._tls

    def confirm_interval(self, product: StreamProduct, every: float, weight_per_minute: int) -> float:
        """Return the seconds between two confirmations of each listen key."""
        return confirm_interval(every, self.open_streams[product] * self._processes, weight_per_minute)


async def have_settled(received: Callable[[], int]) -> bool:
    """Return whether readers have received everything that had arrived; they may be too busy.

    A message takes one round of the event loop from the socket to the queue of the library, and one to the reader.

    Args:
        received: returns how many messages the readers have received.
    """
    before, quiet = received(), 0
    for _ in range(_MOST_ROUNDS):
        await anyio.lowlevel.checkpoint()
        quiet = quiet + 1 if received() == before else 0
        before = received()
        if quiet == _QUIET_ROUNDS:
            return True
    return False


_shared: Final[WeakKeyDictionary[Session, SessionStreams]] = WeakKeyDictionary()


def session_streams(session: Session, settings: StreamSettings) -> SessionStreams:
    """Return what the streams of a session share."""
    shared = _shared.get(session)
    if shared is None:
        shared = _shared[session] = SessionStreams(settings, session.budget.processes)
    return shared
