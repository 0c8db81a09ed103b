"""An endpoint is what it is written as, and the declared facts are the exchange's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, cast

import msgspec
import pytest

from binance_pm import ENDPOINTS, Client, Endpoint, LimitType
from binance_pm.budget import LIMITS, Priority
from binance_pm.endpoint import Security, check_endpoint, delete, get, post, put, undeclared_endpoint
from binance_pm.transport.http import Method
from binance_pm.wire import Model, camel


class Facts(NamedTuple):
    """What the exchange's documents say of one endpoint."""

    method: Method
    path: str
    security: Security
    weight: int
    kinds: tuple[LimitType, ...] = (LimitType.IP,)


# Read 2026-11-21. The time of Portfolio Margin is on no page: its weight is what the header was seen to rise by.
FACTS = {
    "ping": Facts("GET", "/papi/v1/ping", "NONE", 1),
    "server_time": Facts("GET", "/papi/v1/time", "NONE", 1),
    "pro_server_time": Facts("GET", "/api/v3/time", "NONE", 1),
    "account": Facts("GET", "/papi/v1/account", "USER_DATA", 20),
    "um_account": Facts("GET", "/papi/v2/um/account", "USER_DATA", 5),
    # By the page 5 for the IP, by the newest official SDK 5 for the UID.
    "pro_account": Facts("GET", "/sapi/v1/portfolio/account", "USER_DATA", 5, (LimitType.IP, LimitType.UID)),
    "span_account": Facts("GET", "/sapi/v2/portfolio/account", "USER_DATA", 5),
}

SIGNED = {"USER_DATA", "TRADE", "MARGIN"}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Endpoint[Any]]:
    """An empty registry, so that what a test declares is not in the package's."""
    empty: dict[str, Endpoint[Any]] = {}
    monkeypatch.setattr("binance_pm.endpoint.ENDPOINTS", empty)
    return empty


class Thing(Model, frozen=True):
    """What the declared endpoint of these tests answers."""

    amount: Decimal


class Caller:
    """A client that only keeps what it was asked to call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Endpoint[Any], dict[str, Any]]] = []

    async def call(self, endpoint: Endpoint[Any], parameters: Mapping[str, Any]) -> str:
        """Keep the call."""
        self.calls.append((endpoint, dict(parameters)))
        return "answer"


async def thing(
    self: object, symbol: str, *, client_order_id: str | None = None, recv_window: int | None = None
) -> Thing:
    """One thing of the account."""
    raise NotImplementedError((self, symbol, client_order_id, recv_window))


Declared = Callable[..., Awaitable[Any]]


@pytest.fixture
def declared(registry: dict[str, Endpoint[Any]]) -> Declared:
    """The function above as an endpoint."""
    assert not registry
    return get("/papi/v1/um/thing", weight=7)(cast("Declared", thing))


def test_no_endpoint_is_without_facts() -> None:
    """An endpoint whose facts are not written down here is named, and facts without an endpoint too."""
    assert set(ENDPOINTS) == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_the_facts_are_the_exchanges(name: str) -> None:
    """Method, path, security, weight and counters are those of the exchange's documents."""
    endpoint = ENDPOINTS[name]

    assert Facts(endpoint.method, endpoint.path, endpoint.security, endpoint.weight, endpoint.kinds) == FACTS[name]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_follows_from_the_facts(name: str) -> None:
    """Family, signature, key and effect follow from path, security and method."""
    endpoint = ENDPOINTS[name]

    assert (endpoint.name, endpoint.family) == (name, FACTS[name].path.split("/")[1])
    assert endpoint.is_signed is (FACTS[name].security in SIGNED)
    assert endpoint.sends_key is (FACTS[name].security != "NONE")
    assert endpoint.is_write is (FACTS[name].method != "GET")


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_counter_exists(name: str) -> None:
    """An endpoint is charged where its family counts, and can be paid within a minute."""
    endpoint = ENDPOINTS[name]

    limits = [LIMITS[endpoint.family, kind].limit for kind in endpoint.kinds]
    assert limits
    assert 0 < endpoint.weight < min(limits)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_the_client_has_every_endpoint(name: str) -> None:
    """Each endpoint is a coroutine method of the client, with its declared parameters."""
    method = getattr(Client, name)
    parameters = list(inspect.signature(method, eval_str=True).parameters.values())

    assert inspect.iscoroutinefunction(method)
    assert parameters[0].name == "self"
    assert parameters[1:] == list(ENDPOINTS[name].parameters.values())


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if facts.security in SIGNED])
def test_a_signed_endpoint_takes_a_recv_window(name: str) -> None:
    """Where a timestamp is sent, the caller may say for how long it is good."""
    parameter = ENDPOINTS[name].parameters["recv_window"]

    assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None)


def test_a_declared_method_looks_as_it_is_written(declared: Declared) -> None:
    """Name, docstring, signature and being a coroutine function survive the decorator."""
    assert (declared.__name__, declared.__qualname__, declared.__doc__) == (
        thing.__name__,
        thing.__qualname__,
        thing.__doc__,
    )
    assert inspect.signature(declared) == inspect.signature(thing)
    assert inspect.iscoroutinefunction(declared)


def test_a_declared_endpoint_is_registered(declared: Declared, registry: dict[str, Endpoint[Any]]) -> None:
    """The registry holds what was declared, under the method's name and without ``self``."""
    endpoint = registry[declared.__name__]

    assert Facts(endpoint.method, endpoint.path, endpoint.security, endpoint.weight, endpoint.kinds) == Facts(
        "GET", "/papi/v1/um/thing", "USER_DATA", 7
    )
    assert (endpoint.name, endpoint.doc) == ("thing", "One thing of the account.")
    assert list(endpoint.parameters) == ["symbol", "client_order_id", "recv_window"]
    assert endpoint.returns is Thing
    assert endpoint.decode(b'{"amount":"1.5"}') == Thing(amount=Decimal("1.5"))


def test_an_undocumented_endpoint_has_an_empty_text(registry: dict[str, Endpoint[Any]]) -> None:
    """Without a docstring there is still a text."""

    async def silent(self: object) -> Thing:
        raise NotImplementedError(self)

    get("/papi/v1/silent", weight=1)(silent)

    assert registry["silent"].doc == ""


@pytest.mark.parametrize(
    ("declare", "method", "security", "signed", "write"),
    [
        (get, "GET", "USER_DATA", True, False),
        (post, "POST", "TRADE", True, True),
        (put, "PUT", "TRADE", True, True),
        (delete, "DELETE", "TRADE", True, True),
    ],
)
def test_each_verb_has_its_defaults(
    declare: Callable[..., Callable[[Declared], Declared]],
    method: str,
    security: str,
    *,
    signed: bool,
    write: bool,
    registry: dict[str, Endpoint[Any]],
) -> None:
    """A query reads user data, an action trades; both are signed."""
    declare("/papi/v1/um/thing", weight=1)(cast("Declared", thing))

    endpoint = registry["thing"]
    assert (endpoint.method, endpoint.security, endpoint.kinds) == (method, security, (LimitType.IP,))
    assert (endpoint.is_signed, endpoint.sends_key, endpoint.is_write) == (signed, True, write)


@pytest.mark.parametrize("declare", [get, post, put, delete])
@pytest.mark.parametrize("repeat", ["same_effect", "never"])
def test_what_is_said_of_repeating_makes_it_a_write(
    declare: Callable[..., Callable[[Declared], Declared]], repeat: str, registry: dict[str, Endpoint[Any]]
) -> None:
    """A query too: something changes if a second request is not like the first."""
    declare("/papi/v1/um/thing", weight=1, repeat=repeat)(cast("Declared", thing))

    assert (registry["thing"].repeat, registry["thing"].is_write) == (repeat, True)


@pytest.mark.parametrize("declare", [get, post, put, delete])
def test_what_is_said_of_repeating_must_make_sense(
    declare: Callable[..., Callable[[Declared], Declared]], registry: dict[str, Endpoint[Any]]
) -> None:
    """At the time of the declaration."""
    with pytest.raises(ValueError, match="repeat is 'once', which is none of same_effect, never"):
        declare("/papi/v1/um/thing", weight=1, repeat="once")(cast("Declared", thing))

    assert registry == {}


@pytest.mark.parametrize("declare", [get, post, put, delete])
def test_defaults_can_be_overridden(
    declare: Callable[..., Callable[[Declared], Declared]], registry: dict[str, Endpoint[Any]]
) -> None:
    """Security and counters are the endpoint's own."""
    declare("/sapi/v1/thing", weight=1, security="USER_STREAM", kinds=(LimitType.UID,))(cast("Declared", thing))

    endpoint = registry["thing"]
    assert (endpoint.security, endpoint.kinds, endpoint.family) == ("USER_STREAM", (LimitType.UID,), "sapi")
    assert (endpoint.is_signed, endpoint.sends_key) == (False, True)


async def test_arguments_become_parameters(declared: Declared, registry: dict[str, Endpoint[Any]]) -> None:
    """Arguments are sent under the exchange's names, in the order declared; what is not given is not sent."""
    caller = Caller()

    answer = await declared(caller, client_order_id="x", symbol="BTCUSDT")

    assert answer == "answer"
    assert caller.calls == [(registry["thing"], {"symbol": "BTCUSDT", "clientOrderId": "x"})]
    assert list(caller.calls[0][1]) == ["symbol", "clientOrderId"]


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((), {"symbl": "x"}), (("x", "y"), {}), (("x",), {"symbol": "x"}), (("x",), {"timestamp": 1})],
)
async def test_a_wrong_argument_is_a_type_error(
    declared: Declared, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Missing, unknown and doubled arguments are Python's own error, and nothing is called."""
    caller = Caller()

    with pytest.raises(TypeError, match="argument"):
        await declared(caller, *args, **kwargs)

    assert not caller.calls


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
def test_what_a_call_leaves_out_may_make_it_dearer(
    parameters: dict[str, object], weight: int, registry: dict[str, Endpoint[Any]]
) -> None:
    """The dearest of what is missing counts; a parameter is there if it is sent, whatever its value."""
    get("/papi/v1/um/thing", weight=1, weight_without={"symbol": 40, "order_id": 5})(cast("Declared", thing))

    assert registry["thing"].weight_of(parameters) == weight


@pytest.mark.parametrize("weight", [0, -1, True, 1.5])
def test_a_dearer_call_weighs_something_too(weight: Any, registry: dict[str, Endpoint[Any]]) -> None:
    """In whole numbers, as every call."""
    with pytest.raises(ValueError, match="a call weighs 1 at least"):
        get("/papi/v1/um/thing", weight=1, weight_without={"symbol": weight})(cast("Declared", thing))

    assert registry == {}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_what_makes_a_call_dearer_can_be_left_out(name: str) -> None:
    """It is a parameter of the endpoint, and not one that has to be given."""
    endpoint = ENDPOINTS[name]
    optional = {camel(one.name) for one in endpoint.parameters.values() if one.default is not one.empty}

    assert set(endpoint.weight_without) <= optional


@pytest.mark.parametrize(
    ("declare", "priority"),
    [(get, Priority.POLL), (post, Priority.ORDER), (put, Priority.ORDER), (delete, Priority.ORDER)],
)
def test_reads_are_polls_and_writes_are_orders(
    declare: Any, priority: Priority, registry: dict[str, Endpoint[Any]]
) -> None:
    """Unless a read says otherwise."""
    declare("/papi/v1/um/thing", weight=1)(thing)

    assert registry["thing"].priority is priority


def test_a_read_may_have_time(registry: dict[str, Endpoint[Any]]) -> None:
    """Then it is served when no poll waits."""
    get("/papi/v1/um/thing", weight=1, priority=Priority.BACKGROUND)(cast("Declared", thing))

    assert registry["thing"].priority is Priority.BACKGROUND


@pytest.mark.usefixtures("declared")
def test_endpoints_are_told_apart_by_identity(registry: dict[str, Endpoint[Any]]) -> None:
    """An endpoint can be a key: two that look alike are two."""
    first = registry["thing"]
    twin = msgspec.structs.replace(first)

    assert first != twin
    assert len({first, twin}) == 2


@pytest.mark.usefixtures("declared")
def test_two_endpoints_of_one_name_are_refused(registry: dict[str, Endpoint[Any]]) -> None:
    """A name stands for one endpoint; the first stays."""
    first = registry["thing"]

    with pytest.raises(ValueError, match=r"^two endpoints are called thing$"):
        post("/papi/v1/um/other", weight=1)(cast("Declared", thing))

    assert registry == {"thing": first}


@pytest.mark.parametrize("path", ["/papi/x", *(facts.path for facts in FACTS.values())])
def test_paths_of_the_exchange_are_accepted(path: str) -> None:
    """Every known family is fine."""
    check_endpoint(path, weight=1, kinds=(LimitType.IP,))


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
        "/fapi/v1/ping",
        "/PAPI/v1/ping",
        "/evil.example/papi/v1",
        "https://papi.binance.com/papi/v1/ping",
    ],
)
def test_a_path_that_leads_to_no_known_host_is_refused(path: str) -> None:
    """The first part of a path decides host and counters: another one is refused with those that exist."""
    with pytest.raises(ValueError, match=r"does not begin with one of api, papi, sapi$"):
        check_endpoint(path, weight=1, kinds=(LimitType.IP,))


@pytest.mark.parametrize("character", ["?", "#", "%", "\\", " ", "\t", "\r", "\n", "\x00", "\x7f", "é", "\u2028"])
def test_a_path_has_no_other_characters(character: str) -> None:
    """What would end the path, or the line of the request, is refused."""
    with pytest.raises(ValueError, match="has a character that a path cannot have"):
        check_endpoint(f"/papi/v1/a{character}b", weight=1, kinds=(LimitType.IP,))


@pytest.mark.parametrize("path", ["/papi/../api/v3/time", "/papi/./ping", "/papi/v1/.."])
def test_a_path_does_not_lead_elsewhere(path: str) -> None:
    """Dots would lead to an endpoint that is counted elsewhere."""
    with pytest.raises(ValueError, match="leads elsewhere by its dots"):
        check_endpoint(path, weight=1, kinds=(LimitType.IP,))


@pytest.mark.parametrize("weight", [0, -1, True, False, 1.0, 1.5, Decimal(1), "1", None])
def test_a_call_weighs_something(weight: Any) -> None:
    """A call that weighs nothing would not be counted, and what is no whole number would spoil the count."""
    words = re.escape(f"the weight is {weight!r}: a call weighs 1 at least, in whole numbers")
    with pytest.raises(ValueError, match=f"^{words}$"):
        check_endpoint("/papi/v1/x", weight=weight, kinds=(LimitType.IP,))


@pytest.mark.parametrize(
    ("path", "kinds", "reason"),
    [
        ("/papi/v1/x", (LimitType.UID,), "/papi is not counted by UID"),
        ("/papi/v1/x", (), "/papi is not counted by nothing"),
        ("/sapi/v1/x", (LimitType.IP, LimitType.ORDERS), "/sapi is not counted by ORDERS"),
        ("/api/v3/x", (LimitType.UID, LimitType.ORDERS), "/api is not counted by UID, ORDERS"),
        (
            "/papi/v1/x",
            (LimitType.IP, LimitType.ORDERS, LimitType.IP),
            "one of the kinds is there twice: IP, ORDERS, IP",
        ),
    ],
)
def test_a_call_is_counted_somewhere(path: str, kinds: tuple[LimitType, ...], reason: str) -> None:
    """A family has the counters that it has; the text names those that it has not."""
    with pytest.raises(ValueError, match=f"^{reason}$"):
        check_endpoint(path, weight=1, kinds=kinds)


def undeclared(**options: Any) -> Endpoint[Any]:
    """An endpoint made on the spot."""
    usual: dict[str, Any] = {
        "weight": 5,
        "security": "TRADE",
        "kinds": (LimitType.IP,),
        "priority": None,
        "returns": Thing,
    }
    return undeclared_endpoint("GET", "/papi/v1/x", **(usual | options))


def test_an_undeclared_endpoint_is_as_a_declared_one(registry: dict[str, Endpoint[Any]]) -> None:
    """It is named by what it calls, decodes as its type says, and is in no list."""
    endpoint = undeclared()

    assert Facts(endpoint.method, endpoint.path, endpoint.security, endpoint.weight, endpoint.kinds) == Facts(
        "GET", "/papi/v1/x", "TRADE", 5
    )
    assert (endpoint.name, endpoint.doc, endpoint.parameters) == ("GET /papi/v1/x", "", {})
    assert endpoint.returns is Thing
    assert endpoint.decode(b'{"amount":"1.5"}') == Thing(amount=Decimal("1.5"))
    assert registry == {}


def test_an_undeclared_endpoint_is_made_once() -> None:
    """What is asked for again is there already; what differs in anything is another."""
    first = undeclared()

    assert undeclared(kinds=["IP"]) is first
    assert undeclared(weight=6) is not first
    assert undeclared(returns=dict[str, Any]) is not first


def test_the_kinds_of_an_undeclared_endpoint_are_kinds() -> None:
    """A text is as good as the `Kind` that it names, and becomes it: pools are told apart by identity."""
    kinds: Any = ["ORDERS", "IP"]

    first, second = undeclared(kinds=kinds).kinds
    assert first is LimitType.ORDERS
    assert second is LimitType.IP


@pytest.mark.parametrize("path", ["papi/v1/ping", "/fapi/v1/ping", "/papi/v1/a?b"])
def test_a_bad_path_is_not_declared(path: str, registry: dict[str, Endpoint[Any]]) -> None:
    """A declaration with a bad path is refused when it is made."""
    with pytest.raises(ValueError, match="the path"):
        get(path, weight=1)(cast("Declared", thing))

    assert not registry
