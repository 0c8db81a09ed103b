"""Checks of the path to a host: name resolution, connection and certificate. No request is sent."""

# ruff: noqa: S610 - `extra` is not Django's

from __future__ import annotations

import base64
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import anyio
import anyio.abc
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from binance_pm.doctor.check import Check
from binance_pm.transport.connect import RESOLVER
from binance_pm.transport.proxy import Proxy, environment_proxies
from binance_pm.transport.reason import CONNECTING, Progress

SECONDS: Final = 5.0
"""Time limit in seconds for each step."""
_PORTS: Final = {"http": 80, "https": 443}
_TRIED: Final = 4
"""Number of addresses of a host that are tried."""
_LONGEST_HEAD: Final = 1 << 16
_SOON: Final = 14 * 86400

# OpenSSL's own numbers (x509_vfy.h).
_EXPIRED: Final = {9, 10}
_WRONG_HOST: Final = {62, 64}


class NetworkPath(NamedTuple):
    """The network path to a host."""

    host: str
    port: int
    is_https: bool
    proxy: Proxy | None
    """The proxy that is used; None for a direct connection."""
    ignored: tuple[str, ...]
    """Environment variables that name a proxy which is not used."""

    @property
    def name(self) -> str:
        """The host, with its port if that is not the default port of the scheme."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == _PORTS["https" if self.is_https else "http"] else f"{shown}:{self.port}"


def network_path(url: str, *, trust_env: bool) -> NetworkPath:
    """Return the network path by which the client reaches a URL.

    Args:
        url: scheme, host and port.
        trust_env: whether the environment may name proxies. The session reports proxies that cannot be used.
    """
    parts = urlsplit(url)
    host, is_https = parts.hostname or "", parts.scheme == "https"
    named = tuple(name for name in sorted(os.environ) if name.lower() in _VARIABLES and os.environ[name])
    proxy = None
    if trust_env:
        with suppress(ValueError):
            proxy = environment_proxies()(url)
    return NetworkPath(host, parts.port or _PORTS[parts.scheme], is_https, proxy, () if trust_env else named)


_VARIABLES: Final = {"http_proxy", "https_proxy", "all_proxy"}


async def check_network(route: NetworkPath, tls: ssl.SSLContext) -> tuple[Check, Check]:
    """Check whether a connection can be made and whether the certificate is valid: the checks ``egress`` and ``tls``.

    Args:
        route: the network path to the host.
        tls: TLS settings of the client.
    """
    began = time.monotonic()
    try:
        async with _connection(route) as stream:
            egress = _reached(route, stream, time.monotonic() - began)
            unchecked = _without_tls(route)
            return egress, unchecked or await _check_tls(route, stream, tls)
    except _Failed as failure:
        what, advice = failure.args
        return (
            Check("egress", route.name, "failed", f"{route.name}: {what}", advice),
            Check("tls", route.name, "not checked", f"{route.name}: it was not reached"),
        )


class _Failed(Exception):
    """A failure: the finding and what to do about it."""


@asynccontextmanager
async def _connection(route: NetworkPath) -> AsyncGenerator[anyio.abc.SocketStream, None]:
    """Connect to the host, or to the host through the proxy's tunnel."""
    host, port = route.host, route.port
    if route.proxy is not None:
        host, port = route.proxy.host, route.proxy.port
    stream = await _connect(await _resolve(host, port, route), port, route)
    async with stream:
        if route.proxy is not None and route.proxy.scheme == "http":
            await _tunnel(stream, route, route.proxy)
        yield stream


async def _connect(addresses: list[str], port: int, route: NetworkPath) -> anyio.abc.SocketStream:
    """Connect to the first address that accepts a connection."""
    reason = "the name has no address"
    for address in addresses[:_TRIED]:
        try:
            with anyio.fail_after(SECONDS / 2):
                return await anyio.connect_tcp(address, port)
        except OSError as error:
            reason = Progress(SECONDS / 2, f"{CONNECTING} at {address}").cause(error)
    raise _Failed(_whose(route) + reason, _open(route))


def _whose(route: NetworkPath) -> str:
    return "" if route.proxy is None else f"the proxy {route.proxy.place}: "


def _open(route: NetworkPath) -> str:
    """Return what to do if no connection can be made."""
    if route.proxy is not None:
        return "Correct the proxy in the environment, or go without --trust-env."
    if route.ignored:
        return (
            f"Use the proxy of {route.ignored[0]} if there is no other way out: --trust-env, Session(trust_env=True)."
        )
    return f"Let this machine connect to {route.host}, port {route.port}."


async def _resolve(host: str, port: int, route: NetworkPath) -> list[str]:
    """Return the addresses of a name, in the order in which they are tried."""
    advice = "Check the name server of this machine, and whether it has a network."
    if route.proxy is None and route.ignored:
        advice = _open(route)
    try:
        with anyio.fail_after(SECONDS):
            found = await RESOLVER.addresses(host, port)
    except (OSError, UnicodeError) as error:
        raise _Failed(_whose(route) + Progress(SECONDS).cause(error), advice) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _tunnel(stream: anyio.abc.SocketStream, route: NetworkPath, proxy: Proxy) -> None:
    """Ask the proxy to open a tunnel to the host."""
    place = f"[{route.host}]:{route.port}" if ":" in route.host else f"{route.host}:{route.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.auth is not None:
        credentials = ":".join(proxy.auth)
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    head = b""
    try:
        with anyio.fail_after(SECONDS):
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
                head += await stream.receive()
    except (TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        raise _Failed(f"{_whose(route)}it opened no tunnel", _open(route)) from None
    status = head.split(b" ", 2)[1:2]
    if status != [b"200"]:
        said = status[0].decode() if status and status[0].isdigit() and len(status[0]) == 3 else "something else"
        raise _Failed(f"{_whose(route)}it answered {said} to CONNECT", _open(route))


def _reached(route: NetworkPath, stream: anyio.abc.SocketStream, seconds: float) -> Check:
    peer = stream.extra(SocketAttribute.remote_address)
    local = stream.extra(SocketAttribute.local_address)
    family = "IPv6" if stream.extra(SocketAttribute.family) == socket.AF_INET6 else "IPv4"
    way = f"{family} {peer[0]}" if route.proxy is None else f"the proxy {route.proxy.place} ({family} {peer[0]})"
    what = f"{route.name}: by {way}, from {local[0]}, connected in {seconds * 1000:.0f} ms"
    if route.ignored:
        what += f"; {', '.join(route.ignored)} names a proxy, which is not used"
        advice = "Nothing, if that is meant; to go through it: --trust-env, and Session(trust_env=True)."
        return Check("egress", route.name, "warning", what, advice)
    return Check("egress", route.name, "ok", what)


def _without_tls(route: NetworkPath) -> Check | None:
    if not route.is_https:
        return Check("tls", route.name, "not checked", f"{route.name}: this machine is asked by http, without TLS")
    if route.proxy is not None and route.proxy.scheme != "http":
        return Check("tls", route.name, "not checked", f"{route.name}: the proxy speaks {route.proxy.scheme}")
    return None


async def _check_tls(route: NetworkPath, stream: anyio.abc.SocketStream, tls: ssl.SSLContext) -> Check:
    try:
        with anyio.fail_after(SECONDS):
            wrapped = await TLSStream.wrap(stream, hostname=route.host, ssl_context=tls, standard_compatible=False)
    except ssl.SSLCertVerificationError as error:
        return await _unverified(route, error)
    except TimeoutError:
        what, advice = f"no handshake within {SECONDS:g} s", "Try again; if it stays so, look at what is in between."
    except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError, OSError):
        what = "what answers there does not speak TLS as this machine does"
        advice = "Check the address: a captive portal or a proxy answers in its place."
    else:
        return _proven(route, wrapped)
    return Check("tls", route.name, "failed", f"{route.name}: {what}", advice)


def _proven(route: NetworkPath, stream: TLSStream) -> Check:
    certificate = cast("dict[str, Any]", stream.extra(TLSAttribute.peer_certificate))
    issuer = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    expires = ssl.cert_time_to_seconds(certificate["notAfter"])
    name = issuer.get("organizationName") or issuer.get("commonName") or "nobody"
    what = (
        f"{route.name}: {stream.extra(TLSAttribute.tls_version)}, certificate issued by {name}, until {_day(expires)}"
    )
    if expires - time.time() < _SOON:
        advice = "Nothing on this side; watch whether it is renewed."
        return Check("tls", route.name, "warning", what, advice)
    return Check("tls", route.name, "ok", what)


async def _unverified(route: NetworkPath, error: ssl.SSLCertVerificationError) -> Check:
    """Return the check for a certificate that failed verification, with details from the certificate."""
    seen = await _look_at_certificate(route)
    issuer = f", issued by {seen.issuer}" if seen else ""
    if error.verify_code in _EXPIRED:
        until = f" It was valid until {_day(seen.expires)}; this machine's date is {_day(time.time())}." if seen else ""
        what = f"the certificate{issuer} is not valid now.{until}"
        advice = "Set this machine's clock if its date is wrong; otherwise somebody else answers there."
    elif error.verify_code in _WRONG_HOST:
        what = f"the certificate{issuer} is for {seen.names if seen else 'another host'}"
        advice = "Check the base URL and the name server: somebody else answers there."
    else:
        what = f"no public authority vouches for the certificate{issuer} ({error.verify_message})"
        advice = f"Have {route.host} exempted from TLS inspection: whoever opens it can read the key's requests."
    return Check("tls", route.name, "failed", f"{route.name}: {what}", advice)


class _Certificate(NamedTuple):
    issuer: str
    names: str
    expires: float


async def _look_at_certificate(route: NetworkPath) -> _Certificate | None:
    """Read the certificate without verification, for the finding only; None if it cannot be read."""
    try:
        from cryptography import x509  # noqa: PLC0415 - the extra `keys`
    except ImportError:
        return None
    # `ssl.create_default_context` would write the connection's keys to a file if SSLKEYLOGFILE is set.
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with anyio.fail_after(SECONDS):
            async with _connection(route) as stream:
                wrapped = await TLSStream.wrap(stream, hostname=route.host, ssl_context=unchecked)
                found = x509.load_der_x509_certificate(wrapped.extra(TLSAttribute.peer_certificate_binary) or b"")
        issuer = {attribute.oid: str(attribute.value) for attribute in found.issuer}
        name = issuer.get(x509.NameOID.ORGANIZATION_NAME) or issuer.get(x509.NameOID.COMMON_NAME) or "nobody"
        return _Certificate(_presentable(name), _presentable(_names(found)), found.not_valid_after_utc.timestamp())
    except (OSError, ValueError, _Failed, anyio.EndOfStream, anyio.BrokenResourceError):
        return None


def _names(certificate: Any) -> str:
    from cryptography import x509  # noqa: PLC0415 - the extra `keys`

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "another host"
    return ", ".join(str(name.value) for name in names) or "another host"


def _presentable(text: str) -> str:
    """Return one short printable line: the text of a certificate is not trusted."""
    return "".join(character for character in text if character.isprintable())[:80]


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
