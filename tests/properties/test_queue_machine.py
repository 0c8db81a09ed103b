"""No waiting call is lost, served twice, overtaken by a call of its account, or starved by other accounts."""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from binance_pm.budget import LimitType, Pool, Priority, pool_of
from binance_pm.budget.queue import Line, Queue

# Shrinking a failing example takes long.
pytestmark = pytest.mark.timeout(600)

ACCOUNTS = "abc"
IP = pool_of("papi", LimitType.IP, origin="h", path="", key_id="")
UID = {name: pool_of("papi", LimitType.ORDERS, origin="h", path="", key_id=name) for name in ACCOUNTS}


Taker = tuple[Priority, str]
"""An account and a priority: each gets the same share, whatever its calls weigh."""


class WaitingCall(NamedTuple):
    """A waiting call."""

    ticket: int
    key_id: str
    weight: int
    priority: Priority
    pools: tuple[Pool, ...]
    is_requeued: bool


class Flow(NamedTuple):
    """Calls that are always served in the order of arrival."""

    priority: Priority
    pools: tuple[Pool, ...]
    weight: int
    account: str

    @property
    def taker(self) -> Taker:
        """The account and priority whose turns the calls use."""
        return self.priority, self.account


def flow_of(waiter: WaitingCall) -> Flow:
    """Return the flow of a call; orders of all accounts are one flow."""
    account = "" if waiter.priority is Priority.ORDER else waiter.key_id
    return Flow(waiter.priority, waiter.pools, waiter.weight, account)


class QueueMachine(RuleBasedStateMachine):
    """A queue, and lists of the calls that should wait in it."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue[WaitingCall]()
        self.in_turn = True
        self.waiting: dict[Flow, list[WaitingCall]] = {}
        self.heaviest: defaultdict[Taker, int] = defaultdict(int)
        self.ahead: defaultdict[tuple[Taker, Taker], int] = defaultdict(int)
        """Weight served to the first while both of them waited, less the weight served to the second."""
        self.tickets = count()

    @initialize(in_turn=st.sampled_from([True, True, False]))
    def begin(self, in_turn: bool) -> None:
        """Either every next call fits, or the pools of some lines are full."""
        self.in_turn = in_turn

    @rule(
        account=st.sampled_from(ACCOUNTS),
        weights=st.lists(st.sampled_from([1, 5, 20]), min_size=1, max_size=8),
        priority=st.sampled_from([Priority.ORDER, Priority.POLL, Priority.POLL, Priority.POLL, Priority.BACKGROUND]),
        is_counted=st.sampled_from([True, False, False]),
    )
    def add(self, account: str, weights: list[int], priority: Priority, is_counted: bool) -> None:
        """Add calls of one account, one behind the other."""
        pools = (IP, UID[account]) if is_counted else (IP,)
        for weight in weights:
            waiter = WaitingCall(next(self.tickets), account, weight, priority, pools, is_requeued=False)
            self._forgive(flow_of(waiter).taker, only_if_new=True)
            self.waiting.setdefault(flow_of(waiter), []).append(waiter)
            self.queue.add(waiter)

    @rule(
        account=st.sampled_from(ACCOUNTS),
        weight=st.sampled_from([1, 5, 20]),
        priority=st.sampled_from(Priority),
        is_counted=st.booleans(),
    )
    def come_back(self, account: str, weight: int, priority: Priority, is_counted: bool) -> None:
        """Add a refused call at the head of its account."""
        pools = (IP, UID[account]) if is_counted else (IP,)
        waiter = WaitingCall(next(self.tickets), account, weight, priority, pools, is_requeued=True)
        self._forgive(flow_of(waiter).taker)
        self.waiting.setdefault(flow_of(waiter), []).insert(0, waiter)
        self.queue.add(waiter)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Remove a waiting call; removing the call twice has no effect."""
        flow = data.draw(st.sampled_from(sorted(self.waiting)))
        waiter = data.draw(st.sampled_from(self.waiting[flow]))
        self._forget(waiter)

        assert self.queue.remove(waiter)
        assert not self.queue.remove(waiter)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), number=st.integers(1, 15))
    def serve(self, data: st.DataObject, number: int) -> None:
        """Serve the next calls, or the heads of any lines if other lines are blocked."""
        for _ in range(number):
            if self.waiting:
                heads = sorted(map(head_of, self.queue))
                self._serve(heads[0] if self.in_turn else data.draw(st.sampled_from(heads)))

    @rule()
    def clear_the_queue(self) -> None:
        """Clear the queue, as the child of a fork does."""
        self.queue.clear()
        self.waiting.clear()
        self.ahead.clear()

    @invariant()
    def all_calls_are_queued(self) -> None:
        """All calls that were added and not served are in the queue, and no line is empty."""
        wanted: defaultdict[tuple[Priority, Pool, int], list[WaitingCall]] = defaultdict(list)
        for flow, waiters in self.waiting.items():
            wanted[flow.priority, flow.pools[0], flow.weight] += waiters
        assert {(line.priority, line.pool, line.weight): sorted(line) for line in self.queue} == {
            key: sorted(waiters) for key, waiters in wanted.items()
        }
        assert (len(self.queue), bool(self.queue)) == (sum(map(len, wanted.values())), bool(wanted))

    def teardown(self) -> None:
        """Every call is served in the end."""
        while self.waiting:
            self._serve(min(map(head_of, self.queue)))
        assert list(self.queue) == []

    def _serve(self, head: Head) -> None:
        waiter, line = head.waiter, head.line
        flow = flow_of(waiter)
        assert waiter is self.waiting[flow][0]
        self.queue.serve(line)
        taker = flow.taker
        self.heaviest[taker] = max(self.heaviest[taker], waiter.weight)
        if waiter.is_requeued:
            # A requeued call had its turn before.
            self._forgive(taker)
            self._forget(waiter)
            return
        for other in {flow.taker for flow in self.waiting} - {taker}:
            if other[0] is taker[0]:
                self.ahead[taker, other] += waiter.weight
                self.ahead[other, taker] -= waiter.weight
                if self.in_turn:
                    assert self.ahead[taker, other] <= self.heaviest[taker] + self.heaviest[other]
        self._forget(waiter)

    def _forget(self, waiter: WaitingCall) -> None:
        flow = flow_of(waiter)
        self.waiting[flow].remove(waiter)
        if not self.waiting[flow]:
            del self.waiting[flow]

    def _forgive(self, taker: Taker, *, only_if_new: bool = False) -> None:
        """Reset the comparison: the account was not waiting, or a requeued call goes to its head."""
        if only_if_new and any(flow.taker == taker for flow in self.waiting):
            return
        for pair in [pair for pair in self.ahead if taker in pair]:
            del self.ahead[pair]


class Head(NamedTuple):
    """The head of a line, in the order in which a budget with enough weight serves."""

    priority: Priority
    starts: float
    ticket: int
    waiter: WaitingCall
    line: Line[WaitingCall]


def head_of(line: Line[WaitingCall]) -> Head:
    """Return the head of a line; no call of the line is passed over."""
    head = line.head()
    assert head is not None
    return Head(line.priority, head[0], head[1].ticket, head[1], line)


TestQueue: Any = QueueMachine.TestCase
TestQueue.settings = settings(
    # A busy machine is no failure.
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=150,
    stateful_step_count=40,
)
