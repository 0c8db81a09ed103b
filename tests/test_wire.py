"""What stands on the wire: no exponent ever leaves, and whatever comes back is the promised type or a ValueError."""

from __future__ import annotations

import gc
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, NamedTuple, TypedDict
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, field

from binance_pm import ENDPOINTS
from binance_pm.enums import PositionSide
from binance_pm.wire import Answer, Value, camel, decoder, encode_query
from tests.benchmarks.answering import LARGE, body_of

DIGITS = "12345678901234567890123456789012345678901234567890.123456789"
DEEP = b"[" * 100_000


class Coin(Answer, frozen=True):
    """Something of every kind that an answer holds."""

    amount: Decimal
    spare_amount: Decimal | None = None
    update_time: int = 0
    note: str = ""
    side: PositionSide = PositionSide.BOTH


class Purse(Answer, frozen=True):
    """Coins inside everything that can hold them."""

    coins: list[Coin]
    by_name: dict[str, Coin] = field(default_factory=dict[str, Coin])
    last: Coin | None = None
    inside: Purse | None = None


class Quote(Answer, frozen=True):
    """Several amounts, one of which may be missing."""

    bid: Decimal
    ask: Decimal
    last: Decimal | None = None


class Price(Answer, frozen=True):
    """One amount and nothing else."""

    price: Decimal


class Rates(Answer, frozen=True):
    """Amounts inside everything that can hold them."""

    listed: list[Decimal] = field(default_factory=list[Decimal])
    pair: tuple[Decimal, Decimal] | None = None
    named: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    rough: float = 0.0


@dataclass
class Chest:
    """What `Client.request` may be asked for in place of a Struct."""

    amount: Decimal
    inside: Chest | None = None


class Bag(TypedDict):
    """The same as a dictionary."""

    amount: Decimal


class Pair(NamedTuple):
    """The same as a list."""

    name: str
    amount: Decimal


class Weighed(Answer, frozen=True):
    """An amount that says more about itself."""

    amount: Annotated[Decimal, Meta(description="in grams")]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("", ""),
        ("a b+c&d=e/f%g~", "a%20b%2Bc%26d%3De%2Ff%25g~"),
        ("中", "%E4%B8%AD"),
        (PositionSide.LONG, "LONG"),
        (5000, "5000"),
        (-1, "-1"),
        (4611875134427365377, "4611875134427365377"),
        (True, "true"),
        (False, "false"),
        (Decimal("0.1"), "0.1"),
        (Decimal("1.500"), "1.500"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("-1E-8"), "-0.00000001"),
        (Decimal("1E+3"), "1000"),
        (Decimal("0E+3"), "0"),
        (Decimal("0E-8"), "0.00000000"),
        (Decimal("-0"), "0"),
        (Decimal("-0.00"), "0.00"),
        (Decimal("1E-64"), "0." + "0" * 63 + "1"),
        (Decimal("9" * 64), "9" * 64),
    ],
)
def test_a_value_is_sent_in_plain_notation(value: Value, sent: str) -> None:
    """Text is percent-encoded as RFC 3986 has it, numbers have no exponent, truth is in lower case."""
    assert encode_query({"x": value}) == f"x={sent}"


def test_the_order_is_kept_and_none_is_left_out() -> None:
    """Parameters stand in the order given; None means that the parameter is not sent."""
    assert encode_query({"symbol": "BTCUSDT", "side": None, "asset": "BTC", "a": 1}) == "symbol=BTCUSDT&asset=BTC&a=1"


def test_nothing_is_an_empty_query() -> None:
    """No parameters, or none but None, are an empty text."""
    assert encode_query({"symbol": None}) == ""


def test_a_name_is_encoded_too() -> None:
    """A name cannot smuggle in another parameter."""
    assert encode_query({"a&b=c": 1}) == "a%26b%3Dc=1"


@settings(deadline=None)
@given(st.decimals())
@example(Decimal("1E+999999"))
@example(Decimal("1E-999999"))
def test_a_decimal_is_sent_whole_or_refused(value: Decimal) -> None:
    """No Decimal is ever sent with an exponent, or as another number."""
    try:
        sent = encode_query({"x": value}).removeprefix("x=")
    except ValueError:
        return

    assert re.fullmatch(r"-?\d+(\.\d+)?", sent, re.ASCII)
    assert Decimal(sent) == value


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters())))
@example({"x": "\ud800"})
@example({"x": "a\udfffb"})
@example({"x": "\x00\r\n\t%00&x=y"})
@example({"": ""})
def test_text_arrives_as_it_was_or_is_refused(parameters: dict[str, str]) -> None:
    """Over all of Unicode a query reads back as it was; half a surrogate pair is refused."""
    broken = any("\ud800" <= character <= "\udfff" for text in parameters.values() for character in text)
    try:
        sent = encode_query(parameters)
    except ValueError:
        assert broken
        return

    assert not broken
    assert parse_qsl(sent, keep_blank_values=True, strict_parsing=bool(sent)) == list(parameters.items())


@pytest.mark.parametrize("value", [0.1, 1.0, 1e-05, float("nan"), float("inf")])
def test_a_float_is_refused_by_name(value: Any) -> None:
    """A float cannot hold an amount; the text names the parameter and what to give in its place."""
    with pytest.raises(ValueError, match=r"^price is a float, .*: give Decimal, str or int$"):
        encode_query({"symbol": "BTCUSDT", "price": value})


@pytest.mark.parametrize("value", ["NaN", "-NaN", "sNaN", "Infinity", "-Infinity"])
def test_an_infinite_decimal_is_refused(value: str) -> None:
    """What is not a finite number has no plain notation."""
    with pytest.raises(ValueError, match=r"^price is not a finite number$"):
        encode_query({"price": Decimal(value)})


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "value",
    [
        Decimal("1E+999999999"),
        Decimal("1E-999999999"),
        Decimal("0E+999999999"),
        Decimal("1E+65"),
        Decimal("1E-65"),
        Decimal("1" * 65),
        10**65,
        pytest.param(-(10**5_000), id="long"),
    ],
)
def test_an_absurd_number_is_refused_at_once(value: Value) -> None:
    """A number that would fill the memory is refused before it is written out."""
    with pytest.raises(ValueError, match=r"^quantity has more than 64 digits$"):
        encode_query({"quantity": value})


@pytest.mark.parametrize(
    ("value", "kind"), [(b"x", "bytes"), ([1], "list"), ({"a": 1}, "dict"), (1j, "complex"), (object(), "object")]
)
def test_another_type_is_refused_by_name(value: Any, kind: str) -> None:
    """What the exchange cannot be sent is refused; the text names parameter and type."""
    with pytest.raises(ValueError, match=f"^symbol is {kind}, which cannot be sent"):
        encode_query({"symbol": value})


def test_half_a_surrogate_pair_is_refused_by_name() -> None:
    """Text that is not valid Unicode is refused; the text names the parameter, not the value."""
    with pytest.raises(ValueError, match=r"^note has a character that is not valid Unicode$"):
        encode_query({"note": "abc\ud800"})


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("symbol", "symbol"),
        ("recv_window", "recvWindow"),
        ("new_client_order_id", "newClientOrderId"),
        ("dual_side_position", "dualSidePosition"),
    ],
)
def test_camel(name: str, wire: str) -> None:
    """Python's spelling becomes the exchange's."""
    assert camel(name) == wire


def test_fields_are_found_by_their_names_on_the_wire() -> None:
    """What is sent in camelCase is read in snake_case."""
    coin = decoder(Coin)(b'{"amount":"1.50","spareAmount":"-2","updateTime":1657707212154,"note":"x","side":"LONG"}')

    assert coin == Coin(
        amount=Decimal("1.50"),
        spare_amount=Decimal(-2),
        update_time=1657707212154,
        note="x",
        side=PositionSide.LONG,
    )


@pytest.mark.parametrize("sent", [f'"{DIGITS}"', DIGITS])
def test_every_digit_is_kept(sent: str) -> None:
    """An amount has as many digits as the exchange sent, as text and as a number."""
    assert str(decoder(Coin)(b'{"amount":%s}' % sent.encode()).amount) == DIGITS


@pytest.mark.parametrize("sent", [b"5", b"5.0", b'"5"'])
def test_a_number_may_come_for_text(sent: bytes) -> None:
    """An amount may be a JSON number."""
    assert decoder(Coin)(b'{"amount":%s}' % sent).amount == 5


@pytest.mark.parametrize(("sent", "time"), [(b"0", 0), (b'"0"', 0), (b'"1657707212154"', 1657707212154)])
def test_a_time_may_come_as_text(sent: bytes, time: int) -> None:
    """A time may be text, as ``"0"`` is seen to be."""
    assert decoder(Coin)(b'{"amount":"1","updateTime":%s}' % sent).update_time == time


def test_what_is_held_is_no_work_for_the_garbage_collector() -> None:
    """Hundreds of accounts with hundreds of positions each would hold up the event loop at every full collection."""
    answer = ENDPOINTS["um_account"].decode(body_of(LARGE))

    assert not any(map(gc.is_tracked, [answer, *answer.assets, *answer.positions]))


def test_an_unknown_field_is_ignored() -> None:
    """A field that the exchange adds breaks nothing."""
    assert decoder(Coin)(b'{"new":{"deep":[1,null,"x"]},"amount":"1"}') == Coin(amount=Decimal(1))


@pytest.mark.parametrize("gap", [b"", b" ", b"\r\n\t "])
def test_an_empty_text_is_none_where_an_amount_may_be_missing(gap: bytes) -> None:
    """An empty text is None for a field typed ``Decimal | None``."""
    body = b'{"spareAmount"%s:%s"","amount":"1"}' % (gap, gap)

    assert decoder(Coin)(body) == Coin(amount=Decimal(1), spare_amount=None)


def test_an_empty_text_is_none_however_deep() -> None:
    """Fields typed ``Decimal | None`` are found inside lists, mappings, unions and Structs that hold themselves."""
    coin = b'{"amount":"1","spareAmount":""}'
    purse = b'{"coins":[%s,%s],"byName":{"a":%s},"last":%s}' % (coin, coin, coin, coin)

    read = decoder(Purse)(b'{"coins":[],"inside":%s}' % purse).inside

    one = Coin(amount=Decimal(1))
    assert read == Purse(coins=[one, one], by_name={"a": one}, last=one)


@pytest.mark.parametrize(
    "body",
    [
        b'{"amount":""}',
        b'{"amount":"","spareAmount":""}',
        b'{"amount":"1","updateTime":""}',
        b'{"amount":"1","spareAmount":" "}',
        b'{"amount":"1","spareAmount":"x"}',
    ],
)
def test_an_empty_text_is_refused_elsewhere(body: bytes) -> None:
    """Where something must be, an empty text is an error, and so is any other text that is no number."""
    with pytest.raises(ValueError, match=r"at `\$\.(amount|updateTime|spareAmount)`"):
        decoder(Coin)(body)


def test_a_type_without_missing_amounts_has_no_empty_texts() -> None:
    """Where no field may be missing nothing is replaced."""
    with pytest.raises(ValueError, match="Invalid decimal string"):
        decoder(Rates)(b'{"listed":[""]}')


def test_text_that_looks_like_a_field_is_left_alone() -> None:
    """Only fields are read as missing, not text that quotes them."""
    body = rb'{"amount":"1","spareAmount":"","note":"\"spareAmount\":\"\""}'

    assert decoder(Coin)(body).note == '"spareAmount":""'


def test_an_empty_note_stays_empty() -> None:
    """Text may be empty beside an amount that is missing."""
    assert decoder(Coin)(b'{"amount":"1","spareAmount":"","note":""}').note == ""


@pytest.mark.parametrize(
    "text", ["NaN", "nan", "-nan", "sNaN", "NaN12", "Infinity", "-Infinity", "infinity", "inf", "+INF", r"N\u0061N"]
)
@pytest.mark.parametrize(
    ("returns", "body"),
    [
        (Decimal, '"{}"'),
        (Coin, '{{"amount":"{}"}}'),
        (Coin, '{{"amount":"1","spareAmount":"{}"}}'),
        (Purse, '{{"coins":[{{"amount":"1"}}],"byName":{{"a":{{"amount":"{}"}}}}}}'),
        (Purse, '{{"coins":[],"inside":{{"coins":[{{"amount":"{}"}}]}}}}'),
        (list[Quote], '[{{"bid":"1","ask":"1","last":"{}"}}]'),
        (list[Quote], '[{{"bid":"1","ask":"{}"}}]'),
        (list[Price], '[{{"price":"{}"}}]'),
        (Rates, '{{"listed":["1","{}"]}}'),
        (Rates, '{{"pair":["1","{}"]}}'),
        (Rates, '{{"named":{{"a":"{}"}}}}'),
        (Chest, '{{"amount":"{}"}}'),
        (list[Chest], '[{{"amount":"1","inside":{{"amount":"2","inside":{{"amount":"{}"}}}}}}]'),
        (Bag, '{{"amount":"{}"}}'),
        (dict[str, Bag], '{{"a":{{"amount":"{}"}}}}'),
        (Pair, '["a","{}"]'),
        (Weighed, '{{"amount":"{}"}}'),
        (list[Weighed], '[{{"amount":"{}"}}]'),
        (set[Decimal], '["{}"]'),
    ],
)
def test_an_amount_is_finite(returns: type[Any], body: str, text: str) -> None:
    """An amount that would raise in the first comparison is refused where it arrives, however it is written."""
    with pytest.raises(ValueError, match=r"^an amount is not a finite number$"):
        decoder(returns)(body.format(text).encode())


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-inf"])
@pytest.mark.parametrize("returns", [dict[Decimal, Decimal], dict[Decimal, str]])
def test_an_amount_in_place_of_a_name_is_finite(returns: type[Any], text: str) -> None:
    """Prices may be names, as in an order book."""
    assert decoder(returns)(b'{"1.5":"1"}').keys() == {Decimal("1.5")}
    with pytest.raises(ValueError, match=r"not a finite number|decimal"):
        decoder(returns)(f'{{"{text}":"1"}}'.encode())


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity"])
def test_a_float_is_finite(text: str) -> None:
    """The same holds for a float, which `Client.request` may be asked for."""
    with pytest.raises(ValueError, match=r"^an amount is not a finite number$"):
        decoder(Rates)(f'{{"rough":"{text}"}}'.encode())


def test_letters_of_infinity_elsewhere_are_fine() -> None:
    """A name with such letters in it is a name."""
    assert decoder(Coin)(b'{"amount":"1","note":"NaN Infinity"}').note == "NaN Infinity"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<html><body>502 Bad Gateway</body></html>",
        b'{"amount":"1"',
        b'{"amount":"1"} x',
        b"null",
        b"[]",
        b'"amount"',
        b"{}",
        b'{"amount":null}',
        b'{"amount":true}',
        b'{"amount":[]}',
        b'{"amount":"1,000"}',
        b'{"amount":NaN}',
        b'{"amount":"\xff"}',
        b'{"amount":"1","note":"\xff"}',
        b'{"amount":"1","side":5}',
        b"\xff\xfe{\x00}\x00",
        DEEP,
        b'{"amount":"1","x":' + DEEP,
        b'{"amount":"1","spareAmount":"","x":' + DEEP,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_another_answer_is_a_value_error(body: bytes) -> None:
    """Pages, cut answers, other JSON and JSON that is nested without end are all one error."""
    with pytest.raises(ValueError):  # noqa: PT011 - the texts are msgspec's
        decoder(Coin)(body)


def test_endless_nesting_is_said() -> None:
    """The error for nesting without end says so, since Python's own is no ValueError."""
    with pytest.raises(ValueError, match=r"^JSON is nested too deeply$"):
        decoder(dict[str, Any])(b'{"x":' + DEEP)


@settings(deadline=None)
@given(st.data())
def test_whatever_comes_is_the_type_or_a_value_error(data: st.DataObject) -> None:
    """Bytes of any kind, and good answers with anything inside them, raise nothing but ValueError."""
    good = b'{"coins":[{"amount":"1.5","spareAmount":"","updateTime":"0","side":"NEW","note":"x"}],"byName":{}}'
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    body = data.draw(st.one_of(st.binary(), st.binary().map(lambda piece: good[:start] + piece + good[end:])))

    try:
        answer = decoder(Purse)(body)
    except ValueError:
        return

    assert type(answer) is Purse
