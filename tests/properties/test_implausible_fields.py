"""Implausible values in every field of every endpoint: a documented error that names the place, or a value in bounds.

Endpoints that are declared later take part by themselves: the fields are those of their samples and of their types.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from binance_pm import ENDPOINTS, Budget, Client, PortfolioMarginError, Session
from tests.support.implausible import ALL, Place, fields_of, is_plausible, numbers_in, with_value
from tests.support.sample import sample_of

LONGEST = 0.1


def outcome_of(decode: Callable[[bytes], Any], body: bytes) -> tuple[Any, float]:
    """Return the decoded value or the error, and the seconds."""
    started = time.perf_counter()
    try:
        outcome = decode(body)
    except ValueError as error:
        outcome = error
    return outcome, time.perf_counter() - started


FIELDS = [(name, path) for name in ENDPOINTS for path in fields_of(sample_of(name)["answer"])]


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=str)
def test_a_field_is_plausible_or_refused(name: str, path: Place) -> None:
    """Any value is refused with its place, or gives numbers within bounds, in a short time."""
    endpoint, sample = ENDPOINTS[name], sample_of(name)["answer"]
    endpoint.decode(json.dumps(sample).encode())
    for raw in ALL:
        body = with_value(sample, path, raw)
        outcome, seconds = outcome_of(endpoint.decode, body)
        # The machine may have been busy.
        assert seconds < LONGEST or min(outcome_of(endpoint.decode, body)[1] for _ in range(3)) < LONGEST, raw[:40]
        if isinstance(outcome, Exception):
            assert type(outcome) is ValueError, "the words of msgspec reach the user"
            assert "`$" in str(outcome) or "JSON" in str(outcome), raw[:40]
            assert len(str(outcome)) < 200
        else:
            assert all(map(is_plausible, numbers_in(outcome))), raw[:40]
            assert endpoint.decode(msgspec.json.encode(outcome)) == outcome, raw[:40]


@pytest.mark.parametrize("name", ENDPOINTS)
def test_every_time_is_declared_as_a_time(name: str) -> None:
    """An integer that is named like a time is bounded by the calendar."""
    times = [
        field.type
        for field in _fields(msgspec.inspect.type_info(ENDPOINTS[name].returns))
        if isinstance(field.type, msgspec.inspect.IntType) and re.search("(^t|T)ime$", field.encode_name)
    ]

    assert {one.le for one in times} <= {253402300799999}


def _fields(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Field]:
    match kind:
        case msgspec.inspect.StructType():
            yield from kind.fields
            for field in kind.fields:
                yield from _fields(field.type)
        case msgspec.inspect.ListType():
            yield from _fields(kind.item_type)
        case msgspec.inspect.UnionType():
            for member in kind.types:
                yield from _fields(member)
        case _:
            pass


NESTED = [("[", "]"), ('{"a":', "}")]


async def outcome_of_call(status: int, body: bytes, frames: int) -> object:
    """Return the result or error of a call to an undeclared endpoint, from so many frames down."""

    def exchange(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body)

    async def call(frames: int) -> object:
        if frames:
            return await call(frames - 1)
        return await client.request("GET", "/papi/v1/new", weight=1, returns=dict[str, Any])

    session = Session(http=httpx.MockTransport(exchange), budget=Budget())
    async with Client("key", "secret", session=session, attempts=1) as client:
        try:
            return await call(frames)
        except PortfolioMarginError as error:
            return error


@pytest.mark.parametrize(("opening", "closing"), NESTED)
@pytest.mark.parametrize("frames", [0, 300])
async def test_a_nested_error_is_a_documented_one(opening: str, closing: str, frames: int) -> None:
    """Nested text or data may only hide an error of the exchange."""
    for depth in (1, 90, 100, 200, 500, 640, 990, 1_000, 5_000):
        deep = opening * depth + "1" + closing * depth
        for body in (
            f'{{"code":-1102,"msg":"x","data":{deep}}}',
            f'{{"code":-1102,"msg":{deep}}}',
            f'{{"code":{deep}}}',
            deep,
        ):
            for status in (200, 400):
                outcome = await outcome_of_call(status, body.encode(), frames)

                assert isinstance(outcome, PortfolioMarginError | dict), depth
