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


class Waiter(Protocol):
    """A call that may wait."""

    @property
    def priority(self) -> Priority:
        """What the call is for."""
        ...

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools that the call draws on."""
        ...

    @property
    def weight(self) -> int:
        """The weight in the first of the pools."""
        ...

    @property
    def key_id(self) -> str:
        """The key id of the account."""
        ...

    @property
    def ticket(self) -> int:
        """The place in the order of arrival."""
        ...

    @property
    def is_returning(self) -> bool:
        """Whether the call was admitted before and refused: it goes to the head."""
        ...


W = TypeVar("W", bound=Waiter)
_Key = tuple[str, tuple[Pool, ...]]


class _Place(NamedTuple):
    """The place of an account's calls in their line."""

    starts: float
    """Virtual time."""
    ticket: int
    """The ticket of the call."""
    key: _Key


class _Flow(Generic[W]):
    """The calls of one account in a line that need the same pools, in the order of their arrival."""

    def __init__(self, place: _Place) -> None:
        self.place = place
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
        # A returning call starts before the turns that its account has had.
        self._ends[key_id] = min(max(self.now + weight, self.end(key_id)), self.now + _MOST_DEBT)
        if len(self._ends) > self._many:
            self._ends = {account: end for account, end in self._ends.items() if end > self.now}
            self._many = 2 * len(self._ends) + _FEW


class Line(Generic[W]):
    """The calls of one priority that wait for the same weight of the same pool.

    Args:
        priority: the priority of the calls.
        pool: the first of the pools that they draw on.
        weight: the weight of each call in that pool.
        turns: the virtual time of the priority in front of the pool.
    """

    def __init__(self, priority: Priority, pool: Pool, weight: int, turns: Turns) -> None:
        self.priority: Final = priority
        self.pool: Final = pool
        self.weight: Final = weight
        self._turns: Final = turns
        self._flows: dict[_Key, _Flow[W]] = {}
        self._places: list[_Place] = []
        """A heap; a place whose flow has left or advanced is skipped."""
        self._aside: dict[Pool | None, list[_Place]] = {}
        """The places of flows whose heads wait for room in another pool, or for the end of the round."""
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
        # A returning call comes before all calls whose turn it is now.
        starts = math.nextafter(self._turns.now, -math.inf) if waiter.is_returning else self._turns.next(key[0])
        if flow is None:
            flow = self._flows[key] = _Flow(self._stand(_Place(starts, waiter.ticket, key)))
        elif waiter.is_returning:
            flow.place = self._stand(_Place(min(starts, flow.place.starts), waiter.ticket, key))
        flow.waiters[waiter.ticket] = waiter
        if waiter.is_returning:
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
        elif waiter.ticket == flow.place.ticket:
            # The next call may find room although the head did not.
            flow.place = self._stand(_Place(flow.place.starts, next(iter(flow.waiters)), key))
        return True

    def head(self) -> tuple[float, W] | None:
        """Return the next call and its virtual start; None if all calls wait for something else."""
        while self._places:
            place = self._places[0]
            flow = self._flows.get(place.key)
            if flow is None or flow.place is not place:
                heappop(self._places)
                continue
            waiter = next(iter(flow.waiters.values()))
            ended = self._turns.end(place.key[0])
            if ended <= place.starts or waiter.is_returning:
                return place.starts, waiter
            # The account was served in another line in the meantime.
            flow.place = _Place(ended, waiter.ticket, place.key)
            heapreplace(self._places, flow.place)
        return None

    def serve(self) -> None:
        """Remove the head, which is served; the other calls of its account wait for their next turn."""
        place = heappop(self._places)
        flow = self._flows[place.key]
        account = place.key[0]
        flow.waiters.popitem(last=False)
        self._count -= 1
        # Virtual time does not advance for orders: they are served in the order of arrival.
        self._turns.serve(account, place.starts, 0 if self.priority is Priority.ORDER else self.weight)
        if flow.waiters:
            flow.place = self._stand(_Place(self._turns.next(account), next(iter(flow.waiters)), place.key))
        else:
            del self._flows[place.key]

    def pass_over(self, pool: Pool | None) -> None:
        """Skip the head until `resume` of the pool that it waits for; None stands for the rest of this round."""
        self._aside.setdefault(pool, []).append(heappop(self._places))

    def resume(self, pool: Pool | None) -> None:
        """Return the places of the calls that wait for a pool, or for the end of the round."""
        for place in self._aside.pop(pool, ()):
            heappush(self._places, place)

    def resume_all(self) -> None:
        """Return the places of all calls."""
        for pool in list(self._aside):
            self.resume(pool)

    def _stand(self, place: _Place) -> _Place:
        if len(self._places) > 2 * len(self._flows) + _FEW:
            self._places = [flow.place for flow in self._flows.values()]
            heapify(self._places)
        heappush(self._places, place)
        return place

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
        line = self.lines.get(_place_of(waiter))
        if line is None:
            line = self.lines[_place_of(waiter)] = self._new_line(waiter)
        line.add(waiter)

    def remove(self, waiter: W) -> bool:
        """Remove a call that was not served; return whether the call was waiting."""
        line = self.lines.get(_place_of(waiter))
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
        priority, pool, weight = _place_of(waiter)
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


def _place_of(waiter: Waiter) -> tuple[Priority, Pool, int]:
    return waiter.priority, waiter.pools[0], waiter.weight
