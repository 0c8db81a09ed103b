"""What a stream needs of a websocket connection; `binance_pm.stream.websocket` provides it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from binance_pm.transport.http import NotConnected


class HandshakeCutOff(NotConnected):
    """The connection ended during the websocket handshake: the exchange may have delivered events to it."""


class HandshakeRefused(NotConnected):
    """The server has answered the websocket handshake with an HTTP status."""


class SocketClosed(Exception):
    """The connection is closed.

    Attributes:
        why: what happened, in words that contain nothing that the server sent.
        was_agreed: whether the server has sent a close frame.
    """

    def __init__(self, why: str, *, was_agreed: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.was_agreed = was_agreed


class Socket(Protocol):
    """An open websocket connection."""

    @property
    def server_pings(self) -> int:
        """How many pings the server has sent."""
        ...

    async def receive(self) -> bytes:
        """Return the next message.

        Raises:
            SocketClosed: the connection is closed, and every message that has arrived was returned.
        """
        ...

    async def read(self, handle: Callable[[bytes], object]) -> NoReturn:
        """Call a function with every message, at the moment at which the message arrives; the function must not wait.

        Raises:
            SocketClosed: as for `receive`.
        """
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong.

        Raises:
            SocketClosed: the connection was closed before the pong arrived.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection with a closing handshake of at most a second; what arrives meanwhile can be received."""
        ...

    def abort(self) -> None:
        """Close the connection at once. Messages that have arrived can still be received."""
        ...
