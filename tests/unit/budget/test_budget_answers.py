"""What responses change: bans, counts, wrong weights, and the turn of the minute."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from binance_pm.budget import (
    Budget,
    Charge,
    LimitType,
    Pool,
    Priority,
    pool_of,
)
from binance_pm.budget.bans import read_bans
from binance_pm.doctor.limits import check_limits
from binance_pm.errors import BudgetExceeded, CallInfo, GateClosed
from tests.support.budget import HOST, IP, MINUTE, SAPI, budget_by, feedback
from tests.support.clocks import FakeClock


class TestBans:
    """No request is sent during a ban, even after a restart."""

    async def ban(self, budget: Budget, *, status: int = 418, pool: Pool = IP) -> None:
        """Make one call that is answered with a ban, or another refusal, of 300 seconds."""
        async with budget.reserve((Charge(pool, 1),), call=CallInfo("x", ""), max_wait=0) as reservation:
            reservation.mark_sent()
            reservation.settle(feedback(status, {"retry-after": "300"}))

    async def test_a_ban_that_ends_before_the_gate_opens_is_stored(self, clock: FakeClock, tmp_path: Path) -> None:
        """A refusal without a ban had closed the gate for longer."""
        budget = budget_by(clock, bans=tmp_path / "bans")
        async with (
            budget.reserve((Charge(IP, 1),), call=CallInfo("x", ""), max_wait=0) as refused,
            budget.reserve((Charge(SAPI, 1),), call=CallInfo("x", ""), max_wait=0) as banned,
        ):
            refused.mark_sent()
            banned.mark_sent()
            refused.settle(feedback(429, {"retry-after": "400"}, b""))
            banned.settle(feedback(418, {"retry-after": "300"}, b""))

        assert budget_by(clock, bans=tmp_path / "bans").gate(HOST).wait(clock.now) == pytest.approx(300, abs=1)

    async def test_a_new_budget_knows_the_rest_of_a_ban(self, clock: FakeClock, tmp_path: Path) -> None:
        """A stored ban counts until its end by the wall clock, as each process has its own monotonic clock."""
        await self.ban(budget_by(clock, bans=tmp_path / "bans"))
        clock.now += 100
        restarted = budget_by(clock, bans=tmp_path / "bans")

        assert (restarted.gate(HOST).wait(clock.now), restarted.gate(HOST).is_banned(clock.now)) == (200.0, True)
        clock.now += 200
        assert budget_by(clock, bans=tmp_path / "bans").gate(HOST).wait(clock.now) == 0.0

    async def test_errors_and_checks_say_where_a_ban_is_stored(
        self, clock: FakeClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The machine may have another IP after a while."""
        await self.ban(budget_by(clock, bans=tmp_path / "bans"))
        restarted = budget_by(clock, bans=tmp_path / "bans")

        with pytest.raises(GateClosed) as caught:
            await self.ban(restarted)

        advice = restarted.ban_advice(HOST)
        check = check_limits(restarted, {HOST: "papi"}, weight=0, is_heard=True)
        assert str(tmp_path / "bans") in advice
        assert all(advice.removesuffix(".") in text for text in (str(caught.value), caplog.text, check.advice))

    async def test_a_ban_of_this_machine_is_not_stored(self, clock: FakeClock, tmp_path: Path) -> None:
        """A restarted local exchange has no bans."""
        pool = Pool("http://127.0.0.1:9", "papi", LimitType.IP)
        budget = budget_by(clock, bans=tmp_path / "bans")
        await self.ban(budget, pool=pool)

        assert budget.gate(pool.origin).is_banned(clock.now)
        assert budget.ban_advice(pool.origin) == ""
        assert not (tmp_path / "bans").exists()

    async def test_a_ban_does_not_hold_for_another_egress_ip(self, clock: FakeClock, tmp_path: Path) -> None:
        """A proxy has its own IP, although the file is the same."""
        await self.ban(budget_by(clock, bans=tmp_path / "bans", egress="proxy:1"))

        assert budget_by(clock, bans=tmp_path / "bans").gate(HOST).wait(clock.now) == 0.0
        assert budget_by(clock, bans=tmp_path / "bans", egress="proxy:1").gate(HOST).wait(clock.now) == 300.0
        assert list(read_bans(tmp_path / "bans")) == [f"{HOST} by proxy:1"]

    async def test_a_429_is_not_stored(self, clock: FakeClock, tmp_path: Path) -> None:
        """Only bans are stored."""
        await self.ban(budget_by(clock, bans=tmp_path / "bans"), status=429)

        assert not (tmp_path / "bans").exists()


class TestOrderCount:
    """The count of one account's orders."""

    async def test_too_many_orders_fill_only_the_pool_of_that_account(self, clock: FakeClock) -> None:
        """Its next order waits for the minute, while the host and other accounts go on."""
        budget = budget_by(clock)
        clock.now = MINUTE + 30
        own, other = (pool_of("papi", LimitType.ORDERS, origin=HOST, path="", key_id=name) for name in "ab")
        async with budget.reserve((Charge(IP, 1), Charge(own, 1)), call=CallInfo("x", "a"), max_wait=0) as reservation:
            reservation.mark_sent()
            reservation.settle(feedback(429, {}, b'{"code":-1015,"msg":"Too many new orders."}'))

        assert budget.gate(HOST).wait(clock.now) == 0.0
        async with budget.reserve((Charge(IP, 1), Charge(other, 1)), call=CallInfo("x", "b"), max_wait=0):
            pass
        with pytest.raises(BudgetExceeded):
            await budget.reserve((Charge(own, 1),), call=CallInfo("x", "a"), max_wait=10).__aenter__()


class TestWarnings:
    """What the exchange's count shows about the declared weights."""

    async def test_a_weight_that_is_too_low_is_logged_when_seen_ten_times(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Calls in flight count for more from then on."""
        budget = budget_by(clock)
        await self.calls(budget, clock, weight=2, counted=6, number=10)
        early = caplog.text
        await self.calls(budget, clock, weight=2, counted=6, number=5, since=60)

        assert early == ""
        assert caplog.text.count("rises by 6 with each x, not by 2") == 1
        async with budget.reserve((Charge(IP, 200),), call=CallInfo("x", ""), priority=Priority.ORDER, max_wait=0):
            with pytest.raises(BudgetExceeded) as caught:
                await budget.reserve((Charge(IP, 400),), call=CallInfo("y", ""), max_wait=0).acquire()
            assert caught.value.wait == math.inf

    async def test_a_weight_that_is_too_high_is_logged_at_once(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """External usage cannot make a count rise by less."""
        await self.calls(budget_by(clock), clock, weight=6, counted=2, number=4)

        assert caplog.messages == ["x weighs 2 in IP /papi, not 6."]

    async def test_occasional_external_usage_is_not_taken_for_a_wrong_weight(
        self, clock: FakeClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The count has to rise by the same amount each time."""
        for number in range(12):
            await self.calls(budget_by(clock), clock, weight=2, counted=4 + number % 2, number=2)

        assert caplog.text == ""

    async def test_another_window_is_logged_once(self, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
        """With the consequence."""
        budget = budget_by(clock)
        await self.calls(budget, clock, weight=500, counted=500, number=1)
        clock.now += 5
        await self.calls(budget, clock, weight=2, counted=2, number=1)
        clock.now += 70
        await self.calls(budget, clock, weight=2, counted=2, number=3)

        assert caplog.text.count("its window is not the clock minute. Half of the limit is used") == 1

    @staticmethod
    async def calls(
        budget: Budget, clock: FakeClock, *, weight: int, counted: int, number: int, since: int = 0
    ) -> None:
        """Make calls one after the other, each of which raises the count by so much."""
        for done in range(1, number + 1):
            async with budget.reserve(
                (Charge(IP, weight),), call=CallInfo("x", ""), priority=Priority.ORDER, max_wait=0
            ) as one:
                one.mark_sent()
                clock.now += 0.01
                one.settle(feedback(200, {"x-mbx-used-weight-1m": str(since + done * counted)}, b"{}"))


class TestTurn:
    """Calls in flight while the exchange's minute turns."""

    async def test_a_lost_call_may_arrive_for_ten_seconds(self, clock: FakeClock) -> None:
        """A lost call counts in the new minute until a later count does not contain that call."""
        budget = budget_by(clock)
        clock.now = MINUTE + 55
        budget.observe_time(HOST, clock.now, clock.now, asked=clock.now)
        async with budget.reserve((Charge(IP, 60),), call=CallInfo("x", ""), max_wait=0) as lost:
            lost.mark_sent()
        used: list[int] = []
        for count, moment in ((1, 64.9), (2, 65.1)):
            clock.now = MINUTE + moment
            async with budget.reserve(
                (Charge(IP, 1),), call=CallInfo("x", ""), priority=Priority.ORDER, max_wait=0
            ) as later:
                later.mark_sent()
                later.settle(feedback(200, {"x-mbx-used-weight-1m": str(count)}, b"{}"))
            used.append(budget.snapshot()[0].used)

        assert used == [61, 2]

    async def test_a_count_of_a_slow_call_is_not_taken_for_the_new_minute(self, clock: FakeClock) -> None:
        """The count may include the call itself, and is otherwise of the minute before."""
        budget = budget_by(clock)
        clock.now = MINUTE + 59
        budget.observe_time(HOST, clock.now, clock.now, asked=clock.now)
        async with budget.reserve((Charge(IP, 60),), call=CallInfo("x", ""), max_wait=0) as slow:
            slow.mark_sent()
            clock.now += 2
            slow.settle(feedback(200, {"x-mbx-used-weight-1m": "900"}, b"{}"))

        assert budget.snapshot()[0].used == 60
