"""What type checkers of users see. Checked by pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import httpx

from binance_pm import (
    ENDPOINTS,
    Account,
    AccountStatus,
    AccountType,
    Budget,
    Client,
    Endpoint,
    ExchangeError,
    GateClosed,
    IpBanned,
    JournalEntry,
    LimitType,
    NoResponse,
    PoolState,
    PortfolioMarginError,
    PositionSide,
    Priority,
    ProAccount,
    RiskUnit,
    ServerTime,
    Session,
    SpanAccount,
    Timeouts,
    UmAccount,
    UmAsset,
    UmPosition,
    WriteEnded,
    WriteStarted,
    paginate,
    read_journal,
)
from binance_pm.api.account import Balance, CmAccount
from binance_pm.api.cm_orders import CmOrder
from binance_pm.api.connectivity import Empty
from binance_pm.api.funds import Transaction
from binance_pm.api.futures import Income
from binance_pm.api.margin import MarginLoan, MarginLoans
from binance_pm.api.margin_ocos import CancelledMarginOrder
from binance_pm.api.margin_orders import MarginOrder
from binance_pm.api.pro import BankruptcyRepayment, MarginCallLevel
from binance_pm.api.streams import ListenKey
from binance_pm.api.um import Um, UmPositionRisk
from binance_pm.api.um_orders import UmOrder, UmTrade
from binance_pm.api.um_settings import Leverage
from binance_pm.history import HistoryPlan, Pages, Position


async def endpoints(client: Client) -> None:
    """Every endpoint answers with its own type."""
    assert_type(await client.ping(), Empty)
    assert_type(await client.server_time(), ServerTime)
    assert_type(await client.pro_server_time(), ServerTime)
    assert_type(await client.account(), Account)
    assert_type(await client.um_account(), UmAccount)
    assert_type(await client.um_account(recv_window=1000), UmAccount)
    assert_type(await client.pro_account(), ProAccount)
    assert_type(await client.span_account(), SpanAccount)
    assert_type(await client.bnb_transfer(Decimal("0.5"), "TO_UM"), Transaction)
    assert_type(await client.create_listen_key(), ListenKey)
    assert_type(await client.pro.margin_call_level(), MarginCallLevel)
    assert_type(await client.margin.loan_history("USDT", start_time=datetime.now(UTC)), MarginLoans)
    assert_type(
        await client.margin.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01", resolve=True),
        MarginOrder,
    )
    assert_type(await client.margin.cancel_all_orders("BTCUSDT"), list[CancelledMarginOrder])


async def wrong_arguments(client: Client) -> None:
    """Arguments are checked: each of these is an error, or the ignored rule would be reported as unnecessary."""
    await client.um_account(5000)  # pyright: ignore[reportCallIssue] - wrong on purpose, as all ignored lines below
    await client.um_account(recv_window="5000")  # pyright: ignore[reportArgumentType]
    await client.um_account(recvWindow=5000)  # pyright: ignore[reportCallIssue]
    await client.ping(recv_window=5000)  # pyright: ignore[reportCallIssue]
    await client.bnb_transfer(1, "TO_CM")  # pyright: ignore[reportArgumentType]
    await client.set_repay_futures_switch()  # pyright: ignore[reportCallIssue]
    await client.margin.borrow("USDT", 0.1)  # pyright: ignore[reportArgumentType]
    await client.margin.new_order(symbol="BTCUSDT", side="BUY")  # pyright: ignore[reportCallIssue]


def fields(account: Account, um_account: UmAccount, pro: ProAccount, span: SpanAccount) -> None:
    """Amounts are Decimal, None only where the exchange leaves one out; enumerations are their own types."""
    assert_type(account.uni_mmr, Decimal)
    assert_type(account.total_available_balance, Decimal | None)
    assert_type(account.account_status, AccountStatus)
    assert_type(account.update_time, int)
    assert_type(um_account.assets, list[UmAsset])
    assert_type(um_account.positions, list[UmPosition])
    assert_type(um_account.positions[0].position_side, PositionSide)
    assert_type(um_account.positions[0].notional, Decimal)
    assert_type(pro.account_type, AccountType)
    assert_type(pro.total_available_balance, Decimal | None)
    assert_type(span.risk_unit_mm_list, list[RiskUnit])
    assert_type(span.risk_unit_mm_list[0].uni_maintain_usd, Decimal)
    assert_type(span.margin_mm, Decimal)
    account.uni_mmr = Decimal(1)  # pyright: ignore[reportAttributeAccessIssue]


async def namespaces(client: Client) -> None:
    """A namespace is typed like the client, and two shapes have two types."""
    assert_type(client.um, Um)
    assert_type(await client.um.open_orders("BTCUSDT"), list[UmOrder])
    assert_type(await client.um.position_risk(), list[UmPositionRisk])
    assert_type(await client.um.set_leverage("BTCUSDT", 5), Leverage)
    assert_type(await client.um.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01"), UmOrder)
    assert_type(await client.um.cancel_order("BTCUSDT", order_id=1, check=False), UmOrder)
    assert_type(await client.cm.all_orders(pair="BTCUSD", start_time=datetime.now(UTC), limit=5), list[CmOrder])
    await client.um.new_order(symbol="BTCUSDT", side="HOLD", type="MARKET")  # pyright: ignore[reportArgumentType]
    assert_type(await client.um.income(income_type="COMMISSION"), list[Income])
    assert_type(await client.balance(), list[Balance])
    assert_type(await client.balance("USDT"), Balance)
    assert_type(await client.cm_account(), CmAccount)
    await client.um.income(income_type="commission")  # pyright: ignore[reportArgumentType]
    await client.um.set_leverage("BTCUSDT")  # pyright: ignore[reportCallIssue]


async def undeclared(client: Client) -> None:
    """A request of one's own answers with the type asked for."""
    assert_type(await client.request("GET", "/papi/v1/balance", weight=20, returns=UmAsset), UmAsset)
    assert_type(await client.request("GET", "/papi/v1/x", weight=1, returns=dict[str, Any]), dict[str, Any])
    assert_type(await client.request("GET", "/papi/v1/x", weight=1, returns=list[UmAsset]), list[UmAsset])
    await client.request("GET", "/papi/v1/x", weight=1, returns=int, params={"amount": Decimal("0.1"), "all": None})
    await client.request("POST", "/papi/v1/x", weight={LimitType.IP: 1, LimitType.ORDERS: 1}, returns=int)
    await client.request("GET", "/papi/v1/x", weight=1, returns=int, params={"amount": 0.1})  # pyright: ignore[reportArgumentType]
    await client.request("PATCH", "/papi/v1/x", weight=1, returns=int)  # pyright: ignore[reportArgumentType]
    await client.request("GET", "/papi/v1/x", returns=int)  # pyright: ignore[reportCallIssue]


async def histories(client: Client) -> None:
    """Rows have the type of the method's response, and the arguments are those of the method."""
    pages = paginate(client.um.trades, symbol="BTCUSDT", start_time=datetime.now(UTC))
    assert_type(pages, Pages[UmTrade])
    async for trade in pages.options(priority=Priority.POLL):
        assert_type(trade, UmTrade)
    assert_type(pages.position, Position | None)
    assert_type(await pages.plan(rows=5), HistoryPlan)
    assert_type(paginate(client.um.income), Pages[Income])
    assert_type(paginate(client.margin.loan_history, "USDT"), Pages[MarginLoan])
    assert_type(paginate(client.pro.bankruptcy_loan_repay_history), Pages[BankruptcyRepayment])
    paginate(client.um.trades, symbol=5)  # pyright: ignore[reportArgumentType, reportCallIssue]
    paginate(client.um.trades)  # pyright: ignore[reportCallIssue]
    paginate(client.um.trades, symbol="BTCUSDT", form_id=5)  # pyright: ignore[reportCallIssue]
    paginate(client.um.set_leverage, "BTCUSDT", 5)  # pyright: ignore[reportCallIssue, reportArgumentType]


async def entering() -> None:
    """What is entered is what was made."""
    async with Client("key", "secret") as client:
        assert_type(client, Client)
    async with Client.from_env() as from_env:
        assert_type(from_env, Client)
    async with Session(timeouts=Timeouts(total=5), budget=Budget()) as session:
        assert_type(session, Session)


async def remote_sign(payload: bytes) -> str:
    """A signature that takes its time."""
    return payload.hex()


def credentials() -> None:
    """Every way to give a secret."""
    Client("key", "secret")
    Client("key", b"-----BEGIN PRIVATE KEY-----", passphrase="x")
    Client("key", Path("key.pem"), passphrase=b"x")
    Client("key", lambda payload: payload.hex())
    Client("key", remote_sign)
    Client("key", 5)  # pyright: ignore[reportArgumentType]


def sessions(transport: httpx.AsyncBaseTransport, client: httpx.AsyncClient, sync: httpx.Client) -> None:
    """Every way to send."""
    Session(http=transport)
    Session(http=client)
    Session(http=sync)  # pyright: ignore[reportArgumentType]


def failures(error: PortfolioMarginError) -> None:
    """Errors tell what happened by attributes."""
    assert_type(error.sent, bool)
    match error:
        case GateClosed():
            assert_type(error.until, float)
        case IpBanned():
            assert_type(error.until, float | None)
            assert_type(error.retry_after, float | None)
        case ExchangeError():
            assert_type(error.code, int | None)
        case _:
            assert_type(error.label, str)


def journals(entry: JournalEntry) -> None:
    """A journal is a path, or a function that takes its lines."""
    lines: list[WriteStarted | WriteEnded] = []
    for journal in ("orders.jsonl", Path("orders.jsonl"), lines.append):
        Client(journal=journal)
    for read in read_journal("orders.jsonl"):
        assert_type(read, JournalEntry)
    assert_type(entry.error, NoResponse | None)
    assert_type(entry.ended, WriteEnded | None)


def facts(budget: Budget) -> None:
    """What tools read."""
    assert_type(ENDPOINTS["account"], Endpoint[Any])
    assert_type(ENDPOINTS["account"].poll_weights, Mapping[LimitType, int])
    assert_type(budget.snapshot(), list[PoolState])
