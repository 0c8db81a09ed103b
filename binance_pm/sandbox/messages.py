"""The request as it arrived, the reply, and the refusal that may become the reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from binance_pm.sandbox.facts import Error


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request; the signed parts are the original bytes."""

    method: str
    path: str
    query: bytes = b""
    """Raw, without the question mark."""
    body: bytes = b""
    api_key: str = ""
    """The header ``X-MBX-APIKEY``; empty if it was not sent."""
    ip: str = "127.0.0.1"
    """The client's address."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, and how much of it is sent."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b"{}"
    cut: int | None = None
    """How many bytes of the body are sent before the connection closes."""
    drop: bool = False
    """Whether the connection closes before the first byte of a response."""


class Arrival(msgspec.Struct, kw_only=True):
    """A request that arrived, as the exchange records it, without the signature."""

    method: str
    """The HTTP method."""
    path: str
    """The path, without the query."""
    params: tuple[tuple[str, str], ...]
    """Query and form parameters as decoded, in the order sent, without the signature."""
    account: str | None
    """Label of the account whose key was sent; None without a key or with an unknown key."""
    ip: str
    """The client's address."""
    time: float
    """When the request arrived, in seconds since the epoch by the exchange's clock."""
    status: int | None = None
    """The HTTP status of the response; None before the response, and if the connection was dropped."""
    effects: int = 0
    """How often the exchange executed the request: 0 if refused or lost, 2 if delivered twice and accepted twice."""


class Refusal(Exception):
    """A request broke a rule; caught where the reply is created."""

    def __init__(self, error: Error, **words: object) -> None:
        super().__init__(error.text.format(**words))
        self.error = error
        self.headers: dict[str, str] = {}
        """Headers of the reply in addition to the error, such as ``Retry-After``."""

    @property
    def body(self) -> bytes:
        """The error as the exchange sends it: JSON, or a web page if the error has no code."""
        if self.error.code is None:
            return str(self).encode()
        return msgspec.json.encode({"code": self.error.code, "msg": str(self)})
