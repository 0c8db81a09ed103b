"""Fills that no event delivered, because they happened in a gap of the stream."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from binance_pm.api.cm_orders import CmTrade
from binance_pm.api.futures_events import OrderTradeUpdate
from binance_pm.api.margin_events import ExecutionReport
from binance_pm.api.margin_orders import MarginTrade
from binance_pm.api.um_orders import UmTrade
from binance_pm.endpoint import ENDPOINTS, Endpoint
from binance_pm.stream.items import StreamGap, StreamUp
from binance_pm.stream.live_structs import Market, market_of
from binance_pm.wire import Value

Trade = UmTrade | CmTrade | MarginTrade
"""A fill of the account."""

Instrument = tuple[Market, str]
"""Market and symbol."""

State = Mapping[Instrument, Any]
"""What is known of positions and orders by symbol; equal if nothing has changed."""

_REMEMBERED: Final = 20_000
"""How many delivered fills are remembered."""
_GAPS: Final = 32
"""How many gaps are remembered."""
_PAGE: Final = 1000
_EARLIER_MS: Final = 10_000
"""Milliseconds by which the search begins before a gap if no fill of the symbol is known."""


class _Gap(NamedTuple):
    """A gap, and what was known before it."""

    gap: StreamGap
    before: State
    last_trades: Mapping[Instrument, int]


class TradeClient(Protocol):
    """The client of the account."""

    async def call(self, endpoint: Endpoint[Any], parameters: Mapping[str, Value | None], /) -> Any:
        """Call an endpoint."""
        ...


class FillLog:
    """The fills that events have delivered, and what was known before each gap.

    Args:
        state: returns what is known of positions and orders.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._state: Final = state
        self._delivered: Final[OrderedDict[tuple[Market, str, int], None]] = OrderedDict()
        self._last_trades: Final[dict[Instrument, int]] = {}
        self._before: tuple[State, Mapping[Instrument, int]] | None = None
        """What was known when the stream went down."""
        self._gaps: Final[deque[_Gap]] = deque(maxlen=_GAPS)
        self._began: float = 0.0
        """Seconds since the epoch at which the stream was first up: earlier fills are not missing."""

    def observe(self, event: object) -> None:
        """Record a fill that an event delivers."""
        match event:
            case OrderTradeUpdate():
                self._deliver(market_of(event.business_unit), event.order.symbol, event.order.trade_id)
            case ExecutionReport():
                self._deliver("margin", event.symbol, event.trade_id)
            case _:
                return

    def begin(self, up: StreamUp) -> None:
        """Record that the stream is up for the first time."""
        self._began = up.at

    def down(self) -> None:
        """Record that the stream is down, and what is known before the gap."""
        if self._before is None:
            self._before = (self._state(), dict(self._last_trades))

    def gap(self, gap: StreamGap) -> None:
        """Record a gap."""
        before, last_trades = self._before or (self._state(), dict(self._last_trades))
        self._before = None
        self._gaps.append(_Gap(gap, before, last_trades))

    async def missed(self, client: TradeClient, gap: StreamGap) -> AsyncIterator[Trade]:
        """Yield the fills of a gap that no event delivered, symbol by symbol.

        Raises:
            KeyError: the gap is not known.
        """
        found = next((one for one in reversed(self._gaps) if one.gap == gap), None)
        if found is None:
            raise KeyError(gap.why)
        now = self._state()
        changed = [one for one in {**found.before, **now} if found.before.get(one) != now.get(one)]
        for instrument in sorted(changed):
            async for trade in _trades(client, instrument, found.last_trades.get(instrument), gap):
                key = (*instrument, trade.id)
                if self._began * 1000 <= trade.time <= gap.until * 1000 and key not in self._delivered:
                    self._remember(key)
                    yield trade

    def _deliver(self, market: Market, symbol: str, trade_id: int) -> None:
        # 0 on futures and -1 on margin: the event is not a fill.
        if trade_id > 0:
            self._remember((market, symbol, trade_id))
            self._last_trades[market, symbol] = max(trade_id, self._last_trades.get((market, symbol), 0))

    def _remember(self, key: tuple[Market, str, int]) -> None:
        self._delivered[key] = None
        if len(self._delivered) > _REMEMBERED:
            self._delivered.popitem(last=False)


async def _trades(
    client: TradeClient, instrument: Instrument, last: int | None, gap: StreamGap
) -> AsyncIterator[Trade]:
    """Yield the trades of a symbol since the last known one, or since the gap began."""
    market, symbol = instrument
    endpoint = ENDPOINTS[f"{market}.trades"]
    position: dict[str, Value] = {"fromId": last + 1} if last else {"startTime": int(gap.since * 1000) - _EARLIER_MS}
    while True:
        rows: list[Trade] = await client.call(endpoint, {"symbol": symbol, **position, "limit": _PAGE})
        for row in rows:
            yield row
        if len(rows) < _PAGE or rows[-1].time > gap.until * 1000:
            return
        position = {"fromId": rows[-1].id + 1}
