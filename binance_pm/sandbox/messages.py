"""A request as it arrived, the reply to it, and the refusal that may become the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from binance_pm.sandbox.facts import Error


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, byte for byte as far as it is signed."""

    method: str
    path: str
    query: bytes = b""
    """Raw, without the question mark."""
    body: bytes = b""
    api_key: str = ""
    """The header ``X-MBX-APIKEY``; empty where it was not sent."""
    ip: str = "127.0.0.1"
    """The client's address."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, and how much of it gets through."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b"{}"
    cut: int | None = None
    """How many bytes of the body are sent before the connection closes."""
    drop: bool = False
    """Whether the connection closes without a byte of an answer."""


class Arrival(msgspec.Struct, kw_only=True):
    """What the exchange remembers of a request; no signature is kept."""

    method: str
    """The HTTP method."""
    path: str
    """The path, without the query."""
    params: tuple[tuple[str, str], ...]
    """Query and form parameters as decoded, in the order sent, without the signature."""
    account: str | None
    """Label of the account whose key was sent; None for no key or one that is not known."""
    ip: str
    """The client's address."""
    time: float
    """Seconds since the epoch, by the exchange's clock, when it arrived."""
    status: int | None = None
    """What was answered; None while it is not, and where the connection was dropped."""


class Refused(Exception):
    """A rule was broken; caught where the reply is made."""

    def __init__(self, error: Error, **words: object) -> None:
        super().__init__(error.text.format(**words))
        self.error = error
        self.headers: dict[str, str] = {}
        """What the reply says beside the error, such as how long to wait."""

    @property
    def body(self) -> bytes:
        """The error as the exchange sends it: JSON, or a page where it has no code."""
        if self.error.code is None:
            return str(self).encode()
        return msgspec.json.encode({"code": self.error.code, "msg": str(self)})
