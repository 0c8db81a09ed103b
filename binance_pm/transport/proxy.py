"""Proxies from an argument or from the environment.

An HTTP proxy is asked for a tunnel with CONNECT, a SOCKS proxy for a connection. The traffic is encrypted: the proxy
learns only the exchange's host and port. Plain http is only for this machine and would show key and signature to a
proxy, so such requests use no proxy.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from binance_pm.extras import installing
from binance_pm.signing import Secret

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Proxy:
    """A proxy whose text representations never show its password."""

    __slots__ = ("_auth", "host", "port", "scheme")

    def __init__(self, scheme: str, host: str, port: int, userinfo: str | None) -> None:
        self.scheme: Final = scheme
        self.host: Final = host
        """A host name or an IP address."""
        self.port: Final = port
        self._auth: Final = None if userinfo is None else Secret(userinfo)

    @property
    def place(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.place}"

    @property
    def auth(self) -> tuple[str, str] | None:
        """User and password."""
        if self._auth is None:
            return None
        user, _, password = self._auth.reveal().decode().partition(":")
        return unquote(user), unquote(password)

    def __repr__(self) -> str:
        return f"Proxy({self.url})"


Proxies = Callable[[str], Proxy | None]
"""Maps an origin to the proxy for its requests; None for no proxy."""


def read_proxy(url: str) -> Proxy:
    """Return the proxy that a URL names.

    Raises:
        ValueError: the URL cannot be used; the text says why, without showing any part that may be a password.
    """
    if not url:
        raise ValueError("is empty")
    if not url.isprintable() or " " in url:
        raise ValueError("has a space or a control character in it")
    scheme, separator, rest = url.partition("://")
    if not separator or any(mark in scheme for mark in "/?#@"):
        raise ValueError("has no scheme: put http:// in front")
    if scheme.lower() not in _PORTS:
        raise ValueError(f"has a scheme other than {', '.join(_PORTS)}")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    userinfo, _, place = authority.rpartition("@")
    tail = rest[len(authority) :]
    if "@" in tail or "@" in userinfo:
        raise ValueError(
            "has one of @ / ? # in its user or password: write them as %40 %2F %3F %23, "
            "or take urllib.parse.quote(password, safe='')"
        )
    if tail not in {"", "/"}:
        raise ValueError("has something after host and port: remove it")
    host, port = _host_and_port(place, _PORTS[scheme.lower()])
    if scheme.lower().startswith("socks") and find_spec("socksio") is None:
        raise ValueError(f"is a SOCKS proxy, for which httpx needs its extra: {installing('httpx[socks]')}")
    return Proxy(scheme.lower(), host, port, userinfo or None)


def environment_proxies() -> Proxies:
    """Return the proxies that the environment currently names.

    Raises:
        ValueError: a variable cannot be used; the text names it and shows no password.
    """
    found = urllib.request.getproxies()
    # If https has its own proxy, the other variables are unused, even if they are invalid.
    schemes = ("https",) if found.get("https") else ("http", "all")
    named = {scheme: found[scheme] for scheme in schemes if found.get(scheme)}
    if not named:
        return lambda _origin: None
    proxies: dict[str, Proxy] = {}
    for scheme, url in named.items():
        try:
            proxies[scheme] = read_proxy(url if "://" in url else f"http://{url}")
        except ValueError as error:
            raise ValueError(f"{_variable(scheme)} {error}") from None
    exemptions = _exemptions(found.get("no", ""))
    is_of_system = not urllib.request.getproxies_environment()

    @lru_cache(maxsize=64)
    def proxy_of(origin: str) -> Proxy | None:
        parts = urlsplit(origin)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        if parts.scheme != "https" or any(is_exempt(host, port) for is_exempt in exemptions):
            return None
        if is_of_system and urllib.request.proxy_bypass(host):
            return None
        return proxies.get("https") or proxies.get("all")

    return proxy_of


def _variable(scheme: str) -> str:
    """Return the name of the variable as spelled in this environment."""
    for name in (f"{scheme}_proxy", *os.environ):
        if name.lower() == f"{scheme}_proxy" and os.environ.get(name):
            return name
    return f"the system's {scheme} proxy"


_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?")
_PATTERN: Final = re.compile(r"\.?[A-Za-z0-9_*-]+(?:\.[A-Za-z0-9_*-]+)*\.?")
_PLACE: Final = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([^:]*))?")

_Exemption = Callable[[str, int], bool]


def _host_and_port(place: str, usual: int) -> tuple[str, int]:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError("has no host that is a name, an IPv4 address or an IPv6 address in brackets")
    host, number = found[1], found[2]
    if not host:
        raise ValueError("has no host")
    if host.startswith("["):
        host = _address(host[1:-1])
    elif not _NAME.fullmatch(host):
        raise ValueError("has no host that is a name, an IPv4 address or an IPv6 address in brackets")
    return host, usual if number is None else _port(number)


def _address(text: str) -> str:
    with suppress(ValueError):
        address = ip_address(text)
        if address.version == 6 and "%" not in text:
            return str(address)
    raise ValueError("has no IPv6 address in its brackets")


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError("has a port that is not a number from 1 to 65535")
    return int(text)


def _exemptions(text: str) -> list[_Exemption]:
    """Parse ``NO_PROXY``: the hosts that are reached without a proxy."""
    found: list[_Exemption] = []
    for entry in re.split(r"[,\s]+", text):
        if not entry:
            continue
        try:
            found.append(_exemption(entry))
        except ValueError as error:
            shown = "an entry" if "@" in entry or not entry.isprintable() else f"the entry {entry[:60]!r}"
            raise ValueError(
                f"{_variable('no')} has {shown}, which {error}. Write names, domains, addresses or networks, "
                "separated by commas, or leave it out"
            ) from None
    return found


def _exemption(entry: str) -> _Exemption:
    scheme, separator, place = entry.rpartition("://")
    if separator and scheme.lower() not in {"http", "https", "all"}:
        raise ValueError("has a scheme other than http, https and all")
    is_of_others = scheme.lower() == "http"
    place = place.rstrip("/") if separator else place
    if place == "*":
        return lambda _host, _port: not is_of_others
    with suppress(ValueError):
        network = ip_network(place, strict=False)
        return lambda host, _port: not is_of_others and _is_inside(host, network)
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ValueError("is not a name or an address")
    name, number = found[1].lower(), None if found[2] is None else _port(found[2])
    if name.startswith("["):
        name = _address(name[1:-1])
    elif not _PATTERN.fullmatch(name):
        raise ValueError("is not a name or an address")
    return lambda host, port: not is_of_others and number in {None, port} and _is_of(host, name)


def _is_inside(host: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(host) in network
    except ValueError:
        return False


def _is_of(host: str, pattern: str) -> bool:
    """Return whether the host is the name, or a subdomain of the name."""
    name = pattern.lstrip("*").strip(".")
    host = host.rstrip(".")
    return fnmatchcase(host, name) if "*" in name else host == name or host.endswith(f".{name}")
