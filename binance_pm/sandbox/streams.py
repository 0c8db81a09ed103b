"""User data streams: the delivery of events of accounts to connections.

The exchange pushes an event to the connections that follow the listen key that is active at that moment. A connection
with an unknown, deleted or expired key stays open and silent, and nothing is replayed.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from binance_pm.sandbox.market import amount
from binance_pm.sandbox.stream_faults import StreamFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from threading import RLock

    from binance_pm.sandbox.pending_events import Fields
    from binance_pm.sandbox.state import AccountState
    from binance_pm.sandbox.stream_faults import Delivery, StreamProduct

_PUSHED_LEVELS = frozenset({"MARGIN_CALL", "REDUCE_ONLY", "FORCE_LIQUIDATION"})
# Name of the event of a changed risk level, by the product of the stream.
_LEVEL_EVENT: Mapping[StreamProduct, str] = {"pm": "riskLevelChange", "pro": "RISK_LEVEL_CHANGE"}


class StreamRules(NamedTuple):
    """Intervals and limits of the streams; times are in seconds of the exchange's clock."""

    listen_key: float = 3600.0
    """How long a listen key is valid after it was created or extended."""
    connection: float = 24 * 3600.0
    """How long a connection stays open."""
    ping: float = 180.0
    """How often the server sends a ping."""
    pong: float = 600.0
    """How long the server waits for the pong."""
    pro_update: float = 5.0
    """How often the figures of a Portfolio Margin Pro account are pushed."""
    risk: float = 1.0
    """How often the risk level of an account is checked."""
    messages: int | None = 10
    """How many messages a client may send in a second, pings and pongs included; None for any number."""
    advance: float = 0.25
    """How often accounts with connections are updated without a request."""
    tick: float = 0.05
    """How often the server checks the clock, in seconds of real time."""


class Follower(Protocol):
    """A connection that follows listen keys; its methods may be called from any thread and do not wait."""

    product: StreamProduct
    keys: set[str]
    opened: float

    def deliver(self, key: str, event_type: str, message: bytes) -> None:
        """Send an event of a listen key."""
        ...

    def apply(self, fault: StreamFault) -> None:
        """Apply a fault to the connection."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        ...

    def check(self, now: float) -> None:
        """Send the pings that are due, and end the connection if a pong is missing."""
        ...


class EventStreams:
    """The user data streams of an exchange. Its methods may be called from any thread.

    Attributes:
        rules: the intervals and limits of the streams.
        delivery: which connections of a listen key receive its events.
    """

    def __init__(
        self,
        rules: StreamRules,
        states: Mapping[str, AccountState],
        *,
        lock: RLock,
        clock: Callable[[], float],
        refresh: Callable[[str], None],
    ) -> None:
        self.rules = rules
        self.delivery: Delivery = "all"
        self._states = states
        self._lock = lock
        self._clock = clock
        self._refresh = refresh
        self._followers: list[Follower] = []
        self._by_key: defaultdict[tuple[StreamProduct, str], list[Follower]] = defaultdict(list)
        self._owners: dict[tuple[StreamProduct, str], str] = {}
        self._watched: set[str] = set()
        self._pushed: dict[str, int] = {}
        self._levels: dict[str, str] = {}
        self._due: dict[tuple[str, str], float] = {}

    @property
    def open_connections(self) -> int:
        """The number of open websocket connections."""
        with self._lock:
            return len(self._followers)

    def now(self) -> float:
        """Seconds since the epoch by the exchange's clock."""
        return self._clock()

    def state(self) -> list[dict[str, object]]:
        """Return the open connections, oldest first, with the accounts that they follow, without listen keys."""
        with self._lock:
            now = self._clock()
            return [
                {
                    "product": one.product,
                    "accounts": sorted(self._labels([one])),
                    "isActive": any(self._listens(one, state) for state in self._states.values()),
                    "openSeconds": round(now - one.opened, 3),
                }
                for one in self._followers
            ]

    def push(self, account: str, event: Mapping[str, Any] | bytes, *, product: StreamProduct = "pm") -> int:
        """Push an event, or any other message, to the connections of an account.

        Args:
            account: the label of the account.
            event: the event, whose ``E`` is added if it is missing; or the text of a message.
            product: the stream.

        Returns:
            The number of connections that the message was sent to.

        Raises:
            ValueError: no listen key was ever created for such an account.
        """
        with self._lock:
            if account not in self._states:
                raise ValueError(f"account {account!r} has no listen key: create one")
            return self._push(self._states[account], product, event)

    def apply(self, *faults: StreamFault) -> None:
        """Apply faults now.

        Raises:
            ValueError: no account has the label of the fault.
        """
        with self._lock:
            for fault in faults:
                if fault.account is not None and fault.account not in self._states:
                    raise ValueError(f"account {fault.account!r} has no listen key and no connection")
                if fault.is_of_key:
                    self._end_keys(fault)
                else:
                    for follower in self._selected(fault):
                        follower.apply(fault)

    def open(self, follower: Follower) -> None:
        """Add a connection, which receives what is pushed from now on."""
        with self._lock:
            # Earlier events are pushed only to the connections that were open before.
            self._refresh_all(self._labels([follower]))
            follower.opened = self._clock()
            self._followers.append(follower)
            self.update_keys()

    def close(self, follower: Follower) -> None:
        """Remove a connection."""
        with self._lock:
            if follower in self._followers:
                self._followers.remove(follower)
                self.update_keys()

    def update_keys(self) -> None:
        """Record events only of followed accounts; call this method when the keys of a connection have changed."""
        with self._lock:
            self._by_key.clear()
            for follower in self._followers:
                for key in follower.keys:
                    self._by_key[follower.product, key].append(follower)
            self._watched = self._labels(self._followers)
            for label, state in self._states.items():
                state.set_recording(is_recording=label in self._watched)
            self._levels = {label: self._levels.get(label, "") for label in self._watched}

    def publish(self, state: AccountState, now: float) -> None:
        """Push the events that an account has recorded."""
        state.record_changes(now)
        for event in state.wallet.events.take():
            self._push(state, "pm", event)

    def tick(self) -> None:
        """Update the followed accounts and the connections to the current time."""
        with self._lock:
            # The clock is not read without connections: some tests compare responses as of its last reading.
            if not self._followers:
                return
            now, labels = self._clock(), self._watched
            self._refresh_all(label for label in labels if self._is_due(label, "advance", self.rules.advance, now))
            for label in labels:
                self._announce_expiry(self._states[label], now)
                self._push_risk(self._states[label], now)
            for follower in tuple(self._followers):
                if now - follower.opened >= self.rules.connection:
                    follower.close(1001, "")
                else:
                    follower.check(now)

    def _refresh_all(self, labels: Iterable[str]) -> None:
        for label in labels:
            self._refresh(label)

    def _labels(self, followers: Iterable[Follower]) -> set[str]:
        """Return the accounts to which the listen keys of connections belong, valid or not."""
        owners = {self._owner(one.product, key) for one in followers for key in one.keys}
        return {label for label in owners if label is not None}

    def _owner(self, product: StreamProduct, key: str) -> str | None:
        """Return the account for which a listen key was created."""
        place = product, key
        if place not in self._owners:
            found = (label for label, state in self._states.items() if key in state.settings.issued[product])
            label = next(found, None)
            if label is None:
                return None
            self._owners[place] = label
        return self._owners[place]

    def _listens(self, follower: Follower, state: AccountState) -> bool:
        """Whether a connection has the active listen key of this account."""
        return state.settings.listen_key(follower.product, self._clock()) in follower.keys

    def _selected(self, fault: StreamFault) -> list[Follower]:
        """Return the connections that a fault applies to, each once."""
        groups: defaultdict[str, list[Follower]] = defaultdict(list)
        for follower in self._followers:
            if follower.product == fault.product:
                # Connections with an unknown key belong to no account.
                for label in self._labels([follower]) or {""}:
                    groups[label].append(follower)
        labels = list(groups) if fault.account is None else [fault.account]
        return list(dict.fromkeys(one for label in labels for one in _part(groups[label], fault.connections)))

    def _end_keys(self, fault: StreamFault) -> None:
        now = self._clock()
        for label in list(self._states) if fault.account is None else [fault.account]:
            state = self._states[label]
            if fault.kind == "delete_key":
                state.settings.close_listen_key(fault.product)
            else:
                state.settings.expire_listen_key(fault.product, now)
                self._announce_expiry(state, now)

    def _push(self, state: AccountState, product: StreamProduct, event: Mapping[str, Any] | bytes) -> int:
        key = state.settings.listen_key(product, self._clock())
        return 0 if key is None else self._send(state, product, key, event)

    def _send(self, state: AccountState, product: StreamProduct, key: str, event: Mapping[str, Any] | bytes) -> int:
        if isinstance(event, bytes):
            kind, message = "", event
        else:
            kind = str(event.get("e", ""))
            message = msgspec.json.encode({"e": kind, "E": self._push_time(state), **event})
        followers = _part(self._by_key.get((product, key), []), self.delivery)
        for follower in followers:
            follower.deliver(key, kind, message)
        return len(followers)

    def _push_time(self, state: AccountState) -> int:
        """Return the time of a push; the times of an account never decrease."""
        label = state.account.label
        self._pushed[label] = max(int(self._clock() * 1000), self._pushed.get(label, 0))
        return self._pushed[label]

    def _announce_expiry(self, state: AccountState, now: float) -> None:
        """Push the expiry of each expired listen key twice, as the exchange was seen to do."""
        for product in state.settings.issued:
            for key in state.settings.take_expired(product, now):
                for _ in range(2):
                    self._send(state, product, key, {"e": "listenKeyExpired"})

    def _is_due(self, label: str, what: str, seconds: float, now: float) -> bool:
        last = self._due.get((label, what))
        is_due = last is None or abs(now - last) >= seconds
        if is_due:
            self._due[label, what] = now
        return is_due

    def _push_risk(self, state: AccountState, now: float) -> None:
        """Push the risk level if it has changed, and the figures of a Pro account when they are due."""
        label, is_pro = state.account.label, state.account.account_type != "PM_2"
        is_level_due = self._is_due(label, "level", self.rules.risk, now)
        is_update_due = is_pro and self._is_due(label, "update", self.rules.pro_update, now)
        if not (is_level_due or is_update_due):
            return
        statement = state.statement(now)
        before, self._levels[label] = self._levels.get(label, ""), statement.status
        figures: Fields = {
            "u": amount(statement.uni_mmr),
            "eq": amount(statement.equity),
            "ae": amount(statement.actual_equity),
        }
        margin = amount(statement.maintenance)
        if before not in {"", statement.status} and statement.status in _PUSHED_LEVELS:
            for product, event in _LEVEL_EVENT.items():
                if product == "pm" or is_pro:
                    self._push(state, product, {"e": event, "s": statement.status, **figures, "m": margin})
        if is_update_due:
            free = amount(statement.free)
            rest = {"im": amount(statement.initial), "mm": margin, "avb": free, "vmw": free}
            self._push(state, "pro", {"e": "PM_PRO_ACCOUNT_UPDATE", **figures, **rest})


def _part(followers: list[Follower], which: Delivery) -> list[Follower]:
    """Return all of the connections, the newest, or the oldest."""
    if which == "all":
        return followers
    return followers[-1:] if which == "newest" else followers[:1]
