"""Each failure has one class by what the caller can do, and a complete text without secrets."""

from __future__ import annotations

import copy
import json
import pickle
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import binance_pm
from binance_pm import errors
from binance_pm.classify import classify, unreadable
from binance_pm.errors import (
    AuthenticationError,
    BudgetExceeded,
    CallInfo,
    ClockSkewError,
    ConfigurationError,
    ConnectError,
    DownloadFailed,
    ExchangeError,
    GateClosed,
    HistoryIncomplete,
    InvalidResponse,
    IpBanned,
    JournalError,
    NoResponse,
    NotDone,
    NotSent,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    RequestRejected,
    SessionClosed,
    closes_gate,
)
from binance_pm.transport.http import HttpResponse

READ = CallInfo("um_account", "main")
WRITE = CallInfo("new_um_order", "main", write=True)
KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"

MAKE: dict[type[PortfolioMarginError], Callable[[CallInfo], PortfolioMarginError]] = {
    PortfolioMarginError: lambda call: PortfolioMarginError(call, "it happened"),
    ConfigurationError: lambda call: ConfigurationError(call, "it happened"),
    NotSent: lambda call: NotSent(call, "it happened"),
    BudgetExceeded: lambda call: BudgetExceeded(call, "it happened", wait=12.5),
    GateClosed: lambda call: GateClosed(call, "it happened", until=1.8e9, banned=True),
    ConnectError: lambda call: ConnectError(call, "it happened"),
    SessionClosed: lambda call: SessionClosed(call, "it happened"),
    JournalError: lambda call: JournalError(call, "it happened"),
    NoResponse: lambda call: NoResponse(call, "it happened"),
    ExchangeError: lambda call: ExchangeError(call, "it happened", status=400, code=-1),
    RequestRejected: lambda call: RequestRejected(call, "it happened", status=400, code=-1121),
    AuthenticationError: lambda call: AuthenticationError(call, "it happened", status=401, code=-2015),
    ClockSkewError: lambda call: ClockSkewError(call, "it happened", status=400, code=-1021),
    RateLimited: lambda call: RateLimited(call, "it happened", status=429, code=-1003, retry_after=7),
    IpBanned: lambda call: IpBanned(call, "it happened", status=418, code=-1003, retry_after=7, until=1.8e9),
    NotDone: lambda call: NotDone(call, "it happened", status=503, code=-1008),
    OutcomeUnknown: lambda call: OutcomeUnknown(call, "it happened", status=500),
    InvalidResponse: lambda call: InvalidResponse(call, "it happened", status=200),
    HistoryIncomplete: lambda call: HistoryIncomplete(call, "it happened", advice="Begin later."),
    DownloadFailed: lambda call: DownloadFailed(call, "it happened", download_id="1", path=Path("trades.csv")),
}

UNCERTAIN = {NoResponse, OutcomeUnknown, InvalidResponse}
SENT = UNCERTAIN | {
    ExchangeError,
    RequestRejected,
    AuthenticationError,
    ClockSkewError,
    RateLimited,
    IpBanned,
    NotDone,
    DownloadFailed,
    HistoryIncomplete,
}


def answer(status: int, body: bytes | None, **headers: str) -> HttpResponse:
    """Return a response of the exchange."""
    return HttpResponse(status, headers, body)


def refused(status: int, code: int | str, message: str = "It is wrong.") -> HttpResponse:
    """Return a refusal in the exchange's format."""
    return answer(status, json.dumps({"code": code, "msg": message}).encode())


def error_for(given: HttpResponse, call: CallInfo = READ) -> PortfolioMarginError:
    """Return the error of a response."""
    error = classify(call, given).error
    assert error is not None
    return error


def documented() -> Iterator[tuple[str, str]]:
    """Return class and parent of every line of the tree in the module's docstring."""
    above: list[str] = []
    for indent, name in re.findall(r"^( *)\* (\w+)", textwrap.dedent(errors.__doc__ or ""), re.MULTILINE):
        above = [*above[: len(indent) // 4], name]
        yield name, above[-2] if len(above) > 1 else "Exception"


def below(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    """Return a class and all its subclasses in the module."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from below(child)


def test_the_tree_is_complete() -> None:
    """The docstring lists every class at its place, and the package exports the whole tree and no other exception."""
    tree = {(kind.__name__, parent.__name__) for kind in below(PortfolioMarginError) for parent in kind.__bases__}
    held = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)}
    public = [getattr(binance_pm, name) for name in binance_pm.__all__]

    assert set(documented()) == tree
    assert held == set(below(PortfolioMarginError)) == set(MAKE)
    assert {kind for kind in public if isinstance(kind, type) and issubclass(kind, BaseException)} == set(MAKE)
    assert all(kind.__doc__ for kind in MAKE)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("call", [READ, WRITE], ids=["read", "write"])
def test_a_message_is_complete(kind: type[PortfolioMarginError], call: CallInfo) -> None:
    """Endpoint, account, what happened, and what to do; the error of a write has an outcome."""
    error = MAKE[kind](call)

    assert str(error).startswith(f"{call.endpoint} [main]: {error.reason}. ")
    assert str(error).endswith(f". {error.advice}")
    assert error.reason.startswith("it happened")
    assert CallInfo(error.endpoint, error.label, write=error.write, repeat=error.repeat) == call
    assert (error.sent, closes_gate(error)) == (kind in SENT, kind in {RateLimited, IpBanned})
    assert error.outcome == (("unknown" if kind in UNCERTAIN else "not_done") if call.write else None)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_can_be_pickled_and_copied(kind: type[PortfolioMarginError], protocol: int) -> None:
    """Class, message, attributes and notes are kept."""
    error = MAKE[kind](WRITE)
    error.add_note("of the caller")

    arrived = pickle.loads(pickle.dumps(error, protocol))

    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))
    assert (arrived.outcome, arrived.sent) == (error.outcome, error.sent)
    assert (str(copy.copy(error)), vars(copy.deepcopy(error))) == (str(error), vars(error))


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_is_no_error(status: int) -> None:
    """A response with a status of success is left to the decoder, whatever its body."""
    assert classify(READ, answer(status, b"<html>")).error is None


HTML = b"<html><body><h2>403 Forbidden</h2></body></html>"
BANNED = "Way too much request weight used; IP banned until 1800000000123. Please use the websocket."
GATEWAYS_GAVE_UP = [408, 409, 425, 460, 499]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        # By status, whatever the code says.
        (refused(418, -1003), IpBanned),
        (answer(418, b""), IpBanned),
        (answer(418, HTML), IpBanned),
        (refused(429, -1003), RateLimited),
        (refused(429, -1015), RateLimited),
        (refused(429, -1121), RateLimited),
        (answer(429, b""), RateLimited),
        (answer(429, None), RateLimited),
        (answer(418, None), IpBanned),
        # The firewall answers with a page, or with its own JSON.
        (answer(403, HTML), RateLimited),
        (answer(403, b""), RateLimited),
        (answer(403, None), RateLimited),
        (answer(403, b'{"message":"Forbidden"}'), RateLimited),
        (answer(403, b'{"code":403,"message":"Forbidden"}'), RateLimited),
        (answer(403, b'{"code":"AccessDenied","msg":"Forbidden"}'), RateLimited),
        (refused(403, -2015), AuthenticationError),
        (refused(403, -9999), RequestRejected),
        # By code: tests/unit/test_classify.py has the table of all of them.
        (refused(400, "-1021"), ClockSkewError),
        # Two meanings of one code.
        (refused(400, -1004, "Server is busy, please wait and try again"), NotDone),
        (refused(400, -1004, "This IP is already on the white list"), RequestRejected),
        (
            refused(400, -5041, "Time out for too many requests from this account queueing at the same time."),
            OutcomeUnknown,
        ),
        (refused(400, -5041, "No depth matches this BBO order"), RequestRejected),
        # A ban is recognised by its text.
        (refused(400, -1003, BANNED), IpBanned),
        (refused(429, -1003, BANNED), IpBanned),
        (refused(400, -1121, BANNED), RequestRejected),
        # A gateway that gave up does not know the outcome, unless the exchange's own code states it.
        *((answer(status, HTML), OutcomeUnknown) for status in GATEWAYS_GAVE_UP),
        *((answer(status, b""), OutcomeUnknown) for status in GATEWAYS_GAVE_UP),
        *((refused(status, -9999), OutcomeUnknown) for status in GATEWAYS_GAVE_UP),
        *((refused(status, -1007), OutcomeUnknown) for status in GATEWAYS_GAVE_UP),
        *((refused(status, -1022), AuthenticationError) for status in GATEWAYS_GAVE_UP),
        (refused(409, -1008), NotDone),
        # An order of spot that was cancelled and not replaced; the code differs for a futures order.
        (refused(409, -2021), OutcomeUnknown),
        (refused(400, -2021), RequestRejected),
        # The code does not say what the gateway received from the exchange.
        *((refused(status, code), OutcomeUnknown) for status in (502, 504) for code in (-1001, -1008, -1021, 51998)),
        *((refused(status, -2015), AuthenticationError) for status in (502, 504)),
        *((refused(status, -1003), RateLimited) for status in (502, 504)),
        # By status, if the code has no meaning of its own.
        (refused(401, -9999), AuthenticationError),
        (answer(401, b""), AuthenticationError),
        (refused(400, -1121), RequestRejected),
        (refused(400, -2019), RequestRejected),
        (refused(400, 51006), RequestRejected),
        (answer(400, b""), RequestRejected),
        (answer(404, HTML), RequestRejected),
        (answer(405, HTML), RequestRejected),
        (refused(451, 0, "Service unavailable from a restricted location."), RequestRejected),
        (refused(500, -9999), OutcomeUnknown),
        (answer(500, b""), OutcomeUnknown),
        (answer(502, HTML), OutcomeUnknown),
        (answer(504, HTML), OutcomeUnknown),
        (refused(503, 0, "Service Unavailable."), NotDone),
        (refused(500, 0, "Service Unavailable."), OutcomeUnknown),
        # Only the exchange knows that nothing was executed.
        (answer(503, b"Service Unavailable"), OutcomeUnknown),
        (answer(503, b"Service Unavailable."), OutcomeUnknown),
        (answer(503, b'{"message":"Service Unavailable"}'), OutcomeUnknown),
        (answer(503, b'{"msg":"Service Unavailable."}'), OutcomeUnknown),
        (refused(503, 503, "Service Unavailable"), OutcomeUnknown),
        (answer(503, HTML), OutcomeUnknown),
        (refused(503, 0, "Unknown error, please check your request or try again later."), OutcomeUnknown),
        # Statuses that are no response to a call.
        (answer(100, b""), OutcomeUnknown),
        (answer(101, HTML), OutcomeUnknown),
        (refused(199, -9999), OutcomeUnknown),
        (refused(100, -1022), AuthenticationError),
        (answer(600, b""), OutcomeUnknown),
        (answer(300, b""), InvalidResponse),
        (answer(301, b""), InvalidResponse),
        (answer(399, b""), InvalidResponse),
        (answer(302, b'{"uniMMR":"1"}'), InvalidResponse),
        (answer(304, b""), InvalidResponse),
        (answer(307, b'{"code":-2015,"msg":"x"}'), InvalidResponse),
        # Longer than accepted.
        (answer(200, None), InvalidResponse),
        (answer(400, None), InvalidResponse),
        (answer(500, None), InvalidResponse),
    ],
    ids=lambda value: f"{value.status} {value.body}" if isinstance(value, HttpResponse) else value.__name__,
)
def test_status_and_code_decide_the_error(given: HttpResponse, kind: type[PortfolioMarginError]) -> None:
    """Together they decide what the caller can do."""
    assert type(error_for(given)) is kind


@pytest.mark.parametrize("code", [-1021, "-1021"])
def test_the_exchanges_code_and_text_are_kept(code: int | str) -> None:
    """A program reads them as attributes, a person in the message."""
    error = error_for(refused(400, code, "Timestamp for this request is outside of the recvWindow."))

    assert isinstance(error, ClockSkewError)
    assert (error.status, error.code) == (400, -1021)
    assert error.message == "Timestamp for this request is outside of the recvWindow"
    assert error.reason == f"{error.message} (code -1021, HTTP 400)"


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", None, "no text"),
        (b"<html>", None, "6 bytes that are not the exchange's JSON"),
        (b"[" * 100_000, None, "100000 bytes that are not the exchange's JSON"),
        (b"x" * 201, None, "…"),
        (b"Not Found\n", None, "Not Found"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b'{"msg":"x"}', None, "x"),
        (b'{"code":null,"msg":"x"}', None, "x"),
        (b'{"code":"x","msg":"x"}', None, "x"),
        (b'{"code":-1121}', -1121, "no text"),
        (b'{"code":-1121,"msg":" . "}', -1121, "no text"),
        (b'{"code":-1121,"msg":null}', -1121, "no text"),
        (b'{"msg":{"text":["\xff"]},"code":-1121}', -1121, "no text"),
        (b'{"code":-1121,"msg":5}', -1121, "no text"),
        (b'{"code":-1121,"msg":"Invalid symbol \xa3\xa4."}', -1121, "Invalid symbol \ufffd\ufffd"),
    ],
)
def test_a_body_without_a_code_or_a_text(body: bytes, code: int | None, message: str) -> None:
    """Either alone is enough, as far as it is readable; of a body in another format, the length is stated."""
    error = error_for(answer(400, body))

    assert isinstance(error, RequestRejected)
    assert (error.code, error.message) == (code, message)


@pytest.mark.parametrize("secret", [KEY, "ab12" * 16, "A+/b" * 21 + "A==", "x" * 40, "a-_%2F" * 10])
@pytest.mark.parametrize("around", ["{}", "signature={}&x=1", '"{}"', "key {} is invalid", "{}, {}"])
def test_text_that_looks_like_a_key_is_masked(secret: str, around: str) -> None:
    """A text of the exchange that echoes a key or signature does not reach logs."""
    error = error_for(refused(400, -1121, around.replace("{}", secret)))

    assert secret[:12] not in f"{error!r} {error} {vars(error)}"
    assert "…" in str(error)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        # Useful names and numbers are shorter than a key.
        *[("Order 4611875134427365377 of my-order-0123456789-0123456789-01234",) * 2],
        # Control characters of the exchange cannot write into a log or a terminal.
        ("one\r\ntwo\x1b[31m\x00\u202e three\u2028four\t five \n", "one two [31m three four five"),
    ],
)
def test_a_message_is_one_line_of_plain_text(said: str, message: str) -> None:
    """Everything readable is kept."""
    error = error_for(refused(400, -2013, said))

    assert isinstance(error, RequestRejected)
    assert error.message == message
    assert str(error).isprintable()


def test_a_message_is_short() -> None:
    """A long page is cut."""
    error = error_for(refused(400, -1121, "word " * 10_000))

    assert isinstance(error, RequestRejected)
    assert 290 <= len(error.message) <= 300


@pytest.mark.parametrize("status", [200, 201, 299])
@pytest.mark.parametrize(
    "body",
    [
        b'{"code":-1121}',
        b'{"code": -1121, "msg": "x"}',
        b' \r\n{ "code" :\t-1121}',
        b'{"code":"-1121","msg":"x"}',
        b'{"code":-1121.0,"msg":null}',
        b'{"msg":"x","code":-1121}',
        b'{"msg":"x", "code" : "-1121"}',
        b'\xef\xbb\xbf{"msg":"x","code":-1121}',
        b'{\n  "msg": "x",\n  "code": -1121\n}\n',
        b'{"data":[[{"code":200}]],"msg":"' + b"x " * 5000 + b'","code":-1121,"more":{"code":0}}',
        b'{"code":200,"code":-1121}',
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_refusal_is_recognised_by_its_code(status: int, body: bytes) -> None:
    """Whatever its spacing and position, a negative code at the top level is a refusal."""
    assert type(classify(READ, answer(status, body)).error) is RequestRejected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"code":200,"msg":"success"}',
        b'{"code":"200","msg":"success"}',
        b'{"code":0}',
        b'{"code":-0}',
        b'{"code":-',
        b'{"code":-10',
        b'{"code":"-"}',
        b'{"code":"000000"}',
        b'{"code":"-0.0"}',
        b'{"code":[-1121]}',
        b'{"code":{"code":-1121}}',
        b'{"code":true}',
        b'{"code":null}',
        b'{"code":"x-1"}',
        b'{"note":"\\"code\\":-1121"}',
        b'{"code":-1121}x',
        b'{"codes":-1121}',
        b'[{"code":-1121,"msg":"x"}]',
        b'[{"orderId":1},{"code":-2010,"msg":"x"}]',
        b'{"positions":[{"code":-1121}]}',
        b" " * 1_000_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_other_bodies_are_left_to_the_decoder(body: bytes) -> None:
    """A body without a refusal, or a truncated one, is parsed only by the decoder."""
    assert classify(READ, answer(200, body)).error is None


@pytest.mark.parametrize("status", [100, 200, 302, 400, 418, 429, 503, 999])
@pytest.mark.parametrize(("message", "until"), [("Too many requests.", None), (BANNED, 1_800_000_000.123)])
def test_a_limit_keeps_its_wait_whatever_its_status(status: int, message: str, until: float | None) -> None:
    """Too much weight is reported with the stated wait and end of a ban, by its code alone too."""
    body = json.dumps({"code": -1003, "msg": message}).encode()
    for stated, wait in ({"retry-after": "17"}, 17), ({}, None):
        error = error_for(answer(status, body, **stated))

        assert type(error) is (RateLimited if until is None and status != 418 else IpBanned)
        assert (error.retry_after, error.status, error.code) == (wait, status, -1003)
        assert getattr(error, "until", None) == until


@pytest.mark.parametrize(
    ("given", "closes"),
    [
        (refused(302, -1003), True),
        (refused(418, -1015), True),
        (answer(429, None), True),
        (answer(403, b'{"message":"Forbidden"}'), True),
        # The orders of one account.
        (refused(429, -1015), False),
        (refused(302, -1015), False),
        (refused(403, -2015), False),
        (answer(302, HTML), False),
        (answer(200, b"{}"), False),
    ],
    ids=lambda value: f"{value.status} {value.body}" if isinstance(value, HttpResponse) else "",
)
def test_what_closes_the_gate(given: HttpResponse, *, closes: bool) -> None:
    """A refusal of the IP closes the host for all accounts; a refusal of one account does not."""
    assert closes_gate(classify(READ, given).error) is closes


def test_an_unreadable_success_is_an_invalid_response() -> None:
    """The error has the decoder's reason, in which keys are masked: the decoder may quote the body."""
    error = unreadable(READ, answer(200, b"[]"), f"Invalid enum value '{KEY}'\n at `$.x`")

    assert (type(error), error.status) == (InvalidResponse, 200)
    assert error.reason.endswith(": Invalid enum value '…' at `$.x` (HTTP 200)")
