"""Who waits for weight, and in which order they are served.

Lanes are served in their order. Inside the lanes of polls and of history the accounts take turns by start-time fair
queueing: a virtual time moves with the weight served, and an account's next call starts where its last one ended. So
an account with two hundred calls waiting gets the same share as one with a single call. Lines in front of the same pool
share its virtual time: nobody waits until another line has caught up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from binance_pm.budget.lanes import Lane
from binance_pm.budget.pools import Pool


class Waiter(Protocol):
    """A call that may wait."""

    @property
    def lane(self) -> Lane:
        """What it is for."""
        ...

    @property
    def pools(self) -> tuple[Pool, ...]:
        """What it needs weight in."""
        ...

    @property
    def weight(self) -> int:
        """What it costs in the first of its pools."""
        ...

    @property
    def account(self) -> str:
        """Whose call it is."""
        ...

    @property
    def ticket(self) -> int:
        """Its place in the order of arrival."""
        ...

    @property
    def is_returning(self) -> bool:
        """Whether it was served before and refused: it goes to the head."""
        ...


W = TypeVar("W", bound=Waiter)


class _Place(NamedTuple):
    """Where an account stands in its line."""

    starts: float
    ticket: int
    account: str


class _Flow(Generic[W]):
    """The calls of one account in a line, in the order of their arrival."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.waiters: Final[OrderedDict[int, W]] = OrderedDict()


_FEW: Final = 100


class Line(Generic[W]):
    """Those of one lane that wait for the same pools."""

    def __init__(self, lane: Lane, pools: tuple[Pool, ...]) -> None:
        self.lane: Final = lane
        self.pools: Final = pools
        self._now = 0.0
        """Virtual time: where the call that was served last started."""
        self._ends: dict[str, float] = {}
        """Where the last served call of an account ended."""
        self._many = _FEW
        """How many of them are looked through for those that have passed."""
        self._flows: dict[str, _Flow[W]] = {}
        self._places: list[_Place] = []
        """A heap; a place whose account has left or moved on is passed over."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiter: W) -> None:
        """Stand in line."""
        account = self._account(waiter)
        self._count += 1
        flow = self._flows.get(account)
        if flow is None:
            starts = self._now if waiter.is_returning else max(self._now, self._ends.get(account, 0.0))
            flow = self._flows[account] = self._stand(_Place(starts, waiter.ticket, account))
        flow.waiters[waiter.ticket] = waiter
        if waiter.is_returning:
            flow.waiters.move_to_end(waiter.ticket, last=False)

    def remove(self, waiter: W) -> bool:
        """Leave without having been served; False where it does not stand here."""
        account = self._account(waiter)
        flow = self._flows.get(account)
        if flow is None or flow.waiters.pop(waiter.ticket, None) is None:
            return False
        self._count -= 1
        if not flow.waiters:
            del self._flows[account]
        return True

    def head(self) -> tuple[float, W]:
        """Who is next, and at which virtual time it starts."""
        while True:
            place = self._places[0]
            flow = self._flows.get(place.account)
            if flow is not None and flow.place is place:
                return place.starts, next(iter(flow.waiters.values()))
            heappop(self._places)

    def some(self, most: int) -> Iterator[W]:
        """The head, and others behind it in no certain order."""
        head = self.head()[1]
        behind = (waiter for flow in self._flows.values() for waiter in flow.waiters.values() if waiter is not head)
        return chain([head], islice(behind, most - 1))

    def serve(self, reached: float = 0.0) -> float:
        """Let the head go; the rest of its account waits for its next turn.

        Args:
            reached: virtual time of the pools, where it is later than the line's own.

        Returns:
            The virtual time at which it started.
        """
        starts, waiter = self.head()
        starts = max(starts, reached)
        account = heappop(self._places).account
        self.remove(waiter)
        self._now = starts
        # Virtual time stands still for orders: those of all lines are served in the order of their arrival.
        weight = 0 if self.lane is Lane.ORDERS else waiter.weight
        # Who returned started before the turns that its account has had.
        self._ends[account] = max(starts + weight, self._ends.get(account, 0.0))
        if flow := self._flows.get(account):
            flow.place = _Place(self._ends[account], next(iter(flow.waiters)), account)
            heappush(self._places, flow.place)
        if len(self._ends) > self._many:
            self._ends = {account: end for account, end in self._ends.items() if end > starts}
            self._many = 2 * len(self._ends) + _FEW
        return starts

    def _stand(self, place: _Place) -> _Flow[W]:
        if len(self._places) > 2 * len(self._flows) + _FEW:
            self._places = [flow.place for flow in self._flows.values()]
            heapify(self._places)
        heappush(self._places, place)
        return _Flow(place)

    def _account(self, waiter: W) -> str:
        # Orders are served in the order of their arrival, whosesoever they are.
        return "" if self.lane is Lane.ORDERS else waiter.account


_Key = tuple[Lane, tuple[Pool, ...]]
_MOST_IDLE: Final = 1000


class Queue(Generic[W]):
    """Every line in front of the pools."""

    def __init__(self) -> None:
        self._lines: dict[_Key, Line[W]] = {}
        self._idle: dict[_Key, Line[W]] = {}
        """Lines in which nobody waits now: they know whose turn it was."""
        self._reached: dict[tuple[Lane, Pool], float] = {}
        """Virtual time: where the call that was served last of a pool started."""

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Line[W]]:
        """The lines in which somebody waits."""
        return iter(self._lines.values())

    def add(self, waiter: W) -> None:
        """Stand in the line of its lane and pools."""
        key = waiter.lane, waiter.pools
        line = self._lines.get(key)
        if line is None:
            # An empty line is false.
            line = self._idle.pop(key, None)
            line = self._lines[key] = Line(*key) if line is None else line
        line.add(waiter)

    def remove(self, waiter: W) -> bool:
        """Leave without having been served; False where it does not wait."""
        line = self._lines.get((waiter.lane, waiter.pools))
        if line is None or not line.remove(waiter):
            return False
        self._rest(line)
        return True

    def serve(self, line: Line[W]) -> None:
        """Let the head of a line go."""
        keys = [(line.lane, pool) for pool in line.pools]
        starts = line.serve(max(self._reached.get(key, 0.0) for key in keys))
        self._reached.update(dict.fromkeys(keys, starts))
        self._rest(line)

    def clear(self) -> None:
        """Forget everybody."""
        self._lines.clear()
        self._idle.clear()
        self._reached.clear()

    def _rest(self, line: Line[W]) -> None:
        if line:
            return
        del self._lines[line.lane, line.pools]
        if len(self._idle) >= _MOST_IDLE:
            self._idle.clear()
            self._reached.clear()
        self._idle[line.lane, line.pools] = line
