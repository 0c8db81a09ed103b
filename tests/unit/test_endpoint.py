"""Declared facts match the exchange's documents, and a contradictory endpoint is refused."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from decimal import Decimal
from operator import attrgetter
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from binance_pm import ENDPOINTS, Client, Endpoint
from binance_pm.declaration import CALL_OPTIONS
from binance_pm.endpoint import Registry, Weights, checked_weights, undeclared_endpoint
from binance_pm.limits import LIMITS, LimitType, Priority
from binance_pm.resolution import ByClientId, queries_of
from binance_pm.sandbox import facts
from binance_pm.wire import Model

FACTS = {endpoint.name: endpoint for endpoint in facts.ENDPOINTS}
SIGNED = {"USER_DATA", "TRADE", "MARGIN"}
BOOLEAN = {"BOOLEAN": {"true", "false"}}


class Thing(Model, frozen=True):
    """The response of these tests' endpoints."""

    amount: Decimal


def test_every_live_endpoint_is_declared() -> None:
    """Each endpoint of the exchange is a method of the client, and there is no other."""
    assert set(ENDPOINTS) == set(FACTS)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_declarations_agree_with_the_facts(name: str) -> None:
    """Verb, path, security, weights and parameters are those of the exchange's documents."""
    endpoint, fact = ENDPOINTS[name], FACTS[name]

    assert (endpoint.name, endpoint.method, endpoint.path, endpoint.security) == (
        name,
        fact.method,
        fact.path,
        fact.security,
    )
    assert {one.value: weights_as_facts(weights) for one, weights in endpoint.weights.items()} == fact.weights
    own = {one: required for one, required in needs(endpoint).items() if one != "recvWindow"}
    assert own == {one: parameter.required for one, parameter in fact.parameters.items()}
    values = {one: {*parameter.values} or BOOLEAN.get(parameter.type) for one, parameter in fact.parameters.items()}
    assert choices(endpoint) == {one: allowed for one, allowed in values.items() if allowed}


def weights_as_facts(weights: Weights) -> int | facts.Weight:
    """Return the weights as the sandbox has them."""
    return facts.Weight(weights.weight, dict(weights.without)) if weights.without else weights.weight


def needs(endpoint: Endpoint[Any]) -> dict[str, bool]:
    """Return whether each parameter has to be given, by name on the wire."""
    return {endpoint.wire_names[name]: one.default is one.empty for name, one in endpoint.parameters.items()}


def choices(endpoint: Endpoint[Any]) -> dict[str, set[str]]:
    """Return what the parameters with a fixed set of values may be, by name on the wire."""
    found: dict[str, set[str]] = {}
    for name, parameter in endpoint.parameters.items():
        parts: Iterable[Any] = [parameter.annotation, *get_args(parameter.annotation)]
        if literal := next((part for part in parts if get_origin(part) is Literal), None):
            found[endpoint.wire_names[name]] = set(get_args(literal))
        elif bool in parts:
            found[endpoint.wire_names[name]] = {"true", "false"}
    return found


@pytest.mark.parametrize("name", ENDPOINTS)
def test_declarations_agree_with_one_another(name: str) -> None:
    """Family, signature, key and effect follow from path, security and method; a call can be afforded at all."""
    endpoint = ENDPOINTS[name]

    assert endpoint.family == endpoint.path.split("/")[1]
    assert endpoint.is_signed is (endpoint.security in SIGNED)
    assert endpoint.sends_key is (endpoint.security != "NONE")
    assert endpoint.is_write is (endpoint.method != "GET" or endpoint.repeat is not None)
    for limit_type, weight in zip(endpoint.weights, endpoint.weights_of({}), strict=True):
        assert 0 < weight < LIMITS[endpoint.family, limit_type].limit


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_client_has_every_endpoint(name: str) -> None:
    """Each endpoint is a coroutine method of the client or of one of its namespaces, with its declared parameters."""
    method = attrgetter(name)(Client)
    parameters = [
        one for one in inspect.signature(method, eval_str=True).parameters.values() if one.name not in CALL_OPTIONS
    ]

    assert inspect.iscoroutinefunction(method)
    assert inspect.getdoc(method) == ENDPOINTS[name].doc
    assert parameters[0].name == "self"
    assert parameters[1:] == list(ENDPOINTS[name].parameters.values())


@pytest.mark.parametrize("name", [name for name, fact in FACTS.items() if fact.is_signed])
def test_a_signed_endpoint_takes_a_recv_window(name: str) -> None:
    """A request with a timestamp has a window of validity."""
    parameter = ENDPOINTS[name].parameters["recv_window"]

    assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_queries_for_the_outcome_of_a_write_exist(name: str) -> None:
    """They are reads, and find a placement by the client id that it sends."""
    endpoint = ENDPOINTS[name]
    if endpoint.resolve is None:
        return

    assert not any(ENDPOINTS[query].is_write for query in queries_of(endpoint.resolve))
    if isinstance(endpoint.resolve, ByClientId):
        assert endpoint.client_id is not None
        assert all(endpoint.resolve.parameter in ENDPOINTS[query].parameters for query in endpoint.resolve.queries)


@pytest.mark.parametrize(
    ("parameters", "weight"),
    [
        ({"symbol": "BTCUSDT", "orderId": 1}, 1),
        ({"orderId": 1}, 40),
        ({"symbol": None, "orderId": 1}, 40),
        ({"symbol": "BTCUSDT"}, 5),
        ({}, 40),
        ({"symbol": "", "orderId": 0}, 1),
    ],
)
def test_a_missing_parameter_may_raise_the_weight(parameters: dict[str, object], weight: int) -> None:
    """The highest weight counts; a parameter is present if it is sent, whatever its value."""
    assert Weights(1, without={"symbol": 40, "orderId": 5}).of(parameters) == weight


@pytest.mark.parametrize(
    ("path", "weights", "charged"),
    [
        ("/papi/x", 5, {LimitType.IP: Weights(5)}),
        ("/papi/v1/x", Weights(1, {"symbol": 40}), {LimitType.IP: Weights(1, {"symbol": 40})}),
        ("/sapi/v1/x", {LimitType.UID: 5}, {LimitType.UID: Weights(5)}),
        ("/papi/v1/x", {"IP": 1, "ORDERS": 2}, {LimitType.IP: Weights(1), LimitType.ORDERS: Weights(2)}),
        ("/api/v3/x", 1, {LimitType.IP: Weights(1)}),
    ],
)
def test_weights_are_by_type_of_limit(path: str, weights: Any, charged: object) -> None:
    """A number alone is the weight of the IP; the name of a type is as good as the type."""
    assert checked_weights(path, weights) == charged
    assert all(isinstance(limit_type, LimitType) for limit_type in checked_weights(path, weights))


@pytest.mark.parametrize(
    ("path", "weights"),
    [
        ("/papi/v1/x", {LimitType.UID: 1}),
        ("/papi/v1/x", {}),
        ("/papi/v1/x", {"ip": 1}),
        ("/sapi/v1/x", {LimitType.IP: 1, LimitType.ORDERS: 1}),
        ("/api/v3/x", {LimitType.UID: 1}),
        *(("/papi/v1/x", weight) for weight in (0, -1, True, False, 1.0, 1.5, Decimal(1), "1", None)),
        *(("/papi/v1/x", Weights(1, without={"symbol": weight})) for weight in (0, True, 1.5)),  # pyright: ignore[reportArgumentType] - wrong on purpose
        *(("/papi/v1/x", {LimitType.IP: weight}) for weight in (0, "1")),
    ],
)
def test_a_call_is_counted_by_a_known_limit(path: str, weights: Any) -> None:
    """No weight, or an unknown limit, would spoil the count."""
    with pytest.raises(ValueError, match=r"weight|counted"):
        checked_weights(path, weights)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "papi/v1/ping",
        "/papi",
        "/papi/",
        "/papi//ping",
        "/papi/v1/ping/",
        "//papi/v1/ping",
        "/dapi/v1/ping",
        "/PAPI/v1/ping",
        "/evil.example/papi/v1",
        "https://papi.binance.com/papi/v1/ping",
        "/papi/../api/v3/time",
        "/papi/./ping",
        "/papi/v1/..",
        *(f"/papi/v1/a{character}b" for character in "?#%\\ \t\r\n\x00\x7fé\u2028"),
    ],
)
def test_a_path_needs_a_known_host(path: str) -> None:
    """A path to another host, or with characters that end the path or the line, is refused."""
    with pytest.raises(ValueError, match="the path"):
        checked_weights(path, 1)


def undeclared(**options: Any) -> Endpoint[Any]:
    """Return an endpoint made on the spot."""
    usual: dict[str, Any] = {"weights": 5, "security": "TRADE", "priority": None, "returns": Thing}
    return undeclared_endpoint(options.pop("method", "GET"), "/papi/v1/x", **(usual | options))


def test_an_undeclared_endpoint_is_like_a_declared_one() -> None:
    """An undeclared endpoint has a name, decodes to its type, and is in no registry."""
    endpoint = undeclared()

    assert (endpoint.name, endpoint.doc, endpoint.parameters) == ("GET /papi/v1/x", "", {})
    assert (endpoint.method, endpoint.path, endpoint.security) == ("GET", "/papi/v1/x", "TRADE")
    assert endpoint.weights == {LimitType.IP: Weights(5)}
    assert (endpoint.returns, endpoint.priority, endpoint.is_declared) == (Thing, Priority.POLL, False)
    assert endpoint.decode(b'{"amount":"1.5"}') == Thing(amount=Decimal("1.5"))
    assert endpoint.name not in ENDPOINTS


@pytest.mark.parametrize(
    ("options", "priority"),
    [
        ({"method": "POST"}, Priority.ORDER),
        ({"method": "DELETE", "priority": Priority.BACKGROUND}, Priority.BACKGROUND),
        ({"priority": Priority.ORDER}, Priority.ORDER),
    ],
)
def test_the_priority_of_an_undeclared_endpoint(options: dict[str, Any], priority: Priority) -> None:
    """By default a GET is a poll, and anything else an order."""
    assert undeclared(**options).priority is priority


def test_an_undeclared_endpoint_is_made_once() -> None:
    """The same arguments give the same endpoint, others another."""
    first = undeclared()

    assert undeclared(weights={"IP": 5}) is first
    assert undeclared(weights=6) is not first
    assert undeclared(weights={LimitType.IP: 5, LimitType.ORDERS: 1}) is not first
    assert undeclared(returns=dict[str, Any]) is not first


def test_endpoints_are_compared_by_identity() -> None:
    """An endpoint can be a key: two equal ones are different keys."""
    first = undeclared()
    twin = msgspec.structs.replace(first)

    assert first != twin
    assert len({first, twin}) == 2


def test_a_name_belongs_to_one_endpoint() -> None:
    """A second endpoint with the name is refused, and the first stays."""
    registry, first = Registry(), undeclared()
    registry.add(first.name, lambda: first)

    with pytest.raises(ValueError, match=r"^two endpoints are called GET /papi/v1/x$"):
        registry.add(first.name, lambda: undeclared(weights=6))

    assert dict(registry) == {"GET /papi/v1/x": first}
    assert len(registry) == 1
    assert "other" not in registry
