"""A hundred accounts of the local exchange with random errors: no data of one account has another's label.

Everything reported of an account identifies it: amounts that no other account has, its label in the text of every
error, and response lengths that encode its number.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from binance_pm import AttemptEvent, Budget, Timeouts, UmAccount
from binance_pm.fleet import AccountFailed, Fleet, FleetEvent, Fresh, HostBlocked, Member, Reading, Stale
from binance_pm.metrics import Metrics
from binance_pm.sandbox import create_app
from binance_pm.testing import Exchange, Fault, Sandbox, SimulatedAccount
from binance_pm.transport.httpx import asgi_transport
from tests.simulation import virtual
from tests.support.coverage import unmeasured
from tests.support.echo import START, collect
from tests.support.scrape import Scrape, scrape

ACCOUNTS, SECONDS, SEED = 100, 300, 20261121
LABEL = re.compile(r"account-\d{3}")
# More than there are accounts: the remainder of a body's length is the number of its account.
MARK = 128

# What may fail for an account, always in the same way, and the errors that may follow.
TROUBLES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "none": ({}, set()),
    "unknown": ({"status": 503, "code": -1000}, {"OutcomeUnknown"}),
    "not done": ({"status": 503, "code": -1008}, {"NotDone"}),
    "not for us": ({"status": 401, "code": -2015}, {"AuthenticationError"}),
    "rejected": ({"status": 400, "code": -1102}, {"RequestRejected"}),
    "late": ({"delay": 60.0}, {"NoResponse"}),
    "late answer": ({"delay_after": 60.0}, {"NoResponse"}),
    "dropped": ({"drop": True}, {"NoResponse"}),
    "cut": ({"cut": 10}, {"NoResponse"}),
    "garbage": ({"body": b"<html>%s</html>"}, {"InvalidResponse"}),
    "wrong shape": ({"body": b'{"uniMMR": "of %s", "assets": 7}'}, {"InvalidResponse"}),
    "refused": ({"status": 429, "code": -1003}, {"RateLimited"}),
}
NOT_SENT = {"GateClosed", "BudgetExceeded"}


class Line(msgspec.Struct):
    """What was sent and answered, by label."""

    statuses: Counter[tuple[str, int | None]]
    """How often each account got which status; None if no response arrived."""
    equities: defaultdict[str, set[Decimal]]
    uni_mmrs: defaultdict[str, set[Decimal]]


class Tap(httpx.AsyncBaseTransport):
    """Forwards to the exchange, and records the responses for each key."""

    def __init__(self, exchange: Exchange) -> None:
        self.seen = Line(Counter(), defaultdict(set), defaultdict(set))
        self._labels = {account.api_key: account.label for account in exchange.accounts}
        self._inner = asgi_transport(create_app(exchange))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Forward a request, and mark the response by its length."""
        label = self._labels[request.headers["x-mbx-apikey"]]
        try:
            response = await self._inner.handle_async_request(request)
            body = await response.aread()
        except BaseException:
            self.seen.statuses[label, None] += 1
            raise
        self.seen.statuses[label, response.status_code] += 1
        self._keep(label, request.url.path, body)
        body += b" " * ((int(label[-3:]) - len(body)) % MARK)
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-length"]
        return httpx.Response(response.status_code, headers=headers, content=body)

    def _keep(self, label: str, path: str, body: bytes) -> None:
        if path != "/papi/v1/account":
            return
        try:
            figures = msgspec.json.decode(body)
            self.seen.equities[label].add(Decimal(figures["accountEquity"]))
            self.seen.uni_mmrs[label].add(Decimal(figures["uniMMR"]))
        except (ValueError, KeyError, ArithmeticError):
            # A fault has changed the body.
            return


class Reported(NamedTuple):
    """Everything that was reported in five minutes."""

    seen: Line
    troubles: dict[str, str]
    wallets: dict[str, Decimal]
    events: list[FleetEvent]
    attempts: list[AttemptEvent]
    scrapes: list[Scrape]
    lines: list[str]
    """Messages of the log."""
    worst: int
    """The highest level of the messages."""


def made(random: Random) -> list[SimulatedAccount]:
    """Accounts far from the thresholds and near to them."""
    return [
        SimulatedAccount(f"account-{number:03}", account_type="PM_2", uni_mmr=f"{random.uniform(1.3, 9):.4f}")
        for number in range(1, ACCOUNTS + 1)
    ]


def fault(label: str, trouble: str, random: Random) -> Fault:
    """Inject a fault for the account, once or a few times."""
    what = dict(TROUBLES[trouble][0])
    if "code" in what:
        what["msg"] = f"The trouble of {label}."
    if "body" in what:
        what["body"] = what["body"] % label.encode()
    times = 1 if trouble == "refused" else random.randint(1, 3)
    return Fault(account=label, times=times, effect=random.random() < 0.5, **what)


@contextmanager
def logged() -> Generator[list[logging.LogRecord]]:
    """Record everything that the package logs."""
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger, handler = logging.getLogger("binance_pm"), Handler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


async def five_minutes() -> Reported:
    """Watch all accounts while faults hit some of them."""
    random = Random(SEED)
    print("seed:", SEED)
    loop = asyncio.get_running_loop()

    def wall() -> float:
        return START + loop.time()

    exchange = Exchange(accounts=made(random), clock=wall, liquidation=False)
    often = [name for name in TROUBLES if name != "refused"]
    troubles = {account.label: random.choice(often) for account in exchange.accounts}
    # A fault that closes the gate for all accounts: once is enough.
    refused = random.choice(list(troubles))
    troubles[refused] = "refused"
    troubled = [label for label, trouble in troubles.items() if trouble not in {"none", "refused"}]
    tap = Tap(exchange)
    pm = Sandbox(exchange, "http://127.0.0.1", http=tap)
    session = pm.session(budget=Budget(monotonic=loop.time, wall=wall), timeouts=Timeouts(total=3))
    metrics = Metrics()
    reported = Reported(
        tap.seen,
        troubles,
        {one.label: exchange.statement(one, START).wallet for one in exchange.accounts},
        [], [], [], [], 0,
    )  # fmt: skip

    with logged() as records:
        session.add_listener(reported.attempts.append)
        members = [Member(pm.client(place, session=session, jitter=random.random)) for place in range(ACCOUNTS)]
        async with Fleet(members) as fleet, asyncio.TaskGroup() as tasks:
            metrics.watch(fleet)
            taking = tasks.create_task(collect(fleet.watch(warn="2", alarm="1.5"), reported.events, metrics.receive))
            for second in range(SECONDS):
                if second % 4 == 0:
                    for label in random.sample(troubled, 3):
                        exchange.inject(fault(label, troubles[label], random))
                if second == 100:
                    exchange.inject(fault(refused, "refused", random))
                await asyncio.sleep(1)
                if second % 10 == 9:
                    reported.scrapes.append(scrape(metrics.registry))
            taking.cancel()
    reported.lines.extend(record.getMessage() for record in records)
    return reported._replace(worst=max(record.levelno for record in records))


@pytest.fixture(scope="module")
def reported() -> Reported:
    """Five minutes, watched once for all tests."""
    with unmeasured():
        return virtual.run(five_minutes, patience=280)


# The first test runs through the five minutes, which takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)


def labels_in(text: str) -> set[str]:
    """Return every account that a text names."""
    return set(LABEL.findall(text))


def test_every_fault_occurred_and_amounts_identify_accounts(reported: Reported) -> None:
    """Otherwise the other tests would prove nothing."""
    errors = {one.error.__name__ for one in reported.attempts if one.error}

    assert set(reported.troubles.values()) == set(TROUBLES)
    assert errors >= set[str]().union(*(ends for _, ends in TROUBLES.values()))
    assert {type(event) for event in reported.events} >= {Reading, Stale, Fresh, AccountFailed, HostBlocked}
    assert sum(map(len, reported.seen.equities.values())) == len(set[Decimal]().union(*reported.seen.equities.values()))
    assert sum(map(len, reported.seen.uni_mmrs.values())) > 500
    assert len(set(reported.wallets.values())) == len(reported.seen.equities) == ACCOUNTS


def test_responses_belong_to_the_account(reported: Reported) -> None:
    """All endpoints of a reading."""
    readings = [event for event in reported.events if isinstance(event, Reading)]

    assert len(readings) > 1_000
    for reading in readings:
        for name, snapshot in reading.responses.items():
            answer: Any = snapshot.response
            if name == "account":
                assert answer.account_equity in reported.seen.equities[reading.label]
            else:
                assert isinstance(answer, UmAccount)
                wallets = [one.cross_wallet_balance for one in answer.assets if one.asset == "USDT"]
                assert wallets == [reported.wallets[reading.label]]


def test_events_name_no_other_account(reported: Reported) -> None:
    """Neither do their error texts; and every account fails only in its own way."""
    for event in reported.events:
        label = getattr(event, "label", None)
        assert labels_in(msgspec.json.encode(event).decode()) == ({label} if label else set())
        if isinstance(event, AccountFailed):
            assert event.error_type in TROUBLES[reported.troubles[event.label]][1] | NOT_SENT


def test_attempts_are_reported_for_the_account_that_made_them(reported: Reported) -> None:
    """With the status of the exchange's response."""
    sent = [one for one in reported.attempts if one.error is None or one.error.__name__ not in NOT_SENT]

    assert {one.call.label for one in reported.attempts} == set(reported.troubles)
    for one in reported.attempts:
        if one.error is not None:
            assert one.error.__name__ in TROUBLES[reported.troubles[one.call.label]][1] | NOT_SENT
    # Calls in flight at the end were cancelled: the exchange has seen them, and no event reports them.
    lost = reported.seen.statuses - Counter((one.call.label, one.status) for one in sent)
    assert {status for _, status in lost} <= {None}
    assert Counter((one.call.label, one.status) for one in sent) - reported.seen.statuses == Counter()
    assert lost.total() <= 10


def test_log_lines_name_one_account(reported: Reported) -> None:
    """The label in brackets, the text of the error and the length of the response belong together."""
    answered = [line for line in reported.lines if line.endswith(" bytes")]

    assert reported.worst < logging.ERROR
    assert len(answered) > 2_000
    assert len([line for line in reported.lines if "It is tried again in" in line]) > 100
    assert len([line for line in reported.lines if "The trouble of" in line]) > 20
    for line in reported.lines:
        labels = labels_in(line)
        assert len(labels) <= 1
        if length := re.search(r"(\d+) bytes$", line):
            assert labels == {f"account-{int(length[1]) % MARK:03}"}


def test_metrics_belong_to_the_account(reported: Reported) -> None:
    """Every value of every scrape was sent to that account and no other."""
    for now in reported.scrapes:
        for name, known in (
            ("account_equity_usd", reported.seen.equities),
            ("account_uni_mmr", reported.seen.uni_mmrs),
        ):
            for one in now.all(name):
                assert one.value in {float(amount) for amount in known[one.labels["account"]]}

    assert len(reported.scrapes[-1].all("account_stale")) == ACCOUNTS
    assert sum(len(now.all("account_equity_usd")) for now in reported.scrapes) > 20 * ACCOUNTS
    assert min(len(now.all("account_equity_usd")) for now in reported.scrapes) < ACCOUNTS


def test_counters_count_the_requests_of_the_account(reported: Reported) -> None:
    """As many readings and errors as its requests, and only errors of its own kind."""
    last = reported.scrapes[-1]
    for label, trouble in reported.troubles.items():
        errors = {
            error: sum(one.value for one in last.all("account_errors_total", account=label, error=error))
            for error in {one.labels["error"] for one in last.all("account_errors_total", account=label)}
        }
        readings = sum(one.value for one in last.all("account_readings_total", account=label))
        attempts = [one for one in reported.attempts if one.call.label == label]
        assert errors.keys() <= TROUBLES[trouble][1] | NOT_SENT
        assert errors == Counter(one.error.__name__ for one in attempts if one.error)
        assert readings == sum(one.error is None for one in attempts)
        for kind in (Reading, AccountFailed, Stale, Fresh):
            counted = last.get("events_total", account=label, type=kind.__name__)
            assert counted == sum(isinstance(event, kind) and event.label == label for event in reported.events)
