"""The client and its calls, against the local exchange."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from collections.abc import Awaitable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from binance_pm import (
    ENDPOINTS,
    AuthenticationError,
    Budget,
    BudgetExceeded,
    Client,
    ClockSkewError,
    ConfigurationError,
    ConnectError,
    ExchangeError,
    GateClosed,
    InvalidResponse,
    IpBanned,
    LimitType,
    NoResponse,
    NotDone,
    OutcomeUnknown,
    PortfolioMarginError,
    RateLimited,
    Session,
    SessionClosed,
    UmAccount,
)
from binance_pm.budget import Family
from binance_pm.budget.ledger import Ledger
from binance_pm.sandbox import create_app
from binance_pm.testing import Exchange, Fault, Sandbox
from binance_pm.transport.httpx import asgi_transport
from tests.support.clocks import FakeClock, ManualClock, settled
from tests.support.raw_server import http, read_request, refusing_port, serve_raw

KEY = "k" * 64
UM = "/papi/v2/um/account"
TIME = "/papi/v1/time"


def paths(pm: Sandbox) -> list[str]:
    """Return the paths of the requests at the exchange."""
    return [request.path for request in pm.exchange.requests]


def living_by(clock: FakeClock) -> tuple[Sandbox, Session]:
    """A local exchange and a session on the same clock."""
    exchange = Exchange(accounts=1, clock=clock, sleep=clock.sleep)
    pm = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
    return pm, pm.session(budget=Budget(monotonic=clock, wall=clock, sleep=clock.sleep))


def hasty(pm: Sandbox, clock: FakeClock | None = None) -> Session:
    """A session that does not wait before retries."""
    return pm.session(budget=Budget(sleep=(clock or FakeClock()).sleep))


async def finished(clock: ManualClock, calls: Iterable[Awaitable[object]]) -> None:
    """Let time pass until all calls have succeeded."""
    ends = asyncio.gather(*calls)
    await settled()
    while not ends.done():
        await clock.advance(0.5)
    await ends


def holdings(um: UmAccount) -> dict[str, Decimal]:
    """Return what an account holds, which does not change with prices."""
    return {position.symbol: position.position_amt for position in um.positions if position.position_amt}


class TestEndpoints:
    """Every declared endpoint, against the local exchange."""

    async def test_span_account(self, client: Client) -> None:
        """Amounts of a SPAN account are Decimal, states are enums."""
        span = await client.span_account()

        assert span.account_status == "NORMAL"
        assert span.uni_mmr > Decimal("1.5")
        units = sum(unit.uni_maintain_usd for unit in span.risk_unit_mm_list)
        assert abs(units + span.margin_mm + span.other_mm - span.account_maint_margin) < Decimal("0.001")

    async def test_connectivity_needs_no_key(self, pm: Sandbox) -> None:
        """Ping and both time endpoints work without a key."""
        async with Client(session=pm.session(), papi_url=pm.base_url, sapi_url=pm.base_url) as client:
            await client.ping()
            times = [(await client.server_time()).server_time, (await client.pro_server_time()).server_time]

        assert times[0] == pytest.approx(pm.exchange.now() * 1000, abs=60_000)
        assert times[1] >= times[0]

    async def test_recv_window_of_one_call_overrides_that_of_the_client(self, pm: Sandbox) -> None:
        """The value of the call is sent."""
        async with pm.client(recv_window=2000) as client:
            await client.um_account(recv_window=1234)
            await client.um_account()

        assert [dict(request.params)["recvWindow"] for request in pm.exchange.requests] == ["1234", "2000"]

    async def test_an_undeclared_endpoint_can_be_called(self, pm: Sandbox, client: Client) -> None:
        """By path, weight and type."""
        answer = await client.request("GET", UM, weight=5, returns=dict[str, Any], params={"recvWindow": 4000})

        assert answer["positions"]
        assert dict(pm.exchange.requests[-1].params)["recvWindow"] == "4000"

    @pytest.mark.parametrize(
        "options",
        [
            {"weight": 0},
            {"params": {"timestamp": 1, "signature": "x"}},
            {"params": {1: "x"}},
            {"params": [("x", 1)]},
            {"params": {"amount": 0.00001}},
            {"params": {"symbol": "x" * 70_000}},
            {"priority": 1},
            {"security": "SIGNED"},
            {"security": []},
            {"repeat": "always"},
            {"repeat": True},
            {"repeat": []},
            {"method": "get"},
            {"method": "PATCH"},
            {"path": "/dapi/v1/x"},
            {"path": None},
            {"returns": 5},
            {"returns": []},
            {"returns": dict[bytes, Client] | dict[str, int]},
        ],
        ids=lambda options: str(options)[:40],
    )
    async def test_an_invalid_undeclared_endpoint_is_refused(
        self, pm: Sandbox, client: Client, options: dict[str, Any]
    ) -> None:
        """Values that would spoil the count, the signature or an amount are refused without a retry."""
        whole: dict[str, Any] = {"method": "GET", "path": UM, "weight": 5, "returns": dict[str, Any]} | options
        with pytest.raises(ConfigurationError):
            await client.request(**whole)

        assert paths(pm) == []

    async def test_a_repeated_call_is_still_checked(self, client: Client) -> None:
        """True equals 1, but is no weight."""
        odd: Any = True
        await client.request("GET", UM, weight=1, returns=dict[str, Any])

        with pytest.raises(ConfigurationError):
            await client.request("GET", UM, weight=odd, returns=dict[str, Any])

    @pytest.mark.parametrize("weight", [5, {LimitType.IP: 5}, {"IP": 5}])
    async def test_a_weight_may_name_its_limit(self, pm: Sandbox, client: Client, weight: Any) -> None:
        """The weight is charged in the pool that all accounts of the IP share, in any spelling."""
        await client.request("GET", UM, weight=weight, returns=dict[str, Any])

        assert [(state.pool.limit_type, state.pool.key_id) for state in pm.budget.snapshot()] == [(LimitType.IP, "")]

    async def test_undeclared_endpoints_are_not_kept(self, client: Client) -> None:
        """A program may call any number for months; only declared endpoints are prepared once."""
        await client.um_account()
        for weight in range(1, 6):
            await client.request("GET", UM, weight=weight, returns=dict[str, Any])
        await client.um_account()

        assert list(client._state.bound) == [ENDPOINTS["um_account"]]


class TestKeys:
    """Keys and signatures."""

    @pytest.mark.parametrize("kind", ["hmac", "ed25519", "rsa"])
    async def test_every_type_of_key(self, pm: Sandbox, kind: Any) -> None:
        """HMAC, Ed25519 and RSA signatures are accepted."""
        async with pm.client(key=kind) as client:
            await client.um_account()

        assert pm.exchange.requests[-1].status == 200

    @pytest.mark.parametrize("asynchronous", [False, True])
    async def test_a_signer_of_the_caller(self, pm: Sandbox, *, asynchronous: bool) -> None:
        """A function may sign instead of a secret, such as one that uses a hardware module."""
        secret = pm.accounts[0].api_secret.encode()

        def sign(payload: bytes) -> str:
            return hmac.new(secret, payload, hashlib.sha256).hexdigest()

        async def sign_elsewhere(payload: bytes) -> str:
            await anyio.lowlevel.checkpoint()
            return sign(payload)

        async with pm.client(api_secret=sign_elsewhere if asynchronous else sign) as client:
            await client.um_account()

        assert pm.exchange.requests[-1].status == 200

    async def test_a_signer_that_fails(self, pm: Sandbox) -> None:
        """Its failure becomes an error of the package without its text, and nothing was sent or spent."""

        def sign(_: bytes) -> str:
            raise LookupError(KEY)

        async with pm.client(api_secret=sign) as client:
            with pytest.raises(ConfigurationError) as caught:
                await client.um_account()

        assert (paths(pm), [state.used for state in pm.budget.snapshot()]) == ([], [0])
        assert KEY not in str(caught.value)

    @pytest.mark.parametrize(("options", "code"), [({"api_secret": "wrong"}, -1022), ({"api_key": KEY}, -2015)])
    async def test_a_refused_key(self, pm: Sandbox, options: dict[str, Any], code: int) -> None:
        """The error has the code of the exchange and the label of the account."""
        async with pm.client(**options) as client:
            with pytest.raises(AuthenticationError) as caught:
                await client.span_account()

        assert (caught.value.code, caught.value.label) == (code, "account-01")

    @pytest.mark.parametrize("missing", ["api_key", "api_secret"])
    async def test_no_key(self, pm: Sandbox, missing: str) -> None:
        """A signed call without a key is refused before anything is sent."""
        options: dict[str, Any] = {missing: None}
        async with pm.client(**options) as client:
            with pytest.raises(ConfigurationError):
                await client.um_account()

        assert paths(pm) == []


async def test_an_open_client_exposes_its_session_and_origin(pm: Sandbox) -> None:
    """For a program that polls many clients and needs their budget and the gate of their host."""
    async with pm.session() as session:
        client = pm.client(session=session)
        with pytest.raises(SessionClosed):
            _ = client.session

        async with client:
            assert client.session is session
            assert client.origin(ENDPOINTS["account"]) == pm.base_url


class TestConstruction:
    """Invalid arguments are refused at once."""

    @pytest.mark.parametrize(
        "options",
        [
            {"recv_window": 60_001},
            {"recv_window": 0},
            {"max_wait": -1.0},
            {"attempts": 0},
            {"papi_url": "https://papi.example.com"},
            {"sapi_url": "http://api.binance.com"},
        ],
        ids=str,
    )
    def test_refuses_an_invalid_argument(self, options: dict[str, Any]) -> None:
        """Values outside their range, and hosts to which a key would be shown."""
        with pytest.raises(ConfigurationError):
            Client(KEY, "s", **options)

    def test_label_is_a_digest_of_the_key(self) -> None:
        """Labels distinguish accounts without showing any part of a key."""
        client = Client(KEY, "s")

        assert client.label == hashlib.sha256(KEY.encode()).hexdigest()[:8]
        assert repr(client) == f"Client({client.label}, not open)"


class TestFromEnvironment:
    """Keys from the environment."""

    def test_hmac(self) -> None:
        """A key and a secret are enough."""
        client = Client.from_env({"BINANCE_PM_API_KEY": KEY, "BINANCE_PM_API_SECRET": "s"}, label="desk")

        assert client.label == "desk"

    async def test_private_key_file(self, pm: Sandbox, tmp_path: Path) -> None:
        """An encrypted PEM, its passphrase and a URL, all from the environment."""
        file = tmp_path / "key.pem"
        file.write_text(pm.accounts[0].ed25519.secret)
        file.chmod(0o600)
        environment = {
            "BINANCE_PM_API_KEY": pm.accounts[0].ed25519.api_key,
            "BINANCE_PM_PRIVATE_KEY_FILE": str(file),
            "BINANCE_PM_BASE_URL": pm.base_url,
        }
        async with Client.from_env(environment, session=pm.session()) as client:
            await client.um_account()

        assert pm.exchange.requests[-1].status == 200

    def test_passphrase(self, pm: Sandbox) -> None:
        """The passphrase is used for the key."""
        environment = {
            "BINANCE_PM_API_KEY": KEY,
            "BINANCE_PM_API_SECRET": pm.accounts[0].ed25519.secret,
            "BINANCE_PM_PRIVATE_KEY_PASSPHRASE": "superfluous",
        }
        with pytest.raises(ConfigurationError):
            Client.from_env(environment)

    async def test_options_override_the_environment(self, pm: Sandbox) -> None:
        """A given option is not read: the environment has the key, and the program signs."""
        account = pm.accounts[0]

        def sign(payload: bytes) -> str:
            return hmac.new(account.api_secret.encode(), payload, hashlib.sha256).hexdigest()

        environment = {
            "BINANCE_PM_API_KEY": account.api_key,
            "BINANCE_PM_API_SECRET": "wrong",
            "BINANCE_PM_PRIVATE_KEY_PASSPHRASE": "not the signer's",
            "BINANCE_PM_BASE_URL": pm.base_url,
        }
        async with Client.from_env(environment, api_secret=sign, session=pm.session()) as client:
            await client.um_account()

        assert pm.exchange.requests[-1].status == 200

    async def test_without_a_key(self, pm: Sandbox) -> None:
        """The URL is used by a client without a key, too."""
        environment = {"BINANCE_PM_BASE_URL": pm.base_url}
        async with Client.from_env(environment, api_key=None, api_secret=None, session=pm.session()) as client:
            await client.ping()

        assert paths(pm) == ["/papi/v1/ping"]

    def test_reads_the_process_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without an argument, the environment of the process is used."""
        monkeypatch.delenv("BINANCE_PM_API_KEY", raising=False)

        with pytest.raises(ConfigurationError):
            Client.from_env()


class TestClock:
    """Signatures use the exchange's time."""

    @pytest.mark.parametrize("skew", [-3600, -30, 30, 3600])
    async def test_a_wrong_clock_is_synchronised_once(self, pm: Sandbox, client: Client, skew: float) -> None:
        """After -1021 the exchange's time is requested once, and the repeated call is accepted."""
        pm.inject(Fault(skew=skew))

        await client.um_account()

        assert paths(pm) == [UM, TIME, UM]

    async def test_it_stays_synchronised(self, pm: Sandbox, client: Client) -> None:
        """Neither the next call nor another client of the budget requests the time again."""
        pm.inject(Fault(skew=3600))
        await client.um_account()
        async with pm.client(1) as other:
            await other.um_account()

        assert paths(pm) == [UM, TIME, UM, UM]

    async def test_each_host_has_its_clock(self, pm: Sandbox, client: Client) -> None:
        """The Pro endpoint is synchronised by the time of the Pro host."""
        pm.inject(Fault(skew=3600))

        await client.span_account()

        assert paths(pm) == ["/sapi/v2/portfolio/account", "/api/v3/time", "/sapi/v2/portfolio/account"]

    async def test_a_second_refusal_is_an_error(self, pm: Sandbox, client: Client) -> None:
        """The call fails after the second refusal."""
        pm.inject(Fault(path=UM, status=400, code=-1021, msg="Timestamp is outside.", times=None))

        with pytest.raises(ClockSkewError):
            await client.um_account()

        assert paths(pm) == [UM, TIME, UM]

    async def test_a_refused_time_request_is_an_error(self, pm: Sandbox, client: Client) -> None:
        """A host that refuses even the unsigned time request is not asked again and again."""
        pm.inject(Fault(status=400, code=-1021, msg="Timestamp is outside.", times=None))

        with pytest.raises(ClockSkewError):
            await client.um_account()

        assert paths(pm) == [UM, TIME, UM]

    async def test_the_timestamp_is_taken_after_the_wait(self, clock: FakeClock) -> None:
        """A call that waited a minute for weight is signed with the time after the wait."""
        budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
        stamps: list[int] = []

        def answer(request: httpx.Request) -> httpx.Response:
            stamps.append(int(request.url.params["timestamp"]))
            return httpx.Response(200, json={}, headers={"x-mbx-used-weight-1m": "5990"})

        session = Session(http=httpx.MockTransport(answer), budget=budget)
        async with Client(KEY, "s", session=session, max_wait=1000) as client:
            for _ in range(2):
                await client.request("GET", "/papi/v1/x", weight=5, returns=dict[str, Any])

        assert stamps[1] - stamps[0] == pytest.approx(sum(clock.slept) * 1000, abs=2)
        assert sum(clock.slept) > 1


class TestRetries:
    """Reads are repeated if that is safe, writes never."""

    @pytest.mark.parametrize(
        "fault",
        [
            Fault(status=500, code=-1000, msg="An unknown error occurred."),
            Fault(status=503, code=0, msg="Service Unavailable.", effect=False),
            Fault(status=503, body=b"Service Unavailable", effect=False),
            Fault(status=408, body=b""),
            Fault(status=502, body=b"<html>bad gateway</html>"),
            Fault(status=400, code=-1001, msg="Internal error."),
            Fault(status=503, code=-1008, msg="Request throttled.", effect=False),
            Fault(drop=True),
            Fault(drop=True, effect=False),
            Fault(cut=10),
        ],
    )
    async def test_a_read_is_repeated(self, pm: Sandbox, fault: Fault) -> None:
        """After failures that say nothing about the request."""
        async with pm.client(session=hasty(pm)) as client:
            pm.inject(fault)

            await client.um_account()

        assert paths(pm) == [UM, UM]

    async def test_successful_calls_earn_retries(self, pm: Sandbox) -> None:
        """One retry for every ten."""
        fault = Fault(status=500, code=-1000, msg="An unknown error occurred.", times=None)
        async with pm.client(session=hasty(pm)) as client:

            async def fail(times: int) -> int:
                before = len(paths(pm))
                pm.inject(fault)
                for _ in range(times):
                    with pytest.raises(OutcomeUnknown):
                        await client.um_account()
                pm.clear()
                return len(paths(pm)) - before - times

            assert await fail(20) == 10
            for _ in range(20):
                await client.um_account()
            assert await fail(5) == 2

    @pytest.mark.parametrize(
        ("fault", "kind", "outcome"),
        [
            (Fault(status=503, msg="Unknown error, please check your request."), OutcomeUnknown, "unknown"),
            (Fault(status=503, code=0, msg="Service Unavailable.", effect=False), NotDone, "not_done"),
            (Fault(status=503, body=b"Service Unavailable"), OutcomeUnknown, "unknown"),
            (Fault(status=408, body=b"Request Timeout"), OutcomeUnknown, "unknown"),
            (Fault(status=504, code=-1021, msg="Timestamp."), OutcomeUnknown, "unknown"),
            (
                Fault(status=200, body=b'{"code":-1007,"msg":"Timeout waiting for response."}'),
                OutcomeUnknown,
                "unknown",
            ),
            (Fault(status=200, body=b"<html>"), InvalidResponse, "unknown"),
            (Fault(status=503, code=-1008, msg="Request throttled."), NotDone, "not_done"),
            (Fault(drop=True), NoResponse, "unknown"),
            (Fault(status=400, code=-1007, msg="Timeout waiting for response."), OutcomeUnknown, "unknown"),
        ],
    )
    async def test_a_write_is_never_repeated(
        self, pm: Sandbox, client: Client, fault: Fault, kind: type[PortfolioMarginError], outcome: str
    ) -> None:
        """A write is sent once, and the error says whether it may have been executed."""
        pm.inject(fault)

        with pytest.raises(kind) as caught:
            await client.request("POST", UM, weight=1, returns=dict[str, Any])

        assert (len(paths(pm)), caught.value.outcome) == (1, outcome)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (Fault(status=400, code=-1102, msg="Mandatory parameter was not sent."), ExchangeError),
            (Fault(body=b"<html>"), InvalidResponse),
        ],
    )
    async def test_an_invalid_request_is_not_repeated(
        self, pm: Sandbox, client: Client, fault: Fault, kind: type[PortfolioMarginError]
    ) -> None:
        """The same request would be refused again."""
        pm.inject(fault)

        with pytest.raises(kind):
            await client.um_account()

        assert len(paths(pm)) == 1


class TestRefusals:
    """429 and 418 close the gate for all clients."""

    async def test_429(self, pm: Sandbox, client: Client) -> None:
        """The error says for how long; another client of the budget sends nothing."""
        pm.inject(Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "90"}))
        with pytest.raises(RateLimited) as caught:
            await client.um_account()

        async with pm.client(1) as other:
            with pytest.raises(GateClosed):
                await other.um_account()

        assert (caught.value.retry_after, len(paths(pm))) == (90, 1)

    async def test_a_read_waits_until_a_429_is_over(self, clock: FakeClock) -> None:
        """The read goes to the head of the queue, and gets a new signature when the gate opens."""
        pm, session = living_by(clock)
        pm.inject(Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "50"}))
        async with pm.client(session=session, max_wait=60) as client:
            await client.um_account()

        first, second = (int(dict(request.params)["timestamp"]) for request in pm.exchange.requests)
        assert second - first == pytest.approx(50_000, abs=1_100)

    async def test_a_read_is_refused_at_most_as_often_as_it_has_attempts(self, clock: FakeClock) -> None:
        """Then the call fails."""
        pm, session = living_by(clock)
        pm.inject(Fault(status=429, code=-1003, msg="Too many requests.", times=None))
        async with pm.client(session=session, attempts=2, max_wait=200) as client:
            with pytest.raises(RateLimited):
                await client.um_account()

        assert len(paths(pm)) == 2

    @pytest.mark.parametrize(("status", "retry_after"), [(429, "61"), (418, "1")])
    async def test_a_read_waits_neither_beyond_its_limit_nor_for_a_ban(
        self, clock: FakeClock, status: int, retry_after: str
    ) -> None:
        """The call fails at once."""
        pm, session = living_by(clock)
        pm.inject(Fault(status=status, code=-1003, msg="No.", headers={"Retry-After": retry_after}))
        async with pm.client(session=session, max_wait=60) as client:
            with pytest.raises(RateLimited):
                await client.um_account()

        assert (len(paths(pm)), clock.slept) == (1, [])

    async def test_a_refused_order_is_not_repeated(self, clock: FakeClock) -> None:
        """The caller decides whether the order is still wanted."""
        pm, session = living_by(clock)
        pm.inject(Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "5"}))
        async with pm.client(session=session, max_wait=600) as client:
            with pytest.raises(RateLimited):
                await client.request("POST", "/papi/v1/um/order", weight=1, returns=dict[str, Any])

        assert (len(paths(pm)), clock.slept) == (1, [])

    async def test_418(self, pm: Sandbox, client: Client) -> None:
        """The error of a ban names its end."""
        msg = "Way too many requests; IP(127.0.0.1) banned until 1900000000000."
        pm.inject(Fault(status=418, code=-1003, msg=msg, headers={"Retry-After": "120"}))

        with pytest.raises(IpBanned) as caught:
            await client.um_account()

        assert (caught.value.until, caught.value.retry_after) == (1_900_000_000.0, 120)

    async def test_a_ban_with_only_a_duration(self, clock: FakeClock) -> None:
        """Its end is the exchange's time plus the seconds."""
        pm, session = living_by(clock)
        pm.inject(Fault(status=418, code=-1003, msg="Banned.", headers={"Retry-After": "120"}))

        async with pm.client(session=session) as client:
            with pytest.raises(IpBanned) as caught:
                await client.um_account()

        assert caught.value.until == pytest.approx(clock.now + 120, abs=1)

    async def test_a_call_without_room_is_not_sent(self, pm: Sandbox) -> None:
        """External usage has filled the minute."""
        pm.inject(Fault(headers={"X-MBX-USED-WEIGHT-1M": "5999"}))
        async with pm.client(max_wait=0) as client:
            await client.um_account()
            with pytest.raises(BudgetExceeded):
                await client.um_account()

        assert len(paths(pm)) == 1

    async def test_many_at_once_never_overspend(self, manual_clock: ManualClock) -> None:
        """A hundred concurrent calls of 20 in a minute of 1000: what fits is sent, the rest fails unsent.

        Besides the margin, a twentieth is kept for external usage that is not yet known, and some for orders.
        """
        exchange = Exchange(accounts=1, limits={"papi": 1000}, clock=manual_clock)
        small = Sandbox(exchange, "http://127.0.0.1", minute=60, http=asgi_transport(create_app(exchange)))
        budget = Budget(
            limits={("papi", LimitType.IP): 1000}, monotonic=manual_clock, wall=manual_clock, sleep=manual_clock.sleep
        )
        async with small.client(max_wait=0, session=small.session(budget=budget)) as client:
            await client.account()
            (ledger,) = budget._table.ledgers.values()
            assert isinstance(ledger, Ledger)
            # As after a quiet minute: no poll has to wait for tokens.
            ledger._bucket.tokens = 1000
            results = await asyncio.gather(*(client.account() for _ in range(100)), return_exceptions=True)

        kinds = [type(result).__name__ for result in results]
        assert (kinds.count("Account"), kinds.count("BudgetExceeded")) == (41, 59)
        assert {request.status for request in exchange.requests} == {200}

    async def test_a_refusal_holds_back_calls_about_to_be_sent(self) -> None:
        """A call admitted before a refusal waits until it is over, and gets a new signature."""
        clock = FakeClock()
        exchange = Exchange(accounts=2, minute=1e9, clock=FakeClock())
        pm = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
        session = pm.session(budget=Budget(monotonic=clock, wall=exchange.now, sleep=clock.sleep))
        refused = asyncio.Event()

        async def sign(_: bytes) -> str:
            await refused.wait()
            return "00"

        async with session, pm.client(0, session=session) as first, pm.client(1, session=session) as other:
            await first.um_account()
            async with pm.client(api_secret=sign, session=session, max_wait=100) as slow:
                call = asyncio.ensure_future(slow.um_account())
                await settled()
                pm.inject(Fault(status=429, code=-1003, msg="Too many requests.", headers={"Retry-After": "90"}))
                with pytest.raises(RateLimited):
                    await other.um_account()
                assert clock.slept == []
                refused.set()
                with pytest.raises(AuthenticationError):
                    await call

        # The exchange's clock stood still meanwhile, so a synchronisation follows.
        assert (paths(pm), sum(clock.slept)) == ([UM, UM, UM, TIME, UM], 90)

    async def test_a_restart_at_the_turn_of_the_minute_is_not_refused(self, manual_clock: ManualClock) -> None:
        """A new budget that finds most of two minutes' weight used by its predecessor overspends neither."""
        clock = manual_clock
        clock.now = 30_000_000 * 60.0 + 20
        exchange = Exchange(accounts=1, limits={"papi": 1000}, clock=clock)
        small = Sandbox(exchange, "http://127.0.0.1", http=asgi_transport(create_app(exchange)))
        for moment in (59.7, 119.7, 119.9, 179.6):
            limits: dict[tuple[Family, LimitType], int] = {("papi", LimitType.IP): 1000}
            budget = Budget(limits=limits, monotonic=clock, wall=clock, sleep=clock.sleep)
            async with small.client(max_wait=600, session=small.session(budget=budget)) as client:
                await finished(clock, [client.account() for _ in range(48)])
                clock.now = max(clock.now, 30_000_000 * 60.0 + moment)
                await finished(clock, [client.um_account() for _ in range(20)])

        assert {request.status for request in exchange.requests} == {200}

    async def test_two_labels_of_one_key_share_its_pools(self, pm: Sandbox) -> None:
        """The exchange counts by account, whatever its labels are."""
        for label in ("one", "other"):
            async with pm.client(label=label) as client:
                await client.request(
                    "GET", "/sapi/v1/portfolio/account", weight={LimitType.UID: 5}, returns=dict[str, Any]
                )

        assert [state.used for state in pm.budget.snapshot()] == [10]


async def test_a_request_that_was_not_sent_after_all_costs_nothing() -> None:
    """A custom transport counts as sending at once, unless the transport reports a failed connection."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    budget = Budget()
    async with Client(session=Session(http=httpx.MockTransport(refuse), budget=budget), attempts=1) as client:
        with pytest.raises(ConnectError):
            await client.ping()

    (state,) = budget.snapshot()
    assert (state.used, state.in_flight) == (0, 0)


class TestConcurrency:
    """Many concurrent calls."""

    async def test_concurrent_requests_are_bounded(self, clock: FakeClock) -> None:
        """Others wait for a slot with their weight, and release it if cancelled; an order needs no slot."""
        under_way: list[int] = []
        open_requests = 0
        go = asyncio.Event()

        async def answer(_: httpx.Request) -> httpx.Response:
            nonlocal open_requests
            open_requests += 1
            under_way.append(open_requests)
            await go.wait()
            await asyncio.sleep(0)
            open_requests -= 1
            return httpx.Response(200, json={}, headers={"x-mbx-used-weight-1m": "1"})

        # At the turn of a real minute one call goes alone.
        budget = Budget(monotonic=clock, wall=clock, sleep=clock.sleep)
        session = Session(http=httpx.MockTransport(answer), budget=budget)
        async with Client(session=session) as client:
            go.set()
            await client.ping()
            go.clear()
            calls = [asyncio.create_task(client.ping()) for _ in range(250)]
            await settled()
            assert (open_requests, budget.snapshot()[0].in_flight) == (100, 250)
            calls.pop().cancel()
            await settled()
            assert (open_requests, budget.snapshot()[0].in_flight) == (100, 249)
            order = asyncio.create_task(
                client.request("POST", "/papi/v1/x", weight=1, returns=dict[str, Any], security="NONE")
            )
            await settled()
            assert (open_requests, budget.snapshot()[0].in_flight) == (101, 250)
            go.set()
            await asyncio.gather(order, *calls)

        assert (len(under_way), max(under_way)) == (251, 101)

    async def test_an_invalid_call_does_not_wait_for_weight(self, pm: Sandbox) -> None:
        """A wrong argument is reported at once, however full the minute is."""
        clock = FakeClock()
        session = pm.session(budget=Budget(monotonic=clock, sleep=clock.sleep))
        pm.inject(Fault(headers={"X-MBX-USED-WEIGHT-1M": "5999"}))
        async with pm.client(session=session) as client:
            await client.um_account()
            with pytest.raises(ConfigurationError):
                await client.um_account(recv_window=0)

        assert clock.slept == []


class TestLifetime:
    """Opening and closing."""

    @pytest.mark.parametrize("share", [False, True], ids=["of its own", "given"])
    async def test_can_be_opened_and_closed_without_a_block(self, pm: Sandbox, *, share: bool) -> None:
        """`open` returns the client, and closing it again does nothing."""
        session = await pm.session().open() if share else None
        client = await pm.client(session=session or pm.session()).open()
        await client.um_account()
        with pytest.raises(SessionClosed):
            await client.open()
        for _ in range(2):
            await client.aclose()
            assert repr(client) == "Client(account-01, closed)"
        with pytest.raises(SessionClosed):
            await client.open()

        assert session is None or not session.is_closed
        if session is not None:
            await session.aclose()

    async def test_concurrent_closing_is_harmless(self, pm: Sandbox) -> None:
        """A block and a signal handler may both close the client."""
        session = pm.session()
        async with pm.client(1, session=session) as other, pm.client(session=session) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(client.aclose)
            await other.um_account()

    async def test_a_client_that_failed_to_open_can_be_opened_later(self, pm: Sandbox) -> None:
        """A failed opening leaves nothing behind."""
        session = pm.session(engine="direct")
        client = pm.client(session=session)
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                await client.open()
        assert repr(client) == "Client(account-01, not open)"
        assert repr(session).startswith("Session(not open")

    async def test_an_invalid_response_ends_the_connections_of_its_account(self) -> None:
        """The response may belong to another call, and so may the next one on that connection."""
        bodies = iter([b"{}", b"[]", b"{}"])

        def behave(connection: socket.socket) -> None:
            while read_request(connection):
                connection.sendall(http(next(bodies)))

        with serve_raw(behave) as server:
            client = Client(KEY, "s", papi_url=server.url, session=Session(budget=Budget()))
            async with client:
                await client.ping()
                with pytest.raises(InvalidResponse):
                    await client.ping()
                await client.ping()
            assert len(server.connections) == 2

    async def test_leaving_a_client_that_was_never_entered_is_harmless(self) -> None:
        """A failure while opening may have this effect."""
        await Client(KEY, "s").__aexit__()

    async def test_no_account_receives_the_response_of_another(self, pm: Sandbox) -> None:
        """Concurrent calls of two accounts on one session each get their own."""
        session = pm.session()
        async with session, pm.client(0, session=session) as one, pm.client(1, session=session) as other:
            held = [holdings(await client.um_account()) for client in (one, other)]
            answers = await asyncio.gather(*(client.um_account() for client in (one, other) * 20))

        assert held[0] != held[1]
        assert [holdings(answer) for answer in answers] == held * 20

    @pytest.mark.usefixtures("each_engine")
    async def test_connection_refused(self) -> None:
        """Nothing was sent, and the call may be repeated."""
        clock = FakeClock()
        budget = Budget(sleep=clock.sleep)
        with refusing_port() as port:
            url = f"http://127.0.0.1:{port}"
            async with Client(KEY, "s", session=Session(budget=budget), papi_url=url) as client:
                with pytest.raises(ConnectError) as caught:
                    await client.um_account()

        assert (caught.value.sent, len(clock.slept), budget.snapshot()[0].used) == (False, 2, 0)
