"""A small exchange whose responses contain the number of the account and which fails on demand, and its fleets.

This exchange counts weight as the real one does and checks nothing. The equity of an account is its number, so a
response that reaches another account is noticed.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable
from email.utils import formatdate
from typing import Any

import httpx
import msgspec

from binance_pm import Budget, Client, LimitType, Session
from binance_pm.budget import Family
from binance_pm.fleet import Fleet, FleetEvent, Member, ProductName
from tests.simulation import virtual

START = 1_800_000_007.0
WEIGHTS = {
    "/papi/v1/account": 20,
    "/papi/v2/um/account": 5,
    "/sapi/v2/portfolio/account": 5,
    "/sapi/v1/portfolio/account": 5,
}


Trouble = Callable[[int], Awaitable[httpx.Response | None]]
"""What happens before a response to an account; the returned response is sent instead, if there is one."""


class Echo(httpx.AsyncBaseTransport):
    """The exchange.

    Args:
        clock: seconds of this machine's clock; the exchange's clock is ahead by `START`.

    Attributes:
        uni_mmr: of each account, by its number; 5 if not set.
        status: of each account; NORMAL if not set.
        trouble: awaited before every response.
        arrived: the time, account and path of each request.
        positions: their number; the first is open.
        ahead: seconds by which this machine's clock has jumped.
        limits: the limits of the budget of its sessions.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ahead = 0.0
        self.clock = lambda: clock() + self.ahead
        self.uni_mmr: dict[int, str] = {}
        self.status: dict[int, str] = {}
        self.trouble: Trouble = fine
        self.arrived: list[tuple[float, int, str]] = []
        self.positions = 2
        self.limits: dict[tuple[Family, LimitType], int] = {}
        self.used: Counter[int] = Counter()

    def trouble_at(self, path: str, trouble: Trouble) -> None:
        """Let only requests of a path run into trouble from now on."""

        async def at_path(account: int) -> httpx.Response | None:
            return await trouble(account) if self.arrived[-1][2] == path else None

        self.trouble = at_path

    async def use(self, weight: int, seconds: int) -> None:
        """Count external usage in each of the next seconds."""
        for _ in range(seconds):
            self.used[math.floor(self.wall() / 60)] += weight
            await asyncio.sleep(1)

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return START + self.clock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Count a request and respond."""
        account = int(request.headers["x-mbx-apikey"].removeprefix("key"))
        self.arrived.append((self.clock(), account, request.url.path))
        minute = math.floor(self.wall() / 60)
        self.used[minute] += WEIGHTS[request.url.path]
        response = await self.trouble(account) or httpx.Response(200, content=self._body(account, request.url.path))
        response.headers["Date"] = formatdate(self.wall(), usegmt=True)
        if response.status_code < 500:
            response.headers["x-mbx-used-weight-1m"] = str(self.used[minute])
        return response

    def _body(self, account: int, path: str) -> bytes:
        um = {
            "assets": [],
            "positions": [_position(place, str(account) if place == 0 else "0") for place in range(self.positions)],
        }
        whole: dict[str, object] = {
            "uniMMR": self.uni_mmr.get(account, "5"),
            "accountEquity": str(account),
            "actualEquity": str(account),
            "accountInitialMargin": "1",
            "accountMaintMargin": "1",
            "accountStatus": self.status.get(account, "NORMAL"),
            "accountType": "PM_1",
            "virtualMaxWithdrawAmount": "0",
            "totalAvailableBalance": "",
            "totalMarginOpenLoss": "",
            "updateTime": 0,
            "riskUnitMMList": [],
            "marginMM": "0",
            "otherMM": "0",
        }
        return msgspec.json.encode(um if path.endswith("um/account") else whole)

    def session(self, **options: Any) -> Session:
        """Return a session that leads here, on a budget in the exchange's time."""
        return Session(http=self, budget=Budget(limits=self.limits, monotonic=self.clock, wall=self.wall), **options)

    def fleet(
        self,
        accounts: int,
        *,
        read: tuple[str, ...] = (),
        product: ProductName = "pm",
        attempts: int = 3,
        **options: Any,
    ) -> Fleet:
        """Return accounts named by their numbers, on one session."""
        session = self.session()
        clients = [
            Client(f"key{number}", "secret", label=f"account-{number}", session=session, attempts=attempts)
            for number in range(accounts)
        ]
        return Fleet([Member(client, product, read) for client in clients], **options)


def refused(status: int, code: int, message: str) -> httpx.Response:
    """Return an error response of the exchange."""
    return httpx.Response(status, json={"code": code, "msg": message})


async def fine(_: int) -> httpx.Response | None:
    """Let every request succeed."""
    return None


async def dead(_: int) -> httpx.Response | None:
    """Fail every request."""
    raise httpx.ConnectError("no network")


async def hanging(_: int) -> httpx.Response | None:
    """Leave every request without a response."""
    await asyncio.sleep(1e6)
    return None


async def banned(_: int) -> httpx.Response | None:
    """Refuse every request for two minutes."""
    response = refused(418, -1003, "Way too many requests; IP banned until 1800000150000")
    response.headers["Retry-After"] = "120"
    return response


Act = Callable[[Echo, Fleet], Awaitable[None]]


def watched(
    act: Act,
    *,
    accounts: int = 1,
    prepare: Callable[[Echo], object] = lambda _: None,
    fleet_of: Callable[[Echo], Fleet] | None = None,
    receive: Callable[[FleetEvent], None] = lambda _: None,
    **options: Any,
) -> list[FleetEvent]:
    """Return the events of a fleet in virtual time while an action runs."""

    async def main() -> list[FleetEvent]:
        echo = Echo(asyncio.get_running_loop().time)
        prepare(echo)
        events: list[FleetEvent] = []
        fleet = echo.fleet(accounts, **options) if fleet_of is None else fleet_of(echo)
        async with fleet, asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(collect(fleet.watch(warn="1.5", alarm="1.2"), events, receive))
            await act(echo, fleet)
            taking.cancel()
        return events

    return virtual.run(main, patience=280)


async def collect(
    source: AsyncIterable[FleetEvent],
    into: list[FleetEvent],
    receive: Callable[[FleetEvent], None] = lambda _: None,
) -> None:
    """Take events until there are no more, or until cancelled."""
    async for event in source:
        into.append(event)
        receive(event)


def events_of(kind: type[Any], events: list[FleetEvent]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def _position(place: int, amount: str) -> dict[str, object]:
    amounts = dict.fromkeys(("initialMargin", "maintMargin", "unrealizedProfit", "positionAmt", "notional"), amount)
    return {"symbol": f"S{place}USDT", "positionSide": "BOTH", "updateTime": 0, **amounts}
