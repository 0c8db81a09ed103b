"""A scripted trading day of a program that keeps a journal, and that continues after a crash where it ended.

The program is killed at one of its writes: before, while or after it writes a line of the journal.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from binance_pm import ENDPOINTS, Budget, CallInfo, Client, JournalEntry, Session, read_journal
from binance_pm.journal_file import open_journal

Phase = Literal["torn", "written", "flushed", "answered", "torn end", "never"]
"""When the program kills itself: in the middle of the line before a write, after the line, when the line is on the
disk, when the response has arrived, or in the middle of the line after the write."""


class Step(NamedTuple):
    """One write of the day."""

    endpoint: str
    method: str
    path: str
    arguments: Mapping[str, Any]
    known_by: tuple[str, Any]
    """The parameter that tells the write from the others of its endpoint, and its value."""


_LIMIT: Final = {"type": "LIMIT", "time_in_force": "GTC", "side": "BUY"}
_BTC: Final = {"symbol": "BTCUSDT"}


def _placed(market: str, mine: str, **order: Any) -> Step:
    path = f"/papi/v1/{market}/order"
    return Step(f"{market}.new_order", "POST", path, {"new_client_order_id": mine, **order}, ("newClientOrderId", mine))


STEPS: Final = (
    _placed("um", "day-1", **_BTC, **_LIMIT, quantity="0.010", price="30000"),
    Step(
        "um.modify_order",
        "PUT",
        "/papi/v1/um/order",
        {**_BTC, "side": "BUY", "orig_client_order_id": "day-1", "quantity": "0.020", "price": "31000", "modify_id": 7},
        ("modifyId", 7),
    ),
    _placed("um", "day-2", **_BTC, side="SELL", type="MARKET", quantity="0.010"),
    Step(
        "um.cancel_order",
        "DELETE",
        "/papi/v1/um/order",
        {**_BTC, "orig_client_order_id": "day-1"},
        ("origClientOrderId", "day-1"),
    ),
    _placed("cm", "day-3", symbol="BTCUSD_PERP", **_LIMIT, quantity=1, price="30000"),
    _placed("margin", "day-4", **_BTC, **_LIMIT, quantity="0.00100", price="58000", side_effect_type="MARGIN_BUY"),
    Step(
        "cm.cancel_all_orders",
        "DELETE",
        "/papi/v1/cm/allOpenOrders",
        {"symbol": "BTCUSD_PERP"},
        ("symbol", "BTCUSD_PERP"),
    ),
    Step(
        "margin.new_oco",
        "POST",
        "/papi/v1/margin/order/oco",
        {
            **_BTC,
            "side": "SELL",
            "quantity": "0.00100",
            "price": "70000",
            "stop_price": "57000",
            "list_client_order_id": "day-7",
            "limit_client_order_id": "day-8",
            "stop_client_order_id": "day-9",
            "side_effect_type": "MARGIN_BUY",
        },
        ("listClientOrderId", "day-7"),
    ),
    Step(
        "um.new_algo_order",
        "POST",
        "/papi/v1/um/algo/order",
        {
            **_BTC,
            "side": "SELL",
            "type": "STOP_MARKET",
            "quantity": "0.010",
            "trigger_price": "20000",
            "algo_type": "CONDITIONAL",
            "client_algo_id": "day-5",
        },
        ("clientAlgoId", "day-5"),
    ),
    Step(
        "cm.new_conditional_order",
        "POST",
        "/papi/v1/cm/conditional/order",
        {
            "symbol": "BTCUSD_PERP",
            "side": "SELL",
            "strategy_type": "STOP_MARKET",
            "quantity": 1,
            "stop_price": "20000",
            "new_client_strategy_id": "day-6",
        },
        ("newClientStrategyId", "day-6"),
    ),
    Step("um.set_leverage", "POST", "/papi/v1/um/leverage", {**_BTC, "leverage": 11}, ("leverage", 11)),
)


def _warm_up() -> None:
    """Load what is loaded on use, so that a process that is forked from this one has it."""
    for endpoint in ENDPOINTS.values():
        with suppress(ValueError):
            endpoint.decode(b"")
    Client("key", "secret", session=Session(budget=Budget()), journal=print).options(max_wait=1)
    for module in ("anyio._backends._asyncio", "binance_pm.resolve", "binance_pm.transport.direct"):
        import_module(module)


class Account(NamedTuple):
    """How the program reaches its account."""

    url: str
    key: str
    secret: str


def is_step(entry: JournalEntry, step: Step) -> bool:
    """Return whether an entry of the journal is this write of the day."""
    name, value = step.known_by
    return entry.started.endpoint == step.endpoint and entry.started.parameters.get(name) == value


def trade(account: Account, path: Path, victim: int, phase: Phase) -> None:
    """Find out what became of the writes of the journal, and make those that are left.

    Args:
        account: the account.
        path: the journal.
        victim: the number of the write at which the program is killed.
        phase: when it is killed.
    """
    asyncio.run(_Program(account, path, victim, phase).run())


class _Program:
    def __init__(self, account: Account, path: Path, victim: int, phase: Phase) -> None:
        self._account = account
        self._path = path
        self._victim = victim
        self._phase: Phase = phase
        self._step = -1

    async def run(self) -> None:
        """Do what is left of the day."""
        # The client uses the file that is open already.
        open_journal(self._path, CallInfo("trading_day"), write=self._write, sync=self._sync)
        url, key, secret = self._account
        session = Session(budget=Budget())
        async with (
            session,
            Client(
                key, secret, session=session, journal=self._path, papi_url=url, sapi_url=url, client_order_id_prefix="d"
            ) as client,
        ):
            # The exchange's clock was moved: a second response confirms it.
            for _ in range(2):
                await client.server_time()
            for entry in list(read_journal(self._path)):
                if entry.error is not None:
                    await client.resolve(entry.error)
            done = [entry for entry in read_journal(self._path) if entry.outcome == "done"]
            for number, step in enumerate(STEPS):
                if not any(is_step(entry, step) for entry in done):
                    self._step = number
                    await attrgetter(step.endpoint)(client)(**step.arguments)

    def _write(self, descriptor: int, line: bytes) -> int:
        is_start = b'"line":"started"' in line
        if self._step != self._victim or self._phase not in {"torn", "written", "answered", "torn end"}:
            return os.write(descriptor, line)
        if is_start == (self._phase in {"torn", "written"}):
            written = {"torn": len(line) // 2, "written": len(line), "answered": 0, "torn end": len(line) - 1}
            os.write(descriptor, line[: written[self._phase]])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.write(descriptor, line)

    def _sync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        if self._step == self._victim and self._phase == "flushed":
            os.kill(os.getpid(), signal.SIGKILL)


_warm_up()
