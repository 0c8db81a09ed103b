"""What the processes and the store of a shared budget send each other.

The store keeps one `Ledger` for each pool, for all processes behind the IP. A process holds weight of a pool for its
calls: it asks for what its waiting calls need, admits them by what was granted, and reports how they ended. One
`StoreMessage` is one atomic step of the store.

All times are of the store's clock, translated to the safe side: a request was sent at the earliest, a response came at
the latest possible time. Minutes and bounds are of the exchange's clock, as everywhere.
"""

from __future__ import annotations

import msgspec

from binance_pm.limits import Priority


class Answered(msgspec.Struct, array_like=True, frozen=True, tag=0):
    """A call got a response: see `PoolLedger.settle`."""

    weight: int
    used: int | None
    first: int
    """The earliest minute in which the call can have been counted."""
    stop: int
    """The minute after the latest."""
    sent: float
    now: float
    is_probe: bool


class Lost(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A call was sent and got no response: see `PoolLedger.settle_unknown`."""

    weight: int
    first: int
    stop: int
    known: float


class CallRefused(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The exchange refused a call: see `PoolLedger.observe_refusal`."""

    first: int
    stop: int
    now: float
    full: bool


class Heavier(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Calls weigh more than was assumed: see `PoolLedger.raise_weight_factor`."""

    times: float


class Returned(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """Leased weight is not needed: see `PoolLedger.release`."""

    weight: int
    priority: Priority


class OfflineUsage(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """What a process did in a minute without the store: see `Ledger.catch_up`."""

    minute: int
    used: int
    """The highest count in a header; 0 if there was none."""
    own: int
    """Settled weight that is proven to be in the minute."""


Event = Answered | Lost | CallRefused | Heavier | Returned | OfflineUsage


class Demand(msgspec.Struct, array_like=True, frozen=True):
    """Calls of one priority that want the same weight."""

    priority: Priority
    weight: int
    times: int
    """How many calls; each is granted or not."""
    can_wait: bool = True
    """Whether the demand keeps a place in the queue of processes; a demand in advance does not."""


class OriginReport(msgspec.Struct, array_like=True, frozen=True):
    """One origin of the exchange, as the process knows it."""

    origin: str
    earliest: float
    """The exchange's clock when the message was sent; `latest` allows for the latency of the message."""
    latest: float
    is_synchronised: bool
    """Whether a response has reported the exchange's time; if not, the store uses the report of another process."""
    closed: float = 0.0
    """Seconds for which a refusal has closed the gate since the last message; 0 if none has."""
    banned: bool = False


class PoolReport(msgspec.Struct, array_like=True, frozen=True):
    """One pool: what happened, what the process holds, and what it wants."""

    pool: str
    origin: int
    """The index of its origin in the message."""
    limit: int
    """The limit that the process was given, or that the store has reported."""
    held: int
    """The weight that the process has after the events: granted and unused, or in flight."""
    events: tuple[Event, ...] = ()
    demands: tuple[Demand, ...] = ()


class StoreMessage(msgspec.Struct, array_like=True, frozen=True):
    """The reports and demands of one process."""

    peer: str
    """Names the process; a new one after each start."""
    number: int
    """Counts the messages. A message that is repeated because no reply came keeps its number: its events count once."""
    minute: float
    """Seconds of the exchange's minute."""
    lease: float
    """Seconds after which the process counts as dead, and what it holds as lost."""
    origins: tuple[OriginReport, ...]
    pools: tuple[PoolReport, ...]


class OriginReply(msgspec.Struct, array_like=True, frozen=True):
    """One origin, as all processes know it."""

    earliest: float
    """The exchange's clock at the moment of the reply."""
    latest: float
    is_synchronised: bool
    closed: float
    """Seconds until the gate opens; 0 if the gate is open."""
    banned: bool


class PoolReply(msgspec.Struct, array_like=True, frozen=True):
    """One pool, as all processes know it."""

    granted: tuple[int, ...]
    """How many calls of each demand."""
    wait: float
    """Seconds after which to ask again for the first demand that was not granted in full; infinite if only a response
    can make room, maybe one of another process."""
    holds_up: bool
    """Whether no call behind that demand may use the pool meanwhile."""
    risen: tuple[int | None, ...]
    """The result of `PoolLedger.settle` for each response."""
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
    """The smallest limit of any process."""


class StoreReply(msgspec.Struct, array_like=True, frozen=True):
    """The store's answer to a message."""

    now: float
    """The store's clock."""
    origins: tuple[OriginReply, ...]
    pools: tuple[PoolReply, ...]
