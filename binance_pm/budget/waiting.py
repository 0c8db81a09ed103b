"""What a call waits for, as data and in words."""

from __future__ import annotations

import math
from typing import Final, Literal

import msgspec

from binance_pm.limits import LimitType

WeightReason = Literal["minute", "reserve", "responses", "probe", "pace", "store"]
"""Why there is no room in a pool, see `WaitReason`."""

WaitReason = Literal[
    "gate", "minute", "reserve", "responses", "probe", "pace", "store", "turn", "slot", "connection", "response",
    "retry",
]  # fmt: skip
"""What a call waits for.

* gate: the gate of the origin is closed by a 429 or 418
* minute: the limit of this minute is used up
* reserve: what is left of the minute is kept for orders, and for other programs on the IP
* responses: calls in flight hold the weight until they have a response
* probe: the response of one call in flight will show what other programs have used
* pace: calls are spread over the rest of the minute
* store: the store of a shared budget has not granted the weight
* turn: other calls are served first
* slot: all slots for calls in flight are taken
* connection: the call has its weight, and nothing was sent yet
* response: the call was sent, and no response has come
* retry: an attempt failed, and the next one has not begun
"""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What a call waits for now."""

    reason: WaitReason
    """What the call waits for, see `WaitReason`."""
    origin: str = ""
    """Such as ``https://papi.binance.com``."""
    pool: str = ""
    """The pool that has no room, see `Pool.name`; empty if none is waited for."""
    seconds: float | None = None
    """Seconds until the gate opens or weight may be free, or since the call was sent or admitted; None: unknown."""
    used: int = 0
    """Weight of this minute in the pool, calls in flight included."""
    limit: int = 0
    """Weight per minute that the pool allows; 0 if no pool is waited for."""
    external: int = 0
    """Of `used`: what other programs on the IP surely used."""

    @property
    def text(self) -> str:
        """A text, such as ``waiting for weight: other programs used 4,027 of 6,000 of /papi``."""
        seconds = 0.0 if self.seconds is None else self.seconds
        match self.reason:
            case "gate":
                text = f"the gate of {self._name} is closed for {math.ceil(seconds):,} s"
            case "response":
                text = f"sent {seconds:.1f} s ago, no response yet"
            case "connection":
                text = f"connecting to {self._name} for {seconds:.1f} s, nothing was sent yet"
            case "minute":
                text = f"waiting for weight: {self._users}; the minute ends in {math.ceil(seconds)} s"
            case "reserve":
                text = f"waiting for weight: {self._kept}"
            case _:
                text = _TEXTS[self.reason].format(pool=self._pool, limit=self.limit)
        return text

    @property
    def brief(self) -> str:
        """About 28 letters, for a table."""
        match self.reason:
            case "gate":
                return "gate closed" if self.seconds is None else f"gate closed, {math.ceil(self.seconds):,} s"
            case "response":
                return f"sent {self.seconds or 0.0:.1f} s ago, no response"
            case "minute" | "reserve" if 2 * self.external > self.used:
                return f"weight: external {self.external:,}/{self.limit:,}"
            case "minute":
                return f"weight: {self.used:,}/{self.limit:,} used"
            case _:
                return _BRIEF[self.reason]

    @property
    def _name(self) -> str:
        return self.origin.partition("://")[2] or self.origin

    @property
    def _pool(self) -> str:
        return self.pool.removeprefix(f"{LimitType.IP} ")

    @property
    def _kept(self) -> str:
        if not self.external:
            kept = "kept for orders, and for what other programs used until now"
            return f"what is left of {self.limit:,} of {self._pool} is {kept}"
        return f"{self._users}; what is left is kept for them and for orders"

    @property
    def _users(self) -> str:
        own = self.used - self.external
        if not self.external:
            return f"own calls used {own:,} of {self.limit:,} of {self._pool}"
        others = f"other programs used {self.external:,} of {self.limit:,} of {self._pool}"
        return f"{others}, own calls {own:,}" if own > 0 else others


_TEXTS: Final = {
    "responses": "waiting for weight: calls in flight hold what is left of {limit:,} of {pool}",
    "probe": "waiting for weight: one call in flight asks what other programs have used of {pool}",
    "pace": "waiting for weight: calls are spread over the rest of the minute of {pool}",
    "store": "waiting for weight: the store of the shared budget has not granted any of {pool} yet",
    "turn": "waiting for its turn: other calls are served first",
    "slot": "waiting for a free connection: all are in use",
    "retry": "waiting to be tried again after a failed attempt",
}
_BRIEF: Final = {
    "reserve": "weight: kept for other programs",
    "responses": "weight: held in flight",
    "probe": "weight: asking what is used",
    "pace": "weight: spread over minute",
    "store": "weight: not granted by store",
    "turn": "other calls go first",
    "slot": "no free connection",
    "connection": "connecting",
    "retry": "waiting to be tried again",
}
