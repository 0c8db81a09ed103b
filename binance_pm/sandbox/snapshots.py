"""Earlier states of accounts, for stale responses to queries."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from binance_pm.sandbox.state import AccountState

_SHORTEST_STEP = 0.01


class Snapshots:
    """Copies of earlier states of accounts, which are kept only while a fault needs them."""

    def __init__(self, states: Mapping[str, AccountState]) -> None:
        self._states = states
        self._seconds = 0.0
        self._copies: defaultdict[str, deque[tuple[float, AccountState]]] = defaultdict(deque)

    def keep(self, seconds: float, now: float) -> None:
        """Keep the states of all accounts for ``seconds``, from now on."""
        self._seconds = max(self._seconds, seconds)
        for label in self._states:
            self.record(label, now)

    def forget(self) -> None:
        """Remove all copies, and keep no more."""
        self._seconds = 0.0
        self._copies.clear()

    def record(self, label: str, now: float) -> None:
        """Keep a copy of the current state of an account, if copies are kept."""
        if not self._seconds:
            return
        rows = self._copies[label]
        # A query needs the last copy from before the time, so this copy is kept.
        while len(rows) > 1 and rows[1][0] <= now - self._seconds:
            rows.popleft()
        if len(rows) > 1 and now - rows[-1][0] < _SHORTEST_STEP:
            rows.pop()
        rows.append((now, copied(self._states[label])))

    def before(self, state: AccountState, at: float) -> AccountState:
        """Return the state of the account at a time, or its earliest copy."""
        rows = self._copies.get(state.account.label)
        if not rows:
            return state
        return next((row for time, row in reversed(rows) if time <= at), rows[0][1])


def copied(state: AccountState) -> AccountState:
    """Return a copy of the state of an account; the copy shares the market."""
    return copy.deepcopy(state, {id(state.market): state.market, id(state.account): state.account})
