"""Asks a proxy for a connection to a stream. The proxy learns only host and port: what follows is encrypted."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from binance_pm.transport.proxy import Proxy
from binance_pm.transport.reason import Unreached, proxy_refusal

_LONGEST_HEAD: Final = 2**16
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")


class RawStream(NamedTuple):
    """A connection to a proxy."""

    send: Callable[[bytes], Awaitable[object]]
    receive: Callable[[], Awaitable[bytes]]
    """Returns no bytes at the end."""


async def open_tunnel(proxy: Proxy, stream: RawStream, host: str, port: int) -> None:
    """Ask a proxy to connect to a host.

    Raises:
        Unreached: the proxy refused; the text is the cause.
    """
    if proxy.scheme.startswith("socks"):
        await _ask_socks(proxy, stream, host, port)
    else:
        await _ask_http(proxy, stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


async def _ask_http(proxy: Proxy, stream: RawStream, place: str) -> None:
    head = f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"
    if proxy.auth is not None:
        head += f"Proxy-Authorization: Basic {base64.b64encode(':'.join(proxy.auth).encode()).decode()}\r\n"
    await stream.send(f"{head}\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = await stream.receive()
        answer += piece
        if not piece or len(answer) > _LONGEST_HEAD:
            raise Unreached("the proxy closed the connection" if not piece else "the proxy's answer is too long")
    status = _STATUS.match(answer)
    if status is None:
        raise Unreached("the proxy did not answer in HTTP")
    # The server says nothing before the TLS handshake.
    if not status[1].startswith(b"2") or not answer.endswith(b"\r\n\r\n"):
        raise Unreached(f"the proxy {proxy_refusal(status[1].decode())}")


async def _ask_socks(proxy: Proxy, stream: RawStream, host: str, port: int) -> None:
    # Without this extra of httpx, a SOCKS proxy is refused when the session is created.
    from socksio import socks5  # noqa: PLC0415 - an extra

    connection: Any = socks5.SOCKS5Connection()

    async def ask(request: Any) -> Any:
        connection.send(request)
        await stream.send(connection.data_to_send())
        answer = await stream.receive()
        if not answer:
            raise Unreached("the proxy closed the connection")
        return connection.receive_data(answer)

    methods = socks5.SOCKS5AuthMethod
    method = methods.NO_AUTH_REQUIRED if proxy.auth is None else methods.USERNAME_PASSWORD
    if (await ask(socks5.SOCKS5AuthMethodsRequest([method]))).method != method:
        raise Unreached("the proxy refused the way of authentication")
    if proxy.auth is not None:
        user, password = (part.encode() for part in proxy.auth)
        if not (await ask(socks5.SOCKS5UsernamePasswordRequest(user, password))).success:
            raise Unreached("the proxy refused user and password")
    command = socks5.SOCKS5CommandRequest.from_address(socks5.SOCKS5Command.CONNECT, (host, port))
    code = (await ask(command)).reply_code
    if code != socks5.SOCKS5ReplyCode.SUCCEEDED:
        raise Unreached(f"the proxy {proxy_refusal(code.name.lower().replace('_', ' '))}")
