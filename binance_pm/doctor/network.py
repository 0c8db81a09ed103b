"""Checks of the path to a host: name resolution, connection and certificate. No request is sent."""

# ruff: noqa: S610 - `extra` is not Django's

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Container
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

STEP_SECONDS: Final = 5.0
"""Time limit in seconds for each step."""
_PORTS: Final = {"http": 80, "https": 443}
_TRIED: Final = 4
"""Number of addresses of a host that are tried."""
_LONGEST_HEAD: Final = 1 << 16
_SOON: Final = 14 * 86400
_VARIABLES: Final = {"http_proxy", "https_proxy", "all_proxy"}
_UNNAMED: Final = "an unnamed issuer"

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
    """Return the network path by which the client reaches a URL; the session reports proxies that cannot be used."""
    parts = urlsplit(url)
    host, is_https = parts.hostname or "", parts.scheme == "https"
    named = tuple(name for name in sorted(os.environ) if name.lower() in _VARIABLES and os.environ[name])
    proxy = None
    if trust_env:
        with suppress(ValueError):
            proxy = environment_proxies()(url)
    return NetworkPath(host, parts.port or _PORTS[parts.scheme], is_https, proxy, () if trust_env else named)


async def check_network(
    route: NetworkPath, tls: ssl.SSLContext, *, seconds: float = STEP_SECONDS, pins: Container[str] = ()
) -> tuple[Check, Check]:
    """Check whether a connection can be made and whether the certificate is valid: the checks ``egress`` and ``tls``.

    Each step has a time limit of ``seconds``. If there are pins, the certificate must match one of them.
    """
    began = time.monotonic()
    try:
        async with _connection(route, seconds) as stream:
            egress = _connected(route, stream, time.monotonic() - began)
            return egress, await _check_tls(route, stream, tls, seconds, pins)
    except _Failed as failure:
        what, advice = failure.args
        return (
            Check("egress", route.name, "failed", f"{route.name}: {what}", advice),
            Check("tls", route.name, "not checked", f"{route.name}: not reached"),
        )


class _Failed(Exception):
    """A failure: the finding and what to do about it."""


@asynccontextmanager
async def _connection(route: NetworkPath, seconds: float) -> AsyncGenerator[anyio.abc.SocketStream, None]:
    """Connect to the host, or to the host through the proxy's tunnel."""
    proxy = route.proxy
    host, port = (route.host, route.port) if proxy is None else (proxy.host, proxy.port)
    stream = await _connect(await _resolve(host, port, route, seconds), port, route, seconds)
    async with stream:
        if proxy is not None and proxy.scheme == "http":
            await _tunnel(stream, route, proxy, seconds)
        yield stream


async def _resolve(host: str, port: int, route: NetworkPath, seconds: float) -> list[str]:
    """Return the addresses of a name, in the order in which they are tried."""
    try:
        with anyio.fail_after(seconds):
            found = await RESOLVER.addresses(host, port)
    except (OSError, UnicodeError) as error:
        is_direct = route.proxy is None and not route.ignored
        advice = "Check this machine's network and name server." if is_direct else _advice(route)
        raise _failed(route, Progress(seconds).cause(error), advice) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _connect(addresses: list[str], port: int, route: NetworkPath, seconds: float) -> anyio.abc.SocketStream:
    """Connect to the first address that accepts a connection."""
    reason = "the name has no address"
    for address in addresses[:_TRIED]:
        try:
            with anyio.fail_after(seconds / 2):
                return await anyio.connect_tcp(address, port)
        except OSError as error:
            reason = Progress(seconds / 2, f"{CONNECTING} at {address}").cause(error)
    raise _failed(route, reason)


async def _tunnel(stream: anyio.abc.SocketStream, route: NetworkPath, proxy: Proxy, seconds: float) -> None:
    """Ask the proxy to open a tunnel to the host."""
    place = f"[{route.host}]:{route.port}" if ":" in route.host else f"{route.host}:{route.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.auth is not None:
        credentials = ":".join(proxy.auth)
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}")
    head = b""
    try:
        with anyio.fail_after(seconds):
            await stream.send("\r\n".join([*lines, "", ""]).encode())
            while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
                head += await stream.receive()
    except (TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        raise _failed(route, "no response to CONNECT") from None
    status = b"".join(head.split(b" ", 2)[1:2])
    if status != b"200":
        response = f"HTTP {status.decode()}" if status.isdigit() and len(status) == 3 else "not HTTP"
        raise _failed(route, f"the response to CONNECT is {response}")


def _failed(route: NetworkPath, what: str, advice: str = "") -> _Failed:
    via = "" if route.proxy is None else f"the proxy {route.proxy.place}: "
    return _Failed(via + what, advice or _advice(route))


def _advice(route: NetworkPath) -> str:
    """Return what to do if no connection can be made."""
    if route.proxy is not None:
        return "Correct the proxy in the environment, or omit --trust-env."
    if route.ignored:
        return f"If this machine needs the proxy of {route.ignored[0]}: --trust-env, Session(trust_env=True)."
    return f"Allow this machine to connect to {route.host}, port {route.port}."


def _connected(route: NetworkPath, stream: anyio.abc.SocketStream, seconds: float) -> Check:
    peer = stream.extra(SocketAttribute.remote_address)
    local = stream.extra(SocketAttribute.local_address)
    family = "IPv6" if stream.extra(SocketAttribute.family) == socket.AF_INET6 else "IPv4"
    via = f"{family} {peer[0]}" if route.proxy is None else f"the proxy {route.proxy.place} ({family} {peer[0]})"
    what = f"{route.name}: through {via}, from {local[0]}, connected in {seconds * 1000:.0f} ms"
    if route.ignored:
        what += f"; {', '.join(route.ignored)} names a proxy, which is not used"
        advice = "Ignore this if intended. To use the proxy: --trust-env, Session(trust_env=True)."
        return Check("egress", route.name, "warning", what, advice)
    return Check("egress", route.name, "ok", what)


async def _check_tls(
    route: NetworkPath, stream: anyio.abc.SocketStream, tls: ssl.SSLContext, seconds: float, pins: Container[str]
) -> Check:
    if not route.is_https:
        return Check("tls", route.name, "not checked", f"{route.name}: http on this machine, without TLS")
    if route.proxy is not None and route.proxy.scheme != "http":
        return Check("tls", route.name, "not checked", f"{route.name}: the proxy uses {route.proxy.scheme}")
    try:
        with anyio.fail_after(seconds):
            wrapped = await TLSStream.wrap(stream, hostname=route.host, ssl_context=tls, standard_compatible=False)
    except ssl.SSLCertVerificationError as error:
        what, advice = _unverified(route, error, await _read_certificate(route, seconds))
    except TimeoutError:
        what = f"no handshake within {seconds:g} s"
        advice = "Try again; if this repeats, look for a firewall or proxy on the path."
    except (ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError, OSError):
        what = "the server does not complete a TLS handshake"
        advice = "Check the address: a captive portal or a proxy may have answered instead of the host."
    else:
        return _verified(route, wrapped, pins)
    return Check("tls", route.name, "failed", f"{route.name}: {what}", advice)


def _verified(route: NetworkPath, stream: TLSStream, pins: Container[str]) -> Check:
    fingerprint = hashlib.sha256(stream.extra(TLSAttribute.peer_certificate_binary) or b"").hexdigest()
    if pins and fingerprint not in pins:
        what = f"{route.name}: the certificate matches none of the pins; its SHA-256 fingerprint is {fingerprint}"
        advice = "Pin this certificate if Binance has renewed it; otherwise another server answered."
        return Check("tls", route.name, "failed", what, advice)
    certificate = cast("dict[str, Any]", stream.extra(TLSAttribute.peer_certificate))
    issuer = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    expires = ssl.cert_time_to_seconds(certificate["notAfter"])
    name = issuer.get("organizationName") or issuer.get("commonName") or _UNNAMED
    version = stream.extra(TLSAttribute.tls_version)
    what = f"{route.name}: {version}, certificate issued by {name}, valid until {_day(expires)}"
    if expires - time.time() < _SOON:
        advice = "Nothing to do here; check later whether the certificate was renewed."
        return Check("tls", route.name, "warning", what, advice)
    return Check("tls", route.name, "ok", what)


class _Certificate(NamedTuple):
    issuer: str
    names: str
    expires: float


def _unverified(route: NetworkPath, error: ssl.SSLCertVerificationError, seen: _Certificate | None) -> tuple[str, str]:
    """Return finding and advice for a certificate that failed verification."""
    issuer = f" issued by {seen.issuer}" if seen else ""
    if error.verify_code in _EXPIRED:
        until = f", valid until {_day(seen.expires)}," if seen else ""
        advice = "Correct this machine's clock if its date is wrong; otherwise another server answered."
        return f"the certificate{issuer}{until} is not valid on {_day(time.time())}, this machine's date", advice
    if error.verify_code in _WRONG_HOST:
        advice = "Check the base URL and the name server: another server answered."
        return f"the certificate{issuer} is for {seen.names if seen else 'another host'}", advice
    advice = f"Exempt {route.host} from TLS inspection, which can read signed requests."
    return f"the certificate{issuer} is not trusted ({error.verify_message})", advice


async def _read_certificate(route: NetworkPath, seconds: float) -> _Certificate | None:
    """Read the certificate without verification, for the finding only; None if it cannot be read."""
    try:
        from cryptography import x509  # noqa: PLC0415 - the extra `keys`
    except ImportError:
        return None
    # `ssl.create_default_context` would write the connection's keys to a file if SSLKEYLOGFILE is set.
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with anyio.fail_after(seconds):
            async with _connection(route, seconds) as stream:
                wrapped = await TLSStream.wrap(stream, hostname=route.host, ssl_context=unchecked)
                found = x509.load_der_x509_certificate(wrapped.extra(TLSAttribute.peer_certificate_binary) or b"")
        issuer = {attribute.oid: str(attribute.value) for attribute in found.issuer}
        name = issuer.get(x509.NameOID.ORGANIZATION_NAME) or issuer.get(x509.NameOID.COMMON_NAME) or _UNNAMED
        names = ""
        with suppress(x509.ExtensionNotFound):
            alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = ", ".join(str(alternative.value) for alternative in alternatives)
        names = names or "another host"
        return _Certificate(_presentable(name), _presentable(names), found.not_valid_after_utc.timestamp())
    except (OSError, ValueError, _Failed, anyio.EndOfStream, anyio.BrokenResourceError):
        return None


def _presentable(text: str) -> str:
    """Return one short printable line: the text of a certificate is not trusted."""
    return "".join(character for character in text if character.isprintable())[:80]


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
