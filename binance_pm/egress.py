"""How requests leave this machine: the arguments of a session for it, checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec

from binance_pm.arguments import check_fields
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.hosts import is_wildcard
from binance_pm.transport.http import Timeouts

if TYPE_CHECKING:
    from binance_pm.transport.proxy import Proxy

_CALL: Final = CallInfo("Session")
_FINGERPRINT: Final = "[0-9a-f]{64}"


def fingerprints(pins: Iterable[str]) -> frozenset[str]:
    """One spelling for each fingerprint of a certificate."""
    given: list[object] = list(pins)
    plain = frozenset(pin.replace(":", "").lower() if isinstance(pin, str) else "" for pin in given)
    if not all(re.fullmatch(_FINGERPRINT, pin) for pin in plain):
        raise ConfigurationError(_CALL, "a pin is no SHA-256 fingerprint: 64 hexadecimal digits")
    return plain


def checked_timeouts(timeouts: Timeouts) -> Timeouts:
    """What is no number of seconds would fail in the middle of each call, or never."""
    check_fields("Session", timeouts, prefix="timeouts.")
    for name, seconds in msgspec.structs.asdict(timeouts).items():
        if not seconds > 0:
            what = f"timeouts.{name} is {seconds!r}: give a number of seconds above 0; math.inf stands for none"
            raise ConfigurationError(_CALL, what)
    return timeouts


def address_of(text: str) -> str:
    """One spelling for each address: the budget of the way out is found by it."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise ConfigurationError(_CALL, "local_address is not an IP address") from None


def proxy_of(url: str) -> Proxy:
    """The proxy that a URL names."""
    from binance_pm.transport.proxy import read_proxy  # noqa: PLC0415 - few programs need it

    try:
        return read_proxy(url)
    except ValueError as error:
        raise ConfigurationError(_CALL, f"the proxy {error}") from None


def egress_name(proxy: Proxy | None, local_address: str | None) -> str:
    """What tells egress IPs apart; the address of no machine chooses nothing but IPv4 or IPv6."""
    if proxy is not None:
        return proxy.place
    return "" if local_address is None or is_wildcard(local_address) else local_address
