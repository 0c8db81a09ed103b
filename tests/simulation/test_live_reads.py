"""The order and times of a live account's reads, in virtual time against a model exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest

from binance_pm.api.stream_events import RiskLevelChange, decode_event
from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import AuthenticationError, CallInfo, PortfolioMarginError, SessionClosed
from binance_pm.limits import LimitType
from binance_pm.stream.items import StreamDown
from binance_pm.stream.live import LiveAccount
from binance_pm.stream.parts import PARTS, chosen_parts, weight_of
from tests.simulation.live_account import ModelClient, ModelSession, ModelStream
from tests.simulation.live_exchange import ModelExchange
from tests.simulation.virtual import run
from tests.support.stream_messages import account_update

Request = tuple[float, str, str]
"""Time, account and endpoint of a request."""


class RecordingClient(ModelClient):
    """A client whose calls take a fixed time, are recorded, and fail only if told to."""

    def __init__(self, label: str, exchange: ModelExchange, session: ModelSession, log: list[Request]) -> None:
        super().__init__(Random(1), exchange, session, 0.0, label)
        self.log = log
        self.seconds = 0.1
        self.failures: dict[str, PortfolioMarginError] = {}
        self.answers: dict[str, Callable[[Any], Any]] = {}

    async def call(self, endpoint: Any, parameters: Mapping[str, Any], /) -> Any:
        """Call an endpoint."""
        self.log.append((self.session.monotonic(), self.label, endpoint.name))
        await asyncio.sleep(self.seconds)
        if (failure := self.failures.get(endpoint.name)) is not None:
            raise failure
        response = self._exchange.respond(endpoint.name, parameters, self._exchange.now)
        return self.answers.get(endpoint.name, lambda it: it)(response)


class Account:
    """One account of a desk."""

    def __init__(self, label: str, session: ModelSession, log: list[Request], options: dict[str, Any]) -> None:
        self.stream = ModelStream(Random(1), session.monotonic)
        self.exchange = ModelExchange(Random(1), session.monotonic, self.stream.push)
        self.client: Any = RecordingClient(label, self.exchange, session, log)
        whole: dict[str, Any] = {"parts": None, "symbols": None, "verify_every": 300.0} | options
        self.live = LiveAccount(self.client, self.stream.observed_by, jitter=lambda: 0.5, **whole)


class Desk:
    """Live accounts on one session."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.session = ModelSession(self.clock)
        self.log: list[Request] = []

    def account(self, label: str = "one", **options: Any) -> Account:
        """Add an account."""
        return Account(label, self.session, self.log, options)

    def names(self, label: str = "one") -> list[str]:
        """Return the requests of an account."""
        return [name for _, who, name in self.log if who == label]


def on_a_desk(body: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    """Run a test in virtual time."""

    async def main() -> None:
        await body(Desk())

    run(main)


class TestTiers:
    """The order of reads."""

    def test_nothing_is_read_before_the_stream_is_up(self) -> None:
        """No part is read before the stream is up, because changes until then would be missed."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"um.positions"})
            account.stream.comes_up_after = 5.0
            entering = asyncio.create_task(entered(account))
            await asyncio.sleep(4.9)
            assert desk.log == []
            await entering
            assert min(at for at, _, _ in desk.log) >= 5.0

        on_a_desk(body)

    def test_positions_come_before_orders_and_orders_before_risk(self) -> None:
        """The positions of an account are read before its orders, and its orders before its risk figures."""

        async def body(desk: Desk) -> None:
            async with desk.account().live:
                names = desk.names()
            assert names[:2] == ["um_account", "um.position_risk"]
            assert names.index("um.open_orders") > max(names.index("balance"), names.index("cm.position_risk"))
            assert names[-1] == "account"

        on_a_desk(body)

    def test_orders_of_an_account_wait_for_the_positions_of_all(self) -> None:
        """The orders of an account are read after the positions of all accounts."""

        async def body(desk: Desk) -> None:
            fast, slow = desk.account("fast"), desk.account("slow")
            slow.client.seconds = 3.0
            await asyncio.gather(entered(fast), entered(slow))

            slow_positions = max(
                at for at, who, name in desk.log if who == "slow" and name in {"balance", "cm_account"}
            )
            fast_orders = min(at for at, who, name in desk.log if who == "fast" and name == "um.open_orders")
            assert fast_orders >= slow_positions + 3.0

        on_a_desk(body)

    def test_an_account_that_cannot_be_read_delays_no_other_account(self) -> None:
        """Failed reads of an account are repeated after growing pauses, and delay no other account."""

        async def body(desk: Desk) -> None:
            good, bad = desk.account("good"), desk.account("bad")
            async with good.live, bad.live:
                bad.client.failures["um_account"] = refused()
                for one in (bad, good):
                    one.stream.rotate()
                begun = desk.clock()
                while not good.live.is_current:
                    await good.live.changed()
                assert desk.clock() - begun < 3
                assert not bad.live.is_current

        on_a_desk(body)

    def test_gap_after_gap_does_not_use_up_the_weight(self) -> None:
        """After the first two gaps, parts are read at once; after later gaps, they are read after growing pauses."""

        async def body(desk: Desk) -> None:
            account = desk.account(verify_every=1e6)
            async with account.live as live:
                begun, before = desk.clock(), len(desk.log)
                account.stream.rotate()
                await asyncio.sleep(0)
                while not live.is_current:
                    await live.changed()
                assert desk.clock() - begun < 3
                while desk.clock() - begun < 300:
                    account.stream.rotate()
                    await asyncio.sleep(0.05)
                assert used(desk.log[before:]) < 0.2 * 6000 / 60 * 300
                await asyncio.sleep(40)
                assert live.is_current

        on_a_desk(body)

    def test_an_event_from_the_future_is_read_and_not_merged(self) -> None:
        """An event from the future causes a read and is not merged, because no later event could replace it."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"um.positions"})
            async with account.live as live:
                size = {key: one.position_amt for key, one in live.positions.items()}
                message = account_update(253_402_300_000_000, positions={"BTCUSDT": "7"})
                live._observe(decode_event(msgspec.json.encode(message)))
                assert not live.is_current
                while not live.is_current:
                    await live.changed()
                assert {key: one.position_amt for key, one in live.positions.items()} == size

        on_a_desk(body)

    def test_an_account_that_is_down_is_waited_for_a_while(self) -> None:
        """After a mass drop, reads wait for a limited time for accounts that are still down."""

        async def body(desk: Desk) -> None:
            good, lost = desk.account("good"), desk.account("lost")
            async with good.live, lost.live:
                lost.stream.is_up = False
                lost.live._observe(down())
                good.stream.rotate()
                begun = desk.clock()
                while not good.live.is_current:
                    await good.live.changed()
                assert 59 < desk.clock() - begun < 63

        on_a_desk(body)


class TestRepeatedReads:
    """Reads that verify the account."""

    def test_confirm_the_account_and_go_on(self) -> None:
        """Parts are read again ten seconds later, and then every five minutes."""

        async def body(desk: Desk) -> None:
            async with desk.account(parts={"um.positions"}).live as live:
                assert not live.is_confirmed
                await asyncio.sleep(9)
                assert not live.is_confirmed
                await asyncio.sleep(3)
                assert live.is_confirmed
                await asyncio.sleep(330)
            times = [at for at, _, name in desk.log if name == "um_account"]
            assert len(times) == 3
            assert 300 <= times[2] - times[1] <= 331

        on_a_desk(body)

    def test_use_a_tenth_of_the_limit(self) -> None:
        """The interval of repeated reads grows with the number of accounts."""

        async def body(desk: Desk) -> None:
            accounts = [desk.account(f"{number}", verify_every=60.0) for number in range(40)]
            tasks = [asyncio.create_task(entered(account, 400.0)) for account in accounts]
            await asyncio.sleep(30)
            desk.log.clear()
            await asyncio.sleep(300)
            assert used(desk.log) <= 0.1 * 6000 / 60 * 300 + 250
            assert used(desk.log) >= 0.08 * 6000 / 60 * 300
            for task in tasks:
                task.cancel()

        on_a_desk(body)

    def test_notice_an_event_that_the_stream_has_lost(self) -> None:
        """If a read shows a change without an event, the stream reconnects 15 s later."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"um.positions", "um.orders"})
            async with account.live as live:
                account.stream.is_lossy = True
                account.exchange.place("um", "BTCUSDT", "unseen")
                account.stream.is_lossy = False
                await asyncio.sleep(26)
                assert account.stream.restarts == 0
                await asyncio.sleep(25)
                assert account.stream.restarts == 1
                await asyncio.sleep(25)
                assert live.is_current
                assert [order.client_order_id for order in live.open_orders] == ["unseen"]

        on_a_desk(body)

    def test_query_an_order_that_is_missing_from_the_list(self) -> None:
        """An order that is missing from the list is queried before it is dropped."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"um.orders"}, verify_every=20.0)
            async with account.live as live:
                account.exchange.place("um", "BTCUSDT", "mine")
                await asyncio.sleep(1)
                await account.stream.deliver()
                account.client.answers["um.open_orders"] = nothing
                await asyncio.sleep(40)
                assert "um.order" in desk.names()
                assert [order.client_order_id for order in live.open_orders] == ["mine"]

        on_a_desk(body)


class TestRisk:
    """The risk figures, which no event keeps current."""

    def test_are_read_until_the_state_is_normal(self) -> None:
        """The risk figures are read until the state is NORMAL, because a return to NORMAL is not pushed."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"risk"}, verify_every=1e6)
            async with account.live as live:
                await asyncio.sleep(20)
                account.client.answers["account"] = in_danger
                desk.log.clear()
                live._observe(risk_event())
                await asyncio.sleep(16)
                assert len(desk.log) == 4
                account.client.answers.clear()
                await asyncio.sleep(30)
                assert len(desk.log) == 5

        on_a_desk(body)


class TestLife:
    """Entering and leaving."""

    def test_entering_raises_what_another_attempt_would_not_cure(self) -> None:
        """Entering raises an error that another attempt would not cure, and does not wrap the error."""

        async def body(desk: Desk) -> None:
            account = desk.account()
            account.client.failures["um_account"] = refused()
            with pytest.raises(AuthenticationError):
                await entered(account)
            assert len(asyncio.all_tasks()) == 1

        on_a_desk(body)

    def test_an_error_of_the_block_is_not_wrapped(self) -> None:
        """An error of the block is raised unwrapped."""

        async def body(desk: Desk) -> None:
            with pytest.raises(ZeroDivisionError):
                async with desk.account().live:
                    raise ZeroDivisionError
            assert len(asyncio.all_tasks()) == 1

        on_a_desk(body)

    def test_leaving_ends_a_wait_for_changes(self) -> None:
        """Leaving the account ends a wait for changes."""

        async def body(desk: Desk) -> None:
            account = desk.account(parts={"um.positions"})
            async with account.live as live:
                await live.changed()
                waiting = asyncio.create_task(live.changed())
                await asyncio.sleep(0)
            with pytest.raises(SessionClosed):
                await waiting
            with pytest.raises(SessionClosed):
                await account.live.__aenter__()

        on_a_desk(body)


class TestParts:
    """The choice of parts."""

    def test_a_market_is_everything_of_it(self) -> None:
        """A market stands for all its parts and the risk figures."""
        assert chosen_parts({"um"}) == ("um.positions", "um.orders", "risk")
        assert chosen_parts(None) == tuple(PARTS)

    @pytest.mark.parametrize("parts", ["um", (), {"spot"}])
    def test_anything_else_is_refused(self, parts: Any) -> None:
        """An unknown part is refused."""
        with pytest.raises(ValueError, match="parts"):
            chosen_parts(parts)

    @pytest.mark.parametrize(("symbols", "weight"), [(None, 80), (range(40), 80), (range(39), 78), (range(1), 2)])
    def test_few_symbols_weigh_less(self, symbols: Collection[Any] | None, weight: int) -> None:
        """Below 40 symbols, queries by symbol weigh less than a list of all orders."""
        given = None if symbols is None else [str(one) for one in symbols]
        assert weight_of("um.orders", given) == weight

    def test_the_weight_of_a_resync(self) -> None:
        """The weight of a resync is the documented one."""
        assert weight_of("um.positions") == 10
        assert sum(weight_of(part) for part in PARTS) == 221


async def entered(account: Account, seconds: float = 0.0) -> None:
    """Enter a live account for a while."""
    async with account.live:
        await asyncio.sleep(seconds)


def used(log: list[Request]) -> int:
    """Return the weight of requests."""
    return sum(ENDPOINTS[name].poll_weights[LimitType.IP] for _, _, name in log)


def refused() -> AuthenticationError:
    """Return an error that another attempt does not cure."""
    return AuthenticationError(CallInfo("um_account"), "Invalid API-key.", status=401, code=-2015)


def nothing(_: Any) -> list[Any]:
    """Return an empty list instead of a response."""
    return []


def in_danger(account: Any) -> Any:
    """Return the risk figures with another state."""
    return msgspec.structs.replace(account, account_status=AccountStatus.MARGIN_CALL)


def down() -> StreamDown:
    """Return the report that a stream is down."""
    return StreamDown(since=0.0, why="test")


def risk_event() -> RiskLevelChange:
    """Return an event about risk."""
    one = Decimal(1)
    return RiskLevelChange(
        event_time=1,
        uni_mmr=one,
        level=AccountStatus.MARGIN_CALL,
        account_equity=one,
        actual_equity=one,
        maint_margin=one,
    )
