"""The network to the simulated exchange: slow, with varying latency, and sometimes lossy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from binance_pm.budget import Charge
from binance_pm.transport.http import HttpResponse
from tests.simulation.server import Server


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """Latency and loss of calls; each latency is random, so calls overtake each other."""

    up: tuple[float, float] = (0.005, 0.08)
    """Seconds to the exchange, at least and at most."""
    down: tuple[float, float] = (0.005, 0.08)
    """Seconds of the way back."""
    lost: float = 0.0
    """Share of the calls without a response; half of them have arrived."""
    timeout: float = 10.0
    """Seconds after which a program stops waiting for a response."""


class Wire:
    """Carries calls to the exchange.

    Args:
        network: latency and loss.
        server: the exchange.
        random: decides latency and loss of each call.
        arrived: called with the call and its owner after it was counted.
    """

    def __init__(
        self,
        network: Network,
        server: Server,
        random: Random,
        arrived: Callable[[tuple[Charge, ...], str], None],
    ) -> None:
        self._network: Final = network
        self._server: Final = server
        self._random: Final = random
        self._arrived: Final = arrived

    async def carry(self, charges: tuple[Charge, ...], owner: str) -> HttpResponse | None:
        """Send one call; None if no response came in time. The call arrives even if its caller is cancelled."""
        loop = asyncio.get_running_loop()
        network, draw = self._network, self._random
        up, down = draw.uniform(*network.up), draw.uniform(*network.down)
        fate = draw.random()
        answered: asyncio.Future[HttpResponse | None] = loop.create_future()
        if fate >= network.lost / 2:
            comes_back = fate >= network.lost and up + down < network.timeout
            loop.call_later(up, self._arrive, charges, owner, answered if comes_back else None, down)
        if fate < network.lost or up + down >= network.timeout:
            loop.call_later(network.timeout, _settle, answered, None)
        return await answered

    def _arrive(
        self, charges: tuple[Charge, ...], owner: str, answered: asyncio.Future[HttpResponse | None] | None, down: float
    ) -> None:
        answer = self._server.arrive(charges, owner)
        self._arrived(charges, owner)
        if answered is not None:
            asyncio.get_running_loop().call_later(down, _settle, answered, answer)


def _settle(answered: asyncio.Future[HttpResponse | None], answer: HttpResponse | None) -> None:
    if not answered.done():
        answered.set_result(answer)
