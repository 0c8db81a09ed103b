"""The endpoints by topic, with the Structs of their responses.

What few programs need is imported on first use: the namespaces, and the methods of the client itself that are listed
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from binance_pm.declaration import lazy_endpoints

if not TYPE_CHECKING:
    FundsApi = lazy_endpoints(
        "binance_pm.api.funds",
        "FundsApi",
        "order_rate_limit",
        "auto_collection",
        "asset_collection",
        "bnb_transfer",
        "repay_futures_switch",
        "set_repay_futures_switch",
        "repay_futures_negative_balance",
        "negative_balance_interest_history",
        "negative_balance_exchange_history",
    )
    ListenKeyApi = lazy_endpoints(
        "binance_pm.api.streams", "ListenKeyApi", "create_listen_key", "keepalive_listen_key", "close_listen_key"
    )
else:
    from binance_pm.api.funds import FundsApi
    from binance_pm.api.streams import ListenKeyApi

__all__ = ["FundsApi", "ListenKeyApi"]
