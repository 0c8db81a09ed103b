"""A tiny exchange that answers every account with its own number, and that fails on demand.

This exchange counts weight as the real one does and checks nothing. The equity of an account is its number, so that a
response that reaches another account is noticed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import httpx
import msgspec

from binance_pm import Budget, Client, LimitType, Session
from binance_pm.budget import Family
from binance_pm.fleet import Fleet, Member

START = 1_800_000_007.0
WEIGHTS = {
    "/papi/v1/account": 20,
    "/papi/v2/um/account": 5,
    "/sapi/v2/portfolio/account": 5,
    "/sapi/v1/portfolio/account": 5,
}


class Echo(httpx.AsyncBaseTransport):
    """The exchange.

    Args:
        clock: seconds of this machine's clock; the exchange's is the same and `START`.

    Attributes:
        uni_mmr: of each account, by its number; 5 if not set.
        status: of each account; NORMAL if not set.
        trouble: awaited before every response; a returned response is sent instead.
        arrived: when each request came, its account and its path.
        positions: their number; the first is open.
        limits: the limits of the budget of its sessions.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.uni_mmr: dict[int, str] = {}
        self.status: dict[int, str] = {}
        self.trouble: Callable[[int], Awaitable[httpx.Response | None]] = _no_trouble
        self.arrived: list[tuple[float, int, str]] = []
        self.positions = 2
        self.limits: dict[tuple[Family, LimitType], int] = {}
        self.used: Counter[int] = Counter()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return START + self.clock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Count a request and answer."""
        account = int(request.headers["x-mbx-apikey"].removeprefix("key"))
        self.arrived.append((self.clock(), account, request.url.path))
        minute = math.floor(self.wall() / 60)
        self.used[minute] += WEIGHTS[request.url.path]
        answer = await self.trouble(account) or httpx.Response(200, content=self._body(account, request.url.path))
        answer.headers["Date"] = formatdate(self.wall(), usegmt=True)
        if answer.status_code < 500:
            answer.headers["x-mbx-used-weight-1m"] = str(self.used[minute])
        return answer

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

    def fleet(self, accounts: int, *, read: tuple[str, ...] = (), **options: Any) -> Fleet:
        """Return Portfolio Margin accounts named by their numbers, on one session."""
        session = self.session()
        return Fleet(
            [
                Member(Client(f"key{number}", "secret", label=f"account-{number}", session=session), read=read)
                for number in range(accounts)
            ],
            **options,
        )


def refused(status: int, code: int, message: str) -> httpx.Response:
    """Return an error response of the exchange."""
    return httpx.Response(status, json={"code": code, "msg": message})


async def _no_trouble(_: int) -> httpx.Response | None:
    return None


def _position(place: int, amount: str) -> dict[str, object]:
    amounts = dict.fromkeys(("initialMargin", "maintMargin", "unrealizedProfit", "positionAmt", "notional"), amount)
    return {"symbol": f"S{place}USDT", "positionSide": "BOTH", "updateTime": 0, **amounts}
