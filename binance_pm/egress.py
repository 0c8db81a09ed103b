"""How requests leave this machine: a session's arguments for its transport, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec
import sniffio

from binance_pm.arguments import check_fields
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation
from binance_pm.hosts import is_wildcard
from binance_pm.transport.http import Timeouts, Transport

if TYPE_CHECKING:
    import ssl

    from binance_pm.transport.httpx import HttpxLike
    from binance_pm.transport.proxy import Proxy

_CALL: Final = CallInfo("Session")
_FINGERPRINT: Final = "[0-9a-f]{64}"


class Egress(msgspec.Struct, frozen=True):
    """How the requests of a session leave this machine."""

    http: HttpxLike | None
    proxy: Proxy | None
    local_address: str | None
    trust_env: bool
    tls: ssl.SSLContext | None
    pins: frozenset[str]
    timeouts: Timeouts
    max_body: int

    def name(self) -> str:
        """Return what distinguishes egress IPs. A wildcard address selects only IPv4 or IPv6."""
        if self.proxy is not None:
            return self.proxy.place
        return "" if self.local_address is None or is_wildcard(self.local_address) else self.local_address

    def obstacle(self) -> str | None:
        """Return why the direct engine cannot be used; None if it can be."""
        if self.http is not None:
            return "an httpx client or transport was given"
        if self.proxy is not None or self.trust_env:
            return "it does not support proxies, and proxy or trust_env was given"
        if (loop := sniffio.current_async_library()) != "asyncio":
            return f"it runs on asyncio, and this is {loop}"
        if find_spec("httptools") is None:
            return f"httptools is not installed: {installation('fast')}"
        return None

    def open_direct(self) -> Transport:
        """Create the direct engine."""
        # An extra, so it is loaded only when it is used.
        from binance_pm.transport.direct import DirectTransport  # noqa: PLC0415

        return DirectTransport(
            timeouts=self.timeouts,
            max_body=self.max_body,
            tls=self.tls,
            pins=self.pins,
            local_address=self.local_address,
        )

    def open_httpx(self) -> Transport:
        """Create the httpx engine.

        Raises:
            ConfigurationError: the environment, or a proxy or file that it names, cannot be used.
        """
        # Importing the package must not load an engine that is not used.
        from binance_pm.transport.httpx import HttpxTransport  # noqa: PLC0415

        try:
            return HttpxTransport(
                self.http,
                timeouts=self.timeouts,
                max_body=self.max_body,
                proxy=self.proxy,
                trust_env=self.trust_env,
                tls=self.tls,
                local_address=self.local_address,
            )
        except ValueError as error:
            raise ConfigurationError(_CALL, str(error)) from None


def checked_egress(
    *,
    http: HttpxLike | None,
    proxy: str | None,
    local_address: str | None,
    trust_env: bool,
    tls: ssl.SSLContext | None,
    pins: Iterable[str],
    timeouts: Timeouts | None,
    max_body: int,
) -> Egress:
    """Check the arguments of a session that concern its transport.

    Raises:
        ConfigurationError: an argument cannot be used, or two contradict each other.
    """
    if http is not None and (proxy is not None or trust_env or tls is not None):
        raise ConfigurationError(_CALL, "http was given together with proxy, trust_env or tls: set them on it")
    local = None if local_address is None else _address(local_address)
    is_specific = local is not None and not is_wildcard(local)
    if local is not None and (http is not None or (is_specific and (proxy is not None or trust_env))):
        raise ConfigurationError(_CALL, "local_address was given together with http, proxy or trust_env")
    if max_body < 1:
        raise ConfigurationError(_CALL, f"max_body is {max_body}: give the bytes of the longest response, at least 1")
    fingerprints = _fingerprints(pins)
    read = None if proxy is None else _proxy(proxy)
    return Egress(http, read, local, trust_env, tls, fingerprints, _checked_timeouts(timeouts or Timeouts()), max_body)


def _fingerprints(pins: Iterable[str]) -> frozenset[str]:
    """Return the fingerprints of certificates in one spelling."""
    given: list[object] = list(pins)
    plain = frozenset(pin.replace(":", "").lower() if isinstance(pin, str) else "" for pin in given)
    if not all(re.fullmatch(_FINGERPRINT, pin) for pin in plain):
        raise ConfigurationError(_CALL, "a pin is not a SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def _checked_timeouts(timeouts: Timeouts) -> Timeouts:
    """Reject values that would fail in the middle of each call, or never expire."""
    check_fields("Session", timeouts, prefix="timeouts.")
    for name, seconds in msgspec.structs.asdict(timeouts).items():
        if not seconds > 0:
            what = f"timeouts.{name} is {seconds!r}: give a number of seconds above 0; math.inf stands for none"
            raise ConfigurationError(_CALL, what)
    return timeouts


def _address(text: str) -> str:
    """Return one spelling for each address, because the budget of an egress IP is looked up by address."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ConfigurationError(_CALL, "local_address is not an IP address") from None


def _proxy(url: str) -> Proxy:
    """Return the proxy that a URL names."""
    from binance_pm.transport.proxy import read_proxy  # noqa: PLC0415 - few programs need it

    try:
        return read_proxy(url)
    except ValueError as error:
        raise ConfigurationError(_CALL, f"the proxy {error}") from None
