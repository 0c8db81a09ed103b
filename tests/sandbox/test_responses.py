"""Every endpoint responds with the fields that the exchange's samples have, and with the declared type."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any, TypeAlias

import msgspec
import pytest

from binance_pm import ENDPOINTS
from binance_pm.sandbox import facts
from tests.sandbox.scenario import Scenario, calls
from tests.support.paths import SAMPLES
from tests.support.sample import sample_of

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

NAMES = [endpoint.name for endpoint in facts.ENDPOINTS]
SAMPLED = [name for name in NAMES if (SAMPLES / f"{name}.json").exists()]
# Fields that the exchange leaves out in some responses, or sends although no document lists them.
OPTIONAL = {
    "activatePrice", "avgPrice", "breakEvenPrice", "BOTH", "callbackRate", "crossMarginAsset", "cumBase", "cumQuote",
    "fills", "HEDGE", "icebergQty", "marginBuyBorrowAmount", "marginBuyBorrowAsset", "modifyId", "notionalValue",
    "optionEquity", "optionWalletBalance", "orderId", "priceMatch", "priceProtect", "priceRate", "quoteQty",
    "selfTradePreventionMode", "status", "stopPrice", "triggerTime", "workingType", "transactTime",
    "algoId", "clientAlgoId", "code", "msg", "complete", "orderReports", "listOrderStatus", "listStatusType",
}  # fmt: skip
# What no account of the local exchange ever has.
EMPTY = {
    "cm.force_orders", "margin.force_orders", "negative_balance_exchange_history", "negative_balance_interest_history",
    "ping", "pro.bankruptcy_loan_repay_history", "pro.negative_balance_interest_history", "pro_ping", "um.force_orders",
    "um.trading_status", "keepalive_listen_key", "close_listen_key", "pro.keepalive_listen_key", "pro.close_listen_key",
}  # fmt: skip


def prepared(scenario: Scenario, name: str) -> None:
    """Bring the account into the one state in which some endpoints accept a request."""
    if name.endswith("bnb_transfer"):
        scenario.ask("margin.borrow", asset="BNB", amount="2")
    if name.endswith("repay_bankruptcy_loan"):
        state = scenario.exchange._state(scenario.account)
        assert state.liquidation is not None
        state.liquidation.loan = Decimal(1)
        state.wallet.free["USDT"] += 10


def call_of(name: str) -> dict[str, object]:
    """Return the parameters of one call."""
    if name.endswith("bnb_transfer"):
        return {"amount": "1", "transferSide": "TO_UM"}
    return dict(calls().get(name, {}))


def position_mode(name: str) -> Scenario | None:
    """Return an account without positions, whose position mode can change."""
    if name not in {"um.set_position_mode", "cm.set_position_mode"}:
        return None
    scenario = Scenario()
    state = scenario.exchange._state(scenario.account)
    state.um.positions.clear()
    for order in tuple(state.um.matching.open.values()):
        state.um.matching.cancel(order, scenario.now)
    if name == "cm.set_position_mode":
        # The mode of COIN-M follows, so no change of its own can succeed.
        return None
    return scenario


@cache
def response_of(name: str) -> Any:
    """Return the response of an endpoint, for an account of its own to which everything has happened."""
    if (scenario := position_mode(name)) is not None:
        return scenario.ask(name, dualSidePosition="true")
    lived = Scenario()
    lived.live()
    prepared(lived, name)
    return lived.ask(name, **call_of(name))


def shapes(value: Json, path: str = "") -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the field names of every object, with its place in the response."""
    if isinstance(value, list):
        for row in value:
            yield from shapes(row, f"{path}[]")
    elif isinstance(value, dict) and not path.endswith(("indicators", "adlQuantile")):
        yield path, frozenset(value)
        for name, inner in value.items():
            yield from shapes(inner, f"{path}.{name}")


@pytest.mark.parametrize("name", [name for name in SAMPLED if name != "cm.set_position_mode"])
def test_fields_are_those_of_the_sample(name: str) -> None:
    """No field is missing or new, but for those that the exchange does not always send."""
    sample = sample_of(name)
    answers = [sample["answer"], *(variant["answer"] for variant in sample.get("variants", []))]
    expected: dict[str, list[frozenset[str]]] = {}
    for answer in answers:
        for path, names in shapes(answer):
            expected.setdefault(path, []).append(names - OPTIONAL)
    response = response_of(name)

    assert bool(response) or name in EMPTY
    for path, names in shapes(response):
        assert names - OPTIONAL in expected[path], path


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if name != "cm.set_position_mode"])
def test_responses_have_the_declared_type(name: str) -> None:
    """The client decodes what the local exchange sends."""
    body = msgspec.json.encode(response_of(name))

    assert ENDPOINTS[name].decode(body) is not None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cm.set_position_mode"])
def test_every_endpoint_responds(name: str) -> None:
    """All live endpoints are simulated."""
    response = response_of(name)

    assert response or name in EMPTY
