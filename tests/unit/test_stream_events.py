"""Every event of the user data streams is decoded completely, and unknown events are kept."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict, cast

import msgspec
import pytest
from msgspec import inspect
from rich.pretty import pretty_repr

from binance_pm.api.futures_events import FuturesAlgoUpdate, OrderTradeUpdate, StreamEvent
from binance_pm.api.stream_events import (
    EVENT_TYPES,
    ListenKeyExpired,
    ServerShutdown,
    UnknownEvent,
    decode_event,
)
from binance_pm.api.streams import ListenKey
from tests.support.encoded import encoded
from tests.support.paths import SAMPLES


class Facts(TypedDict):
    """Facts about an event that are independent of its Struct, by the names on the wire."""

    identity: list[str]
    fields: dict[str, str]


FACTS: dict[str, Facts] = json.loads(Path(__file__).with_name("stream_fields.json").read_text(encoding="utf-8"))
MESSAGES: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["message"]
    for path in sorted((SAMPLES / "streams").iterdir())
}
EVENTS = {name: message for name, message in MESSAGES.items() if message.get("e")}
WRAPPERS = {"data", "event"}


def written(message: object) -> bytes:
    """Return a message as the exchange writes it."""
    return json.dumps(message, separators=(",", ":")).encode()


def event_of(message: object) -> StreamEvent:
    """Return the decoded event, which is of a known type."""
    event = decode_event(written(message))
    assert isinstance(event, StreamEvent)
    return event


def names_of(kind: inspect.Type, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each field on the wire, and its name in Python."""
    match kind:
        case inspect.StructType():
            for field in kind.fields:
                yield path + field.encode_name, field.name
                yield from names_of(field.type, f"{path}{field.encode_name}.")
        case inspect.VarTupleType():
            yield from names_of(kind.item_type, path)
        case inspect.UnionType():
            for one in kind.types:
                yield from names_of(one, path)
        case _:
            pass


def kinds_of(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Yield a type and every type inside it."""
    yield kind
    match kind:
        case inspect.StructType():
            inner = [field.type for field in kind.fields]
        case inspect.VarTupleType():
            inner = [kind.item_type]
        case inspect.UnionType():
            inner = list(kind.types)
        case _:
            inner = []
    for one in inner:
        yield from kinds_of(one)


def with_another_field(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an object with a field that is not declared."""
    return fields | {"added": "1"}


def changed(value: Any, path: list[str]) -> Any:
    """Return a copy of an event in which one field, or the first value inside it, is different."""
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            name = path[0] if path else next(iter(fields))
            return fields | {name: changed(fields[name], path[1:])}
        case list():
            first, *others = cast("list[Any]", value)
            return [changed(first, path), *others]
        case _:
            return different(value)


def different(value: Any) -> Any:
    """Return another value of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str() if value.lstrip("-").replace(".", "", 1).isdigit():
            return f"{value}7" if "." in value else str(int(value) + 7)
        case _:
            return f"{value or ''}X"


def test_every_event_has_a_sample() -> None:
    """Every event has a sample, and every fact belongs to an event."""
    assert {message["e"] for message in EVENTS.values()} | {"serverShutdown"} == set(EVENT_TYPES)
    assert set(FACTS) == set(EVENT_TYPES)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_decoded_without_loss(name: str) -> None:
    """Encoding the decoded event yields the message again."""
    event = event_of(EVENTS[name])

    assert type(event) is EVENT_TYPES[EVENTS[name]["e"]]
    assert event.event_type == EVENTS[name]["e"]
    assert encoded(event, EVENTS[name]) == EVENTS[name]


@pytest.mark.parametrize("name", EVENTS)
def test_an_undeclared_field_is_noticed(name: str) -> None:
    """The package ignores an undeclared field, but the comparison with the sample fails."""
    shape = json.loads(json.dumps(EVENTS[name]), object_hook=with_another_field)

    assert encoded(event_of(shape), shape) != shape


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_field_has_the_name_of_its_meaning(event_type: str) -> None:
    """A field has the name of its meaning, so that two swapped fields are noticed."""
    assert dict(names_of(inspect.type_info(EVENT_TYPES[event_type]))) == FACTS[event_type]["fields"]


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_no_field_is_a_float(event_type: str) -> None:
    """A float would round an order id above 2**53, and every amount."""
    assert not any(isinstance(kind, inspect.FloatType) for kind in kinds_of(inspect.type_info(EVENT_TYPES[event_type])))


@pytest.mark.parametrize("name", EVENTS)
def test_two_deliveries_have_one_identity(name: str) -> None:
    """The identity is hashable, and depends on the push time only if the event has no other identity."""
    message = EVENTS[name]
    identity = event_of(message).identity

    assert hash(identity) == hash(event_of(message).identity)
    again = message | {"E": int(message["E"]) + 5}
    assert (event_of(again).identity == identity) is ("E" not in FACTS[message["e"]]["identity"])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (name, path)
        for name, message in EVENTS.items()
        for path in FACTS[message["e"]]["identity"]
        if path in message or "." in path
    ],
)
def test_another_event_has_another_identity(name: str, path: str) -> None:
    """Events that differ in one part of the identity have different identities."""
    message = EVENTS[name]

    assert event_of(changed(message, path.split("."))).identity != event_of(message).identity


@pytest.mark.parametrize("name", [name for name, message in MESSAGES.items() if WRAPPERS & message.keys()])
def test_a_wrapper_is_removed(name: str) -> None:
    """An event inside a combined stream's or a server's message is decoded as the event alone."""
    [wrapper] = WRAPPERS & MESSAGES[name].keys()
    inner = MESSAGES[name][wrapper]

    event = event_of(MESSAGES[name])

    assert event == event_of(inner)
    assert encoded(event, inner) == inner


def test_a_shutdown_needs_no_wrapper() -> None:
    """A shutdown is accepted with and without a wrapper."""
    assert event_of({"e": "serverShutdown", "E": 5}) == ServerShutdown(event_time=5)


def test_an_algo_order_may_have_the_name_of_plain_futures() -> None:
    """The algo order may also have the name ``o``, as on plain futures."""
    message = dict(EVENTS["ALGO_UPDATE"])
    other = message | {"o": message["ao"]}
    del other["ao"]

    event = event_of(other)

    assert isinstance(event, FuturesAlgoUpdate)
    assert event.identity == event_of(message).identity
    assert encoded(event, other) == other


@pytest.mark.parametrize("name", ["error", "subscribed"])
def test_a_reply_is_decoded_as_an_unknown_event(name: str) -> None:
    """Replies to subscriptions are decoded as unknown events."""
    message = written(MESSAGES[name])

    assert decode_event(message) == UnknownEvent(event_type="", raw=message)


def test_an_unknown_event_is_kept() -> None:
    """An event of a type that this version does not know is kept as it is, and its printed form hides its content."""
    message = written({"e": "uniMMRDrop", "u": "1.31", "key": "secretKey"})

    event = decode_event(message)

    assert event == UnknownEvent(event_type="uniMMRDrop", raw=message)
    assert hash(event.identity) == hash(decode_event(message).identity)
    assert "secretKey" not in f"{event!r} {event} {pretty_repr(event)}"


def test_an_unknown_value_is_kept() -> None:
    """An unknown value of an enumeration, such as a new order type, is kept."""
    message = copy.deepcopy(EVENTS["ORDER_TRADE_UPDATE"])
    message["o"] |= {"o": "ICEBERG", "x": "SPLIT", "X": "NEW_SPLIT", "f": "GTE_GTC"}

    event = event_of(message)

    assert isinstance(event, OrderTradeUpdate)
    assert (event.order.type, event.order.type.is_known) == ("ICEBERG", False)
    assert encoded(event, message) == message


@pytest.mark.parametrize("name", ["n", "N"])
def test_a_fill_may_have_no_commission(name: str) -> None:
    """The fields of a missing commission may be absent."""
    message = copy.deepcopy(EVENTS["ORDER_TRADE_UPDATE"])
    message["o"].pop(name, None)

    assert isinstance(event_of(message), OrderTradeUpdate)


@pytest.mark.parametrize(
    "message", [b"", b"{", b"\xff", b"[]", b"7", b'"text"', b"null", b"[" * 5000, b'{"data":' * 5000]
)
def test_a_message_that_is_not_an_object_is_refused(message: bytes) -> None:
    """A message that is not an object is refused, and the error does not show the message."""
    with pytest.raises(ValueError, match=r"JSON|UTF-8|expected"):
        decode_event(message)


@pytest.mark.parametrize("name", EVENTS)
def test_a_missing_field_is_refused(name: str) -> None:
    """An event of a known type that does not match its Struct is an error, which names the place."""
    message = {key: value for key, value in EVENTS[name].items() if key != "E"}

    with pytest.raises(ValueError, match=r"a field is missing - at `\$\.E`"):
        decode_event(written(message))


@pytest.mark.parametrize("amount", ["NaN", "1_0", "1e999"])
def test_an_implausible_amount_is_refused(amount: str) -> None:
    """Amounts in events follow the rules of amounts in responses."""
    message = copy.deepcopy(EVENTS["ACCOUNT_UPDATE"])
    message["a"]["P"][0]["pa"] = amount

    with pytest.raises(ValueError, match=r"an amount"):
        decode_event(written(message))


@pytest.mark.parametrize("kind", [ListenKeyExpired, ListenKey])
def test_a_listen_key_is_not_printed(kind: type[Any]) -> None:
    """No printed form shows a listen key, because the key gives access to the stream."""
    held = kind(listen_key="secretKey", **({"event_time": 5} if kind is ListenKeyExpired else {}))

    assert "secretKey" not in f"{held!r} {held} {pretty_repr(held)}"
    assert held.listen_key == "secretKey"


@pytest.mark.parametrize("name", EVENTS)
def test_a_struct_is_written_with_the_names_of_the_exchange(name: str) -> None:
    """`msgspec.json.encode` writes an event that decodes to the same event."""
    event = event_of(EVENTS[name])

    assert decode_event(msgspec.json.encode(event)) == event


def test_amounts_are_written_plainly() -> None:
    """An amount of zero with eight places has no exponent in its text, at any depth."""
    message = copy.deepcopy(EVENTS["ACCOUNT_UPDATE"])
    message["a"]["P"][0]["cr"] = message["a"]["B"][0]["bc"] = "0.00000000"

    event = cast("Any", event_of(message))

    assert str(event.update.positions[0].accumulated_realized) == "0.00000000"
    assert str(event.update.balances[0].balance_change) == "0.00000000"
