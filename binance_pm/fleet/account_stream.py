"""The user data stream of one account of a fleet: changes are emitted at once, and the account is polled less.

The stream of a Portfolio Margin account does not report uniMMR, equity and profit, which change with prices. Such an
account is therefore still polled, but half as often while it is calm and only prices have changed. On Portfolio Margin
Pro, the stream pushes these figures every five seconds, and the account is polled only if the figures are late or its
status is not normal. The stream of a SPAN account reports neither positions nor margins, so the account is polled as
usual.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from typing import Any, Final

import anyio
import msgspec

from binance_pm.api.account import ProAccount
from binance_pm.api.futures_events import AccountUpdate
from binance_pm.api.stream_events import PmProAccountUpdate, RiskLevelChange
from binance_pm.enums import AccountStatus
from binance_pm.errors import PortfolioMarginError, SessionClosed
from binance_pm.fleet.account_monitor import PRO_HEADLINE, AccountMonitor
from binance_pm.fleet.events import AccountChange, BalanceChanged, PositionChanged
from binance_pm.stream.items import StreamDown, StreamGap, StreamUp
from binance_pm.stream.live_structs import market_of
from binance_pm.stream.shared import StreamProduct
from binance_pm.stream.stream import EventStream

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 60.0

Listener = Callable[[AccountMonitor, Any], None]
"""A function that is called with each item of the stream of an account."""


def streams_are_installed() -> bool:
    """Return whether the extra for user data streams is installed."""
    return find_spec("websockets") is not None


def stream_product(product: str) -> StreamProduct:
    """Return the product of the stream of an account, given the product of the account."""
    return "pm" if product == "pm" else "pro"


async def follow(account: AccountMonitor, listener: Listener, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Keep the stream of an account open until cancelled, or until the session is closed."""
    product = stream_product(account.product)
    while True:
        stream = EventStream(account.client, product, observers=[lambda item: listener(account, item)], queued=False)
        try:
            async with stream:
                await anyio.sleep_forever()
        except SessionClosed:
            return
        except PortfolioMarginError as error:
            _log.warning("The user data stream of %s cannot be opened: %s", account.label, error)
        account.stream = "down"
        await sleep(_RETRY_SECONDS)


def changes_of(label: str, event: AccountUpdate, at: float) -> Iterator[AccountChange]:
    """Yield the positions and balances that an event names."""
    market = market_of(event.business_unit)
    for position in event.update.positions or ():
        yield PositionChanged(
            label=label,
            at=at,
            market=market,
            symbol=position.symbol,
            position_side=position.position_side,
            position_amt=position.position_amt,
            entry_price=position.entry_price,
        )
    for wallet in event.update.balances:
        yield BalanceChanged(
            label=label, at=at, market=market, asset=wallet.asset, wallet_balance=wallet.cross_wallet_balance
        )


def updated(account: AccountMonitor, update: PmProAccountUpdate) -> ProAccount | None:
    """Return the figures of an update as a response with the status that was last read.

    Return None if the account was not read yet, or if its status is not normal: a return to normal is not pushed.
    """
    timed = account.responses.get(PRO_HEADLINE)
    if timed is None or not isinstance(timed.response, ProAccount):
        return None
    if timed.response.account_status != AccountStatus.NORMAL:
        return None
    return msgspec.structs.replace(
        timed.response,
        uni_mmr=update.uni_mmr,
        account_equity=update.account_equity,
        actual_equity=update.actual_equity,
        account_initial_margin=update.initial_margin,
        account_maint_margin=update.maint_margin,
        total_available_balance=update.available_balance,
    )


def is_danger(event: object) -> bool:
    """Return whether the account must be read at once because of an event."""
    return isinstance(event, RiskLevelChange)


def state_of(item: object) -> bool | None:
    """Return whether the stream is up after an item; None if the item does not show this."""
    match item:
        case StreamUp() | StreamGap():
            return True
        case StreamDown():
            return False
        case _:
            return None
