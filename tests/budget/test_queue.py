"""Who is next: by priority, in turns of the accounts, in the order of arrival."""

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
    """A call that waits."""

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
    """A queue to which they have come in this order."""
    made = Queue[WaitingCall]()
    for waiter in waiters:
        made.add(waiter)
    return made


def first_of(queue: Queue[WaitingCall]) -> tuple[WaitingCall, Line[WaitingCall]]:
    """Who is next where everybody has room: by priority, turn and arrival."""
    heads = [(line.priority, head[0], head[1].ticket, head[1], line) for line in queue if (head := line.head())]
    *_, waiter, line = min(heads, key=itemgetter(0, 1, 2))
    return waiter, line


def served_next(queue: Queue[WaitingCall]) -> WaitingCall:
    """Serve as a budget with room for everybody does."""
    waiter, line = first_of(queue)
    queue.serve(line)
    return waiter


def served(queue: Queue[WaitingCall], most: int = 1000) -> list[str]:
    """Whose calls are served, in their order."""
    order: list[str] = []
    while queue and len(order) < most:
        order.append(served_next(queue).key_id)
    return order


def pools_of(account: str) -> tuple[Pool, ...]:
    """A pool that the exchange counts by account."""
    return (pool_of("papi", LimitType.ORDERS, origin="h", path="", key_id=account),)


def test_accounts_take_turns() -> None:
    """Who has many calls waiting gets no more than who has one after the other."""
    assert "".join(served(queue_of(*map(WaitingCall, "aaaabbc")))) == "abcabaa"


def test_turns_are_by_weight() -> None:
    """An account whose calls weigh four times as much has a fourth of the turns."""
    standing = queue_of(*(WaitingCall("heavy", 4) for _ in range(5)), *(WaitingCall("light") for _ in range(20)))

    order = served(standing, 15)

    assert (order.count("heavy"), order.count("light")) == (3, 12)


@pytest.mark.parametrize("priority", Priority)
def test_calls_of_an_account_are_served_in_the_order_of_arrival(priority: Priority) -> None:
    """Nobody overtakes a call of the same account, whatever either weighs."""
    waiters = [WaitingCall("a", weight, priority=priority) for weight in (5, 1, 9, 3)]
    standing = queue_of(*waiters)

    assert [served_next(standing) for _ in waiters] == waiters


def test_orders_are_served_in_the_order_of_arrival_whosesoever_they_are() -> None:
    """Accounts do not take turns there: an order that came later would be worth less."""
    standing = queue_of(*(WaitingCall(account, priority=Priority.ORDER) for account in "aaabab"))

    assert "".join(served(standing)) == "aaabab"


def test_who_was_served_last_goes_behind_who_comes_new() -> None:
    """An account cannot get ahead by standing in line with one call at a time."""
    standing = queue_of(WaitingCall("a", 5), WaitingCall("b", 1))
    served(standing)
    for account in "ab":
        standing.add(WaitingCall(account))

    assert served(standing) == ["b", "a"]


def test_an_account_is_not_left_behind_for_a_heavy_call() -> None:
    """It waits for a few rounds of the others, and not until each of them has used as much."""
    standing = queue_of(WaitingCall("heavy", 3000), *(WaitingCall("other", 20) for _ in range(100)))
    served(standing, 1)
    standing.add(WaitingCall("heavy", 5))

    assert served(standing, 20).count("heavy") == 1


def test_nothing_is_saved_up_by_not_calling() -> None:
    """An account that was silent for long gets its turns from now on, and none for the time before."""
    standing = queue_of(*(WaitingCall("busy") for _ in range(100)))
    served(standing, 50)
    for _ in range(10):
        standing.add(WaitingCall("silent"))

    assert served(standing, 10).count("silent") == 5


def test_who_returns_goes_to_the_head_of_its_account() -> None:
    """A call that was served and refused is not put behind those that came after it."""
    standing = queue_of(*map(WaitingCall, "ab"))
    returning = WaitingCall("a", is_returning=True)
    standing.add(returning)

    assert first_of(standing)[0] is returning


def test_who_returns_to_a_line_without_its_account_is_next() -> None:
    """It had its turn once, and is not charged for it before it is served again."""
    standing = queue_of(WaitingCall("a", 9), WaitingCall("b", 9), WaitingCall("b", 9), WaitingCall("b", 9))
    served(standing, 3)
    returning = WaitingCall("a", is_returning=True)
    standing.add(returning)

    assert first_of(standing)[0] is returning


def test_who_returns_is_not_forgiven_what_it_was_served_before() -> None:
    """A light call that is refused again and again does not let the heavy ones of its account go first."""
    standing = queue_of(WaitingCall("a", 40), WaitingCall("b", 1))
    assert served(standing, 1) == ["a"]
    standing.add(WaitingCall("a", 1, is_returning=True))
    standing.add(WaitingCall("a", 40))
    for _ in range(20):
        standing.add(WaitingCall("b", 1))

    assert "".join(served(standing, 4)) == "abbb"


def test_who_leaves_makes_room_for_the_next_of_its_account() -> None:
    """A cancelled call costs its account no turn."""
    first, second = WaitingCall("a"), WaitingCall("a")
    standing = queue_of(first, second, WaitingCall("b"))

    assert (standing.remove(first), first_of(standing)[0], len(standing)) == (True, second, 2)


def test_who_has_left_cannot_leave_again() -> None:
    """Neither can who was served, and who never stood there."""
    gone, stays = WaitingCall("a"), WaitingCall("a")
    standing = queue_of(gone, stays)
    standing.remove(gone)

    assert [standing.remove(waiter) for waiter in (gone, WaitingCall("a"), WaitingCall("b"))] == [False] * 3
    assert len(standing) == 1


def test_an_account_that_left_and_came_back_has_one_place() -> None:
    """The place that it left behind is passed over."""
    first = WaitingCall("a")
    standing = queue_of(first, WaitingCall("b"))
    standing.remove(first)
    standing.add(WaitingCall("a"))

    assert served(standing) == ["b", "a"]


class Counted(float):
    """A weight that counts how often virtual times made of it are compared."""

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
def test_ten_thousand_wait_without_many_comparisons(accounts: int) -> None:
    """It costs the logarithm of those who wait in each line, however many accounts they are of."""
    number, weights = 10_000, 7
    Counted.compared = 0
    standing = queue_of(*(WaitingCall(str(n % accounts), cast("int", Counted(1 + n % weights))) for n in range(number)))

    served(standing, number)

    assert Counted.compared > 0 or accounts == 1
    assert Counted.compared < 2 * weights * number * math.log2(number)


def test_turns_of_long_ago_are_forgotten() -> None:
    """Memory does not grow with the accounts that have called, whether they were served or left."""
    standing = queue_of()
    for number in range(5_000):
        for account in (f"served {number}", "always"):
            standing.add(WaitingCall(account))
        leaves = WaitingCall(f"left {number}")
        standing.add(leaves)
        standing.remove(leaves)
        served(standing)

    assert sum(map(len, standing._turns.values())) + sum(len(line._places) for line in standing) <= 300


def test_who_comes_and_leaves_leaves_nothing_behind_those_who_wait() -> None:
    """Places that were given up are cleared away, and the turns of the others stay what they were."""
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
    """Every line in front of the pools."""

    def test_those_with_the_same_wish_stand_in_one_line(self) -> None:
        """For the same weight of the same pool, for the same purpose: what finds no room for one finds none for all."""
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

    def test_who_waits_for_another_pool_is_passed_over_until_it_has_room(self) -> None:
        """The others of the line go on, and its place is kept."""
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
        """Everybody in it waits for something else, until the round is over or all are looked at again."""
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

    def test_who_comes_after_one_that_left_is_looked_at(self) -> None:
        """The call that waited for another pool is cancelled: the next of its account may find room."""
        first, second = (WaitingCall("a", pools=(*PAPI, *pools_of("a"))) for _ in range(2))
        queue = queue_of(first, second)
        line = first_of(queue)[1]
        line.pass_over(*pools_of("a"))
        queue.remove(first)

        assert first_of(queue)[0] is second

        queue.resume_all()
        assert [served_next(queue), bool(queue)] == [second, False]

    def test_who_does_not_wait_cannot_leave(self) -> None:
        """Neither where others wait, nor where nobody does."""
        queue = Queue[WaitingCall]()
        stranger = WaitingCall("a")
        nobody = queue.remove(stranger)
        queue.add(WaitingCall("a"))

        assert (nobody, queue.remove(stranger), len(queue)) == (False, False, 1)

    def test_an_empty_line_knows_whose_turn_it_was(self) -> None:
        """An account whose calls come one by one does not go first each time."""
        queue = queue_of(WaitingCall("a", 5))
        served_next(queue)
        for account in "ab":
            queue.add(WaitingCall(account))

        assert served(queue) == ["b", "a"]

    def test_everybody_is_forgotten(self) -> None:
        """A process that begins anew has nobody waiting."""
        queue = Queue[WaitingCall]()
        queue.add(WaitingCall("a"))
        queue.clear()

        assert (len(queue), bool(queue), list(queue)) == (0, False, [])

    def test_orders_of_all_lines_are_served_in_the_order_of_arrival(self) -> None:
        """An account that trades a lot is not put behind one that has just begun."""
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

    def test_accounts_take_turns_though_each_has_a_pool_of_its_own(self) -> None:
        """Whoever was served a thousand times does not wait until another has caught up."""
        queue = Queue[WaitingCall]()
        for _ in range(1_000):
            queue.add(WaitingCall("old", pools=(*PAPI, *pools_of("old"))))
            served_next(queue)
        for account in ("old", "new"):
            for _ in range(20):
                queue.add(WaitingCall(account, pools=(*PAPI, *pools_of(account))))

        assert [served_next(queue).key_id for _ in range(20)].count("old") == pytest.approx(10, abs=1)

    def test_the_lines_of_nobody_are_forgotten(self) -> None:
        """Memory does not grow with the pools that were waited for."""
        queue = Queue[WaitingCall]()
        for number in range(5_000):
            waiter = WaitingCall("a", pools=pools_of(str(number)))
            queue.add(waiter)
            queue.remove(waiter)

            queue.add(WaitingCall("a", pools=pools_of(str(number))))
            served_next(queue)

        assert (len(queue), list(queue)) == (0, [])
        assert len(queue._turns) <= 1_000
