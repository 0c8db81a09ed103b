"""Reads histories of the local exchange through a client, under refusals, lost responses, late and new rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from binance_pm import Budget, Client, HistoryIncomplete, PortfolioMarginError
from binance_pm.history import Pages, Position, paginate
from binance_pm.sandbox import Exchange, Fault, create_app
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.support.clocks import START, FakeClock

_NOW: Final = int(START * 1000)
_DAY: Final = 86_400_000
_FAULTS: Final = (
    Fault(method="GET", status=429, code=-1003, headers={"Retry-After": "2"}),
    Fault(method="GET", status=503, code=-1008, msg="Request throttled"),
    Fault(method="GET", status=502, body=b"<html>"),
    Fault(method="GET", drop=True),
    Fault(method="GET", cut=7),
)


class Listing(NamedTuple):
    """A list that is read."""

    name: str
    symbol: str
    arguments: Mapping[str, str]
    time: str = "time"
    size: str = "limit"

    def pages(self, client: Client, start: int, limit: int) -> Pages[Any]:
        """Return the list from a time on, so many rows a page."""
        method: Any = attrgetter(self.name)(client)
        return paginate(method, **self.arguments, **{"start_time": start, self.size: limit})


LISTINGS: Final = (
    Listing("um.trades", "BTCUSDT", {"symbol": "BTCUSDT"}),
    Listing("cm.trades", "BTCUSD_PERP", {"pair": "BTCUSD"}),
    Listing("um.all_orders", "ETHUSDT", {"symbol": "ETHUSDT"}),
    Listing("um.income", "BTCUSDT", {}),
    Listing("margin.interest_history", "BTCUSDT", {"asset": "BTC"}, "interest_accured_time", "size"),
)


class Reading(NamedTuple):
    """What was read, and what the exchange has of the same range."""

    times: list[int]
    """The times of the rows, in the order in which they came."""
    expected: list[int]
    failures: int
    """Errors and interruptions after which reading went on."""


async def read(seed: int, listing: Listing) -> Reading:
    """Read one random history of the local exchange."""
    draw = random.Random(f"{seed} {listing.name}")
    clock = FakeClock()
    exchange = Exchange(accounts=1, seed=seed, clock=clock, sleep=clock.sleep, newest_rows=draw.random() < 0.5)
    start = _NOW - draw.randrange(3, 80) * _DAY
    limit = draw.choice((5, 20, 100))
    times = _times(draw, start, limit)
    late = {time: draw.randrange(25_000) for time in times if draw.random() < 0.1}
    exchange.add_history(exchange.accounts[0], listing.name, times, symbol=listing.symbol, late=late)
    http = asgi_transport(create_app(exchange))
    pm = Sandbox(exchange, "http://127.0.0.1", http=http)
    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    found: list[int] = []
    failures = 0
    async with pm.session(budget=budget) as session, pm.client(session=session, attempts=2) as client:
        pages = listing.pages(client, start, limit)
        while True:
            try:
                async for row in pages:
                    found.append(getattr(row, listing.time))
                    clock.now += 0.001
                    if draw.random() < 0.02:
                        exchange.inject(draw.choice(_FAULTS), draw.choice(_FAULTS))
                    if draw.random() < 0.02:
                        # The iteration ends in the middle, and another one goes on.
                        break
                else:
                    break
            except HistoryIncomplete:
                # The account has more rows of one time than a page has: it is read with a larger limit, as advised.
                limit *= 2
                pages = listing.pages(client, start, limit).options(position=pages.position)
            except PortfolioMarginError:
                clock.now += 10
            failures += 1
            assert failures < 1_000
            if draw.random() < 0.5:
                stored = msgspec.json.encode(pages.position)
                position = msgspec.json.decode(stored, type=Position | None)
                pages = listing.pages(client, start, limit).options(position=position)
    position = pages.position
    assert position is not None
    expected = [time for time in times if start <= time < position.time]
    known = set(times)
    # The account had rows before.
    return Reading([time for time in found if time in known], expected, failures)


def _times(draw: random.Random, start: int, limit: int) -> list[int]:
    times: list[int] = []
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(start - 5 * _DAY, _NOW)
        length = draw.choice((1_000, 3_600_000, 3 * _DAY))
        times += [at + draw.randrange(length) for _ in range(draw.randrange(3 * limit))]
        times += [at] * draw.randrange(limit - 1)
    times += [_NOW - draw.randrange(90_000) for _ in range(20)]
    times += [_NOW + draw.randrange(90_000) for _ in range(20)]
    return sorted(time for time in times if times.count(time) < limit)
