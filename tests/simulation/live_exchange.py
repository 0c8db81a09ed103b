"""A model of the exchange for the live account: its true state, the pushed events, and stale responses."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Final, NamedTuple, cast

import msgspec

from binance_pm import ENDPOINTS
from binance_pm.api.stream_events import decode_event
from tests.support.paths import ROOT

EPOCH: Final = 1_800_000_000
"""The exchange's clock when the simulation begins, in seconds."""

SYMBOLS: Final = {"um": ("BTCUSDT", "ETHUSDT", "BNBUSDT"), "cm": ("BTCUSD_PERP", "ETHUSD_PERP"), "margin": ("ETHBTC",)}
_ASSETS: Final = {"um": "USDT", "cm": "BTC"}
_SAMPLES: Final = ROOT / "tests" / "samples"
_OPEN: Final = {"NEW", "PARTIALLY_FILLED"}


class Position(NamedTuple):
    """One position."""

    amount: Decimal
    price: Decimal
    time: int


class Order(NamedTuple):
    """One order."""

    market: str
    symbol: str
    id: int
    client_id: str
    quantity: Decimal
    executed: Decimal
    price: Decimal
    status: str
    time: int


class Wallet(NamedTuple):
    """One amount, and when it last changed."""

    amounts: tuple[Decimal, ...]
    time: int


class Truth(NamedTuple):
    """The true state at one moment."""

    positions: Mapping[tuple[str, str], Position] = {}
    wallets: Mapping[tuple[str, str], Wallet] = {}
    orders: Mapping[tuple[str, str, int], Order] = {}
    waiting: Mapping[tuple[str, int], Order] = {}
    """Orders that wait for a trigger price."""


@cache
def _sample(name: str) -> Any:
    return json.loads((_SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def _event(name: str, **changes: Any) -> Any:
    message = _sample(f"streams/{name}")["message"]
    return decode_event(json.dumps({**message, **changes}).encode())


def _one(name: str, **changes: Any) -> Any:
    """Return one row of an endpoint, made from its sample."""
    decoded: Any = ENDPOINTS[name].decode(json.dumps(_sample(name)["answer"]).encode())
    row: Any = cast("list[Any]", decoded)[0] if isinstance(decoded, list) else decoded
    return msgspec.structs.replace(row, **changes)


class ModelExchange:
    """One account.

    Args:
        random: decides what happens.
        clock: seconds.
        push: called with every event.
    """

    def __init__(self, random: Random, clock: Callable[[], float], push: Callable[[Any], None]) -> None:
        self._random: Final = random
        self._clock: Final = clock
        self._push: Final = push
        self._has_times: Final = random.random() < 0.5
        """Whether futures wallets have an update time in responses."""
        self._next_id: int = 1
        self._times: list[float] = [-1.0]
        self._past: list[Truth] = [Truth()]
        self._last: int = 0
        start = Wallet((Decimal(1000),), 0)
        wallets = dict.fromkeys(_ASSETS.items(), start)
        wallets["margin", "ETH"] = Wallet((Decimal(10), Decimal(0)), 0)
        wallets["liability", "ETH"] = Wallet((Decimal(1),), 0)
        self._become(wallets=wallets)

    @property
    def now(self) -> Truth:
        """The current true state."""
        return self._past[-1]

    def at(self, time: float) -> Truth:
        """Return the true state at a time."""
        return self._past[max(bisect_right(self._times, time) - 1, 1)]

    def act(self) -> None:
        """Make a random change."""
        acts = (self._trade, self._place, self._fill, self._fill, self._cancel, self._move, self._wait, self._trigger)
        self._random.choice(acts)()

    def client_order(self, client_id: str) -> Order | None:
        """Return an order by its client id."""
        return next((order for order in self.now.orders.values() if order.client_id == client_id), None)

    def place(self, market: str, symbol: str, client_id: str) -> Order:
        """Place an order."""
        order = Order(
            market, symbol, self._new_id(), client_id, Decimal(10), Decimal(0), Decimal(100), "NEW", self._time()
        )
        self._put(order, "NEW")
        return order

    def _place(self) -> None:
        market = self._random.choice(list(SYMBOLS))
        self.place(market, self._random.choice(SYMBOLS[market]), f"sim-{self._next_id}")

    def _fill(self) -> None:
        if (order := self._any_open()) is None:
            return
        quantity = min(order.quantity - order.executed, Decimal(self._random.randint(1, 10)))
        executed = order.executed + quantity
        status = "FILLED" if executed == order.quantity else "PARTIALLY_FILLED"
        time = self._time()
        if order.market == "margin":
            self._change_margin(quantity / 100, time)
        else:
            self._change_position(order.market, order.symbol, quantity * self._random.choice((-1, 1)), time)
        self._put(order._replace(executed=executed, status=status, time=time), "TRADE")

    def _cancel(self) -> None:
        if (order := self._any_open()) is not None:
            self._put(order._replace(status="CANCELED", time=self._time()), "CANCELED")

    def _trade(self) -> None:
        """Change a position without an order of the account, sometimes twice in one millisecond."""
        market = self._random.choice(("um", "cm"))
        symbol, time = self._random.choice(SYMBOLS[market]), self._time()
        held = self.now.positions.get((market, symbol))
        for _ in range(self._random.choice((1, 1, 2))):
            closes = held is not None and self._random.random() < 0.3
            self._change_position(market, symbol, -held.amount if closes and held else Decimal(1), time)

    def _move(self) -> None:
        """Change a balance."""
        time = self._time()
        kind = self._random.choice(("um", "cm", "margin", "liability"))
        if kind == "margin":
            self._change_margin(Decimal(self._random.randint(-3, 3)), time)
        elif kind == "liability":
            [debt] = self.now.wallets["liability", "ETH"].amounts
            debt += self._random.randint(1, 3)
            self._become(wallets={**self.now.wallets, ("liability", "ETH"): Wallet((debt,), time)})
            self._push(_event("liabilityChange", E=time, a="ETH", T=time, l=str(debt)))
        else:
            self._change_wallet(kind, Decimal(self._random.randint(-5, 5)), time, [])

    def _wait(self) -> None:
        market = self._random.choice(("um", "cm"))
        order = Order(
            market,
            SYMBOLS[market][0],
            self._new_id(),
            f"wait-{self._next_id}",
            Decimal(10),
            Decimal(0),
            Decimal(100),
            "NEW",
            self._time(),
        )
        self._put_waiting(order)

    def _trigger(self) -> None:
        waiting = [one for one in self.now.waiting.values() if one.status == "NEW"]
        if waiting:
            status = self._random.choice(("TRIGGERED", "CANCELED"))
            self._put_waiting(self._random.choice(waiting)._replace(status=status, time=self._time()))

    def _put_waiting(self, order: Order) -> None:
        self._become(waiting={**self.now.waiting, (order.market, order.id): order})
        if order.market == "um":
            body = _sample("streams/ALGO_UPDATE")["message"]["ao"]
            body = {**body, "aid": order.id, "caid": order.client_id, "s": order.symbol, "X": order.status}
            self._push(_event("ALGO_UPDATE", E=order.time, T=order.time, fs="UM", ao=body))
        else:
            body = _sample("streams/CONDITIONAL_ORDER_TRADE_UPDATE")["message"]["so"]
            body = {**body, "si": order.id, "c": order.client_id, "s": order.symbol, "os": order.status}
            body["ut"] = order.time
            self._push(_event("CONDITIONAL_ORDER_TRADE_UPDATE", E=order.time, T=order.time, fs="CM", so=body))

    def _change_margin(self, change: Decimal, time: int) -> None:
        free, locked = self.now.wallets["margin", "ETH"].amounts
        self._become(wallets={**self.now.wallets, ("margin", "ETH"): Wallet((free + change, locked), time)})
        balances = [{"a": "ETH", "f": str(free + change), "l": str(locked)}]
        self._push(_event("outboundAccountPosition", E=time, u=time, U=self._new_id(), B=balances))

    def _change_position(self, market: str, symbol: str, change: Decimal, time: int) -> None:
        held = self.now.positions.get((market, symbol))
        amount = change + (held.amount if held else 0)
        position = Position(amount, Decimal(self._random.randint(90, 110)) if amount else Decimal(0), time)
        self._become(positions={**self.now.positions, (market, symbol): position})
        update = {"s": symbol, "pa": str(amount), "ep": str(position.price), "ps": "BOTH"}
        body = {"cr": "0", "up": "0", "bep": "0", **update}
        self._change_wallet(market, Decimal(-1) / 8, time, [body])

    def _change_wallet(self, market: str, change: Decimal, time: int, positions: list[dict[str, str]]) -> None:
        asset = _ASSETS[market]
        amount = self.now.wallets[market, asset].amounts[0] + change
        self._become(wallets={**self.now.wallets, (market, asset): Wallet((amount,), time)})
        balance = {"a": asset, "wb": str(amount), "cw": str(amount), "bc": "0"}
        body = {"m": "ORDER" if positions else "DEPOSIT", "B": [balance], "P": positions}
        self._push(_event("ACCOUNT_UPDATE", fs=market.upper(), E=time, T=time, a=body))

    def _put(self, order: Order, execution: str) -> None:
        self._become(orders={**self.now.orders, (order.market, order.symbol, order.id): order})
        shared = {
            "s": order.symbol,
            "c": order.client_id,
            "i": order.id,
            "x": execution,
            "X": order.status,
            "q": str(order.quantity),
            "z": str(order.executed),
            "p": str(order.price),
            "T": order.time,
        }
        if order.market == "margin":
            self._push(_event("executionReport", E=order.time, **shared))
            return
        body = {**_sample("streams/ORDER_TRADE_UPDATE")["message"]["o"], **shared}
        self._push(_event("ORDER_TRADE_UPDATE", fs=order.market.upper(), E=order.time, T=order.time, o=body))

    def respond(self, name: str, arguments: Mapping[str, Any], truth: Truth) -> Any:
        """Return the response of an endpoint to a request, given what it sees.

        Raises:
            KeyError: there is no such order.
        """
        market, _, query = name.rpartition(".")
        if query in {"account", "balance"}:
            return _one("account") if query == "account" else self._balances(truth)
        if query.endswith("_account"):
            return self._account(query.removesuffix("_account"), truth)
        if query.startswith("open_") or query == "position_risk":
            return self._list(market, query, truth)
        if query != "order":
            return self._waiting_row(truth.waiting[market, arguments.get("algoId") or arguments["strategyId"]])
        if (client_id := arguments.get("origClientOrderId")) is None:
            return self._row(truth.orders[market, arguments["symbol"], arguments["orderId"]])
        return self._row({one.client_id: one for one in truth.orders.values()}[client_id])

    def _list(self, market: str, query: str, truth: Truth) -> list[Any]:
        if query == "position_risk":
            held = {key: one for key, one in truth.positions.items() if key[0] == market and one.amount}
            return [self._risk(market, symbol, one) for (_, symbol), one in held.items()]
        if query == "open_orders":
            return [self._row(one) for one in truth.orders.values() if one.market == market and one.status in _OPEN]
        return [
            self._waiting_row(one) for one in truth.waiting.values() if one.market == market and one.status == "NEW"
        ]

    def _account(self, market: str, truth: Truth) -> Any:
        asset = _ASSETS[market]
        wallet = truth.wallets[market, asset]
        account = _one(f"{market}_account")
        row = msgspec.structs.replace(
            account.assets[0],
            asset=asset,
            cross_wallet_balance=wallet.amounts[0],
            update_time=wallet.time if self._has_times else 0,
        )
        positions = [
            msgspec.structs.replace(
                account.positions[0], symbol=symbol, position_side="BOTH", position_amt=one.amount, update_time=one.time
            )
            for (held, symbol), one in truth.positions.items()
            if held == market and one.amount
        ]
        if market == "cm":
            entries = [truth.positions[market, one.symbol].price for one in positions]
            positions = [
                msgspec.structs.replace(one, entry_price=price) for one, price in zip(positions, entries, strict=True)
            ]
        return msgspec.structs.replace(account, assets=[row], positions=positions)

    def _risk(self, market: str, symbol: str, position: Position) -> Any:
        return _one(
            f"{market}.position_risk",
            symbol=symbol,
            position_side="BOTH",
            position_amt=position.amount,
            entry_price=position.price,
            update_time=position.time,
        )

    def _balances(self, truth: Truth) -> Any:
        free, locked = truth.wallets["margin", "ETH"].amounts
        [debt] = truth.wallets["liability", "ETH"].amounts
        return [
            _one(
                "balance",
                asset="ETH",
                cross_margin_free=free,
                cross_margin_locked=locked,
                cross_margin_borrowed=debt,
                cross_margin_interest=Decimal(0),
                update_time=0,
            )
        ]

    def _row(self, order: Order) -> Any:
        return _one(
            f"{order.market}.order",
            symbol=order.symbol,
            order_id=order.id,
            client_order_id=order.client_id,
            orig_qty=order.quantity,
            executed_qty=order.executed,
            price=order.price,
            status=order.status,
            update_time=order.time,
        )

    def _waiting_row(self, order: Order) -> Any:
        if order.market == "um":
            return _one(
                "um.algo_order",
                symbol=order.symbol,
                algo_id=order.id,
                client_algo_id=order.client_id,
                algo_status=order.status,
                update_time=order.time,
            )
        return _one(
            "cm.conditional_order_history",
            symbol=order.symbol,
            strategy_id=order.id,
            new_client_strategy_id=order.client_id,
            strategy_status=order.status,
            update_time=order.time,
        )

    def _any_open(self) -> Order | None:
        found = [order for order in self.now.orders.values() if order.status in _OPEN]
        return self._random.choice(found) if found else None

    def _become(self, **changes: Any) -> None:
        self._times.append(self._clock())
        self._past.append(self.now._replace(**changes))

    def _time(self) -> int:
        """Return the time of a change in milliseconds."""
        self._last = max(self._last, int((EPOCH + self._clock()) * 1000))
        return self._last

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id
