"""Runs the live account against a model exchange in virtual time, with stale responses and every fault of the stream.

``python -m tests.simulation.live_account --seeds 1000`` prints the figures:

* wrong although confirmed: looks at a moment at which no event is under way, at which the account says that it is
  confirmed, and at which it differs from the exchange. The stream's own delay in noticing that it is dead is left out.
* promised too early: looks at which the account says that it is current, although the stream is down or a part was not
  requested after the last gap.
* wrong although only current: what a second read corrects.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from random import Random
from typing import Any, Final, NoReturn, Self

from binance_pm.errors import CallInfo, NoResponse, RequestRejected
from binance_pm.limits import Priority
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.parts import PARTS
from tests.simulation.live_exchange import EPOCH, ModelExchange, Order, Truth
from tests.simulation.virtual import run

SECONDS: Final = 240.0
"""The duration of a run in seconds."""
_VERIFY: Final = 60.0
_CALL: Final = CallInfo("read", "sim")


class ModelClock:
    """The exchange's clock, known up to a tenth of a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock: Final = clock

    def bounds(self, now: float | None = None) -> tuple[float, float]:
        """Return the earliest and the latest time that it can show."""
        time = EPOCH + (self._clock() if now is None else now)
        return time - 0.05, time + 0.05


class ModelSession:
    """The members of a session and its budget that the live account uses."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.budget: Final = self
        self.monotonic: Final = clock
        self.sleep: Final = asyncio.sleep
        self._clock: Final = ModelClock(clock)

    def clock(self, _: str) -> ModelClock:
        """Return the exchange's clock."""
        return self._clock


class ModelStream:
    """A stream with faults: what is under way arrives late, twice, never, or in another order between types.

    Args:
        random: decides what happens.
        clock: seconds.
    """

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        self._random: Final = random
        self._clock: Final = clock
        self._observers: Final[list[Callable[[Any], None]]] = []
        self._count: Final = itertools.count()
        self._under_way: list[tuple[float, int, Any]] = []
        self._newest: dict[str, float] = {}
        """When the last event of each type arrives: events of one type keep their order."""
        self.is_up: bool = False
        self.is_lossy: bool = False
        """Whether events are lost without a report."""
        self.is_late: bool = False
        self.lost_at: float | None = None
        """When an event was lost without a gap."""
        self.gap_at: float = 0.0
        self.restarts: int = 0
        self.comes_up_after: float = 0.0
        """Seconds from entering the stream until it is up for the first time."""

    @property
    def age(self) -> float:
        """Unused."""
        return 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether no event is under way."""
        return not self._under_way

    def observed_by(self, observer: Callable[[Any], None]) -> Self:
        """Call a function with each item."""
        self._observers.append(observer)
        return self

    def reconnect(self, why: str, since: float | None = None) -> None:
        """Take the stream down."""
        if since is not None and self.lost_at is not None and self.lost_at > self.gap_at:
            assert since <= self.lost_at, "the gap would begin too late"
        self.restarts += 1
        self.lost_at = None
        self.fall(why)

    async def __aenter__(self) -> Self:
        if self.comes_up_after:
            self._tell(StreamDown(since=EPOCH + self._clock(), why="simulated"))
            asyncio.get_running_loop().call_later(self.comes_up_after, self._rise)
            return self
        self.is_up, self.gap_at = True, self._clock()
        self._tell(StreamUp(at=EPOCH + self._clock()))
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[Any]:
        for nothing in ():
            yield nothing

    def push(self, event: Any) -> None:
        """Send an event."""
        if not self.is_up or self.is_lossy:
            return
        kind = type(event).__name__
        delay = self._random.uniform(8.0, 12.0) if self.is_late else self._random.uniform(0.005, 0.3)
        at = self._newest[kind] = max(self._clock() + delay, self._newest.get(kind, 0.0))
        copies = 2 if self._random.random() < 0.05 else 1
        for _ in range(copies):
            heapq.heappush(self._under_way, (at, next(self._count), event))

    async def deliver(self) -> None:
        """Deliver what arrives until now."""
        while self._under_way and self._under_way[0][0] <= self._clock():
            self._tell(heapq.heappop(self._under_way)[2])

    async def keep_delivering(self) -> None:
        """Deliver every 10 ms."""
        while True:
            await self.deliver()
            await asyncio.sleep(0.01)

    def swallow(self) -> None:
        """Lose an event that is under way, without a report."""
        if self._under_way:
            _, _, event = self._under_way.pop(self._random.randrange(len(self._under_way)))
            heapq.heapify(self._under_way)
            if not any(other is event for _, _, other in self._under_way):
                self.lost_at = self._clock()

    def garble(self) -> None:
        """Receive an event that cannot be read."""
        if self._under_way and self.is_up:
            heapq.heappop(self._under_way)
            self._gap(1)

    def rotate(self) -> None:
        """Replace the connection, without a proof that nothing was lost."""
        if self.is_up and not self.is_lossy:
            self._gap(None)

    def fall(self, why: str) -> None:
        """Lose the connection and all events that are under way."""
        if self.is_up:
            self.is_up = self.is_lossy = False
            self._under_way.clear()
            self._newest.clear()
            self._tell(StreamDown(since=EPOCH + self._clock(), why=why))
            asyncio.get_running_loop().call_later(self._random.uniform(0.05, 6.0), self._rise)

    def _rise(self) -> None:
        if not self.is_up:
            self.is_up = True
            self._gap(None)

    def _gap(self, lost: int | None) -> None:
        self.gap_at = self._clock()
        self._tell(StreamGap(since=EPOCH + self.gap_at - 1, until=EPOCH + self.gap_at, why="simulated", lost=lost))

    def _tell(self, item: Any) -> None:
        for observer in self._observers:
            observer(item)


class SimulatedClient:
    """The members that all clients of a simulation have besides their calls."""

    def __init__(self, session: ModelSession, label: str = "sim") -> None:
        self.session: Any = session
        self.label: Final = label

    async def until_closed(self, call: Any) -> NoReturn:
        """Wait forever."""
        await asyncio.Event().wait()
        raise AssertionError(call)

    def origin(self, endpoint: Any) -> str:
        """Return the origin of an endpoint."""
        assert endpoint.family == "papi"
        return "sim"

    def options(self, *, priority: Priority | None = None, max_wait: float | None = None) -> Self:
        """Return itself."""
        assert priority is None or max_wait is None or max_wait > 0
        return self


class ModelClient(SimulatedClient):
    """A client whose calls are slow, and sometimes fail or return a stale response."""

    def __init__(
        self, random: Random, exchange: ModelExchange, session: ModelSession, stale: float, label: str = "sim"
    ) -> None:
        super().__init__(session, label)
        self._random: Final = random
        self._exchange: Final = exchange
        self._stale: Final = stale
        self.requested: Final[dict[str, float]] = {}
        """When each endpoint was last requested with success."""
        self.calls: int = 0

    async def call(self, endpoint: Any, parameters: Mapping[str, Any], /) -> Any:
        """Call an endpoint."""
        self.calls += 1
        await asyncio.sleep(self._random.uniform(0.005, 0.2))
        if self._random.random() < 0.03:
            raise NoResponse(_CALL, "simulated")
        arrived = self.session.monotonic()
        is_stale = self._random.random() < 0.2
        truth = self._exchange.at(arrived - (self._random.uniform(0.0, self._stale) if is_stale else 0.0))
        await asyncio.sleep(self._random.uniform(0.005, 0.2))
        try:
            response = self._exchange.respond(endpoint.name, parameters, truth)
        except KeyError:
            raise RequestRejected(_CALL, "Order does not exist.", status=400, code=-2013) from None
        self.requested[endpoint.name] = arrived
        return response


def differences(live: LiveAccount, truth: Truth) -> list[str]:
    """Return the errors of the live account."""
    positions = {(one.market, one.symbol): one for one in live.positions.values()}
    found = [
        f"position {key}: {positions.get(key)} instead of {truth.positions.get(key)}"
        for key in {*positions, *(key for key, one in truth.positions.items() if one.amount)}
        if _position(positions.get(key)) != _position(truth.positions.get(key))
    ]
    live_orders = {one.key: (one.status, one.executed_qty, one.price, one.orig_qty) for one in live.open_orders}
    open_orders = {key: _order(one) for key, one in truth.orders.items() if one.status in {"NEW", "PARTIALLY_FILLED"}}
    found += [f"order {key}" for key in _unequal(live_orders, open_orders)]
    live_waiting = {one.key: one.status for one in live.open_conditional_orders}
    waiting = {key: one.status for key, one in truth.waiting.items() if one.status == "NEW"}
    found += [f"conditional order {key}" for key in _unequal(live_waiting, waiting)]
    eth = live.balances["ETH"]
    wallets = {
        ("um", "USDT"): (live.balances["USDT"].um_wallet_balance,),
        ("cm", "BTC"): (live.balances["BTC"].cm_wallet_balance,),
        ("margin", "ETH"): (eth.cross_margin_free, eth.cross_margin_locked),
        ("liability", "ETH"): (eth.cross_margin_liability,),
    }
    return found + [f"balance {key}" for key in _unequal(wallets, {k: w.amounts for k, w in truth.wallets.items()})]


def _unequal(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> list[Any]:
    return [key for key in {**one, **other} if one.get(key) != other.get(key)]


def _order(order: Order) -> tuple[Any, ...]:
    return order.status, order.executed, order.price, order.quantity


def _position(position: Any) -> Any:
    if position is None:
        return None
    amount = position.amount if hasattr(position, "amount") else position.position_amt
    return amount or None


class Run:
    """One run from a seed."""

    def __init__(self, seed: int, stale: float) -> None:
        self._random: Final = Random(seed)
        self._stale: Final = stale
        self.seed: Final = seed
        self.figures: Final[Counter[str]] = Counter()
        self.failures: Final[list[str]] = []

    async def work(self) -> None:
        """Run the exchange, the faults and the comparisons until the end."""
        clock = asyncio.get_running_loop().time
        self._clock = clock
        self._stream = stream = ModelStream(self._random, clock)
        self._exchange = exchange = ModelExchange(self._random, clock, stream.push)
        session = ModelSession(clock)
        self._client: Any = ModelClient(self._random, exchange, session, self._stale)
        for _ in range(30):
            exchange.act()
        live = LiveAccount(
            self._client,
            stream.observed_by,
            parts=None,
            symbols=None,
            verify_every=_VERIFY,
            jitter=self._random.random,
        )
        faults = asyncio.create_task(self._fail())
        acts = asyncio.create_task(self._act())
        pump = asyncio.create_task(stream.keep_delivering())
        async with live:
            while clock() < SECONDS:
                await asyncio.sleep(self._random.uniform(0.3, 1.0))
                self._look(live)
        self.figures["calls"] += self._client.calls
        self.figures["reconnects for a lost event"] += stream.restarts
        for task in (faults, acts, pump):
            task.cancel()

    async def _act(self) -> None:
        while True:
            for _ in range(self._random.randint(5, 40)):
                self._exchange.act()
                self.figures["changes"] += 1
                await asyncio.sleep(self._random.uniform(0.0, 0.5))
            await asyncio.sleep(self._random.uniform(0.5, 20.0))

    async def _fail(self) -> None:
        stream = self._stream
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 50.0))
            fault = self._random.choice(("break", "silent", "late", "swallow", "garbage", "rotation"))
            self.figures[f"fault: {fault}"] += 1
            match fault:
                case "break":
                    stream.fall("simulated")
                case "silent":
                    stream.is_lossy = True
                    await asyncio.sleep(self._random.uniform(1.0, 20.0))
                    stream.fall("simulated")
                case "late":
                    stream.is_late = True
                    await asyncio.sleep(self._random.uniform(1.0, 10.0))
                    stream.is_late = False
                case "swallow":
                    stream.swallow()
                case "garbage":
                    stream.garble()
                case _:
                    stream.rotate()

    def _look(self, live: LiveAccount) -> None:
        stream = self._stream
        if live.is_current:
            endpoints = [name for part in PARTS.values() for name in part.endpoints]
            if not stream.is_up or any(self._client.requested.get(name, -1.0) < stream.gap_at for name in endpoints):
                self.failures.append(f"seed {self.seed}, {self._clock():.1f} s: promised too early")
        if not stream.is_quiet or stream.is_lossy or not live.is_current or self._has_lost():
            return
        wrong = differences(live, self._exchange.now)
        self.figures["looks, current"] += 1
        self.figures["wrong although only current"] += bool(wrong) and not live.is_confirmed
        if live.is_confirmed:
            self.figures["looks, confirmed"] += 1
            self.failures.extend(f"seed {self.seed}, {self._clock():.1f} s: {one}" for one in wrong)

    def _has_lost(self) -> bool:
        """Return whether an event was lost without a gap, and no repeated read can have shown its change yet."""
        lost_at = self._stream.lost_at
        if lost_at is None or lost_at < self._stream.gap_at:
            return False
        return self._clock() < lost_at + 2 * _VERIFY


def simulate(seed: int, stale: float = 5.0) -> Run:
    """Run one seed in virtual time."""
    one = Run(seed, stale)
    run(one.work)
    return one


def main() -> int:
    """Print the figures of many seeds."""
    parser = argparse.ArgumentParser(description="Compare the live account with a model exchange.")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--stale", type=float, default=5.0, help="seconds by which responses may be stale")
    options = parser.parse_args()
    figures: Counter[str] = Counter()
    failures: list[str] = []
    for seed in range(options.first, options.first + options.seeds):
        one = simulate(seed, options.stale)
        figures += one.figures
        failures += one.failures
    print(f"seeds {options.first} to {options.first + options.seeds - 1}, responses stale by up to {options.stale:g} s")
    for name, count in sorted(figures.items()):
        print(f"{name:<30} {count:>9,}")
    print(f"{'wrong although confirmed':<30} {sum('promised' not in one for one in failures):>9,}")
    print(f"{'promised too early':<30} {sum('promised' in one for one in failures):>9,}")
    print(*failures[:20], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
