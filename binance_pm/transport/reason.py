"""Why no connection could be made, in the same words for both engines.

The words name the cause as the system or the TLS library reports it. Texts from a server or proxy are never quoted.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from contextlib import suppress
from http import HTTPStatus
from typing import Final, cast

import anyio

from binance_pm.transport.http import NotConnected

RESOLVING: Final = "name not resolved"
CONNECTING: Final = "no answer"
HANDSHAKE: Final = "TLS handshake not finished"


class Unreached(OSError):
    """No connection was made; the text of the error is the cause in words."""


class Progress:
    """The current step of opening a connection.

    Args:
        seconds: the time limit of the step.
        step: what has not happened yet, in words.
    """

    __slots__ = ("seconds", "step")

    def __init__(self, seconds: float | None, step: str = RESOLVING) -> None:
        self.seconds: Final[float | None] = seconds
        self.step: str = step

    @property
    def late(self) -> str:
        """The cause if the time limit is reached now."""
        return self.step if self.seconds is None else f"{self.step} within {self.seconds:g} s"

    def cause(self, error: BaseException) -> str:
        """Return the cause in words for an error."""
        root = _root(error)
        if isinstance(root, TimeoutError) and root.errno is None:
            return self.late
        if self.step == HANDSHAKE and isinstance(root, _CLOSED):
            return "the connection was closed during the TLS handshake"
        return _cause(root)


def not_connected(place: str, cause: str) -> NotConnected:
    """Return the failure to connect to a server.

    Args:
        place: the server as shown in messages, such as ``papi.binance.com``.
        cause: the cause in words.
    """
    return NotConnected(f"{place}: {cause}")


def proxy_refusal(text: str) -> str:
    """Describe a proxy's refusal by its status code, because the words are the proxy's own."""
    status = _STATUS.match(text)
    if status is None:
        # httpcore's own names for SOCKS replies.
        return f"refused ({text.rstrip('.')})"
    with suppress(ValueError):
        return f"answered {status[1]} {HTTPStatus(int(status[1])).phrase} to CONNECT"
    return f"answered {status[1]} to CONNECT"


_STATUS: Final = re.compile(r"(\d{3})\b")

_CLOSED: Final = (
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    EOFError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)

_SYSTEM: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "the connection was reset",
    errno.ECONNABORTED: "the connection was reset",
    errno.ETIMEDOUT: "no answer",
    errno.ENETUNREACH: "network unreachable",
    errno.ENETDOWN: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files",
    errno.EAGAIN: "too many threads",
    errno.EADDRNOTAVAIL: "no connection is possible from the local address",
    errno.EACCES: "not permitted by this machine",
    errno.EPERM: "not permitted by this machine",
}

_WITHOUT_NUMBER: Final[dict[type[BaseException], int]] = {
    ConnectionRefusedError: errno.ECONNREFUSED,
    ConnectionResetError: errno.ECONNRESET,
    ConnectionAbortedError: errno.ECONNRESET,
    BrokenPipeError: errno.ECONNRESET,
    anyio.BrokenResourceError: errno.ECONNRESET,
    anyio.EndOfStream: errno.ECONNRESET,
}

UNROUTED: Final = frozenset(_SYSTEM[number] for number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL))
"""Causes that point to this machine's network rather than to the host."""

_NO_COMMON_VERSION: Final = "no common version of TLS"
_NO_TLS: Final = "the server does not speak TLS"
# Names used by OpenSSL.
_TLS: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "HTTPS_PROXY_REQUEST": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_VERSION,
}


def _cause(root: BaseException) -> str:
    if isinstance(root, ssl.SSLError):
        return _tls_cause(root)
    if isinstance(root, socket.gaierror):
        return RESOLVING
    if isinstance(root, UnicodeError):
        return "not a host name"
    # The texts of its subclasses come from the system, and those of other errors may come from the server.
    if isinstance(root, Unreached) or type(root) is ConnectionError:
        return str(root)
    number = root.errno if isinstance(root, OSError) else None
    number = _WITHOUT_NUMBER.get(type(root)) if number is None else number
    if number is None:
        return f"the connection failed ({type(root).__name__})"
    return _SYSTEM.get(number) or os.strerror(number).lower()


def _tls_cause(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if error.reason in _TLS:
        return _TLS[error.reason]
    # Names used by OpenSSL, too.
    said = (error.reason or "").lower().replace("_", " ")
    return f"TLS failed ({said})" if said else "TLS failed"


def _root(error: BaseException) -> BaseException:
    """Return the original cause of an error: libraries wrap the system's errors in their own."""
    while True:
        # httpcore removes the causes of its errors.
        wrapped = error.__cause__ or error.__context__
        if isinstance(error, BaseExceptionGroup):
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        elif _tells(error) or wrapped is None:
            return error
        else:
            error = wrapped


def _tells(error: BaseException) -> bool:
    """Return whether the error itself says what happened."""
    if isinstance(error, UnicodeError | TimeoutError | Unreached) or type(error) is ConnectionError:
        return True
    return isinstance(error, OSError) and error.errno is not None
