"""The ledgers of the pools in use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final
from weakref import WeakValueDictionary

from binance_pm.budget.charges import ChargeSet, PoolCharge, PoolLedger
from binance_pm.budget.ledger import MARGIN
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.limits import LIMITS, Charge, Family, LimitType, Pool

Limits = Mapping[tuple[Family, LimitType], int]
"""The limit a minute, by family and limit type."""

# So many sets of charges are remembered; those of more are looked up again.
_MAX_CHARGE_SETS: Final = 512


class PoolTable:
    """The ledgers in use. An idle one is forgotten, but as long as a reservation has it, its pool gets no other."""

    def __init__(self, limits: Limits) -> None:
        self.ledgers: Final[dict[Pool, PoolLedger]] = {}
        self.charge_sets: Final[dict[tuple[Charge, ...], ChargeSet]] = {}
        self.has_forgotten: bool = False
        """Whether any ledger was ever forgotten."""
        self._limits: Final = limits
        self._forgotten: Final[WeakValueDictionary[Pool, PoolLedger]] = WeakValueDictionary()

    @property
    def is_full(self) -> bool:
        """Whether it is time to forget: programs may call any number of paths, and for any account."""
        return len(self.charge_sets) >= _MAX_CHARGE_SETS

    def charges(self, charges: Iterable[Charge], open_ledger: Callable[[Pool], PoolLedger]) -> tuple[PoolCharge, ...]:
        """Return the charges with the ledgers of their pools, which are opened if there are none."""
        return tuple(PoolCharge(pool, self._ledger(pool, open_ledger), weight) for pool, weight in charges)

    def remember(self, charges: Iterable[PoolCharge]) -> None:
        """Keep ledgers that may have been forgotten since a reservation was made."""
        for pool, ledger, _ in charges:
            self.ledgers[pool] = ledger

    def forget_idle(self, is_done_with: Callable[[Pool], bool], used: set[Pool], now: float) -> list[Pool]:
        """Forget every ledger that was not used for minutes, and all sets of charges; return the pools."""
        self.charge_sets.clear()
        # That the exchange has lowered a limit is not forgotten.
        idle = [
            pool
            for pool, ledger in self.ledgers.items()
            if pool not in used
            and ledger.limit == self._limits[pool.family, pool.limit_type]
            and ledger.is_idle(now)
            and is_done_with(pool)
        ]
        for pool in idle:
            self._forgotten[pool] = self.ledgers.pop(pool)
            self.has_forgotten = True
        return idle

    def clear(self) -> None:
        """Forget everything."""
        self.ledgers.clear()
        self.charge_sets.clear()

    def _ledger(self, pool: Pool, open_ledger: Callable[[Pool], PoolLedger]) -> PoolLedger:
        ledger = self.ledgers.get(pool)
        if ledger is None:
            ledger = self.ledgers[pool] = self._forgotten.get(pool) or open_ledger(pool)
        return ledger


def check_limits(limits: Limits, minute: float, instances: int) -> None:
    """Check the arguments of a budget.

    Raises:
        ConfigurationError: a limit, the minute or the number of instances cannot be used.
    """
    call = CallInfo("Budget")
    if unknown := limits.keys() - LIMITS.keys():
        raise ConfigurationError(call, f"there is no limit {unknown.pop()!r}")
    if not 0 < minute < math.inf:
        raise ConfigurationError(call, "a minute has more than 0 seconds")
    if instances < 1:
        raise ConfigurationError(call, "instances counts this program, too: it is at least 1")
    for (family, limit_type), limit in limits.items():
        if not limit > MARGIN * instances:
            kept = f"{MARGIN} of it are kept free, the rest is divided"
            what = f"the limit {limit} of {limit_type} /{family} is too small for {instances} instances: {kept}"
            raise ConfigurationError(call, what)
