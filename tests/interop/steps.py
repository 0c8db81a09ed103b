"""What every client does on the local exchange, one step after the other, with the parameters' names on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Step(NamedTuple):
    """One call of an endpoint.

    Attributes:
        name: our name of the endpoint, such as ``um.new_order``.
        parameters: by name on the wire; amounts are text.
        code: the code with which the exchange refuses the call; 0 if the call succeeds.
        market: the price at which BTCUSDT trades from then on; empty for no change.
    """

    name: str
    parameters: Mapping[str, str] = MappingProxyType({})
    code: int = 0
    market: str = ""


BTC = {"symbol": "BTCUSDT"}
BUY = {**BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
SELL = {**BTC, "side": "SELL", "type": "MARKET", "quantity": "0.01"}
COIN = {"symbol": "BTCUSD_PERP"}
BUY_COIN = {**BUY, **COIN, "quantity": "5"}
OCO = {
    **BTC, "side": "BUY", "quantity": "0.01", "price": "55000", "stopPrice": "65000", "stopLimitPrice": "65100",
    "stopLimitTimeInForce": "GTC", "listClientOrderId": "list",
}  # fmt: skip


def of_id(symbol: dict[str, str], client_order_id: str) -> dict[str, str]:
    """Return the parameters that name an order."""
    return {**symbol, "origClientOrderId": client_order_id}


def _futures(product: str, symbol: dict[str, str], buy: dict[str, str], more: str) -> list[Step]:
    sell = {**buy, "side": "SELL", "type": "MARKET", "newOrderRespType": "RESULT"}
    del sell["timeInForce"]
    return [
        Step(f"{product}.new_order", {**buy, "price": "55000", "newClientOrderId": "resting"}, market="60000"),
        *(Step(f"{product}.{name}", of_id(symbol, "resting")) for name in ("order", "open_order")),
        Step(f"{product}.open_orders", symbol),
        Step(f"{product}.modify_order", {
            **of_id(symbol, "resting"), "side": "BUY", "quantity": more, "price": "55100",
        }),
        Step(f"{product}.order", of_id(symbol, "resting")),
        Step(f"{product}.order_amendments", of_id(symbol, "resting")),
        Step(f"{product}.new_order", {**buy, "price": "55000", "newClientOrderId": "resting"}, code=-4116),
        Step(f"{product}.cancel_order", of_id(symbol, "resting")),
        Step(f"{product}.cancel_order", of_id(symbol, "resting"), code=-2011),
        Step(f"{product}.order", of_id(symbol, "resting")),
        Step(f"{product}.new_order", {**buy, "price": "59000", "newClientOrderId": "filled"}),
        Step(f"{product}.order", of_id(symbol, "filled"), market="58900"),
        Step(f"{product}.new_order", {**sell, "newClientOrderId": "sold"}),
        *(Step(f"{product}.{name}", symbol) for name in ("trades", "all_orders", "income")),
        Step(f"{product}.position_risk", symbol if product == "um" else {"pair": "BTCUSD"}),
        Step(f"{product}.new_order", {**buy, "price": "55000", "newClientOrderId": "swept"}),
        Step(f"{product}.cancel_all_orders", symbol),
        Step(f"{product}.open_orders", symbol),
        *(Step(f"{product}.{name}", symbol) for name in ("commission_rate", "adl_quantile", "leverage_brackets")),
        Step(f"{product}.set_leverage", {**symbol, "leverage": "7"}),
        Step(f"{product}.position_mode"),
    ]  # fmt: skip


UM = [
    *_futures("um", BTC, BUY, "0.02"),
    *(Step(name) for name in ("um.account_v1", "um_account", "account", "balance", "um.account_config")),
    Step("um.symbol_config", BTC),
    Step("um.new_algo_order", {
        **SELL, "algoType": "CONDITIONAL", "type": "STOP_MARKET", "triggerPrice": "55000", "clientAlgoId": "algo",
    }),
    Step("um.algo_order", {"clientAlgoId": "algo"}),
    *(Step(f"um.{name}", BTC) for name in ("open_algo_orders", "all_algo_orders")),
    Step("um.cancel_algo_order", {"clientAlgoId": "algo"}),
]  # fmt: skip
CM = [
    *_futures("cm", COIN, BUY_COIN, "6"),
    *(Step(name) for name in ("cm_account", "account", "balance")),
    Step("cm.new_conditional_order", {
        **COIN, "side": "SELL", "strategyType": "STOP_MARKET", "quantity": "5", "stopPrice": "55000",
        "newClientStrategyId": "strategy",
    }),
    Step("cm.open_conditional_order", {**COIN, "newClientStrategyId": "strategy"}),
    *(Step(f"cm.{name}", COIN) for name in ("open_conditional_orders", "all_conditional_orders")),
    Step("cm.cancel_conditional_order", {**COIN, "newClientStrategyId": "strategy"}),
    Step("cm.conditional_order_history", {**COIN, "newClientStrategyId": "strategy"}),
]  # fmt: skip
MARGIN = [
    Step("margin.new_order", {**BUY, "price": "55000", "newClientOrderId": "resting"}, market="60000"),
    Step("margin.order", of_id(BTC, "resting")),
    Step("margin.open_orders", BTC),
    Step("balance"),
    Step("margin.new_order", {**BUY, "price": "55000", "newClientOrderId": "resting"}, code=-2010),
    Step("margin.cancel_order", of_id(BTC, "resting")),
    Step("margin.cancel_order", of_id(BTC, "resting"), code=-2011),
    Step("margin.order", of_id(BTC, "resting")),
    Step("margin.new_order", {**BUY, "price": "59000", "newClientOrderId": "filled"}),
    Step("margin.order", of_id(BTC, "filled"), market="58900"),
    Step("margin.new_order", {**SELL, "newClientOrderId": "sold", "sideEffectType": "MARGIN_BUY"}),
    *(Step(f"margin.{name}", BTC) for name in ("trades", "all_orders")),
    Step("margin.new_order", {**BUY, "price": "55000", "newClientOrderId": "swept"}),
    Step("margin.cancel_all_orders", BTC),
    Step("margin.open_orders", BTC),
    Step("margin.new_oco", OCO),
    Step("margin.oco", {"origClientOrderId": "list"}),
    *(Step(f"margin.{name}") for name in ("open_ocos", "all_ocos")),
    Step("margin.cancel_oco", {**BTC, "listClientOrderId": "list"}),
    *(Step(f"margin.{name}", {"asset": "USDT"}) for name in ("max_borrowable", "max_withdraw")),
    Step("margin.borrow", {"asset": "USDT", "amount": "100"}),
    Step("margin.loan_history", {"asset": "USDT"}),
    Step("margin.repay", {"asset": "USDT", "amount": "50"}),
    Step("margin.repay_history", {"asset": "USDT"}),
    Step("margin.interest_history", {"asset": "USDT"}),
    *(Step(name) for name in ("balance", "account")),
]

PRO = [
    *(Step(name) for name in ("pro_account", "span_account", "pro.balance")),
    *(Step(f"pro.{name}") for name in ("collateral_rate", "tiered_collateral_rate", "margin_asset_leverage")),
    Step("pro.asset_index_price", {"asset": "BTC"}),
    Step("pro.set_repay_futures_switch", {"autoRepay": "false"}),
    Step("pro.repay_futures_switch"),
    Step("pro.negative_balance_interest_history"),
]

SCRIPTS: dict[str, Sequence[Step]] = {"um": UM, "cm": CM, "margin": MARGIN, "pro": PRO}
"""The steps by product."""

_ORDERS = {"resting": "CANCELED", "filled": "FILLED", "sold": "FILLED", "swept": "CANCELED"}
ENDED = {"um": _ORDERS, "cm": _ORDERS, "margin": _ORDERS, "pro": {}}
"""The status of each order after the steps of a product, by client order id."""
