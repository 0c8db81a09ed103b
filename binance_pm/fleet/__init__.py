"""Many accounts monitored together on one budget: `Fleet`, its events, and the accounts file.

`accounts` reads the file and divides accounts among processes, `keys` reads the keys that the file refers to, and
`products` describes the products. `schedule` calculates how often each account is read, `thresholds` when uniMMR
crosses a threshold, and `summary` the main figures of an account. `account_monitor` turns responses and failures into
the events of `events`, `staleness` determines why an account is stale, `event_queue` holds events until they are
consumed, and `monitor` schedules the readings. `fleet` combines these modules, `state` is the state at one moment, and
`forecast` calculates in advance how often accounts would be read. `account_stream` follows the user data stream of
an account. `relay` publishes events to other programs.
"""

from __future__ import annotations

from binance_pm.fleet.accounts import shard
from binance_pm.fleet.events import (
    AccountChange,
    AccountFailed,
    AccountSnapshot,
    BalanceChanged,
    BudgetTight,
    Change,
    FleetEvent,
    Fresh,
    HostBlocked,
    HostUnblocked,
    PositionChanged,
    Reading,
    Stale,
    StateEvent,
    StatusChanged,
    ThresholdCrossed,
    TimedResponse,
)
from binance_pm.fleet.fleet import Fleet, Member
from binance_pm.fleet.products import Product, ProductName
from binance_pm.fleet.relay.entries import Gap, Missed, Started, StreamEntry, StreamEvent, StreamMark, decode_event
from binance_pm.fleet.relay.publish import Publisher
from binance_pm.fleet.relay.subscribe import read_stream
from binance_pm.fleet.state import FleetState, GateState
from binance_pm.fleet.summary import AccountSummary
from binance_pm.fleet.thresholds import ThresholdName

__all__ = [
    "AccountChange",
    "AccountFailed",
    "AccountSnapshot",
    "AccountSummary",
    "BalanceChanged",
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
    "PositionChanged",
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
    "TimedResponse",
    "decode_event",
    "read_stream",
    "shard",
]
