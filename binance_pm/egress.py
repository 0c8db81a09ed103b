"""How the requests of a session leave this machine: its arguments for the transport, checked, and its engine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import sniffio

from binance_pm.arguments import check_fields
from binance_pm.environment import ENGINE, environment_engine
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.hosts import is_wildcard
from binance_pm.transport.http import Timeouts, Transport, TransportSettings
from binance_pm.transport.mocks import replaced

if TYPE_CHECKING:
    import ssl

    from binance_pm.transport.httpx import HttpxLike, HttpxTransport
    from binance_pm.transport.proxy import Proxy

_CALL: Final = CallInfo("Session")
_FINGERPRINT: Final = "[0-9a-f]{64}"

Engine = Literal["httpx", "direct"]
EngineChoice = Literal["auto", "httpx", "direct"]


class Egress(msgspec.Struct, frozen=True):
    """How the requests of a session leave this machine."""

    http: HttpxLike | None
    asked_engine: EngineChoice | None
    """None for the engine that the environment names."""
    settings: TransportSettings

    def name(self) -> str:
        """Return what distinguishes egress IPs. A wildcard address selects only IPv4 or IPv6."""
        if self.settings.proxy is not None:
            return self.settings.proxy.place
        address = self.settings.local_address
        return "" if address is None or is_wildcard(address) else address

    def wanted_engine(self) -> EngineChoice:
        """Return the engine that the argument or the environment asks for; refuse an unknown engine."""
        try:
            return self.asked_engine or environment_engine(os.environ)
        except ValueError as error:
            raise ConfigurationError(_CALL, str(error)) from None

    def choose_engine(self) -> tuple[Engine, bool]:
        """Return the engine to open, and whether the httpx engine may replace it while httpx is mocked."""
        wanted, obstacle = self.wanted_engine(), self._obstacle()
        if wanted == "auto" and obstacle is None and (functions := replaced()):
            obstacle = _mocked(functions)
        if wanted == "httpx" or (wanted == "auto" and obstacle):
            if self.settings.pins:
                why = obstacle or "the httpx engine was asked for"
                raise ConfigurationError(_CALL, f"pins need the direct engine: {why}")
            return "httpx", False
        if obstacle:
            asked = f"{ENGINE} is direct, but " if self.asked_engine is None else ""
            raise ConfigurationError(_CALL, f"{asked}the direct engine cannot be used: {obstacle}")
        return "direct", wanted == "auto"

    def _obstacle(self) -> str | None:
        """Return why the direct engine cannot be used; None if it can be."""
        if self.http is not None:
            return "an httpx client or transport was given"
        if self.settings.proxy is not None or self.settings.trust_env:
            return "it does not support proxies, and proxy or trust_env was given"
        if (loop := sniffio.current_async_library()) != "asyncio":
            return f"it runs on asyncio, and this is {loop}"
        return None

    def open(self, engine: Engine) -> Transport:
        """Create the transport of an engine; refuse proxies and certificates of the environment that are unusable."""
        if engine == "direct":
            from binance_pm.transport.direct import DirectTransport  # noqa: PLC0415 - not every session needs it

            return DirectTransport(self.settings)
        return self.open_httpx()

    def open_httpx(self) -> HttpxTransport:
        """Create an httpx engine; refuse proxies and certificates of the environment that are unusable."""
        from binance_pm.transport.httpx import HttpxTransport  # noqa: PLC0415 - loading httpx takes a while

        try:
            return HttpxTransport(self.http, self.settings)
        except ValueError as error:
            raise ConfigurationError(_CALL, str(error)) from None

    def open_for_mocks(self, call: CallInfo) -> Transport:
        """Create an httpx engine next to the direct one, so that requests do not bypass a mock that began later."""
        if self.settings.pins:
            raise ConfigurationError(call, f"pins need the direct engine: {_mocked(replaced())}")
        return self.open("httpx")


def checked_egress(
    http: HttpxLike | None,
    engine: EngineChoice | None,
    *,
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
    settings = TransportSettings(
        timeouts=_checked_timeouts(timeouts or Timeouts()),
        max_body=max_body,
        tls=tls,
        pins=_fingerprints(pins),
        local_address=local,
        proxy=None if proxy is None else _proxy(proxy),
        trust_env=trust_env,
    )
    egress = Egress(http, engine, settings)
    egress.wanted_engine()
    return egress


def _mocked(functions: Iterable[str]) -> str:
    return f"httpx is mocked ({', '.join(functions)}), and the direct engine does not use it"


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
