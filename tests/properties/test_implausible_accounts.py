"""No value of one account ends the watch, the screen or the metrics of all: only that account fails."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from functools import partial
from itertools import product
from typing import Any

import httpx
import msgspec
import pytest

from binance_pm import AccountStatus, Client
from binance_pm.amounts import json_of, plain
from binance_pm.cli.dashboard.history import History
from binance_pm.cli.dashboard.rows import Order
from binance_pm.cli.dashboard.screen import screen_of
from binance_pm.cli.dashboard.view import Page, View
from binance_pm.cli.hook import Hook
from binance_pm.cli.output import describe_event, print_event
from binance_pm.cli.response import as_json
from binance_pm.cli.watch import dispatch
from binance_pm.doctor.account import check_account
from binance_pm.doctor.targets import Target
from binance_pm.endpoint import Endpoint
from binance_pm.fleet import (
    AccountFailed,
    AccountSnapshot,
    Change,
    Fleet,
    FleetEvent,
    Member,
    Publisher,
    Reading,
    StatusChanged,
    ThresholdCrossed,
)
from binance_pm.fleet.relay import publish as publishing
from binance_pm.fleet.relay.entries import decode_event
from binance_pm.fleet.state import FleetState
from binance_pm.metrics import Metrics
from binance_pm.signing import Secret
from tests.simulation import virtual
from tests.support.echo import Echo, collect, events_of
from tests.support.implausible import GOOD_AMOUNTS, ODD_AMOUNTS
from tests.support.scrape import scrape
from tests.support.snapshots import responses

pytestmark = pytest.mark.timeout(120)

WORSE = ["NaN", "sNaN", "-Infinity", "1e999999999", "-1e-999999999", "0e999999999", "1e1000001", "9" * 5_000]
"""Values that no response contains, but that a caller's own client may return."""
EXTREMES = [*list(GOOD_AMOUNTS)[::2], "-1e64", "-" + "9" * 64]
PAGES: list[Page] = ["table", "account"]
SORTED_BY: list[Order] = ["danger", "uniMMR", "equity", "margin", "profit"]


class Own(Client):
    """A client of the caller, with worse values than the exchange could send."""

    change: Callable[[Any], Any] | None = None

    async def call(self, endpoint: Endpoint[Any], parameters: Mapping[str, Any], **options: Any) -> Any:
        """Change the result of a call."""
        answer = await super().call(endpoint, parameters, **options)
        return answer if self.change is None else self.change(answer)


def watched(
    echo_of: Callable[[Echo], None], change: Callable[[Any], Any] = lambda answer: answer
) -> tuple[list[FleetEvent], list[AccountSnapshot]]:
    """Return the events of three accounts, the first of which is odd, while a screen and metrics show them."""

    async def main() -> tuple[list[FleetEvent], list[AccountSnapshot]]:
        echo = Echo(asyncio.get_running_loop().time)
        echo_of(echo)
        session = echo.session()
        clients = [Own(f"key{place}", "secret", label=f"account-{place}", session=session) for place in range(3)]
        clients[0].change = change
        events: list[FleetEvent] = []
        metrics, history = Metrics(), History()

        def receive(event: FleetEvent) -> None:
            metrics.receive(event)
            history.receive(event)

        async with Fleet([Member(client) for client in clients]) as fleet, asyncio.TaskGroup() as tasks:
            metrics.watch(fleet)
            taking = tasks.create_task(collect(fleet.watch(warn="1.5", alarm="1.2"), events, receive))
            for _ in range(4):
                await asyncio.sleep(10)
                scrape(metrics.registry)
                draw(msgspec.structs.replace(fleet.state(), at=1_800_000_000.0), history)
            snapshots = fleet.snapshot()
            assert not taking.done()
            taking.cancel()
        return events, snapshots

    return virtual.run(main, patience=100)


def draw(state: FleetState, history: History) -> list[str]:
    """Return every page of the screen in every order, as text."""
    text: list[str] = []
    for page, order in product(PAGES, SORTED_BY):
        view = View(page=page, order=order, chosen=state.accounts[0].label)
        for width, height in ((80, 24), (200, 60)):
            lines = screen_of(state, history, view, width=width, height=height, since=state.at - 10).lines
            assert len(lines) == height
            text += ["".join(span.text for span in line) for line in lines]
    return text


def odd_path(amount: str, field: str) -> Callable[[Echo], None]:
    """Return an exchange with an odd value in one field for the first account."""

    async def trouble(account: int) -> httpx.Response | None:
        if account:
            return None
        um = json.dumps(
            {
                "assets": [],
                "positions": [
                    {"symbol": "BTCUSDT", "positionSide": "BOTH", "updateTime": 0}
                    | dict.fromkeys(("initialMargin", "maintMargin", "positionAmt", "notional"), "1")
                    | {"unrealizedProfit": "1"}
                ],
            }
        )
        whole = json.dumps(
            dict.fromkeys(
                ("uniMMR", "accountEquity", "actualEquity", "accountInitialMargin", "accountMaintMargin"), "2"
            )
            | {"accountStatus": "NORMAL", "updateTime": 0, "virtualMaxWithdrawAmount": "0"}
            | {"totalAvailableBalance": "", "totalMarginOpenLoss": ""}
        )
        both = {**json.loads(um), **json.loads(whole)}
        holder = both["positions"][0] if field in both["positions"][0] else both
        holder[field] = "MARK"
        return httpx.Response(200, content=json.dumps(both).replace('"MARK"', amount).encode())

    return lambda echo: setattr(echo, "trouble", trouble)


@pytest.mark.parametrize("field", ["uniMMR", "accountEquity", "accountMaintMargin", "unrealizedProfit", "positionAmt"])
@pytest.mark.parametrize("amount", [*ODD_AMOUNTS[::20], '"1e1000001"', '"1e999999999"', '"sNaN"', "1e400"])
def test_an_odd_amount_is_the_failure_of_one_account(field: str, amount: str) -> None:
    """The failure has the account's name and the place; the others are still watched."""
    events, snapshots = watched(odd_path(amount, field))

    failed = events_of(AccountFailed, events)
    assert {event.label for event in failed} == {"account-0"}
    assert all(event.error_type == "InvalidResponse" and field in event.error for event in failed)
    readings = Counter(event.label for event in events_of(Reading, events))
    assert min(readings["account-1"], readings["account-2"]) >= 3
    assert [snapshot.error == "" for snapshot in snapshots] == [False, True, True]


@pytest.mark.parametrize("amount", EXTREMES)
def test_an_extreme_amount_is_shown(amount: str) -> None:
    """A value within bounds is watched, drawn and measured, for every account."""
    events, snapshots = watched(
        lambda echo: echo.uni_mmr.update({0: amount}),
        lambda answer: _with(answer, account_equity=Decimal(amount), account_maint_margin=Decimal(amount)),
    )

    assert events_of(AccountFailed, events) == []
    assert snapshots[0].uni_mmr == Decimal(amount)
    for event in events:
        assert "E-" not in json_of(event).decode()
        assert decode_event(json_of(event)) == event
        describe_event(event)


@pytest.mark.parametrize("amount", WORSE)
@pytest.mark.parametrize("field", ["uni_mmr", "account_equity", "account_maint_margin", "unrealized_profit"])
def test_values_of_the_callers_client_are_checked_too(field: str, amount: str) -> None:
    """Values that cannot be calculated with are refused on arrival, and the failure is reported."""
    events, snapshots = watched(lambda _: None, lambda answer: _with(answer, **{field: Decimal(amount)}))

    failed = events_of(AccountFailed, events)
    # None is not added to a profit.
    if not (field == "unrealized_profit" and amount.startswith("0e")):
        assert {event.label for event in failed} == {"account-0"}
        assert {event.error for event in failed} <= {"an unexpected ValueError", "an unexpected InvalidOperation"}
        assert snapshots[0].error
    assert Counter(event.label for event in events_of(Reading, events))["account-2"] >= 3


def test_any_exception_is_the_failure_of_one_account(caplog: pytest.LogCaptureFixture) -> None:
    """A response that raises when accessed ends nothing."""

    def change(answer: Any) -> Any:
        return msgspec.structs.replace(answer, positions=None) if hasattr(answer, "positions") else answer

    with caplog.at_level(logging.CRITICAL):
        events, _ = watched(lambda _: None, change)

    assert {event.label for event in events_of(AccountFailed, events)} == {"account-0"}
    assert Counter(event.label for event in events_of(Reading, events))["account-1"] >= 3


def _with(answer: Any, **figures: Decimal) -> Any:
    """Return the response with other values in the fields that it has, or in its first position."""
    if hasattr(answer, "positions"):
        profit = figures.get("unrealized_profit")
        if profit is None or not answer.positions:
            return answer
        first = msgspec.structs.replace(answer.positions[0], unrealized_profit=profit, position_amt=Decimal(1))
        return msgspec.structs.replace(answer, positions=[first])
    return msgspec.structs.replace(answer, **{n: v for n, v in figures.items() if hasattr(answer, n)})


def picture_of(amount: str) -> AccountSnapshot:
    """Return an account all of whose values are that one, including those in responses."""
    value, read = Decimal(amount), responses("2")
    account: Any = read["account"].response
    odd = msgspec.structs.replace(account, uni_mmr=value, account_equity=value)
    return AccountSnapshot(
        label="odd",
        product="pm",
        responses={**read, "account": msgspec.structs.replace(read["account"], response=odd)},
        status=AccountStatus.NORMAL,
        uni_mmr=value,
        account_equity=value,
        account_maint_margin=value,
        unrealized_profit=value,
        age=1.0,
        interval=5.0,
        max_age=10.0,
        is_stale=False,
    )


@pytest.mark.parametrize("amount", [*WORSE, *EXTREMES])
def test_consumers_accept_any_value(amount: str) -> None:
    """Screen, sentences and JSON stay short and quick; other columns are kept."""
    odd, history = picture_of(amount), History()
    calm = msgspec.structs.replace(picture_of("2"), label="calm", account_equity=Decimal(123_456))
    reading = Reading(
        label="odd", at=0.0, responses=odd.responses, changed={"uni_mmr": Change(odd.uni_mmr, Decimal(1))}
    )
    line = ThresholdCrossed(label="odd", at=0.0, name="warn", threshold=Decimal(2), below=True, uni_mmr=Decimal(amount))
    began = time.perf_counter()

    history.receive(reading)
    text = draw(FleetState(at=1_800_000_000.0, accounts=[odd, calm]), history)

    assert any("123,456" in row for row in text[:24])
    assert all(len(describe_event(event)) < 1_000 for event in (reading, line))
    assert len(as_json(odd.responses["account"].response)) < 3_000
    subject = Target(label="odd", origin="here", api_key=Secret("k"), secret=Secret("s"))
    assert len(check_account(subject, {"account": odd.responses["account"].response}).finding) < 300
    assert time.perf_counter() - began < 2


async def test_a_failing_receiver_ends_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged with event and account, and other receivers get the event."""
    reading = Reading(label="odd", at=0.0, responses={}, changed={"uni_mmr": Change(None, object())})  # pyright: ignore[reportArgumentType] - implausible on purpose, as below
    status = StatusChanged(label="other", at=0.0, before=AccountStatus.NORMAL, after=AccountStatus.BANKRUPTED)
    received: list[FleetEvent] = []

    def fail_for_readings(event: FleetEvent) -> None:
        if isinstance(event, Reading):
            raise OverflowError
        received.append(event)

    async def events() -> AsyncIterator[FleetEvent]:
        yield reading
        yield status

    await dispatch(events(), [partial(print_event, as_json=True), fail_for_readings])

    assert received == [status]
    assert json.loads(capsys.readouterr().out)["type"] == "StatusChanged"
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["TypeError", "OverflowError"]


def test_an_event_that_cannot_be_written_is_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    """The publisher goes on, and reports that one event is missing."""
    publisher = Publisher("redis://127.0.0.1:1")
    publisher.receive(Reading(label="odd", at=5.0, responses={}, changed={"x": object()}))  # pyright: ignore[reportArgumentType]
    publisher.receive(StatusChanged(label="a", at=6.0, before=AccountStatus.NORMAL, after=AccountStatus.NORMAL))

    gap, event = map(msgspec.json.decode, publisher._outbox.take())

    assert (gap["type"], gap["readings"], gap["since"], event["type"]) == ("Gap", 1, 5.0, "StatusChanged")
    assert [record.name for record in caplog.records] == [publishing.__name__]


async def test_an_event_that_cannot_be_written_is_a_failure_of_the_hook() -> None:
    """The command does not run for that event, and runs for the next."""
    hook = Hook("/bin/true", kinds=["Reading", "StatusChanged"])
    async with hook.running():
        hook.receive(Reading(label="odd", at=5.0, responses={}, changed={"x": object()}))  # pyright: ignore[reportArgumentType]
        while hook.failures == 0:  # noqa: ASYNC110 - the hook signals nothing
            await asyncio.sleep(0.01)
        hook.receive(StatusChanged(label="a", at=6.0, before=AccountStatus.NORMAL, after=AccountStatus.NORMAL))
        while hook._queue or hook._busy:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)

    assert (hook.failures, hook.dropped) == (1, 0)


@pytest.mark.parametrize("amount", [json.loads(text) for text in ODD_AMOUNTS if "\\" not in text])
def test_an_odd_amount_in_a_published_event_is_refused(amount: str) -> None:
    """Entries of other programs have to keep the same bounds."""
    line = ThresholdCrossed(label="a", at=0.0, name="warn", threshold=Decimal(2), below=True, uni_mmr=Decimal(1))
    reading = Reading(label="a", at=0.0, responses={}, changed={"uni_mmr": Change(None, plain(Decimal("0E-8")))})
    for event, field in ((line, '"uni_mmr":"1"'), (reading, '"0.00000000"')):
        text = msgspec.json.encode(event).decode()
        assert field in text
        assert decode_event(text) == event
        odd = text.replace(
            field, field.rpartition('"1"')[0] + json.dumps(amount) if "mmr" in field else json.dumps(amount)
        )
        with pytest.raises(ValueError, match="expected an amount"):
            decode_event(odd)
