"""The state of one account, merged from its events and from responses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from binance_pm.api.account import Account, Balance, CmAccount, UmAccount
from binance_pm.api.cm import CmPositionRisk
from binance_pm.api.cm_conditional_orders import CmConditionalOrder
from binance_pm.api.futures_events import AccountUpdate, AlgoUpdate, ConditionalOrderTradeUpdate, OrderTradeUpdate
from binance_pm.api.margin_events import ExecutionReport, LiabilityChange, OutboundAccountPosition
from binance_pm.api.margin_orders import MarginOrder
from binance_pm.api.orders import FuturesOrder
from binance_pm.api.um import UmPositionRisk
from binance_pm.api.um_algo_orders import UmAlgoOrder
from binance_pm.enums import PositionSide
from binance_pm.stream.live_structs import (
    ConditionalKey,
    LiveBalance,
    LiveConditionalOrder,
    LiveOrder,
    LivePosition,
    Market,
    OrderKey,
    PositionKey,
    conditional_of_event,
    conditional_of_row,
    conditional_of_strategy,
    market_of,
    order_of_event,
    order_of_row,
    position_of_event,
    position_of_row,
)
from binance_pm.stream.merge import Entities, ReadTimes, Version

BalanceKey = tuple[str, str]
"""``um``, ``cm``, ``margin`` or ``liability``, and the asset."""
Amounts = tuple[Decimal, ...]
Key = PositionKey | BalanceKey | OrderKey | ConditionalKey

_EVENT_LATE: Final = 15.0
"""Seconds that an event may arrive later than a response that shows its change; they were seen up to 12 s late."""
_MOST_CHANGES: Final = 10_000
"""Changes that are remembered for a caller that does not take them."""


class AccountChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What changed in a live account since the last call: the newest states, also of what has ended."""

    positions: tuple[LivePosition, ...] = ()
    """Positions; a position that was closed has size 0."""
    balances: tuple[LiveBalance, ...] = ()
    """Balances."""
    orders: tuple[LiveOrder, ...] = ()
    """Orders; one that has ended has its last state."""
    conditional_orders: tuple[LiveConditionalOrder, ...] = ()
    """Orders that wait, or waited, for a price."""
    risk: Account | None = None
    """The risk figures, if they were read again."""
    is_whole: bool = False
    """Whether this is the whole state: on the first call, and if more changed than is remembered."""
    is_current: bool
    """Whether the account is current now."""
    is_confirmed: bool
    """Whether the account is confirmed now."""

    def __bool__(self) -> bool:
        """Return whether positions, balances, orders or risk figures changed."""
        return bool(self.positions or self.balances or self.orders or self.conditional_orders or self.risk)


class _Suspicion(NamedTuple):
    """A change that a response showed and whose event has not arrived."""

    version: Version
    until: float
    """Monotonic time by which the event must arrive."""


class LiveState:
    """Positions, balances and orders of one account.

    Args:
        symbols: the symbols whose orders are kept; None for all.
        on_order: called with every order that has changed.
    """

    def __init__(
        self,
        symbols: Collection[str] | None = None,
        on_order: Callable[[LiveOrder], None] = lambda _: None,
    ) -> None:
        self._on_order: Final = on_order
        self._symbols: Final = symbols
        self._positions: Final = Entities[PositionKey, LivePosition]()
        self._balances: Final = Entities[BalanceKey, Amounts]()
        self._orders: Final = Entities[OrderKey, LiveOrder](ends_once=True)
        self._conditional: Final = Entities[ConditionalKey, LiveConditionalOrder](ends_once=True)
        self._kinds: Final[tuple[Entities[Any, Any], ...]] = (
            self._positions,
            self._balances,
            self._orders,
            self._conditional,
        )
        self._suspicions: Final[dict[Key, _Suspicion]] = {}
        self._views: Final[dict[str, tuple[int, Any]]] = {}
        self._is_whole: bool = True
        """Whether the next call of `take_changes` returns the whole state."""
        self._has_new_risk: bool = False
        self.risk: Account | None = None
        """The last response about risk."""

    @property
    def positions(self) -> Mapping[str | tuple[str, str], LivePosition]:
        """Open positions by symbol, in hedge mode by symbol and side."""
        return self._view("positions", self._positions, _positions_by_symbol)

    @property
    def balances(self) -> Mapping[str, LiveBalance]:
        """Balances by asset."""
        return self._view("balances", self._balances, _balances_by_asset)

    @property
    def open_orders(self) -> tuple[LiveOrder, ...]:
        """Open orders, oldest order id first."""
        return self._view("orders", self._orders, _sorted_orders)

    @property
    def open_conditional_orders(self) -> tuple[LiveConditionalOrder, ...]:
        """Orders that wait for a price."""
        return self._view("conditional", self._conditional, lambda live: tuple(live.values()))

    def order(self, key: OrderKey) -> LiveOrder | None:
        """Return an open order."""
        return self._orders.get(key)

    def by_instrument(self) -> dict[tuple[Market, str], tuple[object, ...]]:
        """Return what shows whether a symbol was traded: the versions of its positions, and its open orders."""
        found: dict[tuple[Market, str], tuple[object, ...]] = {}
        for (market, symbol, _), position in sorted(self._positions.live().items()):
            found[market, symbol] = (*found.get((market, symbol), ()), position.version, position.position_amt)
        for (market, symbol, _), order in sorted(self._orders.live().items()):
            found[market, symbol] = (*found.get((market, symbol), ()), order.order_id, order.executed_qty)
        return found

    @property
    def is_changed(self) -> bool:
        """Whether anything changed since changes were last taken."""
        return self._is_whole or self._has_new_risk or any(kind.changed for kind in self._kinds)

    def take_changes(self, *, is_current: bool, is_confirmed: bool) -> AccountChanges:
        """Return what changed since this was last called; the first call returns everything."""
        is_whole = self._is_whole
        positions, wallets, orders, conditional = (
            kind.live() if is_whole else dict(kind.changed) for kind in self._kinds
        )
        balances = self.balances
        changes = AccountChanges(
            positions=tuple(positions.values()),
            balances=tuple(
                balances.get(asset) or LiveBalance(asset=asset) for asset in dict.fromkeys(key[1] for key in wallets)
            ),
            orders=tuple(orders.values()),
            conditional_orders=tuple(conditional.values()),
            risk=self.risk if is_whole or self._has_new_risk else None,
            is_whole=is_whole,
            is_current=is_current,
            is_confirmed=is_confirmed,
        )
        self._clear_changes()
        self._is_whole = False
        return changes

    def _clear_changes(self) -> None:
        for kind in self._kinds:
            kind.changed.clear()
        self._has_new_risk = False

    def _bound_changes(self) -> None:
        """Drop the changes if too many wait to be taken; the whole state is returned in their place."""
        if self._is_whole or sum(len(kind.changed) for kind in self._kinds) > _MOST_CHANGES:
            self._clear_changes()
            self._is_whole = True

    def apply(self, event: object, now: float) -> None:
        """Merge an event; an event that does not concern the state is ignored.

        Args:
            event: as decoded.
            now: monotonic seconds.
        """
        match event:
            case AccountUpdate():
                self._apply_account(event, now)
            case OrderTradeUpdate() | ExecutionReport():
                if (order := order_of_event(event)) is not None and self._keeps(order.symbol):
                    self._arrived(order.key, order.version)
                    if self._orders.merge_event(order.key, order, order.version, now, has_ended=not order.is_open):
                        self._on_order(order)
            case AlgoUpdate():
                self._apply_conditional(conditional_of_event(event), now)
            case ConditionalOrderTradeUpdate():
                self._apply_conditional(conditional_of_strategy(market_of(event.business_unit), event.strategy), now)
            case OutboundAccountPosition():
                for row in event.balances:
                    version = Version(event.last_update_time)
                    self._balances.merge_event(("margin", row.asset), (row.free, row.locked), version, now)
            case LiabilityChange():
                version = Version(event.event_time)
                self._balances.merge_event(("liability", event.asset), (event.total_liability,), version, now)
            case _:
                return
        self._bound_changes()

    def _apply_account(self, event: AccountUpdate, now: float) -> None:
        market, version = market_of(event.business_unit), Version(event.transaction_time)
        for wallet in event.update.balances:
            self._balances.merge_event((market, wallet.asset), (wallet.cross_wallet_balance,), version, now)
        for update in event.update.positions or ():
            position = position_of_event(market, update, event.transaction_time)
            self._arrived(position.key, version)
            self._positions.merge_event(position.key, position, version, now, has_ended=not position.position_amt)

    def _apply_conditional(self, order: LiveConditionalOrder, now: float) -> None:
        if self._keeps(order.symbol):
            self._arrived(order.key, order.version)
            self._conditional.merge_event(order.key, order, order.version, now, has_ended=not order.is_open)

    def read_positions(
        self,
        market: Market,
        account: UmAccount | CmAccount,
        risks: Iterable[UmPositionRisk | CmPositionRisk],
        read: ReadTimes,
        now: float,
    ) -> bool:
        """Merge the positions and the balances of futures; return whether everything was decided."""
        undecided = self._positions.undecided
        rows: dict[PositionKey, LivePosition] = {}
        for position in (position_of_row(market, row) for row in (*risks, *account.positions)):
            # Both lists are read, because the documents disagree on which symbols they name.
            if position.key not in rows or rows[position.key].update_time < position.update_time:
                rows[position.key] = position
        for position in rows.values():
            self._merge_position(position, read, now)
        for key in self._positions.missing(rows, read, lambda key: key[0] == market):
            position, version = self._positions.get(key), self._positions.version(key)
            assert position is not None, "found by `missing`"  # noqa: S101 - for the type checker
            assert version is not None, "found by `missing`"  # noqa: S101 - as above
            self._suspect(key, version, read, now)
            self._positions.end(key, msgspec.structs.replace(position, position_amt=Decimal(0)), now)
        amounts = {
            (market, asset.asset): ((asset.cross_wallet_balance,), Version(asset.update_time))
            for asset in account.assets
        }
        is_decided = self._read_balances({market}, amounts, read, now)
        self._positions.forget_old(now)
        return is_decided and self._positions.undecided == undecided

    def _merge_position(self, position: LivePosition, read: ReadTimes, now: float) -> None:
        key, version = position.key, position.version
        before = self._positions.get(key)
        # A row may have a newer time although nothing that events report has changed.
        has_moved = position.position_amt != (Decimal(0) if before is None else before.position_amt)
        has_won = self._positions.merge_row(key, position, version, read, now, has_ended=not position.position_amt)
        if has_won and has_moved:
            self._suspect(key, version, read, now)

    def read_margin(self, rows: Iterable[Balance], read: ReadTimes, now: float) -> bool:
        """Merge the balances of cross margin, whose rows have no update time; return whether all were decided."""
        amounts: dict[BalanceKey, tuple[Amounts, Version]] = {}
        for row in rows:
            amounts["margin", row.asset] = ((row.cross_margin_free, row.cross_margin_locked), Version(0))
            debt = row.cross_margin_borrowed + row.cross_margin_interest
            amounts["liability", row.asset] = ((debt,), Version(0))
        return self._read_balances({"margin", "liability"}, amounts, read, now)

    def _read_balances(
        self,
        wallets: Collection[str],
        rows: Mapping[BalanceKey, tuple[Amounts, Version]],
        read: ReadTimes,
        now: float,
    ) -> bool:
        undecided = self._balances.undecided
        for key, (amounts, version) in rows.items():
            self._balances.merge_row(key, amounts, version, read, now)
        for key in self._balances.missing(rows, read, lambda key: key[0] in wallets):
            self._balances.end(key, (Decimal(0),) * (2 if key[0] == "margin" else 1), now)
        self._balances.forget_old(now)
        self._bound_changes()
        return self._balances.undecided == undecided

    def read_orders(
        self, market: Market, rows: Iterable[FuturesOrder | MarginOrder], read: ReadTimes, now: float
    ) -> list[LiveOrder]:
        """Merge a list of open orders; return the orders that it should contain and does not."""
        orders = [one for row in rows if (one := order_of_row(market, row)) is not None and self._keeps(one.symbol)]
        for order in orders:
            self.read_order(order, read, now)
        self._orders.forget_old(now)
        self._bound_changes()
        missing = self._orders.missing({order.key for order in orders}, read, lambda key: key[0] == market)
        return [order for key in missing if (order := self._orders.get(key)) is not None]

    def read_order(self, order: LiveOrder, read: ReadTimes, now: float) -> None:
        """Merge one order of a response."""
        if self._keeps(order.symbol) and self._read_one(self._orders, order, read, now):
            self._on_order(order)

    def read_conditional(
        self,
        market: Market,
        rows: Iterable[UmAlgoOrder | CmConditionalOrder],
        read: ReadTimes,
        now: float,
    ) -> list[LiveConditionalOrder]:
        """Merge a list of conditional orders; return the orders that it should contain and does not."""
        orders = [one for row in rows if self._keeps((one := conditional_of_row(row)).symbol)]
        for order in orders:
            self.read_conditional_order(order, read, now)
        self._conditional.forget_old(now)
        missing = self._conditional.missing({one.key for one in orders}, read, lambda key: key[0] == market)
        return [order for key in missing if (order := self._conditional.get(key)) is not None]

    def read_conditional_order(self, order: LiveConditionalOrder, read: ReadTimes, now: float) -> None:
        """Merge one conditional order of a response."""
        self._read_one(self._conditional, order, read, now)

    def _read_one(
        self, kind: Entities[Any, Any], order: LiveOrder | LiveConditionalOrder, read: ReadTimes, now: float
    ) -> bool:
        known = kind.version(order.key)
        has_won = kind.merge_row(order.key, order, order.version, read, now, has_ended=not order.is_open)
        if has_won and (known is None or order.version > known):
            self._suspect(order.key, order.version, read, now)
        return has_won

    def end_order(self, order: LiveOrder | LiveConditionalOrder, now: float) -> None:
        """End an order that the exchange no longer knows; orders that ended long ago without a fill are archived."""
        last = msgspec.structs.replace(order, status=type(order.status)("EXPIRED"))
        if isinstance(last, LiveOrder):
            self._orders.end(last.key, last, now)
            self._on_order(last)
        else:
            self._conditional.end(last.key, last, now)

    def read_risk(self, risk: Account) -> None:
        """Keep the figures of a response about risk."""
        self.risk, self._has_new_risk = risk, True

    def next_deadline(self) -> float | None:
        """Return the monotonic time at which the next missing event is late; None if no event is missing."""
        return min((one.until for one in self._suspicions.values()), default=None)

    def forget_suspicions(self) -> None:
        """Forget the missing events: the stream was down, so that they are lost anyway."""
        self._suspicions.clear()

    def _suspect(self, key: Key, version: Version, read: ReadTimes, now: float) -> None:
        """Expect an event for a change that a repeated read shows."""
        # A change from before the stream was up has no event to wait for.
        if read.is_repeated and version.time > read.up_since:
            self._suspicions.setdefault(key, _Suspicion(version, now + _EVENT_LATE))

    def _arrived(self, key: Key, version: Version) -> None:
        suspicion = self._suspicions.get(key)
        if suspicion is not None and version.time >= suspicion.version.time:
            del self._suspicions[key]

    def _keeps(self, symbol: str) -> bool:
        return self._symbols is None or symbol in self._symbols

    def _view(self, name: str, kind: Entities[Any, Any], make: Callable[[dict[Any, Any]], Any]) -> Any:
        """Return a view of the entities, which is rebuilt only after a change."""
        kept = self._views.get(name)
        if kept is None or kept[0] != kind.changes:
            kept = self._views[name] = (kind.changes, make(kind.live()))
        return kept[1]


def _positions_by_symbol(live: dict[PositionKey, LivePosition]) -> Mapping[str | tuple[str, str], LivePosition]:
    return MappingProxyType(
        {(symbol if side is PositionSide.BOTH else (symbol, str(side))): one for (_, symbol, side), one in live.items()}
    )


def _balances_by_asset(live: dict[BalanceKey, Amounts]) -> Mapping[str, LiveBalance]:
    def balance(asset: str) -> LiveBalance:
        free, locked = live.get(("margin", asset), (None, None))
        return LiveBalance(
            asset=asset,
            um_wallet_balance=live.get(("um", asset), (None,))[0],
            cm_wallet_balance=live.get(("cm", asset), (None,))[0],
            cross_margin_free=free,
            cross_margin_locked=locked,
            cross_margin_liability=live.get(("liability", asset), (None,))[0],
        )

    return MappingProxyType({asset: balance(asset) for asset in dict.fromkeys(asset for _, asset in live)})


def _sorted_orders(live: dict[OrderKey, LiveOrder]) -> tuple[LiveOrder, ...]:
    return tuple(sorted(live.values(), key=lambda order: (order.market, order.order_id)))
