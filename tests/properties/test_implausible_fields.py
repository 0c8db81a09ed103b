"""Implausible values in every field of every endpoint: a documented error that names the place, or a value in bounds.

Endpoints that are declared later take part by themselves: the fields are those of their samples and of their types.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import msgspec
import pytest

from binance_pm import ENDPOINTS, Budget, Client, InvalidResponse, PortfolioMarginError, Session
from tests.support.implausible import ALL, ODD_AMOUNTS, ODD_TIMES, is_plausible, numbers_in
from tests.support.paths import SAMPLES

LONGEST = 0.1
TRIES = 3
MARK = "\ue000mark\ue000"

Place = tuple[str | int, ...]


def fields_of(value: Any, path: Place = ()) -> Iterator[Place]:
    """Return the place of every value in a sample: for lists, of the first item."""
    yield path
    if isinstance(value, dict):
        for name, inside in cast("dict[str, Any]", value).items():
            yield from fields_of(inside, (*path, name))
    elif isinstance(value, list) and value:
        yield from fields_of(value[0], (*path, 0))


def with_value(value: Any, path: Place, raw: str) -> bytes:
    """Return the sample as JSON with another value in one place."""
    whole = json.loads(json.dumps(value))
    if not path:
        return raw.encode()
    holder = whole
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = MARK
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).replace(f'"{MARK}"', raw).encode()


def shown(path: Place) -> str:
    """Return a place in the format of errors."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def sample_of(name: str) -> Any:
    """Return the documented response of an endpoint."""
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))["answer"]


def outcome_of(decode: Callable[[bytes], Any], body: bytes) -> tuple[Any, float]:
    """Return the decoded value or the error, and the seconds."""
    started = time.perf_counter()
    try:
        outcome = decode(body)
    except ValueError as error:
        outcome = error
    return outcome, time.perf_counter() - started


FIELDS = [(name, path) for name in ENDPOINTS for path in fields_of(sample_of(name))]


def amounts_of(kind: msgspec.inspect.Type, path: Place = ()) -> Iterator[tuple[Place, bool]]:
    """Return the place of every amount and time in a type, and whether it is a time."""
    match kind:
        case msgspec.inspect.StructType():
            for field in kind.fields:
                yield from amounts_of(field.type, (*path, field.encode_name))
        case msgspec.inspect.ListType():
            yield from amounts_of(kind.item_type, (*path, 0))
        case msgspec.inspect.UnionType():
            for member in kind.types:
                yield from amounts_of(member, path)
        case msgspec.inspect.DecimalType():
            yield path, False
        case msgspec.inspect.IntType() if path[-1] in {"time", "updateTime", "serverTime"} or str(path[-1]).endswith(
            "Time"
        ):
            yield path, True
        case _:
            pass


NUMBERS = [
    (name, path, is_time)
    for name, endpoint in ENDPOINTS.items()
    for path, is_time in amounts_of(msgspec.inspect.type_info(endpoint.returns))
]


@pytest.mark.parametrize(("name", "path"), FIELDS, ids=lambda part: part if isinstance(part, str) else shown(part))
def test_a_field_is_plausible_or_refused(name: str, path: Place) -> None:
    """Any value is refused with its place, or gives numbers within bounds, in a short time."""
    endpoint, sample = ENDPOINTS[name], sample_of(name)
    endpoint.decode(json.dumps(sample).encode())
    for raw in ALL:
        body = with_value(sample, path, raw)
        outcome, seconds = outcome_of(endpoint.decode, body)
        # The machine may have been busy.
        assert seconds < LONGEST or min(outcome_of(endpoint.decode, body)[1] for _ in range(TRIES)) < LONGEST, raw[:40]
        if isinstance(outcome, Exception):
            assert type(outcome) is ValueError, "the words of msgspec reach the user"
            assert "`$" in str(outcome) or "JSON" in str(outcome), raw[:40]
            assert len(str(outcome)) < 200
        else:
            assert all(map(is_plausible, numbers_in(outcome))), raw[:40]
            assert endpoint.decode(msgspec.json.encode(outcome)) == outcome, raw[:40]


@pytest.mark.parametrize(
    ("name", "path", "is_time"),
    NUMBERS,
    ids=lambda part: part if isinstance(part, str) else shown(part) if part not in {False, True} else "",
)
def test_a_refused_number_is_named(name: str, path: Place, is_time: bool) -> None:  # noqa: FBT001
    """The error of an odd amount or time has its path, and no long value."""
    sample = sample_of(name)
    for raw in ODD_TIMES if is_time else ODD_AMOUNTS:
        with pytest.raises(ValueError, match=r"`\$|JSON") as raised:
            ENDPOINTS[name].decode(with_value(sample, path, raw))

        assert str(raised.value).endswith(f" - at `{shown(path)}`") or "not JSON" in str(raised.value), raw[:40]
        assert len(str(raised.value)) < 200


def test_every_time_is_declared_as_a_time() -> None:
    """A field named like a time is bounded by the calendar."""
    for name, path, is_time in NUMBERS:
        if is_time:
            kind = msgspec.inspect.type_info(ENDPOINTS[name].returns)
            found = [field.type for field in _fields(kind) if field.encode_name == path[-1]]
            assert found
            assert all(map(is_time_or_none, found)), name


def is_time_or_none(kind: msgspec.inspect.Type) -> bool:
    """Whether a type is a time that the calendar bounds, or such a time or None."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return all(isinstance(one, msgspec.inspect.NoneType) or is_time_or_none(one) for one in kind.types)
    return isinstance(kind, msgspec.inspect.IntType) and kind.le == 253402300799999


def _fields(kind: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Field]:
    match kind:
        case msgspec.inspect.StructType():
            yield from kind.fields
            for field in kind.fields:
                yield from _fields(field.type)
        case msgspec.inspect.ListType():
            yield from _fields(kind.item_type)
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
async def test_a_nested_response_is_a_value_or_an_invalid_response(opening: str, closing: str, frames: int) -> None:
    """At any depth, and anywhere in the caller's stack."""
    for depth in (1, 50, 90, 99, 100, 101, 200, 300, 400, 499, 500, 640, 750, 900, 990, 997, 1_000, 5_000):
        body = f'{{"a":{opening * depth}1{closing * depth}}}'.encode()

        outcome = await outcome_of_call(200, body, frames)

        if depth < 99:
            assert outcome == json.loads(body)
        elif depth > 100:
            assert isinstance(outcome, InvalidResponse)
            assert "JSON is nested too deeply" in str(outcome)


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
