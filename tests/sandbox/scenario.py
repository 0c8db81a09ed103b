"""An account to which everything has happened, and one call of every endpoint that has something to show."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from binance_pm.sandbox import Exchange, SimulatedAccount

NOON = 1_800_000_000.0
UM, CM, PAIR = "BTCUSDT", "BTCUSD_PERP", "BTCUSDT"
RESTING: dict[str, dict[str, object]] = {
    "um": {"symbol": UM, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": "50000"},
    "cm": {"symbol": CM, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "5", "price": "50000"},
    "margin": {
        "symbol": PAIR, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "55000",
    },
}  # fmt: skip
ALGO = {"algoType": "CONDITIONAL", "symbol": UM, "side": "SELL", "type": "STOP_MARKET", "quantity": "0.010"}
STOP = {"symbol": CM, "side": "SELL", "strategyType": "STOP_MARKET", "quantity": "1"}
OCO = {
    "symbol": PAIR, "side": "BUY", "quantity": "0.01", "price": "58000", "stopPrice": "62000",
    "stopLimitPrice": "62100", "stopLimitTimeInForce": "GTC",
}  # fmt: skip


class Scenario:
    """An exchange with one account, called without signatures.

    Attributes:
        exchange: the exchange.
        account: the account.
        now: seconds since the epoch.
    """

    def __init__(self, account: SimulatedAccount | None = None) -> None:
        self.now = NOON
        self.account = account or SimulatedAccount("desk", uni_mmr="50")
        self.exchange = Exchange(accounts=[self.account], clock=lambda: self.now)
        self.move("60000")

    def move(self, price: str) -> None:
        """Let BTC trade at another price."""
        self.exchange.set_price(UM, Decimal(price))

    def ask(self, name: str, **params: object) -> Any:
        """Return the response of an endpoint; a refusal is raised."""
        sent = {key: str(value) for key, value in params.items()}
        return self.exchange.respond(name, sent, self.account, self.now)

    def live(self) -> None:
        """Let everything happen once: trades, orders in every state, loans, liquidations of another leg, downloads."""
        for product in ("um", "cm"):
            resting = RESTING[product]
            symbol = resting["symbol"]
            market = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": resting["quantity"]}
            self.ask(f"{product}.new_order", **market)
            self.ask(f"{product}.new_order", **resting, newClientOrderId="resting")
            change = {"symbol": symbol, "side": "BUY", "quantity": resting["quantity"], "origClientOrderId": "resting"}
            self.ask(f"{product}.modify_order", **change, price="50100", modifyId=17)
        self.ask("um.new_algo_order", **ALGO, triggerPrice="59000", clientAlgoId="done")
        self.ask("cm.new_conditional_order", **STOP, stopPrice="59000", newClientStrategyId="done")
        self.move("58900")
        self.move("60000")
        self.ask("um.new_algo_order", **ALGO, triggerPrice="40000", clientAlgoId="waiting")
        self.ask("cm.new_conditional_order", **STOP, stopPrice="40000", newClientStrategyId="waiting")
        self.ask("margin.borrow", asset="BTC", amount="0.1")
        self.ask("margin.repay", asset="BTC", amount="0.01")
        buy = {"symbol": PAIR, "side": "BUY", "type": "MARKET"}
        self.ask("margin.new_order", **buy, quoteOrderQty="1000", sideEffectType="MARGIN_BUY")
        self.ask("margin.new_order", **RESTING["margin"], newClientOrderId="resting")
        self.ask("margin.new_oco", **OCO, listClientOrderId="list")
        for kind in ("trade", "order", "income"):
            self.ask(f"um.{kind}_download_id", startTime=int(NOON * 1000) - 1000, endTime=int(NOON * 1000))
        self.ask("set_repay_futures_switch", autoRepay="false")
        self.ask("pro.set_margin_call_level", marginCallLevel="1.5")
        self.ask("create_listen_key")
        self.ask("pro.create_listen_key")
        self.now += 1800


def calls() -> Mapping[str, Mapping[str, object]]:
    """Return one call of each endpoint in a scenario that was lived through, for those that need parameters."""
    named: dict[str, dict[str, object]] = {
        "um.set_leverage": {"symbol": UM, "leverage": 21},
        "cm.set_leverage": {"symbol": CM, "leverage": 22},
        "um.new_algo_order": {**ALGO, "triggerPrice": "50000"},
        "cm.new_conditional_order": {**STOP, "stopPrice": "50000"},
        "um.cancel_algo_order": {"clientAlgoId": "waiting"},
        "cm.cancel_conditional_order": {"symbol": CM, "newClientStrategyId": "waiting"},
        "um.algo_order": {"clientAlgoId": "done"},
        "cm.open_conditional_order": {"symbol": CM, "newClientStrategyId": "waiting"},
        "cm.conditional_order_history": {"symbol": CM, "newClientStrategyId": "done"},
        "cm.all_conditional_orders": {"symbol": CM},
        "um.all_algo_orders": {"symbol": UM},
        "um.cancel_all_algo_orders": {"symbol": UM},
        "cm.cancel_all_conditional_orders": {"symbol": CM},
        "um.set_fee_burn": {"feeBurn": "true"},
        "margin.borrow": {"asset": "ETH", "amount": "1"},
        "margin.repay": {"asset": "BTC", "amount": "0.01"},
        "margin.repay_debt": {"asset": "BTC", "amount": "0.01", "specifyRepayAssets": "USDT,USDC"},
        "margin.max_borrowable": {"asset": "BTC"},
        "margin.max_withdraw": {"asset": "USDT"},
        "margin.loan_history": {"asset": "BTC"},
        "margin.repay_history": {"asset": "BTC"},
        "margin.new_oco": {**OCO, "sideEffectType": "MARGIN_BUY"},
        "margin.oco": {"origClientOrderId": "list"},
        "margin.cancel_oco": {"symbol": PAIR, "listClientOrderId": "list"},
        "asset_collection": {"asset": "USDT"},
        "pro.asset_collection": {"asset": "USDT"},
        "set_repay_futures_switch": {"autoRepay": "true"},
        "pro.set_repay_futures_switch": {"autoRepay": "true"},
        "negative_balance_exchange_history": {"startTime": int(NOON * 1000), "endTime": int(NOON * 1000) + 1},
        "pro.set_delta_mode": {"deltaEnabled": "true"},
        "pro.set_margin_call_level": {"marginCallLevel": "1.6"},
        "pro.earn_asset_balance": {"asset": "LDUSDT", "transferType": "EARN_TO_FUTURE"},
        "pro.earn_asset_transfer": {"asset": "LDUSDT", "transferType": "EARN_TO_FUTURE", "amount": "10"},
    }
    for product, resting in RESTING.items():
        symbol = resting["symbol"]
        for name in ("order", "cancel_order", "open_order", "order_amendments"):
            named[f"{product}.{name}"] = {"symbol": symbol, "origClientOrderId": "resting"}
        for name in ("all_orders", "cancel_all_orders", "trades", "open_orders", "commission_rate"):
            named[f"{product}.{name}"] = {"symbol": symbol}
        named[f"{product}.new_order"] = resting
        named[f"{product}.leverage_brackets"] = {"symbol": symbol}
        change = {"symbol": symbol, "side": "BUY", "quantity": resting["quantity"], "price": "50200"}
        named[f"{product}.modify_order"] = {**change, "origClientOrderId": "resting", "modifyId": 18}
    for kind, number in {"trade": 0, "order": 1, "income": 2}.items():
        named[f"um.{kind}_download_id"] = {"startTime": int(NOON * 1000), "endTime": int(NOON * 1000) + 1}
        named[f"um.{kind}_download_link"] = {"downloadId": 546_975_389_218_332_000 + number}
    return named
