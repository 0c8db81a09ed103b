"""Why an account is not seen at one moment: what failed, and what its readings wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from binance_pm.budget import Budget, PoolState, Waiting
from binance_pm.endpoint import ENDPOINTS
from binance_pm.errors import CallInfo
from binance_pm.fleet.account_monitor import AccountMonitor
from binance_pm.fleet.forecast import price_of


class Why(NamedTuple):
    """Why an account is not seen."""

    text: str
    waiting: Waiting | None = None
    """What its reading waits for; None if it is not asked for now, or failed."""


class Moment:
    """The calls of a budget at one moment, which is looked at only if an account is not seen.

    Args:
        budget: what all accounts share.
        is_behind: whether no reading is started because the events are not taken.
    """

    def __init__(self, budget: Budget, *, is_behind: bool) -> None:
        self._budget = budget
        self._is_behind = is_behind
        self._pending: dict[CallInfo, Waiting] | None = None
        self._pools: dict[str, PoolState] | None = None

    def why(self, account: AccountMonitor, names: Sequence[str]) -> Why:
        """Why some readings of an account are late.

        Args:
            account: whose.
            names: of the endpoints.
        """
        now = self._budget.monotonic()
        for host in sorted({account.client.origin(ENDPOINTS[name]) for name in names}):
            if closed := self._budget.gate(host).wait(now):
                waiting = Waiting(reason="gate", origin=host, seconds=closed)
                return Why(waiting.text, waiting)
        for name in names:
            if name in account.errors:
                return Why(account.errors[name])
        asked = {name: self._waits_for(account, name) for name in names if name in account.out}
        if asked:
            first = next(iter(asked.values()))
            texts: dict[str, list[str]] = {}
            for name, waiting in asked.items():
                texts.setdefault(waiting.text, []).append(name)
            whole = "; ".join(f"{', '.join(said)} [{account.label}]: {text}" for text, said in texts.items())
            return Why(whole, first)
        if self._is_behind:
            return Why("the events are not taken")
        return self._not_asked(account, names)

    def _waits_for(self, account: AccountMonitor, name: str) -> Waiting:
        if self._pending is None:
            self._pending = self._budget.pending()
        waiting = self._pending.get(CallInfo(name, account.label, account.client.key_id))
        host = account.client.origin(ENDPOINTS[name])
        if waiting is None:
            return Waiting(reason="retry", origin=host)
        if waiting.reason == "connection" and not account.client.session.free_slots:
            return Waiting(reason="slot", origin=host, seconds=waiting.seconds)
        return waiting

    def _not_asked(self, account: AccountMonitor, names: Sequence[str]) -> Why:
        """Nothing more is asked for while many calls wait already; else it is planned for its turn among the others."""
        if self._pools is None:
            self._pools = {state.pool.name: state for state in self._budget.snapshot()}
        what = f"{', '.join(names)} [{account.label}]"
        for name in account.read:
            state = self._pools.get(price_of(self._budget, name).pool)
            if state is not None and state.waiting_for is not None:
                number = sum(state.waiting.values())
                return Why(f"{what}: {number} calls are {state.waiting_for.text}", state.waiting_for)
        return Why(f"{what}: to be asked for in {max(0.0, account.due - self._budget.monotonic()):.1f} s")
