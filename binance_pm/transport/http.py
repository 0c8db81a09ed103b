"""The transport protocol: sends one request to the exchange and returns its response.

A transport sends a request once. A transport follows no redirects, repeats nothing, adds no credentials of its own and
knows, for every failure, whether the request may have left this machine.
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
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from binance_pm.transport.proxy import Proxy

Method = Literal["GET", "POST", "PUT", "DELETE"]

MAX_BODY: Final = 16 * 2**20
"""Default limit of a response body, in bytes."""

REFUSALS: Final = frozenset({403, 418, 429})
"""Statuses that must not be lost, even if the response body is incomplete."""

LONGEST_HEAD: Final = 2**16
"""Largest accepted head, in bytes."""

COMPRESSED: Final = "the response is compressed, although no compression was accepted"
"""Why a compressed response is rejected."""

# Event loops accept this many bytes at once, so that no writer ever has to pause.
_LONGEST_REQUEST: Final = 2**16

_BANNED_UNTIL: Final = rb"(?i)\buntil +(\d+)\b(?![.,]\d)"
# Seconds, milliseconds, microseconds or nanoseconds since the epoch, by the number of digits.
_UNITS: Final = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
_DECIMAL: Final = r"([0-9]+)(\.[0-9]+)?"
# Longer than the exchange's longest ban, which is three days.
_LONGEST_WAIT: Final = 7 * 86400


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Time limits of one request, in seconds."""

    connect: float = 5.0
    """Longest wait for a free connection, and again for opening one: for TCP, and for TLS."""
    read: float = 10.0
    """Longest wait between two pieces of the response, and for the first piece; the same limit applies to writing."""
    total: float = 20.0
    """From the moment the call has weight and a slot to the last byte of the response.

    If signing has to wait, such as for a hardware module, signing has the same limit for itself.
    """


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine connects, and the bounds of what it holds."""

    timeouts: Timeouts = Timeouts()
    max_body: int = MAX_BODY
    """The largest accepted response body, in bytes."""
    tls: ssl.SSLContext | None = None
    """Settings for https; None for the defaults of httpx."""
    pins: frozenset[str] = frozenset()
    """SHA-256 of the certificates that a server may present, in lower-case hexadecimal digits; empty for any that `tls`
    accepts. Only the direct engine checks pins."""
    local_address: str | None = None
    """The IP address of this machine to connect from; ``0.0.0.0`` or ``::`` selects only the address family; None for
    the system's choice."""
    proxy: Proxy | None = None
    """The proxy for every request; only the httpx engine supports proxies."""
    trust_env: bool = False
    """Whether proxies and certificates may come from the environment; only with the httpx engine."""
    max_connections: int = 240
    """Maximum number of connections, including idle ones: each account has its own connections."""
    keepalive_seconds: float = 30.0
    """How long an idle connection is kept."""
    refusal_seconds: float = 1.0
    """How long to wait for the body of a refusal."""


class Headers:
    """The headers that many requests have in common, as a mapping and as HTTP/1.1 text.

    The API key is one of them, so the text is held in a closure: listing the attributes shows a function.
    """

    __slots__ = ("is_sound", "text")

    def __init__(self, fields: Mapping[str, str]) -> None:
        text = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.text: Final = lambda: text
        """Returns the lines as HTTP/1.1 text."""
        self.is_sound: Final = _is_sound("".join(fields) + "".join(fields.values()))

    def fields(self) -> dict[str, str]:
        """Return the values by name."""
        return dict(line.split(": ", 1) for line in self.text().splitlines())

    def __repr__(self) -> str:
        return "Headers(…)"


class HttpRequest:
    """One request, ready to send: the signed bytes are the bytes sent."""

    __slots__ = ("account", "headers", "method", "origin", "target")

    def __init__(self, method: Method, origin: str, target: str, headers: Headers, account: str = "") -> None:
        self.method: Final = method
        self.origin: Final = origin
        """Scheme, host and port, such as ``https://papi.binance.com``."""
        self.target: Final = lambda: target
        """Path and query, percent-encoded, including the signature."""
        self.headers: Final = headers
        self.account: Final = account
        """Identifies the account, such as a digest of the key: only requests of the same account share connections."""

    def head(self, host: str) -> Secret:
        """Return the complete request as HTTP/1.1 text; no request has a body.

        Args:
            host: the host name, with the port if that is not the default port.

        Raises:
            SendFailed: the request is too long, or contains a character that would change its meaning.
        """
        self._check()
        size = "Content-Length: 0\r\n" if self.method in {"POST", "PUT"} else ""
        return Secret(f"{self.method} {self.target()} HTTP/1.1\r\nHost: {host}\r\n{self.headers.text()}{size}\r\n")

    def raw_target(self) -> bytes:
        """Return the target as bytes.

        Raises:
            SendFailed: as for `head`.
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
    """The response to one request, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes | None
    """None if the body was longer than the transport accepts."""

    def __repr__(self) -> str:
        # A server may quote the request, including key and signature.
        return f"HttpResponse({self.status}, {len(self.body or b'')} bytes)"

    @property
    def date(self) -> int | None:
        """The exchange's clock at the time of the response, whole seconds since the epoch; None if ambiguous."""
        text = self.headers.get("date")
        return _date(text) if text else None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait according to the exchange; the longest if stated in several ways."""
        told, ends, date = self.retry_in, self.retry_at, self.date
        if ends is None or date is None or ends - date > _LONGEST_WAIT:
            return told
        return max(told or 0, ends - date)

    @property
    def retry_in(self) -> float | None:
        """The seconds given in `Retry-After`; a date in that header is ignored."""
        elements = _elements(self.headers.get("retry-after", ""))
        return max((told for element in elements if (told := _duration(element)) is not None), default=None)

    @property
    def retry_at(self) -> int | None:
        """The date given in `Retry-After` before which to wait, seconds since the epoch; None without a date."""
        elements = _elements(self.headers.get("retry-after", ""))
        return max((date for element in elements if (date := _seconds(element)) is not None), default=None)

    @property
    def banned_until(self) -> float | None:
        """The end of a ban according to the message in the response, seconds since the epoch."""
        found = re.findall(_BANNED_UNTIL, self.body or b"")
        return max((int(digits) / _UNITS[len(digits)] for digits in found if len(digits) in _UNITS), default=None)

    def used(self, header: str) -> int | None:
        """Return the weight that the exchange reports in the named header; the highest if the header is repeated."""
        text = self.headers.get(header, "")
        if "," not in text:
            return _number(text, most=2**53)
        counts = (_number(element, most=2**53) for element in _elements(text))
        return max((count for count in counts if count is not None), default=None)


class SendFailed(Exception):
    """No response was received; the transport's own failure is the ``__cause__``.

    Attributes:
        reason: what happened, without secrets.
        sent: False only if no byte of the request can have left this machine.
    """

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    @classmethod
    def overdue(cls, total: float, *, sent: bool) -> Self:
        """Return the failure of a request that exceeded the total timeout, in seconds."""
        what = "no complete response" if sent else "it could not be sent"
        return cls(f"{what} within {total:g} s", sent=sent)


class NotConnected(SendFailed):
    """No connection could be made; the reason names the place and the cause."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class Transport(Protocol):
    """An HTTP engine that is safe to use from many tasks at once."""

    async def send(self, request: HttpRequest, departing: Callable[[], None]) -> HttpResponse:
        """Send the request once, within the transport's `Timeouts`.

        Args:
            request: what to send.
            departing: called once, right before the first byte may leave. If `departing` raises, nothing is sent and
                that error is raised.

        Raises:
            SendFailed: no complete response.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection that this transport opened; requests in flight fail."""
        ...

    def discard_idle_connections(self, request: HttpRequest) -> None:
        """Never reuse the connections that are idle now and that the next such request could use.

        For a response that does not belong to the request: later data on its connection may not belong, either.
        """
        ...

    def abandon(self) -> None:
        """Drop every connection without closing it: it belongs to another process, or its event loop is closed."""
        ...


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of a server."""

    scheme: Literal["http", "https"]
    host: str
    """A host name or an IP address."""
    port: int
    netloc: str
    """Host and port as in the ``Host`` header."""


@lru_cache(maxsize=64)
def parse_origin(origin: str) -> Origin:
    """Split an origin into its parts.

    Raises:
        SendFailed: the text is not an origin that a request could be sent to.
    """
    with suppress(ValueError):
        parts = urlsplit(origin)
        if parts.hostname and parts.netloc.isascii():
            if parts.scheme == "https":
                return Origin("https", parts.hostname, parts.port or 443, parts.netloc)
            if parts.scheme == "http":
                return Origin("http", parts.hostname, parts.port or 80, parts.netloc)
    raise SendFailed("the URL of the request is not valid", sent=False)


def is_compressed(headers: Mapping[str, str]) -> bool:
    """Return whether the body has a content encoding: a few compressed bytes may expand to gigabytes.

    Args:
        headers: names in lower case, or a mapping that ignores case.
    """
    codings = headers.get("content-encoding")
    return codings is not None and any(coding.strip().lower() not in {"", "identity"} for coding in codings.split(","))


def headers_of(fields: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers with names in lower case, and values without surrounding white space.

    Args:
        fields: names and values as received; values of a repeated name form one list (RFC 9110, 5.3).
    """
    headers = {_name(name): _value(value) for name, value in fields}
    if len(headers) < len(fields):
        for known in headers:
            headers[known] = ", ".join(_value(value) for name, value in fields if _name(name) == known)
    return headers


# The same few names occur in every response.
@lru_cache(maxsize=256)
def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


def _value(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \t")


# Responses of the same second carry the same text.
@lru_cache(maxsize=64)
def _date(text: str) -> int | None:
    dates = {_seconds(element) for element in _elements(text)}
    return dates.pop() if len(dates) == 1 else None


def _elements(text: str) -> list[str]:
    """Split a header that was sent several times; the comma after the weekday of a date is not a separator."""
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
    # An HTTP date is in GMT even if it does not say so (RFC 9110, 5.6.7); Python would treat it as local time.
    return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())


def _duration(text: str) -> float | None:
    found = re.fullmatch(_DECIMAL, text)
    if found is None:
        return None
    # Python refuses to parse thousands of digits, and a number that long exceeds the limit anyway.
    whole = min(int(found[1][:20]), _LONGEST_WAIT)
    return min(whole + float(found[2][:20]), _LONGEST_WAIT) if found[2] else whole


def _is_sound(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _number(text: str, *, most: int) -> int | None:
    # isdecimal alone accepts other scripts' digits, and int() accepts "1_0" and " 1 ".
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) < 20 else None
