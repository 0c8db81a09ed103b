"""Every endpoint reads all of what the exchange's own documents show.

A sample holds the arguments of the call, the query that they become, and the answer as it stands on the exchange's
page of the endpoint (read 2026-11-21). Two pages are mended: that of `span_account` lacks a comma behind
``riskUnitMMList``, that of `pro_account` has one inside a number.
"""

from __future__ import annotations

import inspect
import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest

from binance_pm import ENDPOINTS, Budget, Client, Session

FOLDER = Path(__file__).parent / "samples"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


class Sample(TypedDict):
    """One call of one endpoint."""

    call: dict[str, Any]
    query: dict[str, str]
    answer: Any


def sample_of(name: str) -> Sample:
    """The sample of an endpoint."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: object) -> str:
    """An amount with the digits that it was sent with."""
    assert isinstance(value, Decimal)
    return format(value, "f")


def blank(fields: dict[str, Any]) -> dict[str, Any]:
    """An amount that is missing is None here and an empty text on the wire."""
    return {name: "" if value is None else value for name, value in fields.items()}


def encoded(answer: object) -> Any:
    """The answer as JSON again."""
    builtins = msgspec.to_builtins(answer, builtin_types=(Decimal,))
    return json.loads(json.dumps(builtins, default=plain), object_hook=blank)


def test_every_endpoint_has_its_sample() -> None:
    """An endpoint without a sample is named, and a sample without an endpoint too."""
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in ENDPOINTS}


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_sample(name: str) -> None:
    """The declared call sends the sampled query and decodes all of the sampled answer."""
    sample = sample_of(name)
    sent: list[httpx.Request] = []

    def exchange(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=sample["answer"])

    session = Session(http=httpx.MockTransport(exchange), budget=Budget())
    async with Client("key", SECRET, session=session) as client:
        answer = await getattr(client, name)(**sample["call"])

    assert encoded(answer) == sample["answer"]
    endpoint, [request] = ENDPOINTS[name], sent
    assert (request.method, request.url.path, request.content) == (endpoint.method, endpoint.path, b"")
    query = dict(parse_qsl(request.url.query.decode(), keep_blank_values=True, strict_parsing=bool(request.url.query)))
    if endpoint.is_signed:
        assert (query.pop("timestamp").isdecimal(), len(query.pop("signature"))) == (True, 64)
    assert query == sample["query"]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_sample_answers_what_is_promised(name: str) -> None:
    """The sampled answer is decoded into the type that the method is annotated with."""
    answer = ENDPOINTS[name].decode(json.dumps(sample_of(name)["answer"]).encode())

    assert type(answer) is ENDPOINTS[name].returns


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_field_that_is_not_declared_would_be_noticed(name: str) -> None:
    """What the exchange adds is ignored by the package, and makes the comparison with the sample fail."""
    added = sample_of(name)["answer"] | {"addedByTheExchange": "1"}

    assert encoded(ENDPOINTS[name].decode(json.dumps(added).encode())) != added


@pytest.mark.parametrize("name", ENDPOINTS)
def test_an_endpoint_names_its_source(name: str) -> None:
    """The docstring of an endpoint says what comes back, and where and when that was read."""
    endpoint = ENDPOINTS[name]

    source = re.search(
        r"^Source: https://developers\.binance\.com/\S+\s\(read 2026-\d\d-\d\d\)$", endpoint.doc, re.MULTILINE
    )
    assert source, endpoint.doc
    assert endpoint.doc.partition("\n")[0].endswith(".")
    assert inspect.getdoc(getattr(Client, name)) == endpoint.doc
