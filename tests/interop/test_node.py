"""The npm package `binance` trades on the sandbox; `nox -s interop_node` installs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.trading import Trader, rounded

if TYPE_CHECKING:
    from tests.interop.conftest import Served
    from tests.interop.trading import Trade

METHODS = {
    **{f"{p.lower()}.{name}": method.format(p) for p in ("UM", "CM") for name, method in {
        "new_order": "submitNew{}Order",
        "modify_order": "modify{}Order",
        "cancel_order": "cancel{}Order",
        "cancel_all_orders": "cancelAll{}Orders",
        "order": "get{}Order",
        "open_order": "get{}OpenOrder",
        "open_orders": "getAll{}OpenOrders",
        "all_orders": "getAll{}Orders",
        "order_amendments": "get{}OrderModificationHistory",
        "trades": "get{}Trades",
        "income": "get{}IncomeHistory",
        "position_risk": "get{}Position",
        "commission_rate": "get{}CommissionRate",
        "adl_quantile": "get{}ADLQuantile",
        "leverage_brackets": "get{}LeverageBrackets",
        "set_leverage": "update{}Leverage",
        "position_mode": "get{}PositionMode",
    }.items()},
    "um.new_algo_order": "submitNewUMAlgoOrder",
    "um.cancel_algo_order": "cancelUMAlgoOrder",
    "um.algo_order": "getUMAlgoOrder",
    "um.open_algo_orders": "getUMAlgoOpenOrders",
    "um.all_algo_orders": "getAllUMAlgoOrders",
    "cm.new_conditional_order": "submitNewCMConditionalOrder",
    "cm.cancel_conditional_order": "cancelCMConditionalOrder",
    "cm.open_conditional_order": "getCMOpenConditionalOrder",
    "cm.open_conditional_orders": "getCMOpenConditionalOrders",
    "cm.all_conditional_orders": "getAllCMConditionalOrders",
    "cm.conditional_order_history": "getCMConditionalOrderHistory",
    "margin.new_order": "submitNewMarginOrder",
    "margin.cancel_order": "cancelMarginOrder",
    "margin.cancel_all_orders": "cancelAllMarginOrders",
    "margin.order": "getMarginOrder",
    "margin.open_orders": "getMarginOpenOrders",
    "margin.all_orders": "getAllMarginOrders",
    "margin.trades": "getMarginTrades",
    "margin.new_oco": "submitNewMarginOCO",
    "margin.cancel_oco": "cancelMarginOCO",
    "margin.oco": "getMarginOCO",
    "margin.open_ocos": "getMarginOpenOCO",
    "margin.all_ocos": "getAllMarginOCO",
    "margin.max_borrowable": "getMarginMaxBorrow",
    "margin.max_withdraw": "getMarginMaxWithdraw",
    "margin.borrow": "submitMarginLoan",
    "margin.repay": "submitMarginRepay",
    "margin.loan_history": "getMarginLoanRecords",
    "margin.repay_history": "getMarginRepayRecords",
    "margin.interest_history": "getMarginInterestHistory",
    "account": "getAccountInfo",
    "balance": "getBalance",
    "um_account": "getUMAccountV2",
    "um.account_v1": "getUMAccount",
    "um.account_config": "getUMAccountConfig",
    "um.symbol_config": "getUMSymbolConfig",
    "cm_account": "getCMAccount",
}  # fmt: skip
"""Its methods by our names of the endpoints."""
CLIENT = Path(__file__).parent / "node" / "client.cjs"


class RefusedError(Exception):
    """The package raised an error with the exchange's code."""


class Process:
    """A process of Node.js that calls methods of the package."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send one line and return the line that answers it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def call(self, name: str, parameters: Mapping[str, str]) -> Any:
        """Call the method for an endpoint."""
        answer = self.ask({"method": METHODS[name], "parameters": dict(parameters)})
        if "result" not in answer:
            raise RefusedError(answer)
        return rounded(name, answer["result"])


@contextmanager
def opened(served: Served) -> Generator[Process]:
    """The package in a process of its own, pointed at the sandbox."""
    modules, node = os.environ.get("NODE_PATH"), shutil.which("node")
    if not modules or not node:
        pytest.skip("no Node.js with the npm package binance: run nox -s interop_node")
    served.client = "npm binance"
    with subprocess.Popen([node, str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        client = Process(process)
        account = served.account
        client.ask({"api_key": account.api_key, "api_secret": account.api_secret, "baseUrl": served.url})
        yield client


async def test_trades(trading: Served, trade: Trade) -> None:
    """It places, amends, queries and cancels orders, and reads the account, as our client does.

    Its whole numbers are floats: an order id above 2**53 is not the one that the exchange gave.
    """
    with opened(trading) as client:
        await trade(Trader(METHODS, client.call, sees=rounded))
