"""What carries one request to the exchange and brings its answer.

A transport sends a request once. It follows no redirect, repeats nothing, adds no credentials of its own and knows,
for every failure, whether the request may have left this machine.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, Protocol, Self
from urllib.parse import urlsplit

import msgspec

from binance_pm.signing import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Method = Literal["GET", "POST", "PUT", "DELETE"]

MAX_CONNECTIONS: Final = 240
"""How many connections one session has at once, those included that no request is on: each account has its own."""

KEEPALIVE_SECONDS: Final = 30.0
"""How long a connection is kept that no request is on."""

REFUSALS: Final = frozenset({403, 418, 429})
"""Their status alone is news that must not be lost: their body need not be whole."""

REFUSALS_BODY_SECONDS: Final = 1.0
"""How long their body is waited for."""

# Event loops take so much at once: no writer ever has to pause.
_LONGEST_REQUEST: Final = 2**16

_BANNED_UNTIL: Final = rb"(?i)\buntil +(\d+)\b(?![.,]\d)"
# Seconds, milliseconds, microseconds or nanoseconds since the epoch, by the number of digits.
_UNITS: Final = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
_DECIMAL: Final = r"([0-9]+)(\.[0-9]+)?"
# Longer than the longest ban of the exchange, three days.
_LONGEST_WAIT: Final = 7 * 86400


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long one request may take, in seconds."""

    connect: float = 5.0
    """To wait for a free connection at most, and again to make one: for TCP, and for TLS."""
    read: float = 10.0
    """Between two pieces of the answer, the first included; the same bound holds for writing."""
    total: float = 20.0
    """From the moment there is weight and a place among the requests under way to the answer's last byte.

    A signature that has to be waited for, as that of a hardware module, has as long for itself.
    """


class Headers:
    """What the heads of many requests have in common, and how HTTP/1.1 writes it.

    The API key is among it: what is held stands in closures, so that listing attributes shows functions.
    """

    __slots__ = ("fields", "is_sound", "text")

    def __init__(self, fields: Mapping[str, str]) -> None:
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.fields: Final = lambda: fields
        """The values by name."""
        self.text: Final = lambda: text
        """The lines as HTTP/1.1 writes them."""
        self.is_sound: Final = _is_sound("".join(fields) + "".join(fields.values()))

    def __repr__(self) -> str:
        return "Headers(…)"


class HttpRequest:
    """One request, ready to leave: the bytes signed are the bytes sent."""

    __slots__ = ("account", "headers", "method", "origin", "target")

    def __init__(self, method: Method, origin: str, target: str, headers: Headers, account: str = "") -> None:
        self.method: Final = method
        self.origin: Final = origin
        """Scheme, host and port, such as ``https://papi.binance.com``."""
        self.target: Final = lambda: target
        """Path and query, percent-encoded; the signature is in it."""
        self.headers: Final = headers
        self.account: Final = account
        """Whose request it is, such as a digest of the key: it shares connections with requests of the same account."""

    def head(self, host: str) -> Secret:
        """All of it, as HTTP/1.1 writes it; no request has a body.

        Args:
            host: the name of the host, with its port where that is not the usual one.

        Raises:
            SendFailed: it is too long, or would not stay what it is.
        """
        self._check()
        size = "Content-Length: 0\r\n" if self.method in {"POST", "PUT"} else ""
        return Secret(f"{self.method} {self.target()} HTTP/1.1\r\nHost: {host}\r\n{self.headers.text()}{size}\r\n")

    def raw_target(self) -> bytes:
        """The target alone.

        Raises:
            SendFailed: as of `head`.
        """
        self._check()
        return self.target().encode()

    def _check(self) -> None:
        if len(self.target()) + len(self.headers.text()) > _LONGEST_REQUEST:
            raise SendFailed("the request is too long", sent=False)
        if not (self.headers.is_sound and _is_sound(self.target())) or " " in self.target():
            raise SendFailed("the request contains a character that is not allowed", sent=False)

    def __repr__(self) -> str:
        return f"HttpRequest({self.method} {self.origin}{self.target().partition('?')[0]})"


class HttpResponse(msgspec.Struct, frozen=True):
    """What came back for one request, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes | None
    """None where it was longer than the transport accepts."""

    def __repr__(self) -> str:
        # A server may quote the request back: key, signature and all.
        return f"HttpResponse({self.status}, {len(self.body or b'')} bytes)"

    @property
    def date(self) -> int | None:
        """The exchange's clock when it answered, whole seconds since the epoch; None where two are told."""
        text = self.headers.get("date")
        return _date(text) if text else None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, as the exchange said; the longest where it said so in several ways."""
        told, ends, date = self.retry_in, self.retry_at, self.date
        if ends is None or date is None or ends - date > _LONGEST_WAIT:
            return told
        return max(told or 0, ends - date)

    @property
    def retry_in(self) -> float | None:
        """The seconds that `Retry-After` tells; not the date that it may tell instead."""
        elements = _elements(self.headers.get("retry-after", ""))
        return max((told for element in elements if (told := _duration(element)) is not None), default=None)

    @property
    def retry_at(self) -> int | None:
        """The date before which to wait, where `Retry-After` tells one, seconds since the epoch."""
        elements = _elements(self.headers.get("retry-after", ""))
        return max((date for element in elements if (date := _seconds(element)) is not None), default=None)

    @property
    def banned_until(self) -> float | None:
        """The end of a ban as its message says, seconds since the epoch."""
        found = re.findall(_BANNED_UNTIL, self.body or b"")
        return max((int(digits) / _UNITS[len(digits)] for digits in found if len(digits) in _UNITS), default=None)

    def used(self, header: str) -> int | None:
        """The weight that the exchange says to have counted, from the named header; the most where it is repeated."""
        text = self.headers.get(header, "")
        if "," not in text:
            return _number(text, most=2**53)
        counts = (_number(element, most=2**53) for element in _elements(text))
        return max((count for count in counts if count is not None), default=None)


class SendFailed(Exception):
    """No answer came; the transport's own failure is its ``__cause__``.

    Attributes:
        reason: what happened, without secrets.
        sent: False only where no byte of the request can have left this machine.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    @classmethod
    def overdue(cls, total: float, *, sent: bool) -> Self:
        """It took longer than the total timeout, in seconds."""
        what = "no complete response" if sent else "it could not be sent"
        return cls(f"{what} within {total:g} s", sent=sent)


class NotConnected(SendFailed):
    """No connection could be made; the reason names the place and the cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class Transport(Protocol):
    """Carries requests; safe to use from many tasks at once."""

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """Send the request once, in the time that its `Timeouts` allow.

        Args:
            request: what to send.
            departing: called once, right before the first byte may leave. Where it raises, nothing is sent and its
                error is raised.

        Raises:
            SendFailed: no complete response.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection that this transport opened; what is under way fails."""
        ...

    def distrust(self, request: HttpRequest) -> None:
        """Use no connection again that is idle now and that the next such request could be sent over.

        For an answer that is not one to the request: what else comes on its connection may not be, either.
        """
        ...

    def abandon(self) -> None:
        """Let go of every connection without closing it: it is another process's, or its event loop is closed."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of a server."""

    scheme: Literal["http", "https"]
    host: str
    """A host name or an IP address."""
    port: int
    netloc: str
    """Host and port as the header ``Host`` shows them."""


@lru_cache(maxsize=64)
def parse_origin(origin: str) -> Origin:
    """Split an origin into its parts.

    Raises:
        SendFailed: the text is no origin that a request could be sent to.
    """
    with suppress(ValueError):
        parts = urlsplit(origin)
        if parts.hostname and parts.netloc.isascii():
            if parts.scheme == "https":
                return Origin("https", parts.hostname, parts.port or 443, parts.netloc)
            if parts.scheme == "http":
                return Origin("http", parts.hostname, parts.port or 80, parts.netloc)
    raise SendFailed("the URL of the request is not valid", sent=False)


# Answers of the same second carry the same text.
@lru_cache(maxsize=64)
def _date(text: str) -> int | None:
    dates = {_seconds(element) for element in _elements(text)}
    return dates.pop() if len(dates) == 1 else None


def _elements(text: str) -> list[str]:
    """What a header tells that was sent several times; the comma after a date's day of the week parts nothing."""
    elements: list[str] = []
    day = ""
    for part in text.split(","):
        if not day and part.strip().isalpha():
            day = f"{part},"
            continue
        elements.append(f"{day}{part}".strip())
        day = ""
    return [*elements, day] if day else elements


@lru_cache(maxsize=64)
def _seconds(text: str) -> int | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # A date of HTTP is in GMT even where it does not say so (RFC 9110, 5.6.7); Python takes that for local time.
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())


def _duration(text: str) -> float | None:
    found = re.fullmatch(_DECIMAL, text)
    if found is None:
        return None
    # Python refuses to read thousands of digits, and whatever is so long is too long.
    whole = min(int(found[1][:20]), _LONGEST_WAIT)
    return min(whole + float(found[2][:20]), _LONGEST_WAIT) if found[2] else whole


def _is_sound(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _number(text: str, *, most: int) -> int | None:
    # isdecimal alone accepts other scripts' digits, and int() accepts "1_0" and " 1 ".
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 20 else None
