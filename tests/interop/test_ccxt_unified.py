"""ccxt trades on the sandbox by its unified methods, with its option `portfolioMargin`."""

# Only the nox session installs ccxt, so its types are unknown elsewhere.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.interop.test_ccxt import opened, opened_async
from tests.interop.trading import Trader

if TYPE_CHECKING:
    from binance_pm.sandbox.contracts import Product
    from tests.interop.conftest import Served
    from tests.interop.trading import Trade

SYMBOLS = {"um": "BTC/USDT:USDT", "cm": "BTC/USD:BTC", "margin": "BTC/USDT"}
PAPI = {"portfolioMargin": True}
STATUSES = {"NEW": "open", "CANCELED": "canceled", "FILLED": "closed"}


def market(client: Any, served: Served, product: Product, symbol: str) -> Any:
    """Return the market that ccxt would make of the exchange's list of symbols, which the sandbox does not serve."""
    contract = served.exchange.market.contract(product, symbol)
    assert contract is not None
    quote = "USD" if product == "CM" else "USDT"
    common = {
        "symbol": symbol, "baseAsset": "BTC", "quoteAsset": quote, "orderTypes": ["LIMIT", "MARKET"],
        "status": "TRADING", "contractStatus": "TRADING",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": str(contract.tick)},
            {"filterType": "LOT_SIZE", "stepSize": str(contract.step)},
        ],
    }  # fmt: skip
    if product == "MARGIN":
        return client.parse_market(common | {"isSpotTradingAllowed": True, "isMarginTradingAllowed": True})
    of_contract = {"contractType": "PERPETUAL", "marginAsset": contract.settled_in, "deliveryDate": 4133404800000}
    size = {"contractSize": int(contract.size)} if contract.size is not None else {}
    return client.parse_market(common | of_contract | size)


class Unified:
    """The unified methods by our names of the endpoints, each with what ccxt keeps of the response."""

    def __init__(self, client: Any, served: Served) -> None:
        self.client = client
        self.ids: dict[str, str] = {}
        client.options |= {"crossMarginPairsData": ["BTCUSDT"], "isolatedMarginPairsData": []}
        client.set_markets([
            market(client, served, "UM", "BTCUSDT"),
            market(client, served, "CM", "BTCUSD_PERP"),
            market(client, served, "MARGIN", "BTCUSDT"),
        ])  # fmt: skip

    def call(self, name: str, parameters: Mapping[str, str]) -> Any:
        """Call the unified method, and return the response that ccxt keeps beside its own fields."""
        product, _, method = name.partition(".")
        answer = getattr(self, method or product)(SYMBOLS.get(product, ""), dict(parameters))
        return self._awaited(answer, parameters) if inspect.isawaitable(answer) else self._kept(answer, parameters)

    async def _awaited(self, answer: Any, parameters: Mapping[str, str]) -> Any:
        return self._kept(await answer, parameters)

    def _kept(self, answer: Any, parameters: Mapping[str, str]) -> Any:
        info = raw(answer)
        if "newClientOrderId" in parameters:
            self.ids[parameters["newClientOrderId"]] = answer["id"]
        # It makes an order of the confirmation that all orders are cancelled.
        return info[0] if isinstance(info, list) and info and "msg" in info[0] else info

    def new_order(self, symbol: str, sent: dict[str, str]) -> Any:
        """Place an order."""
        more = {name: sent[name] for name in ("newClientOrderId", "newOrderRespType", "sideEffectType") if name in sent}
        kind, side, amount = sent["type"].lower(), sent["side"].lower(), float(sent["quantity"])
        price = float(sent["price"]) if "price" in sent else None
        return self.client.create_order(symbol, kind, side, amount, price, PAPI | more)

    def modify_order(self, symbol: str, sent: dict[str, str]) -> Any:
        """Amend an order."""
        amount, price = float(sent["quantity"]), float(sent["price"])
        order_id = self.ids[sent["origClientOrderId"]]
        return self.client.edit_order(order_id, symbol, "limit", sent["side"].lower(), amount, price, PAPI)

    def order(self, symbol: str, sent: dict[str, str]) -> Any:
        """Query an order."""
        return self.client.fetch_order(self.ids[sent["origClientOrderId"]], symbol, PAPI)

    def open_order(self, symbol: str, sent: dict[str, str]) -> Any:
        """Query an open order."""
        return self.client.fetch_open_order(self.ids[sent["origClientOrderId"]], symbol, PAPI)

    def open_orders(self, symbol: str, _: dict[str, str]) -> Any:
        """List open orders."""
        return self.client.fetch_open_orders(symbol, None, None, PAPI)

    def all_orders(self, symbol: str, _: dict[str, str]) -> Any:
        """List all orders."""
        return self.client.fetch_orders(symbol, None, None, PAPI)

    def cancel_order(self, symbol: str, sent: dict[str, str]) -> Any:
        """Cancel an order."""
        return self.client.cancel_order(self.ids[sent["origClientOrderId"]], symbol, PAPI)

    def trades(self, symbol: str, _: dict[str, str]) -> Any:
        """List trades."""
        return self.client.fetch_my_trades(symbol, None, None, PAPI)

    def position_risk(self, symbol: str, _: dict[str, str]) -> Any:
        """Read the position."""
        # It would send the parameters with which it is called when it asks for the brackets.
        self.client.options |= PAPI | {"defaultSubType": _kind(symbol)["subType"]}
        return self.client.fetch_positions_risk([symbol], {})

    def income(self, symbol: str, sent: dict[str, str]) -> Any:
        """List what changed the wallet."""
        return self.client.fetch_ledger(None, None, None, PAPI | _kind(symbol) | sent)

    def cancel_all_orders(self, symbol: str, _: dict[str, str]) -> Any:
        """Cancel all open orders."""
        return self.client.cancel_all_orders(symbol, PAPI)

    def balance(self, _: str, __: dict[str, str]) -> Any:
        """Read the balances."""
        return self.client.fetch_balance(PAPI)


def _kind(symbol: str) -> dict[str, str]:
    return {"type": "swap", "subType": "inverse" if symbol == SYMBOLS["cm"] else "linear"}


OFFERS = [
    *(f"{product}.{name}" for product in SYMBOLS for name in (
        "new_order", "order", "open_orders", "all_orders", "cancel_order", "trades", "cancel_all_orders",
    )),
    *(f"{product}.{name}" for product in ("um", "cm") for name in (
        "modify_order", "open_order", "position_risk", "income",
    )),
    "balance",
]  # fmt: skip


def raw(answer: Any) -> Any:
    """Return what the exchange sent; an order's own fields of ccxt must say the same."""
    if isinstance(answer, list):
        return [raw(one) for one in answer]
    info = answer["info"]
    if "executedQty" in info and "filled" in answer:
        assert answer["status"] == STATUSES[info["status"]]
        assert answer["filled"] == float(info["executedQty"])
        assert answer["amount"] == float(info["origQty"])
        assert answer["side"] == info["side"].lower()
    return info


async def test_trades(trading: Served, trade: Trade) -> None:
    """Its unified methods place, amend, query and cancel orders as our client does."""
    with opened(trading, trading.account.api_key, trading.account.api_secret) as client:
        trading.client = "ccxt, unified"
        await trade(Trader(OFFERS, Unified(client, trading).call))


async def test_trades_async(trading: Served, trade: Trade) -> None:
    """Those of the asynchronous client do as well."""
    async with opened_async(trading, trading.account.api_key, trading.account.api_secret) as client:
        trading.client = "ccxt, unified, asynchronous"
        await trade(Trader(OFFERS, Unified(client, trading).call))
