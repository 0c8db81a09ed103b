"""Income of the futures wallets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.sandbox.handlers.registry import DAY, Context, Fields, handles_futures
from binance_pm.sandbox.history import TRADE_DAYS, page, shown
from binance_pm.sandbox.views import income_fields

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Product

_WEEK = 7 * DAY
# The longest window of a request in days.
_LONGEST = {"UM": 92, "CM": 200}


@handles_futures("income")
def income(context: Context, product: Product) -> list[Fields]:
    """The changes of a futures wallet in a window: fees, profit, funding and transfers."""
    parameters = context.parameters
    start, end = context.window(_LONGEST[product] * DAY, default=_WEEK)
    symbol, kind = context.symbol(product), parameters.get("incomeType")
    days = TRADE_DAYS if product == "UM" else None
    rows = [
        row
        for row in shown(context.state.wallet.income[product], context.time, days=days)
        if start <= row.time <= end and symbol in (None, row.symbol) and kind in (None, row.kind)
    ]
    shown_rows = page(rows, context.limit(100, 1000), is_forward=not context.state.shows_newest)
    return [income_fields(row) for row in shown_rows]
