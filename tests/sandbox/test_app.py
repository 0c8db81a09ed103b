"""The application answers as the exchange does, counts in its headers, and fails when told to."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
import trio

from binance_pm.sandbox import Exchange, Fault, SimulatedAccount

if TYPE_CHECKING:
    from tests.sandbox.conftest import Caller, FakeClock

ACCOUNT = "/papi/v1/account"
UM = "/papi/v2/um/account"
PING = "/papi/v1/ping"
PRO = "/sapi/v1/portfolio/account"
SPAN = "/sapi/v2/portfolio/account"
WEIGHT = "X-MBX-USED-WEIGHT-1M"
MIB = 1 << 20

Calling = Callable[[Exchange], "Caller"]


@pytest.mark.parametrize("path", [PING, "/api/v3/ping"])
async def test_ping(caller: Caller, path: str) -> None:
    """A ping is answered with nothing."""
    answer = await caller.send(path)

    assert answer.content == b"{}"


@pytest.mark.parametrize("path", ["/papi/v1/time", "/api/v3/time"])
async def test_time(caller: Caller, path: str) -> None:
    """The time is that of the exchange's clock, in milliseconds."""
    answer = await caller.send(path)

    assert answer.json() == {"serverTime": 1_800_000_000_000}


async def test_account(caller: Caller) -> None:
    """The account has the documented fields, in order."""
    answer = await caller.ask(ACCOUNT)

    assert list(answer.json()) == [
        "uniMMR", "accountEquity", "actualEquity", "accountInitialMargin", "accountMaintMargin", "accountStatus",
        "virtualMaxWithdrawAmount", "totalAvailableBalance", "totalMarginOpenLoss", "updateTime",
    ]  # fmt: skip


async def test_pro_account(caller: Caller) -> None:
    """The account of Portfolio Margin Pro has the documented fields, in order."""
    answer = await caller.ask(PRO)

    assert list(answer.json()) == [
        "uniMMR", "accountEquity", "actualEquity", "accountMaintMargin", "accountInitialMargin",
        "totalAvailableBalance", "accountStatus", "accountType",
    ]  # fmt: skip


async def test_span_account(caller: Caller) -> None:
    """The SPAN account has the documented fields, in order."""
    answer = await caller.ask(SPAN)

    assert list(answer.json()) == [
        "uniMMR", "accountEquity", "actualEquity", "accountMaintMargin", "riskUnitMMList", "marginMM", "otherMM",
        "accountStatus", "accountType",
    ]  # fmt: skip


async def test_span_units_add_up(caller: Caller) -> None:
    """The maintenance margin of the risk units is that of the account."""
    span = (await caller.ask(SPAN)).json()

    units = sum(Decimal(unit["uniMaintainUsd"]) for unit in span["riskUnitMMList"])

    assert abs(units - Decimal(span["accountMaintMargin"])) < Decimal("0.000001")


async def test_um_account_assets(caller: Caller) -> None:
    """The assets have the documented fields, in order."""
    answer = await caller.ask(UM)

    assert list(answer.json()["assets"][0]) == [
        "asset", "crossWalletBalance", "crossUnPnl", "maintMargin", "initialMargin", "positionInitialMargin",
        "openOrderInitialMargin", "updateTime",
    ]  # fmt: skip


async def test_um_account_positions(caller: Caller) -> None:
    """The positions have the documented fields, in order, for the symbols with a position or an order."""
    positions = (await caller.ask(UM)).json()["positions"]

    fields = ("symbol", "initialMargin", "maintMargin", "unrealizedProfit", "positionSide", "positionAmt",
              "updateTime", "notional")  # fmt: skip
    assert {tuple(position) for position in positions} == {fields}
    assert 4 <= len(positions) <= 8
    assert all(float(position["positionAmt"]) for position in positions)


async def test_every_symbol_is_listed_if_wanted(calling: Calling, clock: FakeClock) -> None:
    """An account holds a few symbols; the others are listed with zeros."""
    caller = calling(Exchange(accounts=2, clock=clock, all_symbols=True))

    positions = (await caller.ask(UM)).json()["positions"]

    assert len(positions) == 300
    assert 4 <= sum(position["notional"] != "0.00000000" for position in positions) <= 8


@pytest.mark.parametrize("path", [ACCOUNT, PRO, SPAN, UM])
async def test_amounts_are_plain_text(caller: Caller, path: str) -> None:
    """No amount is a number or has an exponent: all are text with eight digits, but for quantities."""
    answer = await caller.ask(path)

    text = re.sub(r'"positionAmt":"[0-9.-]+"', "", answer.text)
    amounts = re.findall(r'"-?\d[^"]*"|[:,]-?\d+\.\d+', text)
    assert all(re.fullmatch(r'"-?\d+\.\d{8}"', amount) for amount in amounts)
    assert amounts


async def test_an_account_that_has_nothing_available(calling: Calling, clock: FakeClock) -> None:
    """Where nothing is available the amount is empty text, as real answers have it."""
    caller = calling(Exchange(accounts=[SimulatedAccount("desk", uni_mmr="1.10")], clock=clock))

    answer = await caller.ask(ACCOUNT)

    assert answer.json()["totalAvailableBalance"] == ""


async def test_accounts_differ(caller: Caller) -> None:
    """Each key shows its own account."""
    one, two = [(await caller.ask(key=account.hmac)).json() for account in caller.exchange.accounts]

    assert one["accountEquity"] != two["accountEquity"]


async def test_the_market_moves(caller: Caller) -> None:
    """An account is worth something else a minute later."""
    before = (await caller.ask()).json()
    caller.clock.now += 60

    after = (await caller.ask()).json()

    assert Decimal(after["uniMMR"]) < Decimal(before["uniMMR"])


async def test_date_is_of_the_exchange(caller: Caller) -> None:
    """The Date header tells the exchange's clock, to the second."""
    answer = await caller.send(PING)

    assert answer.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


async def test_content_type(caller: Caller) -> None:
    """Answers are JSON."""
    answer = await caller.send(PING)

    assert answer.headers["Content-Type"] == "application/json;charset=UTF-8"


@pytest.mark.parametrize("path", [PING, "/api/v3/ping"])
async def test_used_weight(caller: Caller, path: str) -> None:
    """Both headers tell the weight used in this minute, this request included."""
    await caller.send(path)

    answer = await caller.send(path)

    assert (answer.headers[WEIGHT], answer.headers["X-MBX-USED-WEIGHT"]) == ("2", "2")


async def test_papi_shares_one_pool(caller: Caller) -> None:
    """All endpoints and accounts of /papi count together."""
    await caller.ask(ACCOUNT, key=caller.exchange.accounts[0].hmac)

    answer = await caller.ask(UM, key=caller.exchange.accounts[1].hmac)

    assert answer.headers[WEIGHT] == "25"


async def test_spot_has_its_own_pool(caller: Caller) -> None:
    """What /api counts is not what /papi counts."""
    await caller.ask(ACCOUNT)

    answer = await caller.send("/api/v3/time")

    assert answer.headers[WEIGHT] == "1"


async def test_sapi_counts_by_endpoint(caller: Caller) -> None:
    """Each endpoint of /sapi has its own pool, with its own header."""
    await caller.ask(PRO)

    answer = await caller.ask(SPAN)

    assert answer.headers["X-SAPI-USED-IP-WEIGHT-1M"] == "5"
    assert WEIGHT not in answer.headers


async def test_uid_weight_is_of_the_account(caller: Caller) -> None:
    """The UID counter is of the account, whichever of its keys was used."""
    first, second = caller.exchange.accounts
    for key in (first.hmac, second.hmac):
        await caller.ask(PRO, key=key)

    answer = await caller.ask(PRO, key=first.ed25519)

    assert answer.headers["X-SAPI-USED-UID-WEIGHT-1M"] == "10"
    assert answer.headers["X-SAPI-USED-IP-WEIGHT-1M"] == "15"


async def test_no_uid_weight_without_a_known_key(caller: Caller) -> None:
    """Without an account there is no UID to count for."""
    answer = await caller.send(PRO)

    assert "X-SAPI-USED-UID-WEIGHT-1M" not in answer.headers


async def test_used_from_python(caller: Caller) -> None:
    """The counters can be read without asking over HTTP."""
    await caller.ask(PRO)

    exchange = caller.exchange
    assert exchange.used("sapi-ip", path=PRO) == exchange.used("sapi-uid", holder="account-01", path=PRO) == 5


async def test_the_window_turns(caller: Caller) -> None:
    """At the next minute of the clock the count begins anew."""
    caller.clock.now += 59.9
    await caller.ask(ACCOUNT)
    caller.clock.now += 0.1

    answer = await caller.send(PING)

    assert answer.headers[WEIGHT] == "1"


async def test_addresses_are_counted_apart(caller: Caller) -> None:
    """Another client address has its own limit."""
    await caller.send(PING, ip="10.0.0.1")

    answer = await caller.send(PING, ip="10.0.0.2")

    assert answer.headers[WEIGHT] == "1"


async def test_too_many_requests(calling: Calling, clock: FakeClock) -> None:
    """Above the limit it is 429, with the seconds to the next minute and the weight used."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    clock.now += 12.5

    answer = await caller.send(PING, ip="10.0.0.1")

    assert (answer.status_code, answer.headers["Retry-After"], answer.headers[WEIGHT]) == (429, "48", "1")
    assert answer.json() == {
        "code": -1003,
        "msg": "Too many requests; current limit of IP(10.0.0.1) is 0 requests per minute."
        " Please use the websocket for live updates to avoid polling the API.",
    }


@pytest.mark.parametrize("pool", ["sapi-ip", "sapi-uid"])
async def test_too_much_weight_on_sapi(calling: Calling, clock: FakeClock, pool: str) -> None:
    """On /sapi the refusal has other words, and either pool may refuse."""
    caller = calling(Exchange(clock=clock, limits={pool: 4}))

    answer = await caller.ask(PRO)

    assert (answer.status_code, answer.json()) == (
        429,
        {
            "code": -1003,
            "msg": "Too much request weight used; current limit is 4 request weight per 1 MINUTE."
            " Please use WebSocket Streams for live updates to avoid polling the API.",
        },
    )


async def test_retry_after_is_at_least_a_second(calling: Calling, clock: FakeClock) -> None:
    """At the very end of a minute the wait is told as one second."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    clock.now += 59.999

    answer = await caller.send(PING)

    assert answer.headers["Retry-After"] == "1"


async def offend(caller: Caller, times: int) -> httpx.Response:
    """Ask that often, and hand back the last answer."""
    answers = [await caller.send(PING) for _ in range(times)]
    return answers[-1]


async def test_the_tenth_refusal_is_a_ban(calling: Calling, clock: FakeClock) -> None:
    """The tenth request above the limit is 418 and tells when the ban ends."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))

    answer = await offend(caller, 10)

    assert (answer.status_code, answer.headers["Retry-After"]) == (418, "120")
    assert answer.json() == {
        "code": -1003,
        "msg": "Way too many requests; IP(127.0.0.1) banned until 1800000120000."
        " Please use the websocket for live updates to avoid bans.",
    }


@pytest.mark.parametrize("path", [PING, ACCOUNT, "/papi/v1/new", "/nothing"])
async def test_a_ban_is_for_everything(calling: Calling, clock: FakeClock, path: str) -> None:
    """While it lasts every path is 418, whatever it is."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    await offend(caller, 10)

    answer = await caller.send(path)

    assert answer.status_code == 418


async def test_a_ban_on_sapi_has_other_words(calling: Calling, clock: FakeClock) -> None:
    """The ban is told in the words of the family that was asked."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    await offend(caller, 10)

    answer = await caller.ask(SPAN)

    assert answer.json()["msg"].startswith("Way too much request weight used; IP banned until 1800000120000.")


async def test_a_ban_counts_nothing(calling: Calling, clock: FakeClock) -> None:
    """Requests during a ban are not counted, and do not make it longer."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    await offend(caller, 20)
    clock.now += 120

    answer = await caller.send("/api/v3/ping")

    assert answer.status_code == 200


async def test_others_are_not_banned(calling: Calling, clock: FakeClock) -> None:
    """A ban is of one address."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    await offend(caller, 10)

    answer = await caller.send("/api/v3/ping", ip="10.0.0.1")

    assert answer.status_code == 200


async def test_the_next_ban_is_longer(calling: Calling, clock: FakeClock) -> None:
    """The second ban of an address is twice as long."""
    caller = calling(Exchange(clock=clock, limits={"papi": 0}))
    await offend(caller, 10)
    clock.now += 120

    answer = await offend(caller, 10)

    assert answer.headers["Retry-After"] == "240"


async def test_requests_are_remembered(caller: Caller) -> None:
    """What arrived can be asserted, without its signature."""
    await caller.ask(ACCOUNT, recvWindow=5000, ip="10.0.0.1")

    seen = caller.exchange.requests[-1]

    assert (seen.method, seen.path, seen.account, seen.ip) == ("GET", ACCOUNT, "account-01", "10.0.0.1")
    assert (seen.time, seen.status) == (1_800_000_000.0, 200)
    assert seen.params == (("timestamp", "1800000000000"), ("recvWindow", "5000"))


async def test_requests_without_a_known_key_are_remembered(caller: Caller) -> None:
    """A request of nobody known has no account."""
    await caller.send(ACCOUNT, api_key="x" * 64)

    assert (caller.exchange.requests[-1].account, caller.exchange.requests[-1].status) == (None, 401)


async def test_fault_error(caller: Caller) -> None:
    """A scripted error comes with its status, code and message, and the weight counted."""
    caller.exchange.inject(Fault(status=503, code=-1008, msg="Request throttled"))

    answer = await caller.send(PING)

    assert (answer.status_code, answer.json()) == (503, {"code": -1008, "msg": "Request throttled"})
    assert answer.headers[WEIGHT] == "1"


async def test_fault_without_effect(caller: Caller) -> None:
    """Where nothing took effect nothing was counted and no header tells of weight."""
    caller.exchange.inject(Fault(status=503, msg="Service Unavailable.", effect=False))

    answer = await caller.send(PING)

    assert (caller.exchange.used("papi"), WEIGHT in answer.headers) == (0, False)


async def test_fault_runs_out(caller: Caller) -> None:
    """After a fault of one time all is well."""
    caller.exchange.inject(Fault(status=503))
    await caller.send(PING)

    answer = await caller.send(PING)

    assert answer.status_code == 200


async def test_fault_of_a_path(caller: Caller) -> None:
    """Other paths are spared."""
    caller.exchange.inject(Fault(path=ACCOUNT, status=503))

    answer = await caller.send(PING)

    assert answer.status_code == 200


@pytest.mark.parametrize("by", ["label", "api_key"])
async def test_fault_of_an_account(caller: Caller, by: str) -> None:
    """Only the account that is named is struck, by label or API key."""
    one, two = caller.exchange.accounts
    caller.exchange.inject(Fault(account=getattr(two, by), status=503, times=None))

    statuses = [(await caller.ask(key=account.hmac)).status_code for account in (one, two)]

    assert statuses == [200, 503]


async def test_fault_delay(caller: Caller) -> None:
    """A delay before the effect ages the timestamp."""
    caller.exchange.inject(Fault(delay=5.5))

    answer = await caller.ask()

    assert (answer.json()["code"], caller.clock.slept) == (-1021, [5.5])


async def test_fault_delay_after(caller: Caller) -> None:
    """A delay after the effect leaves the answer as it was."""
    caller.exchange.inject(Fault(delay_after=5.5))

    answer = await caller.ask()

    assert (answer.status_code, caller.clock.slept) == (200, [5.5])
    assert answer.headers["Date"] == "Fri, 15 Jan 2027 08:00:00 GMT"


@pytest.mark.parametrize(("effect", "used"), [(True, 1), (False, 0)])
async def test_fault_drop(caller: Caller, *, effect: bool, used: int) -> None:
    """In memory a dropped connection is a ConnectionResetError, before or after the effect."""
    caller.exchange.inject(Fault(drop=True, effect=effect))

    with pytest.raises(ConnectionResetError):
        await caller.send(PING)

    assert (caller.exchange.used("papi"), caller.exchange.requests[-1].status) == (used, None)


async def test_fault_cut(caller: Caller) -> None:
    """In memory an answer cut short is a ConnectionResetError."""
    caller.exchange.inject(Fault(cut=1))

    with pytest.raises(ConnectionResetError):
        await caller.send(PING)


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"null", b"[]", b"", b"x" * 20 * MIB], ids=len)
async def test_fault_body(caller: Caller, body: bytes) -> None:
    """Any body can come with 200."""
    caller.exchange.inject(Fault(body=body))

    answer = await caller.send(PING)

    assert (answer.status_code, answer.content) == (200, body)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_fault_redirect(caller: Caller, status: int) -> None:
    """A redirect names where it leads."""
    caller.exchange.inject(Fault(status=status, headers={"Location": "http://elsewhere/"}, body=b""))

    answer = await caller.send(PING)

    assert (answer.status_code, answer.headers["Location"]) == (status, "http://elsewhere/")


@pytest.mark.parametrize("status", [204, 304])
async def test_fault_without_a_body(caller: Caller, status: int) -> None:
    """Where HTTP allows no body none is sent."""
    caller.exchange.inject(Fault(status=status))

    answer = await caller.send(PING)

    assert answer.content == b""


async def test_fault_headers(caller: Caller) -> None:
    """A header can be taken away."""
    caller.exchange.inject(Fault(headers={"Date": None}))

    answer = await caller.send(PING)

    assert "Date" not in answer.headers


async def test_fault_skew(caller: Caller) -> None:
    """A skewed clock shows in Date and serverTime and refuses good timestamps, until cleared."""
    caller.exchange.inject(Fault(skew=300))

    told = await caller.send("/papi/v1/time")
    refused = await caller.ask()

    assert told.json() == {"serverTime": 1_800_000_300_000}
    assert told.headers["Date"] == "Fri, 15 Jan 2027 08:05:00 GMT"
    assert refused.json()["code"] == -1021


async def test_fault_steal(caller: Caller) -> None:
    """Foreign traffic shows in the used weight."""
    caller.exchange.inject(Fault(external_usage={"papi": 0.5}))
    caller.clock.now += 6

    answer = await caller.send(PING)

    assert answer.headers[WEIGHT] == "301"


def test_unknown_pools_cannot_be_stolen_from(exchange: Exchange) -> None:
    """A misspelt pool is an error, and arms nothing."""
    with pytest.raises(ValueError, match="dapi"):
        exchange.inject(Fault(external_usage={"dapi": 0.5}))

    assert exchange.faults == ()


async def test_clear(caller: Caller) -> None:
    """After clearing the clock is right and nobody else spends."""
    caller.exchange.inject(Fault(status=503, times=None), Fault(skew=300), Fault(external_usage={"papi": 0.5}))
    caller.exchange.clear()
    caller.clock.now += 6

    answer = await caller.ask()

    assert (answer.status_code, answer.headers[WEIGHT]) == (200, "20")


async def test_admin_arms(caller: Caller) -> None:
    """A fault sent as JSON is armed."""
    fault = Fault(status=503, code=-1, times=None)

    answer = await caller.send("/sandbox/faults", method="POST", content=msgspec.json.encode(fault).decode())

    assert (answer.status_code, caller.exchange.faults) == (204, (fault,))


@pytest.mark.parametrize("content", ["", '{"stauts": 503}', '{"times": 0}', '{"external_usage": {"dapi": 1}}'])
async def test_admin_refuses_nonsense(caller: Caller, content: str) -> None:
    """What is no fault is refused with the reason."""
    answer = await caller.send("/sandbox/faults", method="POST", content=content)

    assert (answer.status_code, caller.exchange.faults) == (422, ())
    assert answer.text


async def test_admin_disarms(caller: Caller) -> None:
    """All faults can be cleared over HTTP, and no fault stops it."""
    caller.exchange.inject(Fault(status=503, times=None))

    await caller.send("/sandbox/faults", method="DELETE")

    assert caller.exchange.faults == ()


async def test_admin_shows_the_state(caller: Caller) -> None:
    """The state tells accounts, counters and faults, and no secret."""
    caller.exchange.inject(Fault(status=503, times=None))
    await caller.send(PING)

    answer = await caller.send("/sandbox/state")

    state = answer.json()
    account = caller.exchange.accounts[0]
    assert state["accounts"][0] == {"label": account.label, "accountType": "PM_3", "apiKey": account.api_key}
    assert state["used"] == [{"pool": "papi", "holder": "127.0.0.1", "path": "", "used": 1}]
    assert state["faults"] == [{"status": 503, "times": None}]
    assert account.api_secret not in answer.text


async def test_admin_is_never_weighed(caller: Caller) -> None:
    """Steering costs nothing and is not remembered."""
    await caller.send("/sandbox/state")

    assert (caller.exchange.used("papi"), caller.exchange.requests) == (0, ())


def test_runs_on_trio(caller: Caller) -> None:
    """The application needs no asyncio."""
    answer = trio.run(caller.ask)

    assert answer.status_code == 200


async def test_orders_and_prices_can_be_controlled(caller: Caller) -> None:
    """From another program: it sets a price, and sees what became of an order."""
    await caller.send("/sandbox/prices", method="POST", content='{"BTCUSDT": "60000"}')
    query = caller.query(
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01",
        price="59000",
        newClientOrderId="mine",
    )
    await caller.send("/papi/v1/um/order", query, method="POST", api_key=caller.key.api_key)
    moved = await caller.send("/sandbox/prices", method="POST", content='{"BTCUSDT": "58900"}')
    orders = (await caller.send("/sandbox/orders", "account=account-01")).json()

    assert moved.status_code == 204
    assert [(one["status"], one["executedQty"]) for one in orders if one["clientOrderId"] == "mine"] == [
        ("FILLED", "0.01")
    ]


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/sandbox/prices", '{"XYZUSDT": "1"}'),
        ("POST", "/sandbox/prices", '{"BTCUSDT": "0"}'),
        ("POST", "/sandbox/prices", "[]"),
        ("GET", "/sandbox/orders", ""),
    ],
)
async def test_wrong_control_is_refused(caller: Caller, method: str, path: str, content: str) -> None:
    """With a text that says what is wrong."""
    answer = await caller.send(path, method=method, content=content)

    assert (answer.status_code, bool(answer.text)) == (422, True)
