"""A decorated signature is an endpoint, and looks as it is written."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any, Literal, NotRequired, Required, TypedDict, Unpack, cast

import pytest

from binance_pm import Client, ConfigurationError, Endpoint
from binance_pm.declaration import EndpointGroup, LazyNamespace, Namespace, delete, get, lazy_endpoints, post, put
from binance_pm.endpoint import Registry, Weights
from binance_pm.limits import LimitType, Priority
from binance_pm.paging import ById, ByPage, ByTime
from binance_pm.resolution import ByClientId
from binance_pm.wire import Model

Method = Callable[..., Awaitable[Any]]
Declare = Callable[..., Callable[[Method], Method]]
PAGE = ById(parameter="from_id", most=10)


class Thing(Model, frozen=True):
    """The response of these tests' endpoints."""

    id: int
    amount: Decimal
    time: int


class Things(Model, frozen=True):
    """A page with a number."""

    rows: list[Thing]
    total: int


class Common(TypedDict):
    """Keys shared by several orders."""

    symbol: str
    """The symbol, such as BTCUSDT."""
    side: Literal["BUY", "SELL"]


class NewOrder(Common, total=False):
    """The parameters of an order."""

    quantity: Required[Decimal]
    """In units of the base asset.

    Above zero.
    """
    time_in_force: Literal["GTC", "IOC"]
    """How long the order waits."""
    new_client_order_id: str


class Base(TypedDict, total=False):
    """Keys of every call."""

    recv_window: int
    check: bool


class Options(Base):
    """Keys that are required unless marked otherwise."""

    amount: Decimal
    note: NotRequired[str]


def check_quantity(order: Mapping[str, object]) -> None:
    """Refuse a large order."""
    if cast("Decimal", order["quantity"]) > 100:
        raise ValueError("quantity is above 100")


ORDERS = Registry()
FOUND = ByClientId(queries=("test.thing",))


class Orders(Namespace, name="test", registry=ORDERS):
    """Declarations with every fact."""

    @get("/papi/v1/um/thing", weights=Weights(1, without={"order_id": 40}))
    async def thing(self, symbol: str, *, order_id: int | None = None, recv_window: int | None = None) -> Thing:
        """One thing of the account."""
        ...

    @get("/papi/v1/silent", weights=1)
    async def silent(self) -> Thing:  # noqa: D102 - a missing docstring is the case
        ...

    @post(
        "/papi/v1/um/order",
        weights={LimitType.IP: 1, LimitType.ORDERS: 2},
        client_id="new_client_order_id",
        resolve=FOUND,
        check=check_quantity,
    )
    async def new_order(
        self,
        *,
        recv_window: int | None = None,
        check: bool = True,
        resolve: bool | None = None,
        **order: Unpack[NewOrder],
    ) -> Thing:
        """Place an order."""
        ...

    @post("/papi/v1/um/transfer", weights=750, priority=Priority.BACKGROUND)
    async def transfer(self, **options: Unpack[Options]) -> Thing:
        """Move an amount."""
        ...

    @get("/papi/v1/old", weights=1, deprecated="use thing")
    async def old(self) -> Thing:
        """What there was before."""
        ...


class Caller:
    """A client that only records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Endpoint[Any], dict[str, Any]]] = []
        self.options: dict[str, bool | None] = {}

    async def call(self, endpoint: Endpoint[Any], parameters: Mapping[str, Any], **options: bool | None) -> Any:
        """Record the call."""
        self.calls.append((endpoint, dict(parameters)))
        self.options = options
        return "response"


@pytest.fixture
def caller() -> Caller:
    """A client that records its calls."""
    return Caller()


async def method(self: object, symbol: str, *, limit: int | None = None, from_id: int | None = None) -> list[Thing]:
    """A method to decorate."""
    raise NotImplementedError((self, symbol, limit, from_id))


async def one_or_all(self: object, symbol: str | None = None) -> list[Thing] | Thing:
    """A method with two shapes, to decorate."""
    raise NotImplementedError((self, symbol))


async def with_options(self: object, *, check: bool = True, resolve: bool | None = None) -> Thing:
    """A method with both call options, to decorate."""
    raise NotImplementedError((self, check, resolve))


def declared(
    declare: Declare, *, function: Any = method, path: str = "/papi/v1/um/thing", **facts: Any
) -> Endpoint[Any]:
    """Return the declared endpoint."""
    registry = Registry()
    body = {function.__name__: declare(path, **({"weights": 1} | facts))(function)}
    type("Declared", (EndpointGroup,), body, registry=registry)
    return registry[function.__name__]


def test_a_declared_method_keeps_its_metadata() -> None:
    """Name, docstring and signature, and the method stays a coroutine function."""
    decorated = get("/papi/v1/um/thing", weights=1)(cast("Method", method))

    assert (decorated.__name__, decorated.__qualname__, decorated.__doc__) == ("method", "method", method.__doc__)
    assert inspect.signature(decorated) == inspect.signature(method)
    assert inspect.iscoroutinefunction(decorated)


def test_a_declared_endpoint_is_registered_by_its_class() -> None:
    """The registry of the class has it under its dotted name, without ``self``."""
    endpoint = ORDERS["test.thing"]

    assert (endpoint.method, endpoint.path, endpoint.security) == ("GET", "/papi/v1/um/thing", "USER_DATA")
    assert (endpoint.name, endpoint.doc, endpoint.is_declared) == ("test.thing", "One thing of the account.", True)
    assert list(endpoint.parameters) == ["symbol", "order_id", "recv_window"]
    assert endpoint.weights == {LimitType.IP: Weights(1, without={"orderId": 40})}
    assert (endpoint.weights_of({"orderId": 1}), endpoint.weights_of({})) == ((1,), (40,))
    assert endpoint.returns is Thing
    assert endpoint.decode(b'{"id":1,"amount":"1.5","time":2}') == Thing(id=1, amount=Decimal("1.5"), time=2)
    assert ORDERS["test.silent"].doc == ""


def test_every_fact_is_kept() -> None:
    """The endpoint has each fact of its declaration."""
    order = ORDERS["test.new_order"]

    assert order.weights_of({}) == (1, 2)
    assert list(order.weights) == [LimitType.IP, LimitType.ORDERS]
    assert (order.client_id, order.resolve) == ("new_client_order_id", FOUND)
    assert ORDERS["test.transfer"].priority is Priority.BACKGROUND
    assert ORDERS["test.old"].deprecated == "use thing"


@pytest.mark.parametrize(
    ("declare", "verb", "security", "priority", "is_write"),
    [
        (get, "GET", "USER_DATA", Priority.POLL, False),
        (post, "POST", "TRADE", Priority.ORDER, True),
        (put, "PUT", "TRADE", Priority.ORDER, True),
        (delete, "DELETE", "TRADE", Priority.ORDER, True),
    ],
)
def test_each_verb_has_its_defaults(
    declare: Declare, verb: str, security: str, priority: Priority, *, is_write: bool
) -> None:
    """A query polls user data, an action trades; any fact can be given for any verb."""
    endpoint = declared(declare)
    other = declared(
        declare,
        path="/sapi/v1/thing",
        security="USER_STREAM",
        weights={LimitType.UID: Weights(1, without={"limit": 5})},
        priority=Priority.BACKGROUND,
        repeat="same_effect",
        deprecated="use nothing",
    )

    assert (endpoint.method, endpoint.security, endpoint.priority) == (verb, security, priority)
    assert (endpoint.weights, endpoint.is_write) == ({LimitType.IP: Weights(1)}, is_write)
    assert (other.security, other.is_signed, other.sends_key) == ("USER_STREAM", False, True)
    assert (other.weights_of({}), other.priority) == ((5,), Priority.BACKGROUND)
    assert (other.repeat, other.is_write) == ("same_effect", True)
    assert other.deprecated == "use nothing"


@pytest.mark.parametrize(
    ("page", "returns"),
    [
        (PAGE, list[Thing]),
        (ByTime(key=("id",), most=10), list[Thing]),
        (ByPage(key=("id", "time"), time="time"), Things),
    ],
)
def test_a_paged_list_keeps_its_facts(page: ById | ByTime | ByPage, returns: Any) -> None:
    """The parameters that select a page, and the fields of a row that paging reads."""

    async def things(self: object, **names: Unpack[Pages]) -> Any:
        raise NotImplementedError((self, names))

    things.__annotations__["return"] = returns

    assert declared(get, function=things, page=page).page is page


class Pages(TypedDict, total=False):
    """Every parameter that may select a page."""

    symbol: str
    from_id: int
    start_time: int
    end_time: int
    limit: int
    current: int
    size: int


@pytest.mark.parametrize(
    ("declare", "facts"),
    [
        (get, {"repeat": "once"}),
        (get, {"weights": Weights(1, without={"symbol": 40})}),
        (get, {"weights": Weights(1, without={"pair": 40})}),
        (get, {"path": "/dapi/v1/x"}),
        (get, {"client_id": "limit"}),
        (get, {"resolve": ByClientId(queries=("um.order",))}),
        (post, {"check": check_quantity}),
        (post, {"function": with_options, "resolve": FOUND}),
        (post, {"function": with_options, "check": check_quantity}),
        (post, {"client_id": "symbol"}),
        (post, {"client_id": "new_client_order_id"}),
        (get, {"page": ByTime(key=("id",), most=10)}),
        (get, {"page": ById(parameter="order_id", most=10)}),
        (get, {"page": ById(parameter="from_id", key="order_id", most=10)}),
        (get, {"single": "limit"}),
        (get, {"function": one_or_all, "single": "pair"}),
    ],
)
def test_a_contradictory_declaration_is_refused(declare: Declare, facts: dict[str, Any]) -> None:
    """At the declaration, before any call."""
    with pytest.raises(ValueError, match=r"\w"):
        declared(declare, **facts)


async def test_arguments_become_parameters(caller: Caller) -> None:
    """With the exchange's names, in the declared order; omitted arguments are not sent."""
    response = await Orders(caller).thing(order_id=7, symbol="BTCUSDT")

    assert cast("Any", response) == "response"
    assert caller.calls == [(ORDERS["test.thing"], {"symbol": "BTCUSDT", "orderId": 7})]
    assert list(caller.calls[0][1]) == ["symbol", "orderId"]


async def test_call_options_are_not_sent(caller: Caller) -> None:
    """They choose how the call is made, and are no parameters of the endpoint."""
    await Orders(caller).new_order(symbol="BTCUSDT", side="BUY", quantity=Decimal(1), check=False, resolve=True)

    assert caller.calls == [(ORDERS["test.new_order"], {"symbol": "BTCUSDT", "side": "BUY", "quantity": Decimal(1)})]
    assert caller.options == {"check": False, "resolve": True}
    assert not {"check", "resolve"} & ORDERS["test.new_order"].parameters.keys()


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((), {"symbl": "x"}), (("x", "y"), {}), (("x",), {"symbol": "x"}), (("x",), {"timestamp": 1})],
)
async def test_a_wrong_argument_is_a_type_error(caller: Caller, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Missing, unknown and repeated arguments raise Python's own error, and nothing is called."""
    with pytest.raises(TypeError, match="argument"):
        await Orders(caller).thing(*args, **kwargs)

    assert not caller.calls


def test_a_typed_dict_becomes_parameters() -> None:
    """Each key is a keyword parameter; optional keys default to None."""
    parameters = ORDERS["test.new_order"].parameters

    assert [str(parameter) for parameter in parameters.values()] == [
        "recv_window: int | None = None",
        "symbol: str",
        "side: Literal['BUY', 'SELL']",
        "quantity: decimal.Decimal",
        "time_in_force: Optional[Literal['GTC', 'IOC']] = None",
        "new_client_order_id: str | None = None",
    ]
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    assert set(inspect.signature(Orders.new_order).parameters) - {"self", "check", "resolve"} == set(parameters)
    transfer = ORDERS["test.transfer"].parameters.values()
    assert [one.default for one in transfer] == [inspect.Parameter.empty, None, None]


def test_the_keys_of_a_typed_dict_are_described() -> None:
    """The text below each key is available, for inherited keys too."""
    assert ORDERS["test.new_order"].descriptions == {
        "symbol": "The symbol, such as BTCUSDT.",
        "quantity": "In units of the base asset.\n\nAbove zero.",
        "time_in_force": "How long the order waits.",
    }
    assert ORDERS["test.thing"].descriptions == {}


def test_a_typed_dict_without_source_is_not_described() -> None:
    """Without source code only the descriptions are missing."""
    made = TypedDict("made", {"symbol": str})  # noqa: UP013 - a class would have a source

    async def thing(self: object, **options: Any) -> Thing:
        raise NotImplementedError((self, options))

    thing.__annotations__["options"] = Unpack[made]
    endpoint = declared(post, function=thing)

    assert list(endpoint.parameters) == ["symbol"]
    assert endpoint.descriptions == {}


async def test_keys_of_a_typed_dict_are_bound(caller: Caller) -> None:
    """Keys become parameters in the declared order, and a wrong one is a TypeError."""
    orders = Orders(caller)
    await orders.new_order(quantity=Decimal(1), side="BUY", symbol="BTCUSDT", time_in_force="IOC")

    assert list(caller.calls[0][1].items()) == [
        ("symbol", "BTCUSDT"),
        ("side", "BUY"),
        ("quantity", Decimal(1)),
        ("timeInForce", "IOC"),
    ]
    with pytest.raises(TypeError, match="quantity"):
        await orders.new_order(side="BUY", symbol="BTCUSDT")  # pyright: ignore[reportCallIssue] - wrong on purpose
    with pytest.raises(TypeError, match="price"):
        await orders.new_order(side="BUY", symbol="BTCUSDT", quantity=Decimal(1), price=1)  # pyright: ignore[reportCallIssue] - as above


@pytest.mark.parametrize("annotation", [Any, "Unpack[Thing]", dict[str, int]])
def test_variadic_parameters_need_a_typed_dict(annotation: object) -> None:
    """Other annotations cannot be expanded."""

    async def thing(self: object, **options: Any) -> Thing:
        raise NotImplementedError((self, options))

    thing.__annotations__["options"] = annotation

    with pytest.raises(ValueError, match="TypedDict"):
        declared(post, function=thing)


async def test_a_deprecated_endpoint_warns(caller: Caller) -> None:
    """With the replacement, at the caller's own line."""
    with pytest.warns(DeprecationWarning, match=r"^test\.old is deprecated: use thing$") as warned:
        await Orders(caller).old()

    assert warned[0].filename == __file__
    assert len(caller.calls) == 1


async def test_arguments_are_checked_before_they_are_sent() -> None:
    """The check raises a ConfigurationError, which says that nothing was sent."""
    async with Client("key", "secret") as client:
        with pytest.raises(ConfigurationError) as refused:
            await Orders(client).new_order(symbol="BTCUSDT", side="BUY", quantity=Decimal(101))

    assert refused.value.reason == "quantity is above 100"
    assert refused.value.endpoint == "test.new_order"


@pytest.mark.parametrize(
    ("name", "value"), [("side", "HOLD"), ("time_in_force", "GTX"), ("quantity", Decimal(0)), ("symbol", "")]
)
def test_a_check_includes_the_declared_types(name: str, value: object) -> None:
    """What a type excludes is refused before the declared check, which then need not examine it."""
    check = ORDERS["test.new_order"].check
    order: dict[str, object] = {"symbol": "BTCUSDT", "side": "BUY", "quantity": Decimal(1)}

    assert check is not None
    check(order)
    with pytest.raises(ValueError, match=f"^{name} "):
        check(order | {name: value})


def test_call_options_come_last() -> None:
    """A `TypedDict` that extends one with call options does not put these before its own keys."""
    names = list(inspect.signature(Orders.transfer).parameters)

    assert names == ["self", "amount", "note", "recv_window", "check"]


async def test_a_namespace_uses_the_calls_of_its_client(caller: Caller) -> None:
    """A namespace is loaded on first use, and its class is that of the declaration."""

    class Account(Caller):
        orders = LazyNamespace["Orders"](__name__, "Orders")

    account = Account()
    await account.orders.silent()

    assert account.calls == [(ORDERS["test.silent"], {})]
    assert Account.orders.thing is Orders.thing
    assert not caller.calls


async def test_a_method_is_taken_from_its_class_on_first_use() -> None:
    """Class and object have the method of the declaration, which makes its calls through the object."""
    late = lazy_endpoints(__name__, "Orders", "silent", "thing")
    account: Any = type("Account", (Caller, late), {})()
    await account.silent()

    assert account.calls == [(ORDERS["test.silent"], {})]
    assert cast("Any", late).thing is Orders.thing
