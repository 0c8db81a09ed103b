"""What accounts held some seconds ago, for queries that are behind."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binance_pm.sandbox.state import AccountState

_SHORTEST_STEP = 0.01


class Snapshots:
    """Copies of accounts as they were, which are kept only while a fault needs them."""

    def __init__(self, states: Mapping[str, AccountState]) -> None:
        self._states = states
        self._seconds = 0.0
        self._copies: defaultdict[str, deque[tuple[float, AccountState]]] = defaultdict(deque)

    def keep(self, seconds: float, now: float) -> None:
        """Keep what accounts held for so many seconds, from now on."""
        self._seconds = max(self._seconds, seconds)
        for label in self._states:
            self.record(label, now)

    def forget(self) -> None:
        """Keep nothing any more."""
        self._seconds = 0.0
        self._copies.clear()

    def record(self, label: str, now: float) -> None:
        """Keep what an account holds now, if anything is kept."""
        if not self._seconds:
            return
        rows = self._copies[label]
        # The last one from before the time is what a query sees.
        while len(rows) > 1 and rows[1][0] <= now - self._seconds:
            rows.popleft()
        if len(rows) > 1 and now - rows[-1][0] < _SHORTEST_STEP:
            rows.pop()
        rows.append((now, copied(self._states[label])))

    def before(self, state: AccountState, at: float) -> AccountState:
        """Return the account as it was at a time, or as early as it is known."""
        rows = self._copies.get(state.account.label)
        if not rows:
            return state
        return next((row for time, row in reversed(rows) if time <= at), rows[0][1])


def copied(state: AccountState) -> AccountState:
    """Return a copy of an account that shares the market."""
    return copy.deepcopy(state, {id(state.market): state.market, id(state.account): state.account})
