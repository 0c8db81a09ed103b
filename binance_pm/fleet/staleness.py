"""The reason why an account is stale: the error of a reading, or what the readings wait for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from binance_pm.budget import Budget, PoolState, Waiting
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import CallInfo
from binance_pm.fleet.account_monitor import AccountMonitor
from binance_pm.fleet.forecast import price_of


class StaleReason(NamedTuple):
    """The reason why an account is stale."""

    text: str
    waiting: Waiting | None = None
    """What the reading waits for; None if the reading failed or is not in flight."""


class Diagnosis:
    """The calls of a budget at one moment, inspected only if an account is stale.

    Args:
        budget: the budget that all accounts share.
        is_behind: whether readings are on hold because the events are not consumed.
    """

    def __init__(self, budget: Budget, *, is_behind: bool) -> None:
        self._budget = budget
        self._is_behind = is_behind

    def reason(self, account: AccountMonitor, now: float) -> StaleReason:
        """Return why the account's overdue readings are late."""
        names = account.stale_endpoints(now) or account.read
        for origin in sorted({account.client.origin(ENDPOINTS[name]) for name in names}):
            if closed := self._budget.gate(origin).wait(now):
                waiting = Waiting(reason="gate", origin=origin, seconds=closed)
                return StaleReason(waiting.text, waiting)
        for name in names:
            if name in account.failures:
                return StaleReason(account.failures[name].text)
        if in_flight := [(name, self._waits_for(account, name)) for name in names if name in account.in_flight]:
            by_text: dict[str, list[str]] = {}
            for name, waiting in in_flight:
                by_text.setdefault(waiting.text, []).append(name)
            text = "; ".join(f"{', '.join(late)} [{account.label}]: {text}" for text, late in by_text.items())
            return StaleReason(text, in_flight[0][1])
        if self._is_behind:
            return StaleReason("the events are not consumed")
        return self._not_started(account, names, now)

    @cached_property
    def _pending(self) -> dict[CallInfo, Waiting]:
        return self._budget.pending()

    @cached_property
    def _pools(self) -> dict[str, PoolState]:
        return {state.pool.name: state for state in self._budget.snapshot()}

    def _waits_for(self, account: AccountMonitor, name: str) -> Waiting:
        waiting = self._pending.get(CallInfo(name, account.label, account.client.key_id))
        origin = account.client.origin(ENDPOINTS[name])
        if waiting is None:
            return Waiting(reason="retry", origin=origin)
        if waiting.reason == "connection" and not account.client.session.free_slots:
            return Waiting(reason="slot", origin=origin, seconds=waiting.seconds)
        return waiting

    def _not_started(self, account: AccountMonitor, names: Sequence[str], now: float) -> StaleReason:
        """Return the calls that are queued before the reading, or if there are none, when the reading is due."""
        late = f"{', '.join(names)} [{account.label}]"
        for name in account.read:
            state = self._pools.get(price_of(self._budget, name).pool)
            if state is not None and state.waiting_for is not None:
                number = sum(state.waiting.values())
                return StaleReason(f"{late}: {number} calls are {state.waiting_for.text}", state.waiting_for)
        return StaleReason(f"{late}: due in {max(0.0, account.due - now):.1f} s")
