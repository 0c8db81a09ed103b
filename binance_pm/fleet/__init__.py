"""Many accounts watched at once on one budget: `Fleet`, what it tells, and the accounts file.

`accounts` reads the file and `keys` what it refers to; `pace` says how often each account is read, `lines` when one is
crossed, `watched` what the news of an account mean, and `events` how they are told; `backlog` carries them, `watch`
schedules the readings, `fleet` joins it all, `shard` splits the accounts among processes, and `forecast` says
beforehand how often they would be read. `publish` appends the events to a stream for other programs, `subscribe` reads
it, and `entries` says what stands there.
"""

from __future__ import annotations

from binance_pm.fleet.events import (
    AccountFailed,
    AccountSnapshot,
    BudgetTight,
    Change,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    Reading,
    Stale,
    StateEvent,
    StatusChanged,
    ThresholdCrossed,
    TimedAnswer,
)
from binance_pm.fleet.fleet import Fleet, Member
from binance_pm.fleet.products import Product, ProductName
from binance_pm.fleet.relay.entries import Gap, Missed, Started, StreamEntry, StreamEvent, StreamMark, decode_event
from binance_pm.fleet.relay.publish import Publisher
from binance_pm.fleet.relay.subscribe import read_stream
from binance_pm.fleet.shard import shard
from binance_pm.fleet.state import FleetState, GateState
from binance_pm.fleet.summary import AccountSummary
from binance_pm.fleet.thresholds import ThresholdName

__all__ = [
    "AccountFailed",
    "AccountSnapshot",
    "AccountSummary",
    "BudgetTight",
    "Change",
    "Fleet",
    "FleetEvent",
    "FleetState",
    "Fresh",
    "Gap",
    "GateState",
    "HostBlocked",
    "HostUnblocked",
    "Member",
    "Missed",
    "Product",
    "ProductName",
    "Publisher",
    "Reading",
    "Stale",
    "Started",
    "StateEvent",
    "StatusChanged",
    "StreamEntry",
    "StreamEvent",
    "StreamMark",
    "ThresholdCrossed",
    "ThresholdName",
    "TimedAnswer",
    "decode_event",
    "read_stream",
    "shard",
]
