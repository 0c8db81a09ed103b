"""Random messages as processes of one IP may send them: plausible, late, and wrong ones."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from binance_pm.budget.shared.messages import (
    Answered,
    CallRefused,
    Demand,
    Event,
    Heavier,
    Lost,
    OfflineUsage,
    OriginReport,
    PoolReport,
    Returned,
    StoreMessage,
    StoreReply,
)
from binance_pm.limits import Priority

_MINUTE = 60.0
# Offset of the exchange's clock to the store's.
_AHEAD = 7.5
_HOSTS = ("papi", "sapi")
_POOLS = (("papi", 0, 400), ("orders", 0, 110), ("sapi", 1, 1000))
_LATER = (0.0, 0.01, 0.03, 0.1, 0.5, 0.6, 1.1, 2.3, 5.5, 11.0, 30.0, 61.0, 130.0, 700.0, -5.0, -4000.0)
# None: answered without a header.
_KINDS = (*[Answered] * 8, None, Lost, CallRefused, Heavier, Returned, OfflineUsage)

_Value = TypeVar("_Value")


class History:
    """Three processes that draw on three pools of two hosts.

    Args:
        seed: the same seed gives the same history.
    """

    def __init__(self, seed: int) -> None:
        self.now = 30_000_000 * _MINUTE + 50
        """The store's clock."""
        self._chance = Random(seed)
        # Some effects need the same event again and again.
        self._pauses = self._often(_LATER, (self._chance.choice(_LATER),))
        self._kinds = self._often(_KINDS, (self._chance.choice(_KINDS),))
        self._numbers = dict.fromkeys(range(3), 0)
        self._held: dict[tuple[int, int], int] = {}
        self._counts: dict[tuple[int, int], int] = {}
        self._peer = 0
        self._pools: list[int] = []

    def next(self) -> StoreMessage:
        """Return the next message of a process."""
        self.now += self._chance.choice(self._often(self._pauses, _LATER)) * self._often(
            1.0, self._chance.uniform(0.5, 1.5)
        )
        self._peer = self._often(0, 1, 2)
        # Some messages are repeated, some were overtaken.
        self._numbers[self._peer] += self._often(1, 0, -1)
        self._pools = [self._often(0, 1, 2) for _ in range(self._chance.randint(0, 3))]
        hosts = tuple(self._host(host) for host in _HOSTS)
        pools = tuple(self._pool(pool) for pool in self._pools)
        return StoreMessage(str(self._peer), self._numbers[self._peer], _MINUTE, 5.0, hosts, pools)

    def hear(self, message: StoreMessage, reply: StoreReply) -> None:
        """Hold the granted weight."""
        for pool, report, told in zip(self._pools, message.pools, reply.pools, strict=True):
            for times, demand in zip(told.granted, report.demands, strict=True):
                self._held[self._peer, pool] += times * demand.weight

    def _host(self, host: str) -> OriginReport:
        clock, width = self.now + _AHEAD, self._often(0.02, 0.0, 0.5, 5.0, 110.0, 300.0, 1.8e9)
        is_synchronised, closed, banned = (
            self._mostly(),
            self._often(0.0, 1.0, 130.0, 4000.0),
            self._mostly(),
        )
        return OriginReport(host, clock - width, clock + width / 2, is_synchronised, closed, banned)

    def _pool(self, pool: int) -> PoolReport:
        name, host, limit = _POOLS[pool]
        held = self._held.get((self._peer, pool), 0)
        events: list[Event] = []
        for _ in range(self._chance.randint(0, 4)):
            event = self._event(pool, held)
            held -= event.weight if isinstance(event, (Answered, Lost, Returned)) else 0
            events.append(event)
        # A process may be wrong about what it holds.
        self._held[self._peer, pool] = held = max(0, held + self._often(0, 5, -5))
        demands = tuple(self._demand() for _ in range(self._chance.randint(0, 3)))
        given = limit - 10 * self._often(0, -10, self._chance.randint(1, 5))
        return PoolReport(name, host, given, held, tuple(events), demands)

    def _event(self, pool: int, held: int) -> Event:
        weight = min(held, self._chance.choice((1, 2, 5, 20, 60)))
        age = self._chance.choice((0.01, 0.1, 0.4, 1.0, 2.5)) * self._often(1.0, self._chance.uniform(0.5, 1.5))
        flag = self._mostly()
        sent = self.now - age
        first = int((sent + _AHEAD) // _MINUTE) + self._chance.choice(
            (*[0] * 8, 1, -1, self._often(60, -60, 10**9, -30_000_000))
        )
        stop = first + self._often(1, 2, 3, 5, 10**9)
        kind = self._chance.choice(self._often(self._kinds, _KINDS))
        if kind is Answered:
            used = self._counts.get((pool, first), 0) + weight + self._often(0, 1, 7, 60, 300, -5, -40)
            self._counts[pool, first] = used = max(0, used)
            return Answered(weight, used, first, stop, sent, self.now, flag)
        others: dict[object, Event] = {
            None: Answered(weight, None, first, stop, sent, self.now, flag),
            Lost: Lost(weight, first, stop, self.now + age),
            CallRefused: CallRefused(first, stop, self.now, flag),
            Heavier: Heavier(weight / 3),
            Returned: Returned(weight, Priority.ORDER if flag else Priority.POLL),
            OfflineUsage: OfflineUsage(first, weight * 3, weight),
        }
        return others[kind]

    def _demand(self) -> Demand:
        weight = self._chance.choice((1, 2, 5, 20, 60, 99, 105, 130))
        return Demand(self._chance.choice(list(Priority)), weight, self._chance.choice((1, 1, 3, 10)), self._mostly())

    def _mostly(self) -> bool:
        return self._chance.random() < 0.6

    def _often(self, usual: _Value, *seldom: _Value) -> _Value:
        """Return the first, mostly."""
        return usual if self._mostly() else self._chance.choice(seldom)
