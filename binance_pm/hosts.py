"""The exchange's hosts, and the other hosts that a key may be sent to.

Sources (read 2026-11-21):
    https://developers.binance.com/docs/derivatives/portfolio-margin/general-info
    https://developers.binance.com/docs/derivatives/portfolio-margin-pro/general-info
"""

from __future__ import annotations

import re
import sys
from collections.abc import Container
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

PAPI_URL: Final = "https://papi.binance.com"
SAPI_URL: Final = "https://api.binance.com"
FAPI_URL: Final = "https://fapi.binance.com"
"""Creates the listen keys of Portfolio Margin Pro."""
STREAM_URL: Final = "wss://fstream.binance.com"
"""The user data streams of both products."""

_HOSTS: Final = {
    "papi.binance.com",
    "api.binance.com",
    # Faster but less stable, according to the exchange.
    "api1.binance.com",
    "api2.binance.com",
    "api3.binance.com",
    "api4.binance.com",
}
_STREAM_HOSTS: Final = {"fstream.binance.com"}

_LABEL: Final = "[A-Za-z0-9_-]{1,63}"
# Libraries disagree about all other forms, such as "[::1]evil.example" and "[::1%25eth0]": the host that is checked
# must be the host that is called.
_NETLOC: Final = rf"(?:\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*\.?)(?::[0-9]*)?"
# The system's resolver reads 2130706433, 127.1 and 0x7f.0.0.1 as addresses, so a name must not end in a number.
_NUMBER: Final = r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?"

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_SAPI_DOORS: Final = {f"https://api{number}.binance.com" for number in range(1, 5)}


def check_url(url: str, *, allow_custom_host: bool) -> str:
    """Return the origin of a URL that keys may be sent to.

    That is one of the exchange's hosts over https, or this machine, for which plain http is allowed, too.

    Raises:
        ValueError: the URL is rejected; the text gives the reason and shows no password.
    """
    return _checked(url, PAPI_URL, _HOSTS, allow_custom_host=allow_custom_host)


def check_stream_url(url: str, *, allow_custom_host: bool) -> str:
    """Return the origin of a URL that listen keys may be sent to.

    That is the exchange's host over wss, or this machine, for which plain ws is allowed, too.

    Raises:
        ValueError: the URL is rejected; the text gives the reason and shows no password.
    """
    return _checked(url, STREAM_URL, _STREAM_HOSTS, allow_custom_host=allow_custom_host)


def is_exchange(url: str) -> bool:
    """Return whether a checked URL is one of the exchange's hosts."""
    return urlsplit(url).hostname in _HOSTS


def split_link(link: str, *, local: bool, refused: str) -> tuple[str, str]:
    """Return origin and target of a link to a file, which is fetched without a key.

    The link may lack a scheme. It must be https and must not lead to a host that keys are sent to.

    Args:
        link: the link. No error shows a part of it but the host.
        local: whether the exchange is on this machine: then its files are, too, and plain http is allowed.
        refused: an origin that is refused besides the exchange's.

    Raises:
        ValueError: the link is rejected; the text gives the reason.
    """
    is_bare = "://" not in link
    parts = _split(f"{'http' if local else 'https'}://{link}" if is_bare else link)
    if parts is None or not parts.hostname or "@" in parts.netloc or not _is_host_and_port(parts):
        raise ValueError("the link is not a URL")
    shown = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme != "https" and not (local and parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError(f"the link leads to {shown}, which is not https")
    if _is_loopback(parts.hostname) and not local:
        raise ValueError(f"the link leads to {shown}, which is this machine")
    origin = _origin(parts, parts.hostname)
    if parts.hostname.rstrip(".") in _HOSTS or origin == refused:
        raise ValueError(f"the link leads to {shown}, where keys are sent, and not to a file server")
    return origin, f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"


def counted_url(url: str) -> str:
    """Return the URL under which the exchange counts: its numbered hosts share one counter."""
    return SAPI_URL if url in _SAPI_DOORS else url


def is_loopback(url: str) -> bool:
    """Return whether the URL, or a host without a scheme, is this machine's own."""
    try:
        return _is_loopback(urlsplit(url if "//" in url else f"//{url}").hostname or "")
    except ValueError:
        return False


def is_wildcard(address: str) -> bool:
    """Return whether the address belongs to no machine, and selects only the address family."""
    return ip_address(address).is_unspecified


def _checked(url: str, usual: str, hosts: Container[str], *, allow_custom_host: bool) -> str:
    secure = urlsplit(usual).scheme
    parts = _split(url)
    if parts is not None and "@" in parts.netloc:
        raise ValueError("the base URL has a user name in it: remove it")
    if parts is None or not parts.hostname or not _is_host_and_port(parts):
        raise ValueError(f"the base URL is not a URL such as {usual}")
    shown = f"{parts.scheme}://{parts.netloc}"
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"the base URL has something after the host: {shown} is enough")
    local = _is_loopback(parts.hostname)
    if parts.scheme != secure and not (local and parts.scheme == secure[:-1]):
        raise ValueError(f"{shown} is not {secure}: a key would be sent in the clear")
    if not (local or allow_custom_host or (parts.hostname in hosts and parts.port in {None, 443})):
        raise ValueError(f"{shown} is not the exchange's: allow_custom_host=True sends the key there all the same")
    return _origin(parts, parts.hostname)


def _split(url: str) -> SplitResult | None:
    # urlsplit silently drops tabs and line ends, and browsers and libraries interpret backslashes differently.
    if not (url.isascii() and url.isprintable()) or "\\" in url or " " in url:
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port > 0 else None
    except ValueError:
        return None


def _is_host_and_port(parts: SplitResult) -> bool:
    """Return whether the URL has a name, an IPv4 address or an IPv6 address in brackets, with an optional port."""
    host = parts.hostname or ""
    is_address = parts.netloc.startswith("[") or re.fullmatch(_NUMBER, host)
    return re.fullmatch(_NETLOC, parts.netloc) is not None and (not is_address or _address(host) is not None)


def _origin(parts: SplitResult, host: str) -> str:
    """Return one spelling for each origin, because counters are looked up by URL, and one text for all clients."""
    address = _address(host)
    name = f"[{address}]" if isinstance(address, IPv6Address) else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    return sys.intern(f"{parts.scheme}://{name}{port}")


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
