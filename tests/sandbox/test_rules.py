"""Each rule of a request is checked, in the exchange's order, in the exchange's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from binance_pm.sandbox import Exchange, SimulatedAccount, facts, rules
from binance_pm.sandbox.keys import Key
from binance_pm.sandbox.messages import Refusal, Request

if TYPE_CHECKING:
    from tests.sandbox.conftest import Caller

Signing = Callable[[Key, str], str]

ACCOUNT = "/papi/v1/account"
SPAN = "/sapi/v2/portfolio/account"
PRO = "/sapi/v1/portfolio/account"
LONG = "legal range is '^[0-9]{1,20}$'."


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("timestamp=1&timestamp=2&signature=x", -1101, "Duplicate values for a parameter detected."),
        ("timestamp=noon&signature=x", -1100, f"Illegal characters found in parameter 'timestamp'; {LONG}"),
        ("timestamp=-1&signature=x", -1100, f"Illegal characters found in parameter 'timestamp'; {LONG}"),
        ("recvWindow=5e3&timestamp=1", -1100, f"Illegal characters found in parameter 'recvWindow'; {LONG}"),
        ("", -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed."),
        (
            "timestamp=&signature=x",
            -1102,
            "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.",
        ),
        ("timestamp=1", -1102, "Mandatory parameter 'signature' was not sent, was empty/null, or malformed."),
        ("recvWindow=&timestamp=1&signature=x", -1105, "Parameter 'recvWindow' was empty."),
        (
            "symbol=BTCUSDT&timestamp=1&signature=x",
            -1104,
            "Not all sent parameters were read; read '2' parameter(s) but was sent '3'.",
        ),
        ("recvWindow=60001&timestamp=1&signature=x", -1130, "Data sent for parameter 'recvWindow' is not valid."),
        ("timestamp=1&signature=x", -1021, "Timestamp for this request is outside of the recvWindow."),
    ],
)
async def test_parameters_are_checked(caller: Caller, query: str, code: int, message: str) -> None:
    """A parameter that is not as it must be is refused with 400, code and message."""
    answer = await caller.send(ACCOUNT, query, api_key=caller.key.api_key)

    assert (answer.status_code, answer.json()) == (400, {"code": code, "msg": message})


async def test_recv_window_has_its_own_code_on_sapi(caller: Caller) -> None:
    """On /sapi a long recvWindow is -1131."""
    answer = await caller.ask(SPAN, recvWindow=60_001)

    assert answer.json() == {"code": -1131, "msg": "recvWindow must be less than 60000"}


async def test_recv_window_may_be_sixty_seconds(caller: Caller) -> None:
    """The longest recvWindow is allowed."""
    answer = await caller.ask(recvWindow=60_000)

    assert answer.status_code == 200


@pytest.mark.parametrize(("behind", "status"), [(5_000, 200), (5_001, 400), (-999, 200), (-1_000, 400)])
async def test_timestamp_lies_around_now(caller: Caller, behind: int, status: int) -> None:
    """A timestamp may be 5000 ms old and less than 1000 ms ahead."""
    answer = await caller.ask(timestamp=int(caller.clock.now * 1000) - behind)

    assert answer.status_code == status


async def test_recv_window_widens(caller: Caller) -> None:
    """With a longer recvWindow an older timestamp is fine."""
    answer = await caller.ask(timestamp=int(caller.clock.now * 1000) - 30_000, recvWindow=30_000)

    assert answer.status_code == 200


async def test_timestamp_ahead_has_its_own_words(caller: Caller) -> None:
    """A timestamp from the future is -1021 in other words than an old one."""
    answer = await caller.ask(timestamp=int(caller.clock.now * 1000) + 1_000)

    assert answer.json() == {
        "code": -1021,
        "msg": "Timestamp for this request was 1000ms ahead of the server's time.",
    }


@pytest.mark.parametrize("api_key", [None, "", "short", "_" * 64, "x" * 63 + "-"])
async def test_malformed_key(caller: Caller, api_key: str | None) -> None:
    """No key, and one of another form than keys have, is -2014 with 401."""
    answer = await caller.send(ACCOUNT, caller.query(), api_key=api_key)

    assert (answer.status_code, answer.json()) == (401, {"code": -2014, "msg": "API-key format invalid."})


async def test_unknown_key(caller: Caller) -> None:
    """A key nobody has is -2015 with 401."""
    answer = await caller.send(ACCOUNT, caller.query(), api_key="x" * 64)

    assert (answer.status_code, answer.json()) == (
        401,
        {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."},
    )


async def test_key_is_case_sensitive(caller: Caller) -> None:
    """A key in another case is another key."""
    answer = await caller.send(ACCOUNT, caller.query(), api_key=caller.key.api_key.swapcase())

    assert answer.json()["code"] == -2015


async def test_key_without_permission(calling: Callable[[Exchange], Caller], caller: Caller) -> None:
    """A key that may not use this part of the API is -2015."""
    exchange = Exchange(accounts=[SimulatedAccount("desk", families=frozenset({"sapi"}))], clock=caller.clock)

    answer = await calling(exchange).ask(ACCOUNT)

    assert answer.json()["code"] == -2015


@pytest.mark.parametrize(("ip", "status"), [("10.0.0.1", 200), ("10.0.0.2", 401)])
async def test_key_bound_to_an_address(
    calling: Callable[[Exchange], Caller], caller: Caller, ip: str, status: int
) -> None:
    """A key works only from the addresses it is bound to."""
    exchange = Exchange(accounts=[SimulatedAccount("desk", allowed_ips=frozenset({"10.0.0.1"}))], clock=caller.clock)

    answer = await calling(exchange).ask(ACCOUNT, ip=ip)

    assert answer.status_code == status


@pytest.mark.parametrize(("path", "status", "code"), [(ACCOUNT, 401, -2015), (PRO, 400, -21001), (SPAN, 400, -21001)])
async def test_account_without_portfolio_margin(
    calling: Callable[[Exchange], Caller], caller: Caller, path: str, status: int, code: int
) -> None:
    """An account that has not enabled portfolio margin is told so, in each family's way."""
    exchange = Exchange(accounts=[SimulatedAccount("classic", enabled=False)], clock=caller.clock)

    answer = await calling(exchange).ask(path)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_span_is_for_span_accounts(calling: Callable[[Exchange], Caller], caller: Caller) -> None:
    """An account of another type has no SPAN account."""
    exchange = Exchange(accounts=[SimulatedAccount("pro", account_type="PM_1")], clock=caller.clock)

    answer = await calling(exchange).ask(SPAN)

    assert answer.json() == {"code": -21001, "msg": "Request ID is not a Portfolio Margin Account."}


@pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
async def test_every_kind_of_key_signs(caller: Caller, kind: str) -> None:
    """A request signed with any of an account's keys is answered."""
    answer = await caller.ask(key=getattr(caller.exchange.accounts[0], kind))

    assert answer.status_code == 200


@pytest.mark.parametrize("signature", ["0" * 64, "x", "%C3%A9"])
async def test_wrong_signature(caller: Caller, signature: str) -> None:
    """A signature that does not fit is -1022 with 400."""
    query = f"timestamp={int(caller.clock.now * 1000)}&signature={signature}"

    answer = await caller.send(ACCOUNT, query, api_key=caller.key.api_key)

    assert (answer.status_code, answer.json()) == (
        400,
        {"code": -1022, "msg": "Signature for this request is not valid."},
    )


async def test_signature_of_another_key(caller: Caller) -> None:
    """The key that was sent decides how and by whom it must be signed."""
    query = caller.query(caller.exchange.accounts[0].ed25519)

    answer = await caller.send(ACCOUNT, query, api_key=caller.key.api_key)

    assert answer.json()["code"] == -1022


async def test_signature_must_be_last(caller: Caller) -> None:
    """A parameter behind the signature spoils it."""
    head, _, signature = caller.query().partition("&signature=")

    answer = await caller.send(ACCOUNT, f"signature={signature}&{head}", api_key=caller.key.api_key)

    assert answer.json()["code"] == -1022


async def test_a_form_is_signed_like_a_query(caller: Caller) -> None:
    """Parameters may travel in the body, signature and all."""
    answer = await caller.send(ACCOUNT, content=caller.query(), api_key=caller.key.api_key)

    assert answer.status_code == 200


@pytest.mark.parametrize("place", ["query", "body"])
async def test_query_and_body_share_the_parameters(caller: Caller, signing: Signing, place: str) -> None:
    """Query and body are signed with nothing between them, wherever the signature stands."""
    query, body = "recvWindow=5000", f"timestamp={int(caller.clock.now * 1000)}"
    signature = "&signature=" + signing(caller.key, query + body)
    query, body = (query + signature, body) if place == "query" else (query, body + signature)

    answer = await caller.send(ACCOUNT, query, content=body, api_key=caller.key.api_key)

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("query", "body", "split"),
    [
        (b"a=1&signature=x", b"", (b"a=1", "x")),
        (b"signature=x", b"", (b"", "x")),
        (b"signature=x", b"a=1", (b"a=1", "x")),
        (b"a=1", b"b=2&signature=x", (b"a=1b=2", "x")),
        (b"a=b+c%20d&signature=%2Bx", b"", (b"a=b+c%20d", "+x")),
        (b"a=1&signature=x&b=2", b"", (b"a=1&signature=x&b=2", None)),
        (b"mysignature=x", b"", (b"mysignature=x", None)),
        (b"a=1", b"b=2", (b"a=1b=2", None)),
    ],
)
def test_signed_is_the_raw_text(query: bytes, body: bytes, split: tuple[bytes, str | None]) -> None:
    """What was signed is what was sent, byte for byte, without the signature."""
    assert rules.split_signature(query, body) == split


def test_published_example_of_query_and_body(signing: Signing) -> None:
    """The mixed example on the page of Portfolio Margin Pro is split as its signature says."""
    key = Key("HMAC", "")
    key.__dict__["secret"] = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    expected = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"
    query = b"symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
    body = b"quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559&signature=" + expected.encode()

    payload, signature = rules.split_signature(query, body)

    assert signing(key, payload.decode()) == signature == expected


def test_form_decoding() -> None:
    """Plus and percent are decoded, and empty parts are nothing."""
    assert rules.pairs(b"a=b+c&&d=%26&e") == [("a", "b c"), ("d", "&"), ("e", "")]


def test_the_query_wins() -> None:
    """Where query and body both have a parameter the body's is ignored."""
    request = Request(method="POST", path=ACCOUNT, query=b"timestamp=1&signature=x", body=b"timestamp=2")
    endpoint = rules.find_endpoint("GET", ACCOUNT)

    assert rules.check_parameters(request, endpoint)["timestamp"] == "1"


async def test_public_endpoints_take_no_parameters(caller: Caller) -> None:
    """Anything sent to an endpoint that reads nothing is too much."""
    answer = await caller.send("/papi/v1/time", "symbol=BTCUSDT&limit=5")

    assert (answer.status_code, answer.json()) == (
        400,
        {"code": -1101, "msg": "Too many parameters; expected '0' and received '2'."},
    )


async def test_public_endpoints_do_not_mind_a_key(caller: Caller) -> None:
    """A key that is not needed is not looked at."""
    answer = await caller.send("/papi/v1/time", api_key="nonsense")

    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/papi/v1/new", "/papi/v1/account/", "/fapi/v1/time", "/sandbox/nothing"])
async def test_unknown_path(caller: Caller, path: str) -> None:
    """What does not exist is a page with 404."""
    answer = await caller.send(path)

    assert (answer.status_code, answer.text) == (404, "<html><body><h2>404 Not found</h2></body></html>")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
async def test_unknown_method(caller: Caller, method: str) -> None:
    """A method that the path has not is 405, with those it has."""
    answer = await caller.send("/papi/v1/time", method=method)

    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET")


async def test_unknown_paths_weigh_nothing(caller: Caller) -> None:
    """What is not an endpoint has no weight."""
    await caller.send("/papi/v1/new")

    assert caller.exchange.used("papi") == 0


def offend(caller: Caller, *, broken: int) -> tuple[str, str | None]:
    """A query and key that break this rule of ``ORDER`` and all behind it."""
    old = "timestamp=1"
    queries = {
        -1101: f"{old}x&{old}&a=1&recvWindow=60001",
        -1100: "timestamp=1x&a=1&recvWindow=60001",
        -1102: f"{old}&a=1&recvWindow=60001",
        -1104: f"{old}&a=1&recvWindow=60001&signature=x",
        -1130: f"{old}&recvWindow=60001&signature=x",
        -1021: f"{old}&signature=x",
        -1022: f"timestamp={int(caller.clock.now * 1000)}&signature=x",
    }
    keys = {-2014: None, -2015: "x" * 64}
    return queries.get(broken, queries[-1101]), keys.get(broken, caller.exchange.accounts[0].api_key)


@pytest.mark.parametrize("first", [-2014, -2015, -1101, -1100, -1102, -1104, -1130, -1021, -1022])
async def test_the_first_broken_rule_is_told(calling: Callable[[Exchange], Caller], caller: Caller, first: int) -> None:
    """Of several broken rules the exchange names the one it looks at first."""
    caller = calling(
        Exchange(accounts=[SimulatedAccount("classic", enabled=False, account_type="PM_1")], clock=caller.clock)
    )
    query, api_key = offend(caller, broken=first)

    answer = await caller.send(ACCOUNT, query, api_key=api_key)

    assert answer.json()["code"] == first


async def test_weight_comes_before_the_key(calling: Callable[[Exchange], Caller], caller: Caller) -> None:
    """Above the limit even a request without a key is 429, not 401."""
    caller = calling(Exchange(clock=caller.clock, limits={"papi": 19}))

    answer = await caller.send(ACCOUNT)

    assert answer.status_code == 429


@pytest.mark.parametrize(
    ("api_key", "query", "status"), [(None, "", 401), ("x" * 64, "", 401), ("own", "timestamp=x", 400)]
)
async def test_refused_requests_weigh_as_much(caller: Caller, api_key: str | None, query: str, status: int) -> None:
    """What is refused for any reason has cost its weight."""
    answer = await caller.send(ACCOUNT, query, api_key=caller.key.api_key if api_key == "own" else api_key)

    assert (answer.status_code, answer.headers["X-MBX-USED-WEIGHT-1M"]) == (status, "20")


def test_a_refusal_without_a_code_is_a_page() -> None:
    """An error of the gateway is HTML."""
    assert Refusal(facts.NOT_FOUND).body.startswith(b"<html>")
