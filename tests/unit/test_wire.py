"""Encoding and decoding: no exponent is ever sent, and any response is the promised type or a ValueError."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import re
import sqlite3
import statistics
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Annotated, Any, NamedTuple, TypedDict
from urllib.parse import parse_qsl

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta, field

from binance_pm import ENDPOINTS
from binance_pm.amounts import exact_sum, json_of, plain
from binance_pm.enums import PositionSide
from binance_pm.finite import TOO_DEEP
from binance_pm.wire import Milliseconds, Model, Value, decoder, encode_query
from tests.benchmarks.answering import body_of
from tests.support.implausible import (
    ESCAPED_AMOUNTS,
    GOOD_AMOUNTS,
    LARGE_NUMBERS,
    ODD_AMOUNTS,
    ODD_INTEGERS,
    ODD_TIMES,
    numbers_in,
)

DIGITS = "12345678901234567890123456789012345678901234567890.123456789"


class Coin(Model, frozen=True):
    """A field of every type in responses."""

    amount: Decimal
    spare_amount: Decimal | None = None
    update_time: Milliseconds = 0
    note: str = ""
    side: PositionSide = PositionSide.BOTH


class Purse(Model, frozen=True):
    """Coins in all types of containers."""

    coins: list[Coin]
    by_name: dict[str, Coin] = field(default_factory=dict[str, Coin])
    last: Coin | None = None
    inside: Purse | None = None


class Quote(Model, frozen=True):
    """Several amounts, one of which may be missing."""

    bid: Decimal
    ask: Decimal
    last: Decimal | None = None


class Price(Model, frozen=True):
    """A single amount."""

    price: Decimal


class Rates(Model, frozen=True):
    """Amounts in all types of containers."""

    listed: list[Decimal] = field(default_factory=list[Decimal])
    pair: tuple[Decimal, Decimal] | None = None
    named: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    rough: float = 0.0


@dataclass
class Chest:
    """A type that is no Struct, for `Client.request`."""

    amount: Decimal
    inside: Chest | None = None


class Bag(TypedDict):
    """The same as a dictionary."""

    amount: Decimal


class Pair(NamedTuple):
    """The same as a list."""

    name: str
    amount: Decimal


class Weighed(Model, frozen=True):
    """An amount with constraints."""

    amount: Annotated[Decimal, Meta(description="in grams")]


class Counted(Model, frozen=True):
    """An integer that is no time."""

    update_time: int


class Big(Model, frozen=True, tag=True):
    """One of two types distinguished by a tag."""

    name: str


class Tiny(Model, frozen=True, tag=True):
    """The other type."""

    size: Decimal


class Row(Model, frozen=True, array_like=True):
    """A Struct that is a list on the wire, such as a candle."""

    name: str
    amount: Decimal


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
    """Text is percent-encoded by RFC 3986, numbers have no exponent, booleans are in lower case."""
    assert encode_query({"x": value}) == f"x={sent}"


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        # Parameters keep the given order; a parameter that is None is not sent.
        ({"symbol": "BTCUSDT", "side": None, "asset": "BTC", "a": 1}, "symbol=BTCUSDT&asset=BTC&a=1"),
        ({"symbol": None}, ""),
        # A name cannot add another parameter.
        ({"a&b=c": 1}, "a%26b%3Dc=1"),
    ],
)
def test_parameters_become_a_query(parameters: dict[str, Value | None], query: str) -> None:
    """Names and values are encoded."""
    assert encode_query(parameters) == query


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "value",
    [
        *(0.1, 1.0, 1e-05, float("nan"), float("inf")),
        *map(Decimal, ("NaN", "-NaN", "sNaN", "Infinity", "-Infinity")),
        *map(Decimal, ("1E+999999999", "1E-999999999", "0E+999999999", "1E+65", "1E-65", "1" * 65)),
        *(10**65, pytest.param(-(10**5_000), id="long")),
        *(b"x", [1], {"a": 1}, 1j),
        "abc\ud800",
    ],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused_by_name(value: Any) -> None:
    """Floats, numbers that would fill memory, other types, and text that is not valid Unicode."""
    with pytest.raises(ValueError, match=r"^price ") as refused:
        encode_query({"symbol": "BTCUSDT", "price": value})

    assert "abc" not in str(refused.value)


@given(st.decimals())
@example(Decimal("1E+999999"))
@example(Decimal("1E-999999"))
def test_a_decimal_is_sent_exactly_or_refused(value: Decimal) -> None:
    """No Decimal is sent with an exponent, or as another number."""
    try:
        sent = encode_query({"x": value}).removeprefix("x=")
    except ValueError:
        return

    assert re.fullmatch(r"-?\d+(\.\d+)?", sent, re.ASCII)
    assert Decimal(sent) == value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters())))
@example({"x": "\ud800"})
@example({"x": "a\udfffb"})
@example({"x": "\x00\r\n\t%00&x=y"})
@example({"": ""})
def test_text_is_sent_exactly_or_refused(parameters: dict[str, str]) -> None:
    """For all of Unicode a query decodes to the same text; half a surrogate pair is refused."""
    broken = any("\ud800" <= character <= "\udfff" for text in parameters.values() for character in text)
    try:
        sent = encode_query(parameters)
    except ValueError:
        assert broken
        return

    assert not broken
    assert parse_qsl(sent, keep_blank_values=True, strict_parsing=bool(sent)) == list(parameters.items())


ONE = Coin(amount=Decimal(1))


@pytest.mark.parametrize(
    ("body", "coin"),
    [
        (
            '{"amount":"1.50","spareAmount":"-2","updateTime":1657707212154,"note":"x","side":"LONG"}',
            Coin(Decimal("1.50"), Decimal(-2), 1657707212154, "x", PositionSide.LONG),
        ),
        # Amounts are text or numbers and keep all digits; times are numbers or text.
        (f'{{"amount":"{DIGITS}"}}', Coin(Decimal(DIGITS))),
        (f'{{"amount":{DIGITS}}}', Coin(Decimal(DIGITS))),
        ('{"amount":1}', ONE),
        ('{"amount":"1","updateTime":"0"}', ONE),
        ('{"amount":"1","updateTime":"1657707212154"}', Coin(Decimal(1), update_time=1657707212154)),
        ('{"amount":"1","updateTime":253402300799999}', Coin(Decimal(1), update_time=253402300799999)),
        # Fields that the exchange adds are ignored, and text is not read.
        ('{"new":{"deep":[1,null,"x"]},"amount":"1"}', ONE),
        ('{"amount":"1","note":"NaN Infinity"}', Coin(Decimal(1), note="NaN Infinity")),
        # An empty text is None for a field typed ``Decimal | None``, and only there.
        ('{"spareAmount":"","amount":"1"}', ONE),
        ('{"spareAmount":"null","amount":"1"}', ONE),
        ('{"spareAmount"\r\n\t :\r\n\t "","amount":"1","note":""}', ONE),
        (
            r'{"amount":"1","spareAmount":"","note":"\"spareAmount\":\"\""}',
            Coin(Decimal(1), note='"spareAmount":""'),
        ),
    ],
)
def test_a_response_is_decoded(body: str, coin: Coin) -> None:
    """Fields are found by their names on the wire, in all the forms that the exchange uses."""
    decoded = decoder(Coin)(body.encode())

    assert (decoded, str(decoded.amount)) == (coin, str(coin.amount))


def test_decoded_responses_are_not_tracked_by_the_garbage_collector() -> None:
    """Hundreds of accounts with hundreds of positions would block the event loop at each full collection."""
    answer = ENDPOINTS["um_account"].decode(body_of("realistic"))

    assert not any(map(gc.is_tracked, [answer, *answer.assets, *answer.positions]))


def test_an_empty_text_is_none_however_deep() -> None:
    """Fields typed ``Decimal | None`` are found in lists, mappings, unions and recursive Structs."""
    coin = b'{"amount":"1","spareAmount":""}'
    purse = b'{"coins":[%s,%s],"byName":{"a":%s},"last":%s}' % (coin, coin, coin, coin)

    read = decoder(Purse)(b'{"coins":[],"inside":%s}' % purse).inside

    one = Coin(amount=Decimal(1))
    assert read == Purse(coins=[one, one], by_name={"a": one}, last=one)


HOLDERS = [
    (Decimal, "{}", "$"),
    (Coin, '{{"amount":{}}}', "$.amount"),
    (Coin, '{{"amount":"1","spareAmount":{}}}', "$.spareAmount"),
    (Purse, '{{"coins":[{{"amount":"1"}}],"byName":{{"a":{{"amount":{}}}}}}}', "$.byName[...].amount"),
    (Purse, '{{"coins":[],"inside":{{"coins":[{{"amount":{}}}]}}}}', "$.inside.coins[0].amount"),
    (list[Quote], '[{{"bid":"1","ask":"1","last":{}}}]', "$[0].last"),
    (list[Quote], '[{{"bid":"1","ask":"1"}},{{"bid":"1","ask":{}}}]', "$[1].ask"),
    (list[Price], '[{{"price":{}}}]', "$[0].price"),
    (Rates, '{{"listed":["1",{}]}}', "$.listed[1]"),
    (Rates, '{{"pair":["1",{}]}}', "$.pair[1]"),
    (Rates, '{{"named":{{"a":{}}}}}', "$.named[...]"),
    (Chest, '{{"amount":{}}}', "$.amount"),
    (
        list[Chest],
        '[{{"amount":"1","inside":{{"amount":"2","inside":{{"amount":{}}}}}}}]',
        "$[0].inside.inside.amount",
    ),
    (Bag, '{{"amount":{}}}', "$.amount"),
    (dict[str, Bag], '{{"a":{{"amount":{}}}}}', "$[...].amount"),
    (Pair, '["a",{}]', "$[1]"),
    (Weighed, '{{"amount":{}}}', "$.amount"),
    (list[Weighed], '[{{"amount":{}}}]', "$[0].amount"),
    (set[Decimal], "[{}]", "$[0]"),
    (frozenset[Decimal], '["1",{}]', "$[1]"),
    (tuple[Decimal, ...], "[{}]", "$[0]"),
    (tuple[str, Decimal], '["a",{}]', "$[1]"),
    (Decimal | int, "{}", "$"),
    (Decimal | list[Decimal] | None, "[{}]", "$[0]"),
    (Big | Tiny, '{{"type":"Tiny","size":{}}}', "$.size"),
    (Row, '["a",{}]', "$[1]"),
]


@pytest.mark.parametrize(("returns", "body", "place"), HOLDERS, ids=str)
def test_an_odd_amount_is_refused_everywhere(returns: type[Any], body: str, place: str) -> None:
    """The error has the path, in the words of this package."""
    decode = decoder(returns)
    for text in (*ODD_AMOUNTS, *ESCAPED_AMOUNTS):
        with pytest.raises(ValueError, match=r"`\$|JSON") as raised:
            decode(body.format(text).encode())

        assert str(raised.value).endswith(f" - at `{place}`") or "not JSON" in str(raised.value), text[:40]
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize(("returns", "body", "place"), HOLDERS[:-4], ids=str)
def test_a_number_out_of_bounds_is_refused_everywhere(returns: type[Any], body: str, place: str) -> None:
    """A JSON number for an amount has the same bounds."""
    decode = decoder(returns)
    for number in LARGE_NUMBERS:
        with pytest.raises(ValueError, match=r"`\$") as raised:
            decode(body.format(number).encode())

        assert str(raised.value).endswith(f" - at `{place}`"), number[:40]


@pytest.mark.parametrize(("returns", "body", "place"), [one for one in HOLDERS if one[0] is not Decimal | int], ids=str)
def test_a_valid_amount_is_read_everywhere(returns: type[Any], body: str, place: str) -> None:
    """An amount within bounds keeps all its digits, and its text has no exponent."""
    del place
    decode = decoder(returns)
    for sent, written in GOOD_AMOUNTS.items():
        amounts = [one for one in numbers_in(decode(body.format(f'"{sent}"').encode())) if isinstance(one, Decimal)]

        assert written in map(str, amounts)
        assert Decimal(sent).as_tuple() in [amount.as_tuple() for amount in amounts]


@pytest.mark.parametrize("rows", [1, 5, 100])
@pytest.mark.parametrize("last", [False, True])
def test_an_odd_amount_is_found_among_many(rows: int, *, last: bool) -> None:
    """The path names the row, whether or not the row was decoded before."""
    decode = ENDPOINTS["um_account"].decode
    whole = json.loads(body_of("realistic"))
    whole["positions"] = [{**whole["positions"][0], "symbol": f"S{row}"} for row in range(rows)]
    decode(json.dumps(whole, separators=(",", ":")).encode())
    place = rows - 1 if last else 0
    for text in ODD_AMOUNTS:
        whole["positions"][place]["notional"] = json.loads(text)
        with pytest.raises(ValueError, match=rf"`\$\.positions\[{place}\]\.notional`$"):
            decode(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode())


def test_json_has_plain_amounts_from_any_source() -> None:
    """A calculated or given amount may have an exponent as a Decimal."""
    event = {"line": Decimal("1E-10"), "sums": [Decimal("0E-8"), Decimal("1E+3")], "name": "1E-10"}

    assert json_of(event) == b'{"line":"0.0000000001","sums":["0.00000000","1000"],"name":"1E-10"}'


def test_symbols_in_other_scripts_are_accepted() -> None:
    """Contracts have Chinese names and underscores; text may have blanks and digits of any script."""
    whole = json.loads(body_of("realistic"))
    for place, name in enumerate(["币安人生USDT", "BTCUSDT_260327", "A B", "\u0661 1_0", "1_000", " 1 ", "+1"]):
        whole["positions"][place]["symbol"] = name

    positions = ENDPOINTS["um_account"].decode(json.dumps(whole, ensure_ascii=False).encode()).positions

    assert [one.symbol for one in positions] == [one["symbol"] for one in whole["positions"]]


@pytest.mark.parametrize(
    "text", ["NaN", "sNaN", "Infinity", "-inf", "1_0", " 1", "+1", "\u0661", "1e999999999", "9" * 65]
)
@pytest.mark.parametrize("returns", [dict[Decimal, Decimal], dict[Decimal, str]])
def test_an_odd_amount_as_a_name_is_refused(returns: type[Any], text: str) -> None:
    """Prices may be names, as in an order book."""
    assert decoder(returns)(b'{"1.5":"1"}').keys() == {Decimal("1.5")}
    with pytest.raises(ValueError, match=r"`key of \$`$"):
        decoder(returns)(f'{{"{text}":"1"}}'.encode())


@pytest.mark.parametrize("text", ['"nan"', '"inf"', '"-Infinity"', "1e400", '"1e400"', '"1_0"', '"\u0661"'])
def test_a_float_is_finite(text: str) -> None:
    """The same holds for floats requested through `Client.request`."""
    with pytest.raises(ValueError, match=r"`\$\.rough`$"):
        decoder(Rates)(f'{{"rough":{text}}}'.encode())


@pytest.mark.parametrize("returns", [Coin, Counted, dict[str, Any], dict[str, int], Any, object, dict[str, object]])
def test_an_integer_has_64_bits(returns: Any) -> None:
    """A larger integer, or a number that is no integer, is refused with its path."""
    decode = decoder(returns)
    for good in (2**63 - 1, -(2**63), 0):
        if returns is not Coin:
            assert good in numbers_in(decode(b'{"updateTime":%d}' % good))
    bad = [text for text in ODD_INTEGERS if text.lstrip("-").isdigit()]
    for text in bad if returns in {dict[str, Any], Any, object, dict[str, object]} else ODD_INTEGERS:
        with pytest.raises(ValueError, match=r"`\$(\.updateTime|\[\.\.\.\])`$") as raised:
            decode(
                f'{{"amount":"1","updateTime":{text}}}'.encode()
                if returns is Coin
                else f'{{"updateTime":{text}}}'.encode()
            )

        assert len(str(raised.value)) < 200


@pytest.mark.parametrize("text", ODD_TIMES, ids=lambda text: text[:20])
def test_a_time_has_to_be_in_the_calendar(text: str) -> None:
    """A time outside is refused with its path."""
    with pytest.raises(ValueError, match=r"`\$\.updateTime`$"):
        decoder(Coin)(f'{{"amount":"1","updateTime":{text}}}'.encode())


@pytest.mark.parametrize(
    ("returns", "inside"),
    [(dict, '{{"a":{}}}'), (Any, "{}"), (object, "{}"), (list, "[{}]"), (Purse, '{{"coins":[],"x":{}}}')],
)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_a_value_or_one_error(returns: Any, inside: str, opening: str, closing: str) -> None:
    """At any depth, and at any depth of the caller: a returned value can be encoded again."""
    decode = decoder(returns)
    decode(inside.format("[]").encode())

    def decode_below(frames: int, body: bytes) -> Any:
        return decode(body) if frames == 0 else decode_below(frames - 1, body)

    for depth in (*range(1, 120), *range(150, 1_100, 7), 2_000, 5_000):
        body = inside.format(opening * depth + "1" + closing * depth).encode()
        for frames in (0, 500):
            try:
                answer = decode_below(frames, body)
            except ValueError as error:
                assert (str(error), depth > 97) == (TOO_DEEP, True)  # noqa: PT017 - other depths raise nothing
            else:
                assert depth < 102 or returns is Purse
                msgspec.json.encode(answer)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "character 0"),
        (b'{"amount":"1"', "character 13"),
        (b"<html>", "character 0"),
        (b'{"amount":"\xff"}', "byte 11"),
        (b'{"amount":NaN}', "`$.amount`"),
        (b"null", "`$`"),
        (b"[]", "`$`"),
        (b"{}", "`$.amount`"),
        (b'{"amount":null}', "`$.amount`"),
        (b'{"amount":true}', "`$.amount`"),
        (b'{"amount":{}}', "`$.amount`"),
        (b'{"amount":"1","note":5}', "`$.note`"),
        (b'{"amount":"1","side":5}', "`$.side`"),
        (b'{"amount":"1","spareAmount":[]}', "`$.spareAmount`"),
        (b'{"amount":"%b"}' % (b"k" * 64), "`$.amount`"),
        (b'{"amount":"1,000"}', "`$.amount`"),
        (b'{"amount":"1"} x', "character 15"),
        (b"\xff\xfe{\x00}\x00", "byte 0"),
        # Elsewhere than for an amount that may be missing, empty text is an error.
        (b'{"amount":"","spareAmount":""}', "`$.amount`"),
        (b'{"amount":"1","updateTime":""}', "`$.updateTime`"),
        (b'{"amount":"1","spareAmount":" "}', "`$.spareAmount`"),
    ],
)
def test_errors_name_the_place(body: bytes, place: str) -> None:
    """Whatever the library reports; a long text, which may be a key, is never shown."""
    with pytest.raises(ValueError, match=re.escape(place)) as raised:
        decoder(Coin)(body)

    assert "kkkk" not in str(raised.value)


def test_decoded_amounts_are_encoded_in_plain_notation() -> None:
    """With the digits that were received."""
    body = b'{"amount":"0.00000000","spareAmount":"-0.00000012","updateTime":0,"note":"","side":"BOTH"}'

    assert msgspec.json.encode(decoder(Coin)(body)) == body


@pytest.mark.parametrize("text", ["0E-8", "-0E-8", "1.2E-7", "1E+3", "1E-64"])
def test_a_plain_amount_is_the_same_amount(text: str) -> None:
    """A plain amount equals, hashes, sorts, calculates, copies and pickles like a Decimal."""
    amount, same = plain(Decimal(text)), Decimal(text)

    assert (amount, hash(amount), repr(amount), amount.as_tuple()) == (same, hash(same), repr(same), same.as_tuple())
    assert str(amount) == f"{amount}" == format(same, "f")
    assert (f"{amount:.2f}", f"{amount:>+90,f}") == (f"{same:.2f}", f"{same:>+90,f}")
    assert type(amount + 1) is type(amount * 1) is type(-amount) is type(round(amount, 2)) is Decimal
    for other in (copy.copy(amount), copy.deepcopy(amount), pickle.loads(pickle.dumps(amount)), plain(amount)):
        assert (other, type(other), str(other)) == (amount, type(amount), str(amount))
    assert plain(Decimal("1.50")) is not amount
    assert isinstance(amount, Decimal)


@pytest.mark.parametrize("texts", [["0E-8", "1E-7"], ["0E-8", "1.5"], ["1E-7", "1E-9", "2"]])
def test_plain_amounts_work_with_statistics(texts: list[str]) -> None:
    """`statistics` and other libraries make new numbers of the type that they get."""
    amounts = [Decimal(text) for text in texts]

    assert statistics.mean(map(plain, amounts)) == statistics.mean(amounts)
    assert statistics.pvariance(map(plain, amounts)) == statistics.pvariance(amounts)
    assert [str(type(plain(amounts[0]))(value)) for value in ("1E-9", 5, 0)] == ["0.000000001", "5", "0"]


def test_a_plain_amount_is_stored_as_text_in_sqlite() -> None:
    """By the adapter that programs register for Decimal."""
    with closing(sqlite3.connect(":memory:")) as store:
        assert store.execute("select ?", (plain(Decimal("0E-8")),)).fetchone() == ("0.00000000",)


def test_a_sum_has_all_digits() -> None:
    """Amounts of any size are added exactly, whatever the caller's context."""
    with localcontext(prec=3):
        assert exact_sum([Decimal("9" * 40), Decimal("1E-64"), Decimal(1)]) == Decimal(
            "1" + "0" * 40 + "." + "0" * 63 + "1"
        )
        assert str(exact_sum([Decimal("0.00000000")])) == "0.00000000"


@given(st.data())
def test_any_response_is_the_type_or_a_value_error(data: st.DataObject) -> None:
    """Any bytes, and valid responses with anything inside, raise only ValueError."""
    good = b'{"coins":[{"amount":"1.5","spareAmount":"","updateTime":"0","side":"NEW","note":"x"}],"byName":{}}'
    start = data.draw(st.integers(0, len(good)))
    end = data.draw(st.integers(start, len(good)))
    body = data.draw(st.one_of(st.binary(), st.binary().map(lambda piece: good[:start] + piece + good[end:])))

    try:
        answer = decoder(Purse)(body)
    except ValueError:
        return

    assert type(answer) is Purse
