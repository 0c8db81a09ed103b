"""What httpcore connects with, in the httpx engine."""

from __future__ import annotations

from typing import Any, Final

import anyio

from binance_pm.transport.reach import ServerAddress, reached
from binance_pm.transport.reason import Progress, Unreached
from binance_pm.transport.resolve import Address, Resolver


class Network:
    """Connects to names that are looked up in threads of our own, and to their addresses in turn.

    Args:
        inside: httpcore's own network backend.
        local_address: as for `Way`, and so is the next.
        resolver: looks names up.
    """

    def __init__(self, inside: Any, local_address: str | None, resolver: Resolver) -> None:
        self._inside: Final = inside
        self._local_address: Final = local_address
        self._resolver: Final = resolver

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> Any:
        """See `httpcore.AsyncNetworkBackend`."""
        del local_address
        way = ServerAddress(host, port, None, local_address=self._local_address, resolver=self._resolver)
        progress = Progress(timeout)

        async def connect(address: Address, local: str | None) -> Any:
            return await self._inside.connect_tcp(address[4][0], port, None, local, socket_options)

        try:
            with anyio.fail_after(timeout):
                return await reached(way, connect, progress)
        except TimeoutError:
            raise Unreached(progress.late) from None


def limit_reading(stream: Any, seconds: float) -> None:
    """Have httpcore's reads of a stream end in time; it asks a SOCKS proxy without a limit."""
    read = stream.read

    async def limited(max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        data: bytes = await read(max_bytes, seconds if timeout is None else timeout)
        return data

    stream.read = limited
