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
        is_returning: bool = False,
    ) -> None:
        self.key_id = account
        self.weight = weight
        self.priority = priority
        self.pools = pools
        self.is_returning = is_returning
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


def test_accounts_take_turns() -> None:
    """An account with many waiting calls gets no more than one that sends its calls one by one."""
    assert "".join(served(queue_of(*map(WaitingCall, "aaaabbc")))) == "abcabaa"


def test_turns_are_by_weight() -> None:
    """An account with calls of four times the weight gets a fourth of the turns."""
    standing = queue_of(*(WaitingCall("heavy", 4) for _ in range(5)), *(WaitingCall("light") for _ in range(20)))

    order = served(standing, 15)

    assert (order.count("heavy"), order.count("light")) == (3, 12)


@pytest.mark.parametrize("priority", Priority)
def test_calls_of_an_account_are_served_in_the_order_of_arrival(priority: Priority) -> None:
    """No call overtakes one of the same account, whatever their weights."""
    waiters = [WaitingCall("a", weight, priority=priority) for weight in (5, 1, 9, 3)]
    standing = queue_of(*waiters)

    assert [served_next(standing) for _ in waiters] == waiters


def test_orders_of_all_accounts_are_served_in_the_order_of_arrival() -> None:
    """Accounts take no turns for orders: a later order would be worth less."""
    standing = queue_of(*(WaitingCall(account, priority=Priority.ORDER) for account in "aaabab"))

    assert "".join(served(standing)) == "aaabab"


def test_the_account_served_last_goes_behind_a_new_one() -> None:
    """An account gets no advantage by queueing one call at a time."""
    standing = queue_of(WaitingCall("a", 5), WaitingCall("b", 1))
    served(standing)
    for account in "ab":
        standing.add(WaitingCall(account))

    assert served(standing) == ["b", "a"]


def test_an_account_is_not_set_back_far_by_a_heavy_call() -> None:
    """The account waits for a few rounds, not until every other one has used as much."""
    standing = queue_of(WaitingCall("heavy", 3000), *(WaitingCall("other", 20) for _ in range(100)))
    served(standing, 1)
    standing.add(WaitingCall("heavy", 5))

    assert served(standing, 20).count("heavy") == 1


def test_idle_time_earns_no_turns() -> None:
    """An account that was idle for long gets its turns from now on, and none for the time before."""
    standing = queue_of(*(WaitingCall("busy") for _ in range(100)))
    served(standing, 50)
    for _ in range(10):
        standing.add(WaitingCall("silent"))

    assert served(standing, 10).count("silent") == 5


def test_a_returning_call_goes_to_the_head_of_its_account() -> None:
    """A refused call is not put behind calls of its account that came later."""
    standing = queue_of(*map(WaitingCall, "ab"))
    returning = WaitingCall("a", is_returning=True)
    standing.add(returning)

    assert first_of(standing)[0] is returning


def test_a_returning_call_is_next_in_a_line_without_its_account() -> None:
    """The call had its turn, and is not charged again before it is served again."""
    standing = queue_of(WaitingCall("a", 9), WaitingCall("b", 9), WaitingCall("b", 9), WaitingCall("b", 9))
    served(standing, 3)
    returning = WaitingCall("a", is_returning=True)
    standing.add(returning)

    assert first_of(standing)[0] is returning


def test_a_returning_call_keeps_the_earlier_usage_of_its_account() -> None:
    """A light call refused again and again does not let heavy calls of its account go first."""
    standing = queue_of(WaitingCall("a", 40), WaitingCall("b", 1))
    assert served(standing, 1) == ["a"]
    standing.add(WaitingCall("a", 1, is_returning=True))
    standing.add(WaitingCall("a", 40))
    for _ in range(20):
        standing.add(WaitingCall("b", 1))

    assert "".join(served(standing, 4)) == "abbb"


def test_a_removed_call_makes_room_for_the_next_of_its_account() -> None:
    """A cancelled call costs its account no turn."""
    first, second = WaitingCall("a"), WaitingCall("a")
    standing = queue_of(first, second, WaitingCall("b"))

    assert (standing.remove(first), first_of(standing)[0], len(standing)) == (True, second, 2)


def test_only_a_waiting_call_can_be_removed() -> None:
    """Not one that was removed before, and not one that was never added."""
    gone, stays = WaitingCall("a"), WaitingCall("a")
    standing = queue_of(gone, stays)
    standing.remove(gone)

    assert [standing.remove(waiter) for waiter in (gone, WaitingCall("a"), WaitingCall("b"))] == [False] * 3
    assert len(standing) == 1


def test_an_account_that_left_and_returned_has_one_place() -> None:
    """Its earlier place is passed over."""
    first = WaitingCall("a")
    standing = queue_of(first, WaitingCall("b"))
    standing.remove(first)
    standing.add(WaitingCall("a"))

    assert served(standing) == ["b", "a"]


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

    assert sum(map(len, standing._turns.values())) + sum(len(line._places) for line in standing) <= 300


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

    assert sum(len(line._places) for line in standing) <= 300
    assert served(standing) == [str(weight) for weight in range(1, 11)]


class TestQueue:
    """All lines in front of the pools."""

    def test_calls_with_equal_weight_pool_and_priority_share_a_line(self) -> None:
        """If one call of a line does not fit, no other does."""
        wishes = [((*PAPI, *pools_of("a")), 1), (PAPI, 1), (PAPI, 2), (pools_of("a"), 1)]
        queue = queue_of(
            *(
                WaitingCall("a", weight, priority=priority, pools=pools)
                for priority in Priority
                for pools, weight in wishes
            )
        )

        assert [(line.priority, line.pool, line.weight, len(line)) for line in queue] == [
            (priority, pool, weight, number)
            for priority in Priority
            for pool, weight, number in ((PAPI[0], 1, 2), (PAPI[0], 2, 1), (*pools_of("a"), 1, 1))
        ]
        assert (len(queue), bool(queue)) == (12, True)

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

    def test_a_call_that_does_not_wait_cannot_be_removed(self) -> None:
        """Neither from an empty queue nor from one with other calls."""
        queue = Queue[WaitingCall]()
        stranger = WaitingCall("a")
        nobody = queue.remove(stranger)
        queue.add(WaitingCall("a"))

        assert (nobody, queue.remove(stranger), len(queue)) == (False, False, 1)

    def test_an_empty_line_remembers_the_turns(self) -> None:
        """An account with single calls does not go first each time."""
        queue = queue_of(WaitingCall("a", 5))
        served_next(queue)
        for account in "ab":
            queue.add(WaitingCall(account))

        assert served(queue) == ["b", "a"]

    def test_clearing_removes_every_call(self) -> None:
        """After a fork the child has no waiting calls."""
        queue = Queue[WaitingCall]()
        queue.add(WaitingCall("a"))
        queue.clear()

        assert (len(queue), bool(queue), list(queue)) == (0, False, [])

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

    def test_accounts_take_turns_although_each_has_its_own_pool(self) -> None:
        """An account with a thousand served calls does not wait until another has caught up."""
        queue = Queue[WaitingCall]()
        for _ in range(1_000):
            queue.add(WaitingCall("old", pools=(*PAPI, *pools_of("old"))))
            served_next(queue)
        for account in ("old", "new"):
            for _ in range(20):
                queue.add(WaitingCall(account, pools=(*PAPI, *pools_of(account))))

        assert [served_next(queue).key_id for _ in range(20)].count("old") == pytest.approx(10, abs=1)

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
