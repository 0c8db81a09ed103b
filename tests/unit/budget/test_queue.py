"""Which call is next: by priority, in turns of the accounts, in the order of arrival."""

from __future__ import annotations

import math
from itertools import count
from operator import itemgetter
from typing import ClassVar, cast

import pytest

from binance_pm.budget import LimitType, Pool, Priority, pool_of
from binance_pm.budget.queue import Line, Queue

PAPI = (pool_of("papi", LimitType.IP, origin="h", path="", key_id=""),)
_tickets = count()


class WaitingCall:
    """A waiting call."""

    def __init__(
        self,
        account: str,
        weight: int = 1,
        *,
        priority: Priority = Priority.POLL,
        pools: tuple[Pool, ...] = PAPI,
        is_requeued: bool = False,
    ) -> None:
        self.key_id = account
        self.weight = weight
        self.priority = priority
        self.pools = pools
        self.is_requeued = is_requeued
        self.ticket = next(_tickets)


def queue_of(*waiters: WaitingCall) -> Queue[WaitingCall]:
    """Return a queue to which the calls were added in this order."""
    made = Queue[WaitingCall]()
    for waiter in waiters:
        made.add(waiter)
    return made


def first_of(queue: Queue[WaitingCall]) -> tuple[WaitingCall, Line[WaitingCall]]:
    """Return the next call if all of them fit: by priority, turn and arrival."""
    heads = [(line.priority, head[0], head[1].ticket, head[1], line) for line in queue if (head := line.head())]
    *_, waiter, line = min(heads, key=itemgetter(0, 1, 2))
    return waiter, line


def served_next(queue: Queue[WaitingCall]) -> WaitingCall:
    """Serve the next call, as a budget with enough weight does."""
    waiter, line = first_of(queue)
    queue.serve(line)
    return waiter


def served(queue: Queue[WaitingCall], most: int = 1000) -> list[str]:
    """Return the accounts of the served calls, in order."""
    order: list[str] = []
    while queue and len(order) < most:
        order.append(served_next(queue).key_id)
    return order


def pools_of(account: str) -> tuple[Pool, ...]:
    """Return a pool that the exchange counts by account."""
    return (pool_of("papi", LimitType.ORDERS, origin="h", path="", key_id=account),)


def test_an_account_is_not_set_back_far_by_a_heavy_call() -> None:
    """The account waits for a few rounds, not until every other one has used as much."""
    standing = queue_of(WaitingCall("heavy", 3000), *(WaitingCall("other", 20) for _ in range(100)))
    served(standing, 1)
    standing.add(WaitingCall("heavy", 5))

    assert served(standing, 20).count("heavy") == 1


@pytest.mark.parametrize(("waiting", "times"), [("ab", 0), ("abbb", 3)])
def test_a_requeued_call_is_next(waiting: str, times: int) -> None:
    """The call had its turn, and is not charged again, whether or not other calls of its account wait."""
    standing = queue_of(*(WaitingCall(account, 9) for account in waiting))
    served(standing, times)
    requeued = WaitingCall("a", 9, is_requeued=True)
    standing.add(requeued)

    assert first_of(standing)[0] is requeued


def test_a_requeued_call_keeps_the_earlier_usage_of_its_account() -> None:
    """A light call refused again and again does not let heavy calls of its account go first."""
    standing = queue_of(WaitingCall("a", 40), WaitingCall("b", 1))
    assert served(standing, 1) == ["a"]
    standing.add(WaitingCall("a", 1, is_requeued=True))
    standing.add(WaitingCall("a", 40))
    for _ in range(20):
        standing.add(WaitingCall("b", 1))

    assert "".join(served(standing, 4)) == "abbb"


class Counted(float):
    """A weight that counts comparisons of the virtual times made from it."""

    compared: ClassVar[int] = 0

    def __add__(self, other: float) -> Counted:
        return Counted(float(self) + float(other))

    __radd__ = __add__

    def __lt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) < float(other)

    def __gt__(self, other: float) -> bool:
        Counted.compared += 1
        return float(self) > float(other)

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return float(self) == other

    __hash__ = float.__hash__


@pytest.mark.parametrize("accounts", [1, 100, 10_000])
def test_ten_thousand_calls_need_few_comparisons(accounts: int) -> None:
    """A step costs the logarithm of the calls of a line, however many accounts they belong to."""
    number, weights = 10_000, 7
    Counted.compared = 0
    standing = queue_of(*(WaitingCall(str(n % accounts), cast("int", Counted(1 + n % weights))) for n in range(number)))

    served(standing, number)

    assert Counted.compared > 0 or accounts == 1
    assert Counted.compared < 2 * weights * number * math.log2(number)


def test_old_turns_are_forgotten() -> None:
    """Memory does not grow with past accounts, whether their calls were served or removed."""
    standing = queue_of()
    for number in range(5_000):
        for account in (f"served {number}", "always"):
            standing.add(WaitingCall(account))
        leaves = WaitingCall(f"left {number}")
        standing.add(leaves)
        standing.remove(leaves)
        served(standing)

    assert sum(map(len, standing._turns.values())) + sum(len(line._heap) for line in standing) <= 300


def test_removed_calls_leave_nothing_behind() -> None:
    """Removed places are cleared, and the turns of the waiting calls stay."""
    standing = queue_of(*(WaitingCall(str(weight), weight) for weight in range(10, 0, -1)))
    served(standing, 10)
    for weight in range(10, 0, -1):
        standing.add(WaitingCall(str(weight)))
    for number in range(5_000):
        leaves = WaitingCall(f"left {number}")
        standing.add(leaves)
        standing.remove(leaves)

    assert sum(len(line._heap) for line in standing) <= 300
    assert served(standing) == [str(weight) for weight in range(1, 11)]


class TestQueue:
    """All lines in front of the pools."""

    def test_a_call_that_waits_for_another_pool_is_passed_over(self) -> None:
        """The other calls of the line go on, and the call keeps its place."""
        busy, other = (WaitingCall(account, pools=(*PAPI, *pools_of(account))) for account in ("busy", "other"))
        queue = queue_of(busy, other)
        line = first_of(queue)[1]
        line.pass_over(*pools_of("busy"))

        assert line.head() == (0.0, other)

        queue.resume(pools_of("other"))
        assert line.head() == (0.0, other)

        queue.resume(pools_of("busy"))
        assert line.head() == (0.0, busy)

    def test_a_line_may_have_no_head(self) -> None:
        """All its calls wait for something else, until the round ends or all are checked again."""
        queue = queue_of(*(WaitingCall(account, pools=(*PAPI, *pools_of(account))) for account in "ab"))
        line = first_of(queue)[1]
        line.pass_over(None)
        line.pass_over(*pools_of("b"))

        assert (line.head(), len(line)) == (None, 2)

        line.resume(None)
        assert served_next(queue).key_id == "a"
        assert line.head() is None

        queue.resume_all()
        assert served_next(queue).key_id == "b"

    def test_the_call_behind_a_removed_one_is_checked(self) -> None:
        """After a call that waited for another pool was cancelled, the next of its account may fit."""
        first, second = (WaitingCall("a", pools=(*PAPI, *pools_of("a"))) for _ in range(2))
        queue = queue_of(first, second)
        line = first_of(queue)[1]
        line.pass_over(*pools_of("a"))
        queue.remove(first)

        assert first_of(queue)[0] is second

        queue.resume_all()
        assert [served_next(queue), bool(queue)] == [second, False]

    def test_an_empty_line_remembers_the_turns(self) -> None:
        """An account with single calls does not go first each time."""
        queue = queue_of(WaitingCall("a", 5))
        served_next(queue)
        for account in "ab":
            queue.add(WaitingCall(account))

        assert served(queue) == ["b", "a"]

    def test_orders_of_all_lines_are_served_in_the_order_of_arrival(self) -> None:
        """An account that trades a lot is not put behind a new one."""
        queue = Queue[WaitingCall]()
        for number in range(100):
            queue.add(WaitingCall("trader", 3, priority=Priority.ORDER, pools=(*PAPI, *pools_of("trader"))))
            assert served_next(queue).key_id == "trader", number
        waiters = [
            WaitingCall(account, priority=Priority.ORDER, pools=(*PAPI, *pools_of(account)))
            for account in ("trader", "new", "new", "trader", "new")
        ]
        for waiter in waiters:
            queue.add(waiter)

        assert [served_next(queue) for _ in waiters] == waiters

    def test_empty_lines_are_forgotten(self) -> None:
        """Memory does not grow with the pools that calls have waited for."""
        queue = Queue[WaitingCall]()
        for number in range(5_000):
            waiter = WaitingCall("a", pools=pools_of(str(number)))
            queue.add(waiter)
            queue.remove(waiter)

            queue.add(WaitingCall("a", pools=pools_of(str(number))))
            served_next(queue)

        assert (len(queue), list(queue)) == (0, [])
        assert len(queue._turns) <= 1_000
