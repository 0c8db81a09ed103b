"""Places, changes and cancels orders under random faults, and compares what the client says with the exchange's truth.

Everything runs in virtual time, from one seed. ``python -m tests.simulation.order_safety`` prints the figures:

* duplicates: client order ids that reached the exchange in more than one request to place an order;
* forgotten: orders that exist, and that neither a result, an error nor a log line names;
* wrong: outcomes that contradict the exchange, after every delayed effect has arrived;
* undecided: outcomes that stayed unknown although the queries recovered;
* misnoted: calls whose lines in the journal contradict the exchange, or are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from binance_pm import Budget, Client, JournalEntry, PortfolioMarginError, WriteEnded, WriteStarted
from binance_pm.resolution import WriteOutcome
from binance_pm.sandbox import Exchange, Fault, create_app
from binance_pm.sandbox.faults import WRITE_FAULTS
from binance_pm.testing import Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.support.cancelling import cancelled_at
from tests.support.clocks import FakeClock

Resolve = Callable[[PortfolioMarginError], Awaitable[WriteOutcome]]


class Market(NamedTuple):
    """Where the orders of a run are placed.

    Attributes:
        symbol: what is traded.
        quantity: of each order.
        away: by which part the price of a resting order differs from the market's.
        options: further parameters of every order.
    """

    symbol: str
    quantity: Decimal
    away: Decimal = Decimal("0.3")
    options: Mapping[str, str] = {}


MARKETS: Final = {
    "um": Market("BTCUSDT", Decimal("0.002")),
    "cm": Market("BTCUSD_PERP", Decimal(1)),
    "margin": Market("BTCUSDT", Decimal("0.0002"), Decimal("0.12"), {"side_effect_type": "AUTO_BORROW_REPAY"}),
}
# The exchange cannot undo what it has said, so a client has to believe a response: these are counted apart.
FALSE_SUCCESS: Final = "response without effect"
# A proxy between client and exchange delivered the request twice: the client has sent it once.
TWICE: Final = {"delivered twice", "delivered twice, lost response"}
QUERY_FAULTS: Final = (
    Fault(method="GET", status=503, code=-1008, msg="Request throttled"),
    Fault(method="GET", drop=True),
    Fault(method="GET", status=502, body=b"<html>"),
    Fault(method="GET", status=400, code=-2013, msg="Order does not exist."),
)
CANCELLED: Final = "task cancelled"
_SETTLED_SECONDS: Final = 20.0
"""After which every delayed effect has arrived."""


class Figures:
    """What a run found."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.duplicates: list[str] = []
        self.forgotten: list[str] = []
        self.wrong: list[str] = []
        self.undecided: list[str] = []
        self.misnoted: list[str] = []

    @property
    def failures(self) -> list[str]:
        """Everything that must not happen."""
        return [*self.duplicates, *self.forgotten, *self.wrong, *self.undecided, *self.misnoted]

    def __str__(self) -> str:
        named = ("duplicates", "forgotten", "wrong", "undecided", "misnoted")
        rows = [
            ("calls", ", ".join(f"{count:,} {name}" for name, count in self.calls.most_common())),
            ("faults", ", ".join(f"{count:,} {name}" for name, count in self.faults.most_common())),
            ("outcomes", ", ".join(f"{count:,} {name}" for name, count in self.outcomes.most_common())),
            *((name, str(len(getattr(self, name)))) for name in named),
        ]
        return "\n".join(f"{name:<11} {text}" for name, text in rows)


class _Names(logging.Handler):
    """Keeps the texts of warnings, which name orders whose tasks were cancelled."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a text."""
        self.texts.append(record.getMessage())


class Run:
    """One run on one exchange, one account and one market."""

    def __init__(self, seed: int, market: str) -> None:
        self.market: Final = MARKETS[market]
        self.path: Final = f"/papi/v1/{market}/order"
        self._name: Final = market
        self.random: Final = random.Random(seed)
        self.clock: Final = FakeClock()
        self.exchange: Final = Exchange(
            accounts=1, seed=seed, clock=self.clock, sleep=self.clock.sleep, liquidation=False
        )
        self.figures: Final = Figures()
        self.names: Final = _Names()
        self._journal: list[WriteStarted | WriteEnded] = []
        """The lines of the latest call."""
        self._open: dict[str, int] = {}
        """Resting orders by client order id."""
        self._number = 0

    async def work(self, calls: int) -> Figures:
        """Make the calls, one after the other."""
        budget = Budget(monotonic=self.clock, wall=self.clock, sleep=self.clock.sleep)
        http = asgi_transport(create_app(self.exchange))
        pm = Sandbox(self.exchange, "http://127.0.0.1", http=http)
        logger = logging.getLogger("binance_pm")
        logger.addHandler(self.names)
        try:
            async with (
                pm.session(budget=budget) as session,
                pm.client(session=session, attempts=2, journal=self._journal.append) as client,
            ):
                await client.um_account()
                for _ in range(calls):
                    await self._one(client)
        finally:
            logger.removeHandler(self.names)
        return self.figures

    async def _one(self, client: Client) -> None:
        # An order of cross margin cannot be changed.
        weights = (5, 0, 4) if self._name == "margin" else (5, 3, 3)
        act = self.random.choices((self._place, self._change, self._cancel), weights)[0]
        await act(getattr(client, self._name), client.resolve)
        self.clock.now += self.random.uniform(0.05, 1.0)

    async def _place(self, orders: Any, resolve: Resolve) -> None:
        self._number += 1
        mine = f"order-{self._number}"
        is_market = self.random.random() < 0.3
        order: dict[str, Any] = {"symbol": self.market.symbol, "side": self.random.choice(("BUY", "SELL"))}
        order |= {"quantity": self.market.quantity, "new_client_order_id": mine}
        order |= self.market.options
        resting = 1 - self.market.away if order["side"] == "BUY" else 1 + self.market.away
        if is_market:
            order |= {"type": "MARKET"}
        else:
            price = round(self.exchange.market.price("BTCUSDT", self.clock()) * resting, 1)
            order |= {"type": "LIMIT", "time_in_force": "GTC", "price": price}
        fault = self._inject("POST")
        result = await self._made(resolve, "placements", lambda: orders.new_order(**order))
        requests = [
            one for one in self.exchange.requests if one.method == "POST" and ("newClientOrderId", mine) in one.params
        ]
        if len(requests) > 1:
            self.figures.duplicates.append(f"{mine}: {fault}")
        self._settle()
        found = self.exchange.orders(self.exchange.accounts[0], mine)
        self._judge(mine, fault, result, is_done=bool(found))
        if found and result is None and not any(mine in text for text in self.names.texts):
            self.figures.forgotten.append(f"{mine}: {fault}")
        if len(found) == 1 and found[0].is_open:
            self._open[mine] = found[0].order_id

    async def _change(self, orders: Any, resolve: Resolve) -> None:
        if (mine := self._any_open()) is None:
            return
        [order] = self.exchange.orders(self.exchange.accounts[0], mine)
        price = order.price + self.random.choice((-1, 1)) * Decimal("10.0")
        fault = self._inject("PUT")
        before = len(order.amendments)
        result = await self._made(
            resolve,
            "changes",
            lambda: orders.modify_order(
                symbol=self.market.symbol,
                side=order.side,
                orig_client_order_id=mine,
                quantity=order.quantity,
                price=price,
            ),
        )
        self._settle()
        [order] = self.exchange.orders(self.exchange.accounts[0], mine)
        self._judge(mine, fault, result, is_done=len(order.amendments) > before)

    async def _cancel(self, orders: Any, resolve: Resolve) -> None:
        if (mine := self._any_open()) is None:
            return
        fault = self._inject("DELETE")
        symbol = self.market.symbol
        result = await self._made(resolve, "cancels", lambda: orders.cancel_order(symbol, orig_client_order_id=mine))
        self._settle()
        [order] = self.exchange.orders(self.exchange.accounts[0], mine)
        self._judge(mine, fault, result, is_done=order.status == "CANCELED")
        if not order.is_open:
            del self._open[mine]

    async def _made(self, resolve: Resolve, name: str, call: Callable[[], Coroutine[Any, Any, Any]]) -> str | None:
        """Make a call and find out its outcome; return the state, or None if the task was cancelled."""
        self.figures.calls[name] += 1
        self.names.texts.clear()
        self._journal.clear()
        states: list[str] = []

        async def tried() -> None:
            try:
                await call()
                states.append("done")
            except PortfolioMarginError as error:
                self.names.texts.append(str(error))
                states.append((await resolve(error)).state)

        if self.random.random() < 0.1:
            self.figures.faults[CANCELLED] += 1
            await cancelled_at(self.random.randrange(25), tried())
        else:
            await tried()
        state = states[0] if states else None
        self.figures.outcomes[state or CANCELLED] += 1
        return state

    def _inject(self, method: str) -> str | None:
        """Queue a fault for the next write, and perhaps for the queries that follow; return its name."""
        if self.random.random() < 0.3:
            return None
        # A copy of the whole account is kept for this one, which takes long.
        rare = {FALSE_SUCCESS: 0.05}
        names = list(WRITE_FAULTS)
        name = self.random.choices(names, [rare.get(one, 1.0) for one in names])[0]
        self.figures.faults[name] += 1
        fault = WRITE_FAULTS[name]
        self.exchange.inject(msgspec.structs.replace(fault, method=method, path=self.path))
        self.exchange.inject(*self.random.choices(QUERY_FAULTS, k=self.random.randrange(3)))
        return name

    def _settle(self) -> None:
        """Let every delayed effect arrive, without further faults."""
        self.exchange.clear()
        self.clock.now += _SETTLED_SECONDS
        self.exchange.statement(self.exchange.accounts[0])

    def _judge(self, mine: str, fault: str | None, state: str | None, *, is_done: bool) -> None:
        """Compare an outcome, and the journal, with the exchange."""
        noted = self._noted()
        is_excused = fault == FALSE_SUCCESS and noted == "done"
        if not is_excused and noted != "unknown" and (noted == "done") != is_done:
            self.figures.misnoted.append(f"{mine}: {fault}: {noted}, although {'' if is_done else 'not '}done")
        if state is None or (fault == FALSE_SUCCESS and state == "done"):
            return
        if state == "still_unknown":
            self.figures.undecided.append(f"{mine}: {fault}")
        elif (state == "done") != is_done:
            self.figures.wrong.append(f"{mine}: {fault}: {state}, although {'' if is_done else 'not '}done")

    def _noted(self) -> str | None:
        """Return what the journal says of the latest call; None without a line before it."""
        entry: JournalEntry | None = None
        for line in self._journal:
            if isinstance(line, WriteStarted):
                entry = JournalEntry(line)
            elif entry is not None:
                entry = JournalEntry(entry.started, line)
        return None if entry is None else entry.outcome

    def _any_open(self) -> str | None:
        return self.random.choice(list(self._open)) if self._open else None


def run(calls: int, seed: int, market: str) -> Figures:
    """Run so many calls from the seed in a market."""
    return asyncio.run(Run(seed, market).work(calls))


def main() -> int:
    """Print the figures of a run."""
    parser = argparse.ArgumentParser(description="Compare what the client says of orders with the exchange.")
    parser.add_argument("--calls", type=int, default=10_000, help="placements, changes and cancels in each market")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failures: list[str] = []
    for market in MARKETS:
        figures = run(options.calls, options.seed, market)
        failures += figures.failures
        print(f"market      {market}, seed {options.seed}\n{figures}\n")
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
