"""Files of USD-M histories: their ids, their links and their contents."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from binance_pm.sandbox import facts
from binance_pm.sandbox.handlers.registry import DAY, HANDLERS, Context, Fields
from binance_pm.sandbox.messages import Refusal
from binance_pm.sandbox.views import QUERIED, income_fields, order_fields, trade_fields

if TYPE_CHECKING:
    from collections.abc import Iterable

    from binance_pm.sandbox.state import AccountState

_YEAR = 366 * DAY
_MONTH_SECONDS = 30 * 24 * 3600
_LINK_SECONDS = 24 * 3600
# How often a month each download may be ordered.
_DOWNLOADS = {"trade": 5, "order": 10, "income": 5}


def _order_download(context: Context, kind: str) -> Fields:
    start, end = context.window(_YEAR)
    settings, most = context.state.settings, _DOWNLOADS[kind]
    settings.count(f"download-{kind}", context.now, most=most, seconds=_MONTH_SECONDS, span="a month")
    rows = [row for row in _rows(context.state, kind) if start <= row["time"] <= end]
    ready = context.now + context.downloads.seconds
    download = settings.order_download(
        kind, ready=ready, expires=ready + _LINK_SECONDS, content=_csv(rows, _HEADERS[kind])
    )
    return {
        "avgCostTimestampOfLast30d": int(context.downloads.seconds * 1000),
        "downloadId": download.download_id,
    }


def _download_link(context: Context, kind: str) -> Fields:
    row = context.state.settings.downloads.get(context.parameters["downloadId"])
    if row is None or row.kind != kind:
        raise Refusal(facts.INVALID_PARAMETER, name="downloadId")
    is_ready = context.now >= row.ready
    return {
        "downloadId": row.download_id,
        "status": "completed" if is_ready else "processing",
        "url": f"{context.downloads.place}{row.path}?X-Sig={row.token}" if is_ready else "",
        "s3Link": None,
        "notified": is_ready,
        "expirationTimestamp": int(row.expires * 1000) if is_ready else -1,
        "isExpired": (context.now >= row.expires or None) if is_ready else None,
    }


def _rows(state: AccountState, kind: str) -> list[Fields]:
    if kind == "income":
        return [income_fields(row) for row in state.wallet.income["UM"]]
    orders = state.um.matching.orders
    if kind == "trade":
        return [trade_fields(trade, orders[trade.order_id]) for trade in state.um.trades]
    return [order_fields(order, QUERIED["UM"]) for order in orders.values()]


_HEADERS = {
    "trade": (
        "symbol", "id", "orderId", "side", "price", "qty", "realizedPnl", "quoteQty", "commission", "commissionAsset",
        "time", "positionSide", "buyer", "maker",
    ),
    "order": QUERIED["UM"],
    "income": ("symbol", "incomeType", "income", "asset", "info", "time", "tranId", "tradeId"),
}  # fmt: skip


def _csv(rows: Iterable[Fields], header: Iterable[str]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(header), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _register(kind: str) -> None:
    HANDLERS[f"um.{kind}_download_id"] = lambda context: _order_download(context, kind)
    HANDLERS[f"um.{kind}_download_link"] = lambda context: _download_link(context, kind)


for _kind in _DOWNLOADS:
    _register(_kind)
