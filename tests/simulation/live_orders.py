"""Places orders whose response is lost, and compares what the live account says of them with the exchange's truth.

``python -m tests.simulation.live_orders --orders 20000`` prints the figures for a live account and for a client without
a stream, in virtual time: what is wrong, and after how many seconds half of the outcomes were known. Queries lag by up
to three seconds; requests arrive at any time until they expire, or never; events may be late or lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from random import Random
from typing import Any, Final, Self, TypeVar

from binance_pm import ENDPOINTS
from binance_pm.api.stream_events import decode_event
from binance_pm.api.um import Um
from binance_pm.call import with_client_id
from binance_pm.client_ids import ClientIds
from binance_pm.errors import CallInfo, NoResponse, PortfolioMarginError, RequestRejected, SentWrite
from binance_pm.resolution import WriteOutcome
from binance_pm.resolve import find_out
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.order_events import OrderRecorder, attach_waiter, record_orders, waiter_of
from tests.simulation.live_account import ModelSession, ModelStream, SimulatedClient
from tests.simulation.live_exchange import EPOCH
from tests.simulation.virtual import run
from tests.support.sample import sample_of
from tests.support.stream_messages import order_update

T = TypeVar("T")

LAG: Final = 3.0
"""Seconds by which queries lag at most."""
_WINDOW: Final = 5.0
"""Seconds until a request expires."""
_TOGETHER: Final = 100
"""Orders that are placed at the same time."""
_CALL: Final = CallInfo("um.new_order", "sim", "key", write=True, find_out="Ask.")


class OrderSession(ModelSession):
    """The members of a session and its budget that resolving uses."""

    async def bounded(self, _: CallInfo, what: Awaitable[T]) -> T:
        """Wait."""
        return await what


class WatchedStream(ModelStream):
    """A stream that passes events of orders on to waiting callers, as the stream of a client does."""

    def __init__(self, random: Random, session: OrderSession) -> None:
        super().__init__(random, session.monotonic)
        self._session: Final[Any] = session
        self._stack: Final = ExitStack()

    async def __aenter__(self) -> Self:
        recorder: OrderRecorder = self._stack.enter_context(record_orders(self._session, "key"))
        # Before the live account, as in the stream of a client.
        self._observers.insert(0, lambda item: recorder.observe(item, self._session.monotonic()))
        return await super().__aenter__()

    async def __aexit__(self, *_: object) -> None:
        self._stack.close()


class OrderExchange:
    """Orders by client order id, and when each arrived; infinite if it never does."""

    def __init__(self, random: Random, clock: Callable[[], float]) -> None:
        self._random: Final = random
        self._clock: Final = clock
        self.arrived: Final[dict[str, float]] = {}
        self.ended: Final[dict[str, float]] = {}
        self.stream: WatchedStream | None = None
        self._ids: Final[dict[str, int]] = {}
        self._client_ids: Final[dict[int, str]] = {}

    def receive(self, client_id: str, seconds: float) -> None:
        """Let a request arrive after a while."""
        self.arrived[client_id] = self._clock() + seconds
        self.ended[client_id] = self.arrived[client_id] + self._random.uniform(0.1, 5.0)
        number = self._ids[client_id] = len(self._ids) + 1
        self._client_ids[number] = client_id
        for at, status in ((self.arrived, "NEW"), (self.ended, "CANCELED")):
            asyncio.get_running_loop().call_at(at[client_id], self._push, client_id, self._ids[client_id], status)

    def _push(self, client_id: str, order_id: int, status: str) -> None:
        if self.stream is not None:
            time = int((EPOCH + self._clock()) * 1000)
            message = order_update(time, order_id, status, client_order_id=client_id)
            self.stream.push(decode_event(json.dumps(message).encode()))

    def query(self, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return an order as a query by one of its ids shows it, late."""
        client_id = self._client_ids.get(parameters.get("orderId", 0)) or str(parameters.get("origClientOrderId"))
        seen_at = self._clock() - self._random.uniform(0.0, LAG)
        if self.arrived.get(client_id, seen_at + 1) > seen_at:
            return None
        has_ended = self.ended[client_id] <= seen_at
        time = int((EPOCH + (self.ended if has_ended else self.arrived)[client_id]) * 1000)
        changes = {"clientOrderId": client_id, "orderId": self._ids[client_id]}
        changes["status"] = "CANCELED" if has_ended else "NEW"
        return sample_of("um.order")["answer"] | changes | {"updateTime": time, "time": time, "symbol": "BTCUSDT"}


class OrderClient(SimulatedClient):
    """A client whose placements lose their response."""

    def __init__(self, random: Random, exchange: OrderExchange, session: OrderSession) -> None:
        super().__init__(session)
        self._random: Final = random
        self._exchange: Final = exchange
        self._ids: Final = ClientIds()
        self.key_id: Final = "key"
        self.at_once: Final[dict[str, bool]] = {}
        """The result of a query right after the response is lost."""

    def with_client_id(self, endpoint: Any, parameters: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the parameters with a client id."""
        return with_client_id(endpoint, parameters, self._ids)

    async def call(
        self,
        endpoint: Any,
        parameters: Mapping[str, Any],
        *,
        check: bool = True,
        resolve: bool | None = None,
    ) -> Any:
        """Call an endpoint."""
        assert check or resolve is not None
        if endpoint.is_write:
            await self._lose(self.with_client_id(endpoint, parameters))
        await asyncio.sleep(self._random.uniform(0.01, 0.3))
        if self._random.random() < 0.05:
            raise NoResponse(_CALL._replace(endpoint=endpoint.name, write=False), "simulated")
        if endpoint.returns != ENDPOINTS["um.order"].returns:
            return []
        row = self._exchange.query(parameters)
        if row is None:
            raise RequestRejected(_CALL, "Order does not exist.", status=400, code=-2013)
        return endpoint.decode(json.dumps(row).encode())

    async def _lose(self, parameters: Mapping[str, Any]) -> None:
        """Lose the response to a placement.

        Raises:
            NoResponse: always.
        """
        client_id = str(parameters["newClientOrderId"])
        timestamp = int((EPOCH + self.session.monotonic()) * 1000)
        chance = self._random.random()
        if chance < 0.6:
            late = self._random.random() < 0.2
            self._exchange.receive(client_id, self._random.uniform(0.01, _WINDOW - 0.1 if late else 0.5))
        await asyncio.sleep(self._random.choice((0.01, 0.3, 1.0, 10.0)) * self._random.random())
        self.at_once[client_id] = self._exchange.query({"origClientOrderId": client_id}) is not None
        error = NoResponse(_CALL, "simulated")
        request = SentWrite(parameters, client_id, "new_client_order_id", "key", timestamp, timestamp + 5000)
        error.describe_write(request)
        raise error

    async def resolve(self, error: PortfolioMarginError) -> WriteOutcome:
        """Find out the outcome, as a client does."""
        with attach_waiter(self.session, self.key_id, waiter_of(error)) as events:
            return await find_out(self, error, give_up_after=120.0, events=events)


class OrderRun:
    """Some orders from a seed."""

    def __init__(self, seed: int, orders: int, *, has_stream: bool) -> None:
        self._random: Final = Random(seed)
        self._orders: Final = orders
        self._has_stream: Final = has_stream
        self.figures: Final[Counter[str]] = Counter()
        self.seconds: Final[list[float]] = []

    async def work(self) -> None:
        """Place the orders."""
        clock = asyncio.get_running_loop().time
        session = OrderSession(clock)
        exchange = OrderExchange(self._random, clock)
        client = OrderClient(self._random, exchange, session)
        if not self._has_stream:
            await self._place_all(client, exchange, Um(client).new_order)
            return
        stream = exchange.stream = WatchedStream(self._random, session)
        pump = asyncio.create_task(stream.keep_delivering())
        faults = asyncio.create_task(self._fail(stream))
        live = LiveAccount(
            client,
            stream.observed_by,
            parts={"um.orders"},
            symbols=None,
            verify_every=1e6,
            jitter=self._random.random,
        )
        async with live:
            await self._place_all(client, exchange, live.um.new_order)
        for task in (pump, faults):
            task.cancel()

    async def _place_all(self, client: OrderClient, exchange: OrderExchange, place: Any) -> None:
        for _ in range(0, self._orders, _TOGETHER):
            await asyncio.gather(*(self._place(client, exchange, place) for _ in range(_TOGETHER)))

    async def _place(self, client: OrderClient, exchange: OrderExchange, place: Any) -> None:
        clock = client.session.monotonic
        await asyncio.sleep(self._random.uniform(0.0, 10.0))
        began = clock()
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}
        try:
            placed = await place(**order, quantity="1", price="1")
        except PortfolioMarginError as error:
            client_id = str(error.client_id)
            outcome = error.resolved or await client.resolve(error)
            verdict = {"done": "placed", "not_found": "not placed"}[outcome.state]
        else:
            client_id, verdict = placed.client_order_id, "placed"
        self.seconds.append(clock() - began)
        # Whatever is under way arrives meanwhile.
        await asyncio.sleep(_WINDOW + 1)
        truth = "placed" if client_id in exchange.arrived else "not placed"
        self.figures[f"truth: {truth}"] += 1
        self.figures["wrong"] += verdict != truth
        self.figures["a query at once would be wrong"] += client.at_once.get(client_id, True) != (truth == "placed")

    async def _fail(self, stream: ModelStream) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(5.0, 60.0))
            if self._random.random() < 0.5:
                stream.fall("simulated")
            else:
                stream.is_late = True
                await asyncio.sleep(self._random.uniform(1.0, 5.0))
                stream.is_late = False


def simulate(seed: int, orders: int, *, has_stream: bool) -> OrderRun:
    """Place orders in virtual time."""
    one = OrderRun(seed, orders, has_stream=has_stream)
    run(one.work)
    return one


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Compare the outcomes of orders with what has become of them.")
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wrong = 0
    for has_stream in (True, False):
        one = simulate(options.seed, options.orders, has_stream=has_stream)
        wrong += one.figures["wrong"]
        name = "live account" if has_stream else "no stream"
        print(f"{name}, seed {options.seed}, {len(one.seconds):,} unknown outcomes")
        for name, count in sorted({"wrong": 0, **one.figures}.items()):
            print(f"  {name:<32} {count:>8,}")
        print(f"  {'median seconds':<32} {statistics.median(one.seconds):>8.1f}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
