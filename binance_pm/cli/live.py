"""``binance-pm live``: positions, balances and open orders of one account, kept current by its user data stream."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import CycloptsError, Parameter

from binance_pm.amounts import text_of
from binance_pm.cli.chosen_account import client_of
from binance_pm.cli.options import flag
from binance_pm.cli.output import clock_time, printable, while_read
from binance_pm.cli.watch import fills_screen
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.extras import installation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from binance_pm.stream.live import LiveAccount
    from binance_pm.stream.live_state import AccountChanges

_PARTS: Final = "Keep only this part: um, cm, margin, risk, or a smaller one such as um.positions (default: all)."


def run(
    label: Annotated[str, Parameter(help="Label of the account in the accounts file.")] = "account",
    /,
    *,
    accounts: Annotated[
        Path | None, Parameter(help="Accounts file; without it, keys come from the environment.")
    ] = None,
    part: Annotated[tuple[str, ...], flag(_PARTS)] = (),
    plain: Annotated[bool, flag("Print one line per change (default without a terminal).")] = False,
    json: Annotated[bool, flag("Print one JSON object per change.")] = False,
) -> int:
    """Show positions, balances and open orders of an account as they change, until Ctrl-C.

    Figures are struck out while the stream is down, and until the account has been read again.
    """
    return anyio.run(_run, label, accounts, part, plain, json)


async def _run(label: str, accounts: Path | None, parts: tuple[str, ...], plain: bool, json: bool) -> int:  # noqa: FBT001 - anyio.run passes no keywords
    from binance_pm.stream.parts import chosen_parts  # noqa: PLC0415 - needs another extra

    try:
        chosen = chosen_parts(parts or None)  # pyright: ignore[reportArgumentType] - `chosen_parts` checks the names
    except ValueError as error:
        raise CycloptsError(msg=f"--part: {error}.") from None
    async with while_read(), await client_of(label, accounts) as client, client.live_account(chosen) as live:
        if fills_screen(plain=plain, json=json):
            return await _show(live, label)
        while True:
            changes = await live.changed()
            for text in [_as_json(changes)] if json else lines_of(changes):
                print(printable(text), flush=True)


async def _show(live: LiveAccount, label: str) -> int:
    try:
        from binance_pm.cli.dashboard.app import show_live  # noqa: PLC0415 - `--plain` and `--json` do not need it
    except ImportError as missing:
        name = (missing.name or "an extra").partition(".")[0]
        raise ConfigurationError(
            CallInfo("the screen"), f"{name} is not installed. Use --plain, or install it: {installation('cli')}"
        ) from missing
    return await show_live(live, label)


def _as_json(changes: AccountChanges) -> str:
    import msgspec  # noqa: PLC0415 - only with --json

    return msgspec.json.encode(changes).decode()


def lines_of(changes: AccountChanges) -> Iterator[str]:
    """Yield one line for each position, balance and order that has changed."""
    now = clock_time(time.time())
    state = "confirmed" if changes.is_confirmed else "current" if changes.is_current else "not current"
    yield f"{now} {'account':<11} {state}"
    for position in changes.positions:
        side = "" if position.position_side == "BOTH" else f" {position.position_side}"
        price = "" if position.entry_price is None else f" at {_plain(position.entry_price)}"
        yield f"{now} {'position':<11} {position.symbol}{side} {_plain(position.position_amt)}{price}"
    for balance in changes.balances:
        amounts = (
            ("USD-M", balance.um_wallet_balance),
            ("COIN-M", balance.cm_wallet_balance),
            ("margin free", balance.cross_margin_free),
            ("locked", balance.cross_margin_locked),
            ("debt", balance.cross_margin_liability),
        )
        known = ", ".join(f"{name} {_plain(amount)}" for name, amount in amounts if amount is not None)
        yield f"{now} {'balance':<11} {balance.asset}: {known}"
    for order in changes.orders:
        yield (
            f"{now} {'order':<11} {order.symbol} {order.side} {_plain(order.executed_qty)}/{_plain(order.orig_qty)} "
            f"at {_plain(order.price)} {order.status} {order.client_order_id}"
        )
    for waiting in changes.conditional_orders:
        yield (
            f"{now} {'conditional':<11} {waiting.symbol} {waiting.side} {_plain(waiting.orig_qty)} {waiting.type} "
            f"at {_plain(waiting.trigger_price)} {waiting.status} {waiting.client_id}"
        )
    if changes.risk is not None:
        risk = changes.risk
        figures = f"uniMMR {_plain(risk.uni_mmr)}, equity {_plain(risk.account_equity)} USD"
        yield f"{now} {'risk':<11} {figures}, {risk.account_status}"


def _plain(amount: Decimal) -> str:
    return text_of(amount)
