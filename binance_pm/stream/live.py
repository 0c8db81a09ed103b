"""The live account: positions, balances, open orders and risk figures, kept current by the user data stream.

What is guaranteed: `LiveAccount.is_current` is true only while the stream is up and every part was read by a request
that was sent after the last gap had ended. `LiveAccount.is_confirmed` is true only if every part was read again at
least ten seconds later, because responses may be stale by seconds. Events are merged in the reader of the stream, so
that a slow consumer does not make the account stale.

What is not derived: uniMMR, equity, margins, available balance and unrealised profit depend on mark prices, collateral
rates and open orders. `LiveAccount.risk` is the last response about them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol, Self, get_args

import anyio

from binance_pm.api.account import Account
from binance_pm.api.stream_events import RiskLevelChange
from binance_pm.arguments import check, checked
from binance_pm.errors import CallInfo, ConfigurationError, SessionClosed
from binance_pm.limits import Priority
from binance_pm.stream.change_signal import ChangeSignal
from binance_pm.stream.fills import FillLog, Trade
from binance_pm.stream.items import StreamDown, StreamGap, StreamItem, StreamUp
from binance_pm.stream.live_state import AccountChanges, LiveState
from binance_pm.stream.live_structs import LiveBalance, LiveConditionalOrder, LiveOrder, LivePosition, Market
from binance_pm.stream.parts import Part, PartChoice, chosen_parts, names_of
from binance_pm.stream.placing import LiveCm, LiveMargin, LiveUm, Placing, PlacingClient
from binance_pm.stream.resync import LiveClient, Resync
from binance_pm.stream.stream import Observer

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

_log = logging.getLogger(__name__)

LOST: Final = "a response shows a change that no event told of"
_MARKETS: Final[tuple[Market, ...]] = get_args(Market)


class AccountClient(PlacingClient, LiveClient, Protocol):
    """The client of a live account, which also places orders."""

    async def until_closed(self, call: CallInfo) -> NoReturn:
        """Wait until the client or its session is closed; raise `SessionClosed` then."""
        ...


class EventSource(Protocol):
    """The stream of a live account."""

    @property
    def age(self) -> float:
        """Seconds since the stream was last proven to be up."""
        ...

    def reconnect(self, why: str, since: float | None = None) -> None:
        """End the connection and open another one."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    def __aiter__(self) -> AsyncIterator[StreamItem]: ...


class LiveAccount:
    """Positions, balances, open orders and risk figures of one account, kept current by its user data stream.

    Args:
        client: the client of the account, which is open.
        stream: returns a stream of the account, which is not open, and which calls the given function with everything.
        parts: what is kept; None for everything. ``um``, ``cm`` and ``margin`` are everything of a market together with
            ``risk``.
        symbols: the symbols whose orders are kept; None for all. Fewer than 40 symbols lower the weight.
        verify_every: seconds between two repeated reads of a part; longer if many accounts share the session.
        jitter: a random number from 0 to 1.

    Raises:
        ConfigurationError: an argument cannot be used.
    """

    def __init__(
        self,
        client: AccountClient,
        stream: Callable[[Observer], EventSource],
        *,
        parts: Collection[PartChoice] | None,
        symbols: Collection[str] | None,
        verify_every: float,
        jitter: Callable[[], float],
    ) -> None:
        self._call: Final = CallInfo("Client.live_account", client.label)
        try:
            self._parts: Final = chosen_parts(parts)
            self._symbols: Final = _checked_symbols(symbols)
            self._verify_every: Final = _checked_seconds(verify_every)
        except ValueError as error:
            raise ConfigurationError(self._call, str(error)) from None
        self._client: Final = client
        self._stream: Final = stream(self._observe)
        self._jitter: Final = jitter
        self._state: Final = LiveState(self._symbols, self._show_order)
        self._fills: Final = FillLog(self._state.by_instrument)
        self._placing: dict[Market, Placing] = {}
        self._resync: Resync | None = None
        self._tasks: TaskGroup | None = None
        self._is_closed: bool = False
        self._changed: Final = ChangeSignal()
        self._told: tuple[bool, bool] = (False, False)
        """Whether the account was current and confirmed when changes were last taken."""

    def __repr__(self) -> str:
        state = "closed" if self._is_closed else "current" if self.is_current else "not current"
        return f"LiveAccount({self._call.label}, {state})"

    async def __aenter__(self) -> Self:
        """Connect, then read every part.

        Raises:
            PortfolioMarginError: the stream cannot be opened, or a part cannot be read.
        """
        if self._resync is not None or self._is_closed:
            raise SessionClosed(self._call, f"the live account {'was closed' if self._is_closed else 'is open'}")
        self._resync = resync = Resync(
            self._client,
            self._state,
            self._parts,
            symbols=self._symbols,
            verify_every=self._verify_every,
            jitter=self._jitter,
            on_lost=lambda since: self._stream.reconnect(LOST, since),
            on_read=self._changed.notify,
        )
        await self._stream.__aenter__()
        try:
            self._tasks = tasks = await anyio.create_task_group().__aenter__()
            times = partial(resync.times, is_repeated=False)
            self._placing = {
                market: Placing(self._client, market, self._state, tasks, times, lambda: resync.now)
                for market in _MARKETS
            }
            tasks.start_soon(resync.run)
            tasks.start_soon(self._end_with_client, resync)
            while not self.is_current:
                resync.raise_if_fatal()
                await self._changed.wait()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def _close(self) -> None:
        self._is_closed = True
        self._changed.notify()
        for placing in self._placing.values():
            placing.close(SessionClosed(self._call, "the live account was closed before the order had ended"))
        tasks, self._tasks = self._tasks, None
        try:
            if tasks is not None:
                tasks.cancel_scope.cancel()
                # Without the exception of the caller's block, which would be wrapped in a group.
                await tasks.__aexit__(None, None, None)
        finally:
            await self._stream.__aexit__(None, None, None)

    @property
    def um(self) -> LiveUm:
        """Orders of USD-M futures.

        Raises:
            ConfigurationError: ``um.orders`` was not chosen.
        """
        self._needs("um", "um.orders")
        return LiveUm(self._placing["um"])

    @property
    def cm(self) -> LiveCm:
        """Orders of COIN-M futures.

        Raises:
            ConfigurationError: ``cm.orders`` was not chosen.
        """
        self._needs("cm", "cm.orders")
        return LiveCm(self._placing["cm"])

    @property
    def margin(self) -> LiveMargin:
        """Orders of cross margin.

        Raises:
            ConfigurationError: ``margin.orders`` was not chosen.
        """
        self._needs("margin", "margin.orders")
        return LiveMargin(self._placing["margin"])

    @property
    def positions(self) -> Mapping[str | tuple[str, str], LivePosition]:
        """Open positions by symbol; in hedge mode by symbol and side, such as ``("BTCUSDT", "LONG")``.

        Raises:
            ConfigurationError: no positions were chosen.
        """
        self._needs("positions", "um.positions", "cm.positions")
        return self._state.positions

    @property
    def balances(self) -> Mapping[str, LiveBalance]:
        """What the account holds and owes by asset.

        Raises:
            ConfigurationError: no balances were chosen.
        """
        self._needs("balances", "um.positions", "cm.positions", "margin.balances")
        return self._state.balances

    @property
    def open_orders(self) -> tuple[LiveOrder, ...]:
        """Open orders by market and order id.

        Raises:
            ConfigurationError: no orders were chosen.
        """
        self._needs("open_orders", "um.orders", "cm.orders", "margin.orders")
        return self._state.open_orders

    @property
    def open_conditional_orders(self) -> tuple[LiveConditionalOrder, ...]:
        """Futures orders that wait for a price: algo orders on USD-M, conditional orders on COIN-M.

        Raises:
            ConfigurationError: no orders of futures were chosen.
        """
        self._needs("open_conditional_orders", "um.orders", "cm.orders")
        return self._state.open_conditional_orders

    @property
    def risk(self) -> Account:
        """The last response about equity, margin and risk state, which the stream does not keep current.

        Raises:
            ConfigurationError: the risk figures were not chosen.
        """
        self._needs("risk", "risk")
        assert self._state.risk is not None, "read before the account is open"  # noqa: S101 - for the type checker
        return self._state.risk

    @property
    def risk_age(self) -> float:
        """Seconds since `risk` was requested."""
        self._needs("risk_age", "risk")
        assert self._resync is not None, "checked above"  # noqa: S101 - for the type checker
        return self._resync.risk_age

    @property
    def is_current(self) -> bool:
        """Whether the stream is up and every part was read by a request sent after the last gap had ended."""
        return not self._is_closed and self._resync is not None and self._resync.is_current

    @property
    def is_confirmed(self) -> bool:
        """Whether the account is current and every part was read again at least ten seconds later."""
        return not self._is_closed and self._resync is not None and self._resync.is_confirmed

    @property
    def age(self) -> float:
        """Seconds since the stream was last proven to be up."""
        self._check_open()
        return self._stream.age

    async def changed(self) -> AccountChanges:
        """Wait until something changes, and return what changed since the last call; the first call returns everything.

        Changes between two calls are coalesced: each position, balance and order appears once, with its newest state.
        A change of `is_current` or `is_confirmed` counts as well.

        Raises:
            SessionClosed: the live account is not open.
        """
        while not self._is_closed and self._resync is not None and not self._has_news():
            self._resync.raise_if_over()
            await self._changed.wait()
        self._check_open()
        self._told = (self.is_current, self.is_confirmed)
        return self._state.take_changes(is_current=self.is_current, is_confirmed=self.is_confirmed)

    def events(self) -> AsyncIterator[StreamItem]:
        """Return an iterator over the events of the stream, with `StreamDown` and `StreamGap` between them.

        Events are kept from the first call on, so that an account whose events are not read holds none. Several
        iterators together yield every event once. The state is newer than an event that waits.

        Raises:
            SessionClosed: the live account is not open.
        """
        self._check_open()
        return aiter(self._stream)

    @checked("LiveAccount.missed_fills")
    async def missed_fills(self, gap: StreamGap) -> AsyncIterator[Trade]:
        """Yield the fills that happened in a gap and that no event delivered; each is yielded once.

        For each symbol whose position or orders differ across the gap, the trades are read from the last known one on:
        weight 5 for each symbol and 1000 trades, 20 on COIN-M. A symbol that was flat and without orders both before
        and after the gap is not read. If the consumer caused the gap because it was too slow, the live account has seen
        the fills, and none is yielded.

        Args:
            gap: one of the last 32 gaps that `events` has yielded. The fills are read once the account is current.

        Raises:
            ConfigurationError: the gap is not one of this live account, or too old.
            PortfolioMarginError: the trades cannot be read.
        """
        self._needs("missed_fills", "um.orders", "cm.orders", "margin.orders")
        while self._resync is not None and not self.is_current and not self._is_closed:
            self._resync.raise_if_over()
            await self._changed.wait()
        self._check_open()
        client = self._client.options(priority=Priority.POLL)
        try:
            async for trade in self._fills.missed(client, gap):
                yield trade
        except KeyError:
            raise ConfigurationError(self._call, "the gap is not known: give one that `events` has yielded") from None

    async def _end_with_client(self, resync: Resync) -> None:
        """End every wait when the client or its session is closed."""
        try:
            await self._client.until_closed(self._call)
        except SessionClosed as error:
            resync.end(error)
            for placing in self._placing.values():
                placing.close(error)

    def _has_news(self) -> bool:
        return self._state.is_changed or self._told != (self.is_current, self.is_confirmed)

    def _observe(self, item: StreamItem | StreamUp) -> None:
        """Merge an event, in the reader of the stream."""
        resync = self._resync
        assert resync is not None, "observed after entering"  # noqa: S101 - for the type checker
        match item:
            case StreamDown():
                self._fills.down()
                resync.down()
            case StreamGap():
                self._fills.gap(item)
                resync.up()
            case StreamUp():
                self._fills.begin(item)
                resync.up()
            case RiskLevelChange():
                resync.risk_changed()
            case _:
                try:
                    resync.check_time(item)
                    self._fills.observe(item)
                    self._state.apply(item, resync.now)
                except Exception:  # noqa: BLE001 - after any error, the account must not claim to be current
                    _log.exception("[%s] The live account could not merge an event.", self._call.label)
                    resync.up()
        self._changed.notify()

    def _show_order(self, order: LiveOrder) -> None:
        if (placing := self._placing.get(order.market)) is not None:
            placing.observe(order)

    def _needs(self, what: str, *parts: Part) -> None:
        """Refuse the use of a part that was not chosen, and of an account that is not open."""
        if not set(parts) & set(self._parts):
            raise ConfigurationError(
                self._call, f"{what} was not chosen: the live account has the parts {', '.join(self._parts)}"
            )
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed or self._resync is None:
            raise SessionClosed(self._call, f"the live account {'was closed' if self._is_closed else 'is not open'}")


def _checked_symbols(symbols: Collection[str] | None) -> frozenset[str] | None:
    if symbols is None:
        return None
    for name in names_of("symbols", symbols, example="BTCUSDT"):
        # A name in lower case would be kept, and no order would have it.
        if not isinstance(name, str) or not name or name != name.upper():
            raise ValueError(f"symbols has {name!r}: give names as the exchange writes them, such as BTCUSDT")
    return frozenset(symbols)


def _checked_seconds(verify_every: float) -> float:
    check("verify_every", verify_every, float)
    if verify_every <= 0:
        raise ValueError(f"verify_every is {verify_every!r}: give a number above 0")
    return verify_every
