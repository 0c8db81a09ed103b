"""Every endpoint decodes its documented responses completely."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest

from binance_pm import ENDPOINTS, Budget, Client, Session
from binance_pm.declaration import Namespace, delete, get
from binance_pm.endpoint import Endpoint, Registry
from binance_pm.wire import Model
from tests.support.encoded import encoded
from tests.support.sample import SAMPLES, Variant, sample_of

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


class Case(NamedTuple):
    """One call of one endpoint."""

    name: str
    sample: Variant


def cases_of(name: str) -> list[Any]:
    """Return the sample and the variants of an endpoint, named by endpoint and place."""
    sample = sample_of(name)
    calls: list[Variant] = [sample, *sample.get("variants", [])]
    return [pytest.param(Case(name, one), id=f"{name}#{place}" if place else name) for place, one in enumerate(calls)]


CASES = [case for name in ENDPOINTS for case in cases_of(name)]


def structs_in(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.StructType]:
    """Yield the Structs that a type is made of."""
    match kind:
        case msgspec.inspect.StructType():
            yield kind
            for field in kind.fields:
                yield from structs_in(field.type)
        case msgspec.inspect.ListType():
            yield from structs_in(kind.item_type)
        case msgspec.inspect.DictType():
            yield from structs_in(kind.value_type)
        case msgspec.inspect.UnionType():
            for one in kind.types:
                yield from structs_in(one)
        case _:
            pass


def misnamed(returns: object) -> list[str]:
    """Return the fields whose name is not the one on the wire, written in Python's way."""
    return [
        f"{struct.cls.__name__}.{field.name}"
        for struct in structs_in(msgspec.inspect.type_info(returns))
        for field in struct.fields
        if field.name.replace("_", "") != field.encode_name.lower()
    ]


def variants_of(endpoint: Endpoint[Any]) -> list[Endpoint[Any]]:
    """Return the endpoint in each of its shapes."""
    return [endpoint] if endpoint.one is None else [endpoint, endpoint.one]


def test_every_endpoint_has_its_sample() -> None:
    """Endpoints without a sample and samples without an endpoint are named."""
    assert {path.name for path in SAMPLES.glob("*.json")} == {f"{name}.json" for name in ENDPOINTS}


@pytest.mark.parametrize("case", CASES)
async def test_sample(case: Case) -> None:
    """The declared call sends the sampled query and decodes all of the sampled response."""
    sent: list[httpx.Request] = []

    def exchange(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=case.sample["answer"])

    session = Session(http=httpx.MockTransport(exchange), budget=Budget())
    async with Client("key", SECRET, session=session) as client:
        response = await attrgetter(case.name)(client)(**case.sample["call"])

    answer = as_returned(case.sample["answer"], response)
    assert encoded(response, answer) == answer
    endpoint, [request] = ENDPOINTS[case.name], sent
    assert (request.method, request.url.path, request.content) == (endpoint.method, endpoint.path, b"")
    query = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True, strict_parsing=bool(request.url.query)))
    if endpoint.is_signed:
        assert (query.pop("timestamp").isdecimal(), len(query.pop("signature"))) == (True, 64)
    if endpoint.client_id and endpoint.client_id not in case.sample["call"]:
        assert query.pop(endpoint.wire_names[endpoint.client_id]), "the client generates an id"
    assert query == case.sample["query"]
    assert list(query) == [endpoint.wire_names[name] for name in endpoint.parameters if name in case.sample["call"]]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_sample_names_its_source(name: str) -> None:
    """A page of the exchange, and when it was read."""
    sample = sample_of(name)

    assert sample["source"].startswith("https://developers.binance.com/")
    assert date.fromisoformat(sample["date"]).year == 2026


@pytest.mark.parametrize("name", ENDPOINTS)
def test_fields_have_their_own_names(name: str) -> None:
    """A field has its name on the wire, so two fields cannot be swapped."""
    assert [field for endpoint in variants_of(ENDPOINTS[name]) for field in misnamed(endpoint.returns)] == []


@pytest.mark.parametrize("case", CASES)
def test_an_undeclared_field_is_noticed(case: Case) -> None:
    """The package ignores an additional field, and the comparison with the sample fails."""
    shape = json.loads(json.dumps(case.sample["answer"]), object_hook=with_another_field)
    fitting = [endpoint for endpoint in variants_of(ENDPOINTS[case.name]) if _is_decoded(endpoint, shape)]

    response = fitting[0].decode(json.dumps(shape).encode())
    assert encoded(response, shape) != shape


def as_returned(answer: Any, response: object) -> Any:
    """Return the sampled response without the list around it, if the endpoint returns the one object in the list."""
    is_list = isinstance(cast("object", answer), list)
    return answer[0] if is_list and not isinstance(response, list) else answer


def with_another_field(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an object with a field that is not declared; a map, which has only lists, stays as it is."""
    is_map = bool(fields) and all(isinstance(value, list) for value in fields.values())
    return fields if is_map else fields | {"added": "1"}


def _is_decoded(endpoint: Endpoint[Any], response: object) -> bool:
    try:
        endpoint.decode(json.dumps(response).encode())
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_names_its_source(name: str) -> None:
    """The docstring of an endpoint says what comes back, and where and when that was read."""
    endpoint = ENDPOINTS[name]

    source = re.search(
        r"^Source: https://developers\.binance\.com/\S+\s\(read 2026-\d\d-\d\d\)$", endpoint.doc, re.MULTILINE
    )
    assert source, endpoint.doc
    assert endpoint.doc.partition("\n")[0].endswith(".")


# Unusual samples, on declarations of these tests.

SHAPES = Registry()


class Row(Model, frozen=True):
    """A row with a field that only one of two documented responses has."""

    asset: str
    free: Decimal
    borrowed: Decimal | None
    margin: Decimal | None = None


class Order(Model, frozen=True):
    """An order, with a field that may be null."""

    order_id: int
    iceberg_qty: Decimal | None


class Cancelled(Model, frozen=True):
    """One of two objects, which have no field in common."""

    complete: bool | None = None
    algo_id: int | None = None
    code: int | None = None


class Swapped(Model, frozen=True):
    """Two fields with each other's names."""

    entry: Decimal = msgspec.field(name="mark")
    mark: Decimal = msgspec.field(name="entry")


class Shapes(Namespace, registry=SHAPES):
    """Endpoints that respond in unusual shapes."""

    @get("/papi/v1/balance", weights=1, single="asset")
    async def balance(self, asset: str | None = None) -> list[Row] | Row:
        """One object with an asset, and a list without."""
        ...

    @get("/papi/v1/cm/openOrder", weights=1, single=True)
    async def open_order(self, symbol: str) -> Order:
        """One object, or a list with one."""
        ...

    @delete("/papi/v1/um/algo/order", weights=1)
    async def cancel(self) -> Cancelled:
        """One of two objects."""
        ...

    @get("/papi/v1/swapped", weights=1)
    async def swapped(self) -> Swapped:
        """Never what the exchange sends."""
        ...


class Exchange:
    """An exchange that gives every call the same response."""

    def __init__(self, response: object) -> None:
        self.response = response

    async def call(self, endpoint: Endpoint[Any], _: object, **options: bool) -> Any:
        """Decode the response as the endpoint does."""
        assert not options
        return endpoint.decode(json.dumps(self.response).encode())


BTC = {"asset": "BTC", "free": "1.50", "borrowed": "", "margin": "2"}
ETH = {"asset": "ETH", "free": "0.25", "borrowed": "3"}
ORDER = {"orderId": 7, "icebergQty": None}


@pytest.mark.parametrize(
    ("method", "arguments", "response", "returned"),
    [
        ("balance", {}, [BTC, ETH], [BTC, ETH]),
        ("balance", {}, [], []),
        ("balance", {"asset": "ETH"}, ETH, ETH),
        ("balance", {"asset": "BTC"}, [BTC], BTC),
        ("open_order", {"symbol": "X"}, ORDER, ORDER),
        ("open_order", {"symbol": "X"}, [ORDER], ORDER),
        ("cancel", {}, {"complete": True}, {"complete": True}),
        ("cancel", {}, {"algoId": 5, "code": "200"}, {"algoId": 5, "code": "200"}),
        ("cancel", {}, {}, {}),
    ],
)
async def test_shapes(method: str, arguments: dict[str, Any], response: object, returned: object) -> None:
    """Both of two documented shapes are decoded without loss, into the type that the caller was promised."""
    decoded = await getattr(Shapes(Exchange(response)), method)(**arguments)

    assert encoded(decoded, returned) == returned


@pytest.mark.parametrize(
    ("method", "arguments", "response"),
    [
        ("balance", {}, ETH),
        ("balance", {"asset": "BTC"}, [BTC, ETH]),
        ("balance", {"asset": "BTC"}, []),
        ("open_order", {"symbol": "X"}, []),
        ("open_order", {"symbol": "X"}, [ORDER, ORDER]),
        ("cancel", {}, [{"complete": True}]),
    ],
)
async def test_other_shapes_are_refused(method: str, arguments: dict[str, Any], response: object) -> None:
    """A method declared to return one object never returns a list, nor the other way round."""
    with pytest.raises(ValueError, match="got"):
        await getattr(Shapes(Exchange(response)), method)(**arguments)


def test_swapped_fields_are_noticed() -> None:
    """A round trip alone would not notice."""
    assert misnamed(SHAPES["swapped"].returns) == ["Swapped.entry", "Swapped.mark"]
