"""Each failure has one class by what the caller can do, and a complete text without secrets."""

from __future__ import annotations

import copy
import json
import pickle
import re
import textwrap
from collections.abc import Callable, Iterator

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
    ExchangeError,
    GateClosed,
    InvalidResponse,
    IpBanned,
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
}


def answer(status: int, body: bytes | None, **headers: str) -> HttpResponse:
    """Return a response of the exchange."""
    return HttpResponse(status, headers, body)


def refused(status: int, code: int | str, message: str = "It is wrong.") -> HttpResponse:
    """Return a refusal in the exchange's format."""
    return answer(status, json.dumps({"code": code, "msg": message}).encode())


def error_of(call: CallInfo, given: HttpResponse) -> PortfolioMarginError | None:
    """Return the error of a response, or None."""
    return classify(call, given).error


def error_for(given: HttpResponse, call: CallInfo = READ) -> PortfolioMarginError:
    """Return the error of a response."""
    error = error_of(call, given)
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


def test_the_tree_is_as_documented() -> None:
    """The docstring lists every class at its place, and nothing else."""
    tree = {(kind.__name__, parent.__name__) for kind in below(PortfolioMarginError) for parent in kind.__bases__}

    assert set(documented()) == tree


def test_every_exception_of_the_module_is_in_the_tree() -> None:
    """One base class covers everything."""
    held = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)}

    assert held == set(below(PortfolioMarginError)) == set(MAKE)


def test_every_public_exception_is_in_the_tree() -> None:
    """The base class covers every exported exception, and the whole tree is exported."""
    public = [getattr(binance_pm, name) for name in binance_pm.__all__]

    assert {kind for kind in public if isinstance(kind, type) and issubclass(kind, BaseException)} == set(MAKE)


def test_the_tree_explains_each_class() -> None:
    """Each class has a line in the tree and its own docstring."""
    lines = re.findall(r"^ +\* \w+ +(\S.*)$", errors.__doc__ or "", re.MULTILINE)

    assert len(lines) == len(MAKE) - 1
    assert all(kind.__doc__ for kind in MAKE)


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("call", [READ, WRITE], ids=["read", "write"])
def test_a_message_is_complete(kind: type[PortfolioMarginError], call: CallInfo) -> None:
    """Endpoint, account, what happened, and what to do."""
    error = MAKE[kind](call)

    assert str(error).startswith(f"{call.endpoint} [main]: {error.reason}. ")
    assert str(error).endswith(f". {error.advice}")
    assert error.reason.startswith("it happened")
    assert error.advice.endswith(".")
    assert (error.endpoint, error.label, error.write, error.repeat) == (
        call.endpoint,
        call.label,
        call.write,
        call.repeat,
    )
    assert error.sent is (kind in SENT)


@pytest.mark.parametrize("kind", MAKE)
def test_the_outcome_of_a_write(kind: type[PortfolioMarginError]) -> None:
    """The error of a write says whether the write may have been executed."""
    assert MAKE[kind](WRITE).outcome == ("unknown" if kind in UNCERTAIN else "not_done")


@pytest.mark.parametrize("kind", MAKE)
def test_the_outcome_of_a_read(kind: type[PortfolioMarginError]) -> None:
    """A read has no outcome, as it changes nothing."""
    assert MAKE[kind](READ).outcome is None


def test_advice_can_be_overridden() -> None:
    """The code that raises an error may have better advice."""
    assert str(ConfigurationError(READ, "no key", advice="Give one.")).endswith(" Give one.")


def test_without_an_account_there_are_no_brackets() -> None:
    """The label is omitted."""
    assert str(SessionClosed(CallInfo("Session"), "it was closed")).startswith("Session: it was closed. ")


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_can_be_pickled(kind: type[PortfolioMarginError], protocol: int) -> None:
    """Class, message, attributes and notes are kept."""
    error = MAKE[kind](WRITE)
    error.add_note("of the caller")

    arrived = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own

    assert type(arrived) is kind
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))
    assert (arrived.outcome, arrived.sent) == (error.outcome, error.sent)


@pytest.mark.parametrize("kind", MAKE)
def test_an_error_can_be_copied(kind: type[PortfolioMarginError]) -> None:
    """A copy has the same content."""
    error = MAKE[kind](READ)

    assert (str(copy.copy(error)), vars(copy.deepcopy(error))) == (str(error), vars(error))


def test_errors_have_attributes() -> None:
    """For programs, not only for people."""
    wait, gate, banned = (MAKE[kind](READ) for kind in (BudgetExceeded, GateClosed, IpBanned))
    assert isinstance(wait, BudgetExceeded)
    assert isinstance(gate, GateClosed)
    assert isinstance(banned, IpBanned)

    assert (wait.wait, gate.until, gate.banned) == (12.5, 1.8e9, True)
    assert (banned.status, banned.code, banned.message) == (418, -1003, "it happened")
    assert (banned.retry_after, banned.until) == (7, 1.8e9)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_success_is_no_error(status: int) -> None:
    """A response with a status of success is left to the decoder, whatever its body."""
    assert error_of(READ, answer(status, b"<html>")) is None


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
        # By code.
        (refused(400, -1000), OutcomeUnknown),
        (refused(400, -1001), NotDone),
        (refused(503, -1001, "Internal error; unable to process your request. Please try again."), NotDone),
        (refused(400, -1002), AuthenticationError),
        (refused(400, -1003), RateLimited),
        (refused(400, -1006), OutcomeUnknown),
        (refused(400, -1007), OutcomeUnknown),
        (refused(503, -1008, "Request throttled by system-level protection."), NotDone),
        (refused(400, -1015), RateLimited),
        (refused(400, -1021), ClockSkewError),
        (refused(400, "-1021"), ClockSkewError),
        (refused(400, -5028), ClockSkewError),
        (refused(400, -1022), AuthenticationError),
        (refused(400, -1099), AuthenticationError),
        (refused(400, -1005), AuthenticationError),
        (refused(400, -1011), AuthenticationError),
        (refused(400, -2008), AuthenticationError),
        (refused(401, -2008), AuthenticationError),
        (refused(200, -2008), AuthenticationError),
        (refused(400, -2017), AuthenticationError),
        (refused(400, -4056), AuthenticationError),
        (refused(400, -4057), AuthenticationError),
        (refused(400, -9000), AuthenticationError),
        # Two meanings of one code.
        (refused(400, -1004, "Server is busy, please wait and try again"), NotDone),
        (refused(400, -1004, "This IP is already on the white list"), RequestRejected),
        (
            refused(400, -5041, "Time out for too many requests from this account queueing at the same time."),
            OutcomeUnknown,
        ),
        (refused(400, -5041, "No depth matches this BBO order"), RequestRejected),
        (refused(401, -2014), AuthenticationError),
        (refused(400, -2014), AuthenticationError),
        (refused(401, -2015), AuthenticationError),
        (refused(400, -2015), AuthenticationError),
        (refused(400, -21001), AuthenticationError),
        (refused(400, -5041), OutcomeUnknown),
        (refused(400, 51998), NotDone),
        (refused(400, 51999), OutcomeUnknown),
        (refused(500, 51998), NotDone),
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
    ("body", "message"),
    [
        (b"", "no text"),
        (b"<html>", "6 bytes that are not the exchange's JSON"),
        (b"[" * 100_000, "100000 bytes that are not the exchange's JSON"),
        (b"x" * 201, "…"),
        (b"Not Found\n", "Not Found"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b'{"msg":"x"}', "x"),
        (b'{"code":null,"msg":"x"}', "x"),
        (b'{"code":"x","msg":"x"}', "x"),
    ],
)
def test_a_body_without_a_code(body: bytes, message: str) -> None:
    """If the body is not the exchange's JSON, the error states only its length."""
    error = error_for(answer(400, body))

    assert isinstance(error, RequestRejected)
    assert (error.code, error.message) == (None, message)
    assert error.reason == f"{message} (HTTP 400)"


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":-1121}',
        b'{"code":-1121,"msg":""}',
        b'{"code":-1121,"msg":" . "}',
        b'{"code":-1121,"msg":null}',
        b'{"msg":{"text":["\xff"]},"code":-1121}',
        b'{"code":-1121,"msg":5}',
    ],
)
def test_a_code_without_text(body: bytes) -> None:
    """A code alone is enough."""
    error = error_for(answer(400, body))

    assert isinstance(error, RequestRejected)
    assert (error.code, error.message) == (-1121, "no text")


def test_a_text_with_invalid_utf_8_is_kept_as_far_as_readable() -> None:
    """The code is not lost for one invalid byte."""
    error = error_for(answer(400, b'{"code":-1121,"msg":"Invalid symbol \xa3\xa4."}'))

    assert isinstance(error, RequestRejected)
    assert (error.code, error.message) == (-1121, "Invalid symbol \ufffd\ufffd")


def test_how_long_to_wait() -> None:
    """The end of a limit or ban is what the exchange stated."""
    limited = error_for(answer(429, b'{"code":-1003,"msg":"x"}', **{"retry-after": "17"}))
    said = b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until 1800000000123."}'
    banned = error_for(answer(418, said, **{"retry-after": "120"}))

    assert isinstance(limited, RateLimited)
    assert isinstance(banned, IpBanned)
    assert (limited.retry_after, banned.retry_after, banned.until) == (17, 120, 1800000000.123)


def test_the_wait_may_be_unknown() -> None:
    """If the exchange states no time, the error has none."""
    limited, banned = error_for(answer(429, b"")), error_for(answer(418, b""))

    assert isinstance(limited, RateLimited)
    assert isinstance(banned, IpBanned)
    assert (limited.retry_after, banned.retry_after, banned.until) == (None, None, None)


@pytest.mark.parametrize("secret", [KEY, "ab12" * 16, "A+/b" * 21 + "A==", "x" * 40, "a-_%2F" * 10])
@pytest.mark.parametrize("around", ["{}", "signature={}&x=1", '"{}"', "key {} is invalid", "{}, {}"])
def test_text_that_looks_like_a_key_is_masked(secret: str, around: str) -> None:
    """A text of the exchange that echoes a key or signature does not reach logs."""
    error = error_for(refused(400, -1121, around.replace("{}", secret)))

    assert secret[:12] not in f"{error!r} {error} {vars(error)}"
    assert "…" in str(error)


def test_text_shorter_than_a_key_is_kept() -> None:
    """Useful names and numbers are not masked."""
    said = "Unknown order 4611875134427365377 of client my-order-0123456789-0123456789-01234"

    assert said in str(error_for(refused(400, -2013, said)))


def test_a_message_is_one_line_of_plain_text() -> None:
    """Control characters of the exchange cannot write into a log or a terminal."""
    error = error_for(refused(400, -1121, "one\r\ntwo\x1b[31m\x00\u202e three\u2028four\t five \n"))

    assert isinstance(error, RequestRejected)
    assert error.message == "one two [31m three four five"
    assert str(error).isprintable()


def test_a_message_is_short() -> None:
    """A long page is cut."""
    error = error_for(refused(400, -1121, "word " * 10_000))

    assert isinstance(error, RequestRejected)
    assert 290 <= len(error.message) <= 300


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b"", b'{"code":0,"msg":"x"}', b'{"code":200,"msg":"success"}', b'{"code":50999,"msg":"x"}'],
)
def test_an_unreadable_success(body: bytes) -> None:
    """A body of another shape is an `InvalidResponse` with the reason."""
    error = unreadable(READ, answer(200, body), "Expected `object`, got `array`")

    assert isinstance(error, InvalidResponse)
    assert error.status == 200
    assert error.reason.endswith(": Expected `object`, got `array` (HTTP 200)")


SUCCESSES_THAT_ARE_REFUSALS = pytest.mark.parametrize(
    ("code", "kind"),
    [
        (-2015, AuthenticationError),
        (-1121, RequestRejected),
        (-9999, RequestRejected),
        (-1003, RateLimited),
        (-1015, RateLimited),
        (-1007, OutcomeUnknown),
        (-1008, NotDone),
        ("-1121", RequestRejected),
        (51006, RequestRejected),
        ("51998", NotDone),
        (51999, OutcomeUnknown),
    ],
)


@SUCCESSES_THAT_ARE_REFUSALS
def test_a_refusal_with_the_status_of_a_success(code: int | str, kind: type[ExchangeError]) -> None:
    """A refusal is recognised before the decoder runs."""
    error = error_of(WRITE, refused(200, code, f"Bad {KEY}."))

    assert type(error) is kind
    assert isinstance(error, ExchangeError)
    assert (error.status, error.code, error.message) == (200, int(code), "Bad …")


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
    assert type(error_of(READ, answer(status, body))) is RequestRejected


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
    assert error_of(READ, answer(200, body)) is None


@pytest.mark.parametrize("status", [100, 200, 302, 400, 429, 503, 999])
def test_a_limit_keeps_its_wait_whatever_its_status(status: int) -> None:
    """Too much weight is reported with the wait, by its code alone too."""
    given = answer(status, b'{"code":-1003,"msg":"Too many requests."}', **{"retry-after": "17"})

    error = error_of(READ, given)

    assert type(error) is RateLimited
    assert (error.retry_after, error.status, error.code) == (17, status, -1003)


@pytest.mark.parametrize("status", [100, 200, 302, 400, 418, 429, 503, 999])
def test_a_ban_keeps_its_end_whatever_its_status(status: int) -> None:
    """A text with an end is a ban, by its code alone too."""
    given = answer(status, json.dumps({"code": -1003, "msg": BANNED}).encode(), **{"retry-after": "17"})

    error = error_of(READ, given)

    assert isinstance(error, IpBanned)
    assert (error.retry_after, error.until) == (17, 1_800_000_000.123)


@pytest.mark.parametrize(
    ("given", "closes"),
    [
        (refused(429, -1003), True),
        (refused(400, -1003), True),
        (refused(200, -1003), True),
        (refused(302, -1003), True),
        (refused(100, -1003), True),
        (refused(451, -1003), True),
        (refused(418, -1003), True),
        (refused(418, -1015), True),
        (refused(200, -1003, BANNED), True),
        (answer(429, b""), True),
        (answer(429, None), True),
        (answer(418, None), True),
        (answer(403, HTML), True),
        (answer(403, None), True),
        (answer(403, b'{"message":"Forbidden"}'), True),
        # The orders of one account.
        (refused(429, -1015), False),
        (refused(400, -1015), False),
        (refused(403, -2015), False),
        (refused(401, -2015), False),
        (refused(400, -1121), False),
        (refused(503, -1008), False),
        (answer(500, HTML), False),
        (answer(302, b""), False),
        (answer(302, HTML), False),
        (refused(302, -1015), False),
        (answer(200, b"{}"), False),
        (answer(200, None), False),
    ],
    ids=lambda value: f"{value.status} {value.body}" if isinstance(value, HttpResponse) else "",
)
def test_what_closes_the_gate(given: HttpResponse, *, closes: bool) -> None:
    """A refusal of the IP closes the host for all accounts; a refusal of one account does not."""
    assert closes_gate(error_of(READ, given)) is closes


@pytest.mark.parametrize("kind", MAKE)
def test_only_a_limit_closes_the_gate(kind: type[PortfolioMarginError]) -> None:
    """No other failure concerns the next caller."""
    assert closes_gate(MAKE[kind](READ)) is (kind in {RateLimited, IpBanned})


def test_the_reason_of_an_unreadable_response_shows_no_secret() -> None:
    """The decoder may quote the body, in which keys are masked, too."""
    error = unreadable(READ, answer(200, b"[]"), f"Invalid enum value '{KEY}'\n at `$.x`")

    assert KEY not in str(error)
    assert "'…'" in str(error)
