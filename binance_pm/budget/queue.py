"""The calls that wait for weight, and the order in which they are served.

Priorities are served in their order. Inside POLL and BACKGROUND, the accounts take turns by start-time fair queueing: a
virtual time advances with the weight served, and the next call of an account starts where its last one ended. So an
account with two hundred waiting calls gets the same share as one with a single call.

Calls that wait for the same weight of the same pool form one line: if the head finds no room in that pool, no call in
the line does. What a call needs of other pools, such as that of its account, holds up no other call.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from binance_pm.limits import Pool, Priority


class _Waiter(Protocol):
    """A call that may wait; `weight` is that in the first of its pools."""

    @property
    def priority(self) -> Priority: ...
    @property
    def pools(self) -> tuple[Pool, ...]: ...
    @property
    def weight(self) -> int: ...
    @property
    def key_id(self) -> str: ...
    @property
    def ticket(self) -> int: ...
    @property
    def is_requeued(self) -> bool: ...


W = TypeVar("W", bound=_Waiter)
_Key = tuple[str, tuple[Pool, ...]]


class _HeapEntry(NamedTuple):
    """The next call of a flow; `starts` is its virtual time."""

    starts: float
    ticket: int
    key: _Key


class _Flow(Generic[W]):
    """The calls of one account in a line that need the same pools, in the order of their arrival."""

    def __init__(self, entry: _HeapEntry) -> None:
        self.entry = entry
        self.waiters: Final[OrderedDict[int, W]] = OrderedDict()


_FEW: Final = 100
# The most weight by which an account falls behind the others, so that one heavy call does not blind it for long.
_MOST_DEBT: Final = 300


class Turns:
    """The virtual time of one priority in front of one pool, for calls of any weight."""

    def __init__(self) -> None:
        self.now: float = 0.0
        """The start of the call that was served last."""
        self._ends: dict[str, float] = {}
        """The end of the last served call of each account."""
        self._many = _FEW
        """From so many on, ends that have passed are removed."""

    def __len__(self) -> int:
        return len(self._ends)

    def end(self, key_id: str) -> float:
        """Return the end of the last served call of an account, if that is still to come."""
        return self._ends.get(key_id, 0.0)

    def next(self, key_id: str) -> float:
        """Return the start of a call of the account that arrives now."""
        return max(self.now, self.end(key_id))

    def serve(self, key_id: str, starts: float, weight: int) -> None:
        """Advance to the start of a call that is served now."""
        self.now = max(self.now, starts)
        # A requeued call starts before the turns that its account has had.
        self._ends[key_id] = min(max(self.now + weight, self.end(key_id)), self.now + _MOST_DEBT)
        if len(self._ends) > self._many:
            self._ends = {account: end for account, end in self._ends.items() if end > self.now}
            self._many = 2 * len(self._ends) + _FEW


class Line(Generic[W]):
    """The calls of one priority that wait for the same weight of the same pool, the first of the pools they need."""

    def __init__(self, priority: Priority, pool: Pool, weight: int, turns: Turns) -> None:
        self.priority: Final = priority
        self.pool: Final = pool
        self.weight: Final = weight
        self._turns: Final = turns
        self._flows: dict[_Key, _Flow[W]] = {}
        self._heap: list[_HeapEntry] = []
        """A heap; the entry of a flow that has left or advanced is skipped."""
        self._blocked: dict[Pool | None, list[_HeapEntry]] = {}
        """The entries of flows whose heads wait for room in another pool, or for the end of the round."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[W]:
        """Iterate over the calls, in no particular order."""
        return (waiter for flow in self._flows.values() for waiter in flow.waiters.values())

    def add(self, waiter: W) -> None:
        """Add a call."""
        key = self._key(waiter)
        self._count += 1
        flow = self._flows.get(key)
        # A requeued call comes before all calls whose turn it is now.
        starts = math.nextafter(self._turns.now, -math.inf) if waiter.is_requeued else self._turns.next(key[0])
        if flow is None:
            flow = self._flows[key] = _Flow(self._push(_HeapEntry(starts, waiter.ticket, key)))
        elif waiter.is_requeued:
            flow.entry = self._push(_HeapEntry(min(starts, flow.entry.starts), waiter.ticket, key))
        flow.waiters[waiter.ticket] = waiter
        if waiter.is_requeued:
            flow.waiters.move_to_end(waiter.ticket, last=False)

    def remove(self, waiter: W) -> bool:
        """Remove a call that was not served; return whether the call was in the line."""
        key = self._key(waiter)
        flow = self._flows.get(key)
        if flow is None or flow.waiters.pop(waiter.ticket, None) is None:
            return False
        self._count -= 1
        if not flow.waiters:
            del self._flows[key]
        elif waiter.ticket == flow.entry.ticket:
            # The next call may find room although the head did not.
            flow.entry = self._push(_HeapEntry(flow.entry.starts, next(iter(flow.waiters)), key))
        return True

    def head(self) -> tuple[float, W] | None:
        """Return the next call and its virtual start; None if all calls wait for something else."""
        while self._heap:
            entry = self._heap[0]
            flow = self._flows.get(entry.key)
            if flow is None or flow.entry is not entry:
                heappop(self._heap)
                continue
            waiter = next(iter(flow.waiters.values()))
            ended = self._turns.end(entry.key[0])
            if ended <= entry.starts or waiter.is_requeued:
                return entry.starts, waiter
            # The account was served in another line in the meantime.
            flow.entry = _HeapEntry(ended, waiter.ticket, entry.key)
            heapreplace(self._heap, flow.entry)
        return None

    def serve(self) -> None:
        """Remove the head, which is served; the other calls of its account wait for their next turn."""
        entry = heappop(self._heap)
        flow = self._flows[entry.key]
        account = entry.key[0]
        flow.waiters.popitem(last=False)
        self._count -= 1
        # Virtual time does not advance for orders: they are served in the order of arrival.
        self._turns.serve(account, entry.starts, 0 if self.priority is Priority.ORDER else self.weight)
        if flow.waiters:
            flow.entry = self._push(_HeapEntry(self._turns.next(account), next(iter(flow.waiters)), entry.key))
        else:
            del self._flows[entry.key]

    def pass_over(self, pool: Pool | None) -> None:
        """Skip the head until `resume` of the pool that it waits for; None stands for the rest of this round."""
        self._blocked.setdefault(pool, []).append(heappop(self._heap))

    def resume(self, pool: Pool | None) -> None:
        """Return the entries of the calls that wait for a pool, or for the end of the round."""
        for entry in self._blocked.pop(pool, ()):
            heappush(self._heap, entry)

    def resume_all(self) -> None:
        """Return the entries of all calls."""
        for pool in list(self._blocked):
            self.resume(pool)

    def _push(self, entry: _HeapEntry) -> _HeapEntry:
        if len(self._heap) > 2 * len(self._flows) + _FEW:
            self._heap = [flow.entry for flow in self._flows.values()]
            heapify(self._heap)
        heappush(self._heap, entry)
        return entry

    def _key(self, waiter: W) -> _Key:
        # Orders of all accounts are served in the order of arrival.
        return "" if self.priority is Priority.ORDER else waiter.key_id, waiter.pools


_MOST_TURNS: Final = 1000


class Queue(Generic[W]):
    """All lines of waiting calls."""

    def __init__(self) -> None:
        self.lines: Final[dict[tuple[Priority, Pool, int], Line[W]]] = {}
        """The lines that have waiting calls."""
        self._turns: dict[tuple[Priority, Pool], Turns] = {}
        """Kept for a while after the last call of a line, so that turns are remembered."""

    def __len__(self) -> int:
        return sum(map(len, self.lines.values()))

    def __iter__(self) -> Iterator[Line[W]]:
        """The lines that have waiting calls."""
        return iter(self.lines.values())

    def add(self, waiter: W) -> None:
        """Add a call to the line of its priority, pool and weight."""
        line = self.lines.get(_line_of(waiter))
        if line is None:
            line = self.lines[_line_of(waiter)] = self._new_line(waiter)
        line.add(waiter)

    def remove(self, waiter: W) -> bool:
        """Remove a call that was not served; return whether the call was waiting."""
        line = self.lines.get(_line_of(waiter))
        if line is None or not line.remove(waiter):
            return False
        self._close_empty(line)
        return True

    def serve(self, line: Line[W]) -> None:
        """Remove the head of a line, which is served."""
        line.serve()
        self._close_empty(line)

    def resume(self, pools: Iterable[Pool]) -> None:
        """Consider the calls again that were skipped because of one of the pools."""
        for pool in pools:
            for line in self.lines.values():
                line.resume(pool)

    def resume_all(self) -> None:
        """Consider all calls again."""
        for line in self.lines.values():
            line.resume_all()

    def clear(self) -> None:
        """Remove all calls."""
        self.lines.clear()
        self._turns.clear()

    def _new_line(self, waiter: W) -> Line[W]:
        priority, pool, weight = _line_of(waiter)
        if len(self._turns) >= _MOST_TURNS:
            waited_for = {key[:2] for key in self.lines}
            self._turns = {key: turns for key, turns in self._turns.items() if key in waited_for}
        turns = self._turns.get((priority, pool))
        if turns is None:
            turns = self._turns[priority, pool] = Turns()
        return Line(priority, pool, weight, turns)

    def _close_empty(self, line: Line[W]) -> None:
        if not line:
            del self.lines[line.priority, line.pool, line.weight]


def _line_of(waiter: _Waiter) -> tuple[Priority, Pool, int]:
    return waiter.priority, waiter.pools[0], waiter.weight
