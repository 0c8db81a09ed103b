"""For the sections about long lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import httpx
import msgspec

from binance_pm import Budget, Client, Session, paginate
from binance_pm.history import Pages, Position
from binance_pm.history.query import query_of
from binance_pm.sandbox import Exchange
from tests.messages.stage import KEY, SECRET, errors_of
from tests.support.clocks import START, FakeClock
from tests.support.sample import sample_of

NOW = int(START * 1000)
DAY = 86_400_000
CLIENT = Client(KEY, SECRET, label="main")


def pages(name: str, *args: Any, **kwargs: Any) -> Pages[Any]:
    """Return the pages of an endpoint of a client that is not open."""
    namespace, method = name.split(".")
    return paginate(getattr(getattr(CLIENT, namespace), method), *args, **kwargs)


def row(name: str, **changes: object) -> dict[str, Any]:
    """Return a row of the endpoint's sample, with changes."""
    answer: Any = sample_of(name)["answer"]
    rows = cast("list[dict[str, Any]]", answer if isinstance(answer, list) else answer["rows"])
    return rows[0] | changes


async def read(name: str, respond: Callable[[httpx.QueryParams], Any], **arguments: Any) -> list[Exception]:
    """Read an endpoint whose exchange responds like this, and return the error."""
    clock = FakeClock()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/time"):
            return httpx.Response(200, json={"serverTime": NOW})
        return httpx.Response(200, json=respond(request.url.params))

    budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
    namespace, method = name.split(".")
    async with (
        Session(http=httpx.MockTransport(handle), budget=budget) as session,
        Client(KEY, SECRET, label="main", session=session) as client,
    ):
        position = arguments.pop("position", None)
        namespaced = getattr(getattr(client, namespace), method)
        reading = paginate(namespaced, **arguments)
        if position is not None:
            digest = query_of(namespaced, (), arguments).digest
            reading = reading.options(position=msgspec.structs.replace(position, query=digest))

        async def whole() -> None:
            async for _ in reading:
                pass

        return await errors_of(whole)


def many(name: str, count: int, **changes: object) -> Callable[[httpx.QueryParams], Any]:
    """Respond with so many equal rows that differ in their ids."""
    return lambda _: [row(name, **changes) | {"id": number, "tranId": number} for number in range(1, count + 1)]


def position(**fields: Any) -> Position:
    """Return a position."""
    return msgspec.structs.replace(Position(query="0" * 16, time=NOW), **fields)


def past(name: str, symbol: str = "BTCUSDT") -> None:
    """Add rows of the past to a list of the local exchange."""
    exchange = Exchange(accounts=1)
    exchange.add_history(exchange.accounts[0], name, [NOW], symbol=symbol)
