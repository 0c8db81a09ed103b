"""An exchange with any number of trades that responds quickly: for long lists, without checks and limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import httpx
import msgspec

from binance_pm import Budget, Client, RequestRejected, Session
from binance_pm.api.um_orders import UmTrade
from binance_pm.history import ExportedFile, Pages, export, paginate
from tests.support.clocks import START, FakeClock

FIRST: Final = int(START * 1000) - 30 * 86_400_000
"""The time of the first trade, in milliseconds."""
ROWS: Final = 3_500
"""How many trades most tests have."""
SPACING: Final = 7
"""Milliseconds between two trades."""


def row_of(number: int) -> dict[str, object]:
    """Return a trade as the exchange sends it."""
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": 8_389_765_957_482_000_000 + number,
        "side": "BUY" if number % 2 else "SELL",
        "price": f"{50_000 + number % 1_000}.10",
        "qty": "0.001",
        "realizedPnl": "0.00000000",
        "quoteQty": f"0.0000000{number % 10}",
        "commission": "-0.00000001",
        "commissionAsset": "USDT",
        "time": FIRST + (number - 1) * SPACING,
        "positionSide": "BOTH",
        "buyer": number % 2 == 1,
        "maker": number % 3 == 0,
    }


class ManyTrades:
    """The exchange.

    Args:
        count: how many trades it has.
        hook: called with the number of each request for trades before its response; what it returns replaces this.
        row: creates a trade.
    """

    def __init__(
        self,
        count: int,
        *,
        hook: Callable[[int], httpx.Response | None] = lambda _: None,
        row: Callable[[int], dict[str, object]] = row_of,
    ) -> None:
        self.count: Final = count
        self.calls: int = 0
        self._hook: Final = hook
        self._row: Final = row

    def respond(self, request: httpx.Request) -> httpx.Response:
        """Respond to a request."""
        if request.url.path.endswith("/time"):
            return httpx.Response(200, json={"serverTime": int(START * 1000)})
        self.calls += 1
        if (other := self._hook(self.calls)) is not None:
            return other
        asked = {
            name: int(values[0])
            for name, values in parse_qs(request.url.query.decode()).items()
            if name not in {"symbol", "signature"}
        }
        first = asked.get("fromId", 1)
        last = min(self.count, first + asked["limit"] - 1)
        if "startTime" in asked:
            first = max(1, -(-(asked["startTime"] - FIRST) // SPACING) + 1)
            last = min(self.count, first + asked["limit"] - 1, (asked["endTime"] - FIRST) // SPACING + 1)
        return httpx.Response(200, content=json.dumps([self._row(number) for number in range(first, last + 1)]))

    def client(self) -> Client:
        """Return a client of this exchange, for ``async with``, whose waits take no time."""
        clock = FakeClock()
        budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
        session = Session(http=httpx.MockTransport(self.respond), budget=budget)
        return Client("key", "secret", session=session, attempts=1, label="main")


def trades_of(client: Client, *, start_time: int = FIRST, end_time: int | None = None) -> Pages[UmTrade]:
    """Return all trades of the exchange."""
    if end_time is None:
        return paginate(client.um.trades, symbol="BTCUSDT", start_time=start_time)
    return paginate(client.um.trades, symbol="BTCUSDT", start_time=start_time, end_time=end_time)


def save(
    path: Path, exchange: ManyTrades | None = None, *, end_time: int | None = None, **options: Any
) -> ExportedFile:
    """Export all trades of an exchange."""

    async def run() -> ExportedFile:
        async with (exchange or ManyTrades(ROWS)).client() as client:
            return await export(trades_of(client, end_time=end_time), path, **options)

    return asyncio.run(run())


def names(path: Path) -> list[str]:
    """Return the names in the folder of a file, in order."""
    return sorted(entry.name for entry in path.parent.iterdir())


def failing_at(call: int) -> Callable[[int], httpx.Response | None]:
    """Return a hook that refuses one request."""
    refusal = httpx.Response(400, json={"code": -1121, "msg": "Invalid symbol."})
    return lambda number: refusal if number == call else None


def begin_export(path: Path) -> None:
    """Export some of the trades, until a request fails."""
    with suppress(RequestRejected):
        save(path, ManyTrades(ROWS, hook=failing_at(5)))


DAMAGES: Final = (
    "shorter",
    "no position",
    "no JSON",
    "other columns",
    "another version",
    "another start",
    "another list",
)


def damage_export(path: Path, name: str) -> None:
    """Change what an export left that was not completed."""
    partial, position = (path.with_name(f"{path.name}.{what}") for what in ("partial", "position"))
    stored = msgspec.json.decode(position.read_bytes())
    changes: dict[str, dict[str, Any]] = {
        "other columns": {"columns": ["id"]},
        "another version": {"version": 0},
        "another start": {"start_time": FIRST + 1},
        "another list": {"position": stored["position"] | {"query": "0" * 16}},
    }
    match name:
        case "shorter":
            partial.write_bytes(partial.read_bytes()[:-1])
        case "no position":
            position.unlink()
        case "no JSON":
            position.write_text("{", encoding="utf-8")
        case _:
            position.write_bytes(msgspec.json.encode(stored | changes[name]))
