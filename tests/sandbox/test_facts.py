"""The facts hang together, and stand on their own."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from binance_pm import sandbox
from binance_pm.sandbox import facts
from binance_pm.sandbox.handlers import HANDLERS

if TYPE_CHECKING:
    from tests.sandbox.conftest import Caller

SOURCES = sorted(Path(sandbox.__file__).parent.glob("*.py"))
BY_NAME = {endpoint.name: endpoint for endpoint in facts.ENDPOINTS}


def test_every_handler_has_its_facts() -> None:
    """Nothing is simulated of which no fact is known."""
    assert HANDLERS.keys() <= BY_NAME.keys()


def test_every_endpoint_is_there_once() -> None:
    """Neither a name nor a method and path stand for two endpoints; all that are live are there."""
    assert len(BY_NAME) == len(facts.ENDPOINTS) == 126 + 3 + 3
    assert set(Counter((endpoint.method, endpoint.path) for endpoint in facts.ENDPOINTS).values()) == {1}


@pytest.mark.parametrize("endpoint", facts.ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_facts_are_whole(endpoint: facts.EndpointFacts) -> None:
    """Weights are of known pools, parameters have values and legal characters, and each row names its source."""
    assert endpoint.charges({}).keys() <= facts.POOLS.keys()
    assert min(endpoint.charges({}).values()) > 0
    for parameter in endpoint.parameters.values():
        assert parameter.type in {"LONG", "INT", "STRING", "ENUM", "DECIMAL", "BOOLEAN"}
        assert bool(parameter.values) is (parameter.type == "ENUM")
        assert re.compile(parameter.legal)
    assert endpoint.source.startswith("https://developers.binance.com/")


@pytest.mark.parametrize(
    ("name", "parameters", "charges"),
    [
        ("span_account", {}, {"sapi-ip": 5}),
        ("pro_account", {}, {"sapi-ip": 5, "sapi-uid": 5}),
        ("pro.repay_bankruptcy_loan", {}, {"sapi-uid": 3000}),
        ("account", {}, {"papi": 20}),
        ("pro_ping", {}, {"api": 1}),
        ("pro.create_listen_key", {}, {"fapi": 1}),
        ("um.new_order", {}, {"papi": 1, "papi-orders": 1}),
        ("margin.new_oco", {}, {"papi": 1, "papi-orders": 2}),
        ("um.open_orders", {}, {"papi": 40}),
        ("um.open_orders", {"symbol": "BTCUSDT"}, {"papi": 1}),
        ("cm.all_orders", {"pair": "BTCUSD"}, {"papi": 40}),
    ],
)
def test_documented_weights(name: str, parameters: dict[str, str], charges: dict[str, int]) -> None:
    """An endpoint weighs what its page says."""
    assert BY_NAME[name].charges(parameters) == charges


def test_documented_limits() -> None:
    """The pools are as large as the pages say."""
    limits = {name: pool.limit for name, pool in facts.POOLS.items()}

    assert limits == {
        "papi": 6000,
        "papi-orders": 1200,
        "api": 6000,
        "fapi": 2400,
        "sapi-ip": 12_000,
        "sapi-uid": 180_000,
    }


async def test_an_order_is_counted(caller: Caller) -> None:
    """As weight of the address and as an order of the account, even if it is refused."""
    query = caller.query(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")

    unsigned = await caller.send("/papi/v1/um/order", query[:-1], method="POST", api_key=caller.key.api_key)
    response = await caller.send("/papi/v1/um/order", query, method="POST", api_key=caller.key.api_key)

    assert unsigned.json()["code"] == -1022
    assert response.status_code == 200
    assert response.headers["X-MBX-ORDER-COUNT-1M"] == "2"
    assert response.headers["X-MBX-USED-WEIGHT-1M"] == "2"


async def test_too_many_orders(caller: Caller) -> None:
    """Orders are refused by account, without a time to wait."""
    for _ in range(600):
        await caller.send("/papi/v1/margin/order/oco", method="POST", api_key=caller.key.api_key)

    refused = await caller.send("/papi/v1/margin/order/oco", method="POST", api_key=caller.key.api_key)
    other = await caller.send("/papi/v1/um/order", method="POST", api_key=caller.exchange.accounts[1].api_key)

    assert (refused.status_code, refused.json()["code"]) == (429, -1015)
    assert "Retry-After" not in refused.headers
    assert other.status_code == 400


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("side", "buy", -1117), ("quantity", "1e3", -1100), ("newClientOrderId", "a b", -1100), ("orderId", "1", -1104)],
)
async def test_parameters_of_an_endpoint_are_checked(caller: Caller, name: str, value: str, code: int) -> None:
    """Values, characters and names are those that are documented."""
    order: dict[str, Any] = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "1"} | {name: value}

    response = await caller.send("/papi/v1/um/order", caller.query(**order), method="POST", api_key=caller.key.api_key)

    assert (response.status_code, response.json()["code"]) == (400, code)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_nothing_of_the_client(source: Path) -> None:
    """The sandbox judges the client, so it shares no code with it."""
    nodes = list(ast.walk(ast.parse(source.read_text())))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]

    foreign = [name for name in named if name.startswith("binance_pm") and not name.startswith("binance_pm.sandbox")]

    assert foreign == []


def test_public_names_exist() -> None:
    """The package has what it exports."""
    assert all(hasattr(sandbox, name) for name in sandbox.__all__)
