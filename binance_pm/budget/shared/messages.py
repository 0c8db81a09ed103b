"""What a process and the store of a shared budget tell each other.

The store keeps one `Ledger` for each pool, for every process behind the IP. A process holds weight of it for its calls:
it asks for as much as its waiting calls need, admits them by what it was granted, and tells how they ended. One
`Message` is one atomic step of the store.

All moments are of the store's clock. Whoever translates them errs to the safe side: a request left at the earliest, an
answer came at the latest. Minutes and bounds are of the exchange's clock, as everywhere.
"""

from __future__ import annotations

import msgspec

from binance_pm.limits import Priority


class Answered(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """A call was answered: see `Ledger.answer`."""

    weight: int
    used: int | None
    first: int
    """The earliest minute in which it can have been counted."""
    stop: int
    """The minute after the latest."""
    sent: float
    now: float
    is_probe: bool


class Lost(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A call left and got no answer: see `Ledger.lose`."""

    weight: int
    first: int
    stop: int
    known: float


class CallRefused(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The exchange refused a call: see `Ledger.refuse`."""

    first: int
    stop: int
    now: float
    full: bool


class Heavier(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Calls weigh more than was believed: see `Ledger.expect_heavier`."""

    times: float


class Returned(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """Weight that was granted is not needed: see `Ledger.cancel`."""

    weight: int
    priority: Priority


class OfflineUsage(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """What a process did in a minute without the store: see `Ledger.catch_up`."""

    minute: int
    used: int
    """The highest count that it heard; 0 where it heard none."""
    own: int
    """Answered weight that is proven to be in the minute."""


Event = Answered | Lost | CallRefused | Heavier | Returned | OfflineUsage


class Demand(msgspec.Struct, array_like=True, frozen=True):
    """Calls of one priority that want the same weight."""

    priority: Priority
    weight: int
    times: int
    """How many of them; each is granted or not."""
    can_wait: bool = True
    """Whether it keeps a place in the queue of processes; what is asked for in advance does not."""


class OriginReport(msgspec.Struct, array_like=True, frozen=True):
    """One host of the exchange, as the process knows it."""

    origin: str
    earliest: float
    """The exchange's clock when the message was sent; `latest` allows for the way of the message."""
    latest: float
    is_heard: bool
    """Whether an answer has told the exchange's clock; if not, the store takes what another process has told."""
    closed: float = 0.0
    """Seconds for which a refusal has closed the gate since the last message; 0 where none has."""
    banned: bool = False


class PoolReport(msgspec.Struct, array_like=True, frozen=True):
    """One pool: what happened, what the process holds, and what it wants."""

    pool: str
    host: int
    """The place of its host in the message."""
    limit: int
    """What the process was given, or has heard to hold."""
    held: int
    """The weight that the process has after the events: granted and unused, or on its way."""
    events: tuple[Event, ...] = ()
    demands: tuple[Demand, ...] = ()


class Message(msgspec.Struct, array_like=True, frozen=True):
    """What one process tells at once."""

    peer: str
    """Names the process; a new one after each start."""
    number: int
    """Counts the messages. One that was sent again, because no reply came, keeps its number: its events count once."""
    minute: float
    """Seconds of the exchange's minute."""
    lease: float
    """Seconds after which the process is taken for dead, and what it holds for lost."""
    origins: tuple[OriginReport, ...]
    pools: tuple[PoolReport, ...]


class OriginReply(msgspec.Struct, array_like=True, frozen=True):
    """One host, as all processes know it."""

    earliest: float
    """The exchange's clock at the moment of the reply."""
    latest: float
    is_heard: bool
    closed: float
    """Seconds until the gate opens; 0 where it is open."""
    banned: bool


class PoolReply(msgspec.Struct, array_like=True, frozen=True):
    """One pool, as all processes know it."""

    granted: tuple[int, ...]
    """Of each demand: how many times."""
    wait: float
    """Seconds after which to ask again for the first demand that was not granted whole; infinite where only an answer
    can make room, and then another process may have it."""
    holds_up: bool
    """Whether nobody behind it may use the pool meanwhile."""
    risen: tuple[int | None, ...]
    """Of each answer: what `Ledger.answer` returned."""
    processes: int
    """How many processes draw on the pool, this one included."""
    used: int
    in_flight: int
    """Weight that the processes hold together."""
    cap: float
    external: int
    for_polls: float
    misplaced: int
    limit: int
    """The smallest that any process was given."""


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """What the store answers."""

    now: float
    """The store's clock."""
    origins: tuple[OriginReply, ...]
    pools: tuple[PoolReply, ...]
