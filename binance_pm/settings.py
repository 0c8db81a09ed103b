"""The settings of a client, checked once when the client is created."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from binance_pm.hosts import (
    FAPI_URL,
    PAPI_URL,
    SAPI_URL,
    STREAM_URL,
    check_stream_url,
    check_url,
    is_exchange,
)
from binance_pm.limits import Priority
from binance_pm.signing import Credential, Secret, Signer, check_key, signer

LONGEST_RECV_WINDOW: Final = 60_000
_NO_HINTS: Final[Mapping[str, str]] = {}


class Identity:
    """The account of a client: its keys, and the names that it has in pools, connections and messages.

    Args:
        api_key: the key; None if there is none.
        api_secret: signs requests.
        passphrase: decrypts an encrypted private key.
        label: the user's name for the account.
        account_id: the user's id of the account, if several keys belong to it.

    Raises:
        ValueError: the key or the secret cannot be used.
    """

    __slots__ = ("connections", "key", "key_id", "label", "sign")

    def __init__(
        self,
        api_key: str | None,
        api_secret: Credential | None,
        passphrase: str | bytes | None,
        *,
        label: str,
        account_id: str | None,
    ) -> None:
        if api_key is not None:
            check_key(api_key.encode(errors="surrogatepass"), "the API key")
        if api_secret is None and passphrase:
            raise ValueError("a passphrase was given without a private key")
        self.sign: Final[Signer | None] = None if api_secret is None else signer(api_secret, passphrase=passphrase)
        self.key: Final = Secret(api_key or "")
        # To the exchange, two labels of one key are one account.
        self.key_id: Final = _digest(api_key if account_id is None else f"account {account_id}")
        self.label: Final = label or self.key_id
        # Longer than the digest that is shown, so that no other key can be crafted to share these connections.
        self.connections: Final = hashlib.sha256(self.key.reveal()).hexdigest()


class CallSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are made, unless a call says otherwise.

    Raises:
        ValueError: a value is out of range.
    """

    max_wait: float = 60.0
    """Seconds that a call may wait for weight or a closed gate."""
    priority: Priority | None = None
    """The priority of every call; None for that of the endpoint."""
    resolve: bool = False
    """Whether an unknown outcome is resolved before a call raises."""
    attempts: int = 3
    """Maximum number of attempts of a call that may be repeated."""
    recv_window: int | None = None
    """Milliseconds for which the exchange accepts a request; None for its default."""
    jitter: Callable[[], float] = random.random
    """A random number from 0 to 1, for the delay of a retry."""

    def __post_init__(self) -> None:
        check_recv_window(self.recv_window)
        if not (self.max_wait >= 0 and self.attempts >= 1):
            raise ValueError(
                f"max_wait is {self.max_wait!r} and attempts {self.attempts!r}: give at least 0 seconds and 1 attempt"
            )


class Urls:
    """The URLs that a client sends to, and what an error adds about their source.

    Args:
        papi_url: URL of Portfolio Margin.
        sapi_url: URL of Portfolio Margin Pro.
        stream_url: URL of the user data streams; None for the exchange's, or for the host of `papi_url` if that is not
            the exchange's.
        allow_custom_host: accept other hosts than the exchange's.

    Raises:
        ValueError: a URL cannot be used.
    """

    __slots__ = ("_hints", "_urls", "stream")

    def __init__(
        self,
        *,
        papi_url: str = PAPI_URL,
        sapi_url: str = SAPI_URL,
        stream_url: str | None = None,
        allow_custom_host: bool = False,
    ) -> None:
        papi = _checked_url("papi_url", papi_url, allow_custom_host=allow_custom_host)
        sapi = _checked_url("sapi_url", sapi_url, allow_custom_host=allow_custom_host)
        # Keys of the local exchange are sent to no other place.
        self._urls: Final = {"papi": papi, "sapi": sapi, "fapi": FAPI_URL if is_exchange(sapi) else sapi}
        if stream_url is None:
            stream_url = STREAM_URL if is_exchange(papi) else papi.replace("http", "ws", 1)
        try:
            self.stream: Final = check_stream_url(stream_url, allow_custom_host=allow_custom_host)
        except ValueError as error:
            raise ValueError(f"stream_url: {error}") from None
        self._hints: Mapping[str, str] = _NO_HINTS

    def of(self, family: str) -> tuple[str, str]:
        """Return the URL of a family of paths, and its hint."""
        name = family if family in self._urls else "sapi"
        return self._urls[name], self._hints.get(name, "")

    def note_source(self, variable: str, arguments: Iterable[str]) -> None:
        """Make errors name the environment variable that some of the URLs came from."""
        hints = {name.removesuffix("_url"): f" ({variable} is set)" for name in arguments}
        self._hints = {**self._hints, **hints}


def check_recv_window(value: object) -> None:
    """Refuse a ``recv_window`` that the exchange would refuse.

    Raises:
        ValueError: with the allowed range.
    """
    if value is not None and not (type(value) is int and 0 < value <= LONGEST_RECV_WINDOW):
        raise ValueError(f"recv_window is {value!r}: the exchange allows 1 to {LONGEST_RECV_WINDOW} ms")


def _checked_url(name: str, url: str, *, allow_custom_host: bool) -> str:
    try:
        return check_url(url, allow_custom_host=allow_custom_host)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _digest(text: str | None) -> str:
    """Return a digest that distinguishes accounts in errors and logs without showing any part of the key."""
    return hashlib.sha256(text.encode()).hexdigest()[:8] if text else "no key"
