"""When a stream pings, confirms its key, connects and rotates, and what it can prove: pure functions of time.

What the exchange does: nothing is replayed, so what is pushed while no connection is open is lost. All programs of an
account share one listen key; another program can delete it, which closes no connection and is not announced. A pong
proves that a connection is open, and not that its key is the active one.

What is guaranteed: everything that was pushed before the earlier of two times was received.

* The socket is proven up to the moment at which the last answered ping was sent: frames arrive in order, so everything
  that was pushed before the ping was received before the pong. Any frame proves the same up to one round trip before
  the frame was read, or, if the event loop was busy, up to one round trip before the event loop became busy.
* The key is proven up to the moment at which the last POST that returned it was sent, or, if later, up to one round
  trip before the last event.

What is unknown: how many connection attempts fstream accepts from one IP (300 in 5 minutes are documented for spot).

Sources (read 2026-11-29):
    https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams
    https://developers.binance.com/docs/derivatives/portfolio-margin/user-data-streams/Start-User-Data-Stream
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

_SHARE_FOR_CONFIRMATIONS: Final = 0.01
"""The part of the weight per minute that the confirmations of all streams of a session may use."""
_SMALLEST: Final = math.ulp(0.0)
_ROUND_TRIPS: Final = 6
"""How many round trips are recent."""


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Intervals and limits of a stream; times in seconds. The defaults suit the exchange.

    Raises:
        ValueError: a value is out of range.
    """

    queue_size: int = 10_000
    """The largest number of events that wait for the consumer."""
    confirm_every: float = 60.0
    """How often the listen key is confirmed. The interval is longer if many streams share a session, so that their
    confirmations together use at most 1 % of the weight."""
    key_lifetime: float = 3600.0
    """For how long a listen key is valid without a confirmation."""
    ping_every: float = 10.0
    """How often the connection is pinged."""
    ping_timeout: float = 10.0
    """How long a pong may take."""
    rotate_after: float = 23 * 3600.0
    """The age at which a connection is replaced by a new one; the exchange closes it after 24 hours."""
    rotate_jitter: float = 3600.0
    """A random time up to this is subtracted from `rotate_after`, so that many streams do not rotate together."""
    overlap: float = 3.0
    """For how long a rotation receives on both connections."""
    longest_backoff: float = 30.0
    """The longest pause between two attempts to connect."""
    first_backoff: float = 1.0
    """The longest pause before the second attempt to connect; doubled with each further attempt."""
    update_timeout: float = 15.0
    """How long a Portfolio Margin Pro stream may be without `PmProAccountUpdate`, which is pushed every 5 s."""
    attempts_per_second: int = 10
    """Attempts to connect in one second, of all streams of a session."""
    attempts_per_5_minutes: int = 240
    """Attempts to connect in five minutes, of all streams of a session."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            kinds = int if name in {"queue_size", "attempts_per_second", "attempts_per_5_minutes"} else int | float
            lowest = 0 if name in {"rotate_jitter", "overlap", "first_backoff"} else _SMALLEST
            # An infinite pause is more than some event loops can wait for.
            if isinstance(value, bool) or not isinstance(value, kinds) or not lowest <= value < math.inf:
                raise ValueError(f"{name} is {value!r}: give a {'whole' if kinds is int else 'finite'} number above 0")
        if self.rotate_jitter >= self.rotate_after:
            raise ValueError("rotate_jitter is not below rotate_after: the connection would be replaced all the time")


def confirm_interval(every: float, streams: int, weight_per_minute: int) -> float:
    """Return the seconds between two confirmations of one listen key, each of weight 1.

    Args:
        every: the shortest interval.
        streams: how many streams share the weight.
        weight_per_minute: the limit of the pool.
    """
    return max(every, streams * 60.0 / (_SHARE_FOR_CONFIRMATIONS * weight_per_minute))


class Backoff:
    """Pauses between attempts: none before the first, then random ones below a limit that doubles.

    Args:
        first: the limit of the pause before the second attempt.
        longest: the largest limit.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first: Final = first
        self._longest: Final = longest
        self.failures: int = 0
        """How many attempts have failed in a row."""

    def pause(self, jitter: float) -> float:
        """Return the seconds before the next attempt.

        Args:
            jitter: a random number from 0 to 1.
        """
        if not self.failures:
            return 0.0
        # Larger exponents would overflow.
        return jitter * min(self._longest, self._first * 2.0 ** min(self.failures - 1, 60))


class ConnectPacer:
    """Spreads attempts to connect, because many streams may lose their connections at the same time.

    Args:
        per_second: attempts in one second.
        per_5_minutes: attempts in five minutes.
    """

    def __init__(self, per_second: int, per_5_minutes: int) -> None:
        self._limits: Final = ((per_second, 1.0), (per_5_minutes, 300.0))
        self._turns: Final[deque[float]] = deque(maxlen=max(per_second, per_5_minutes))

    def reserve(self, now: float) -> float:
        """Reserve the next turn; return when it comes."""
        turns = self._turns
        at = max(now, turns[-1] if turns else -math.inf)
        for count, seconds in self._limits:
            if len(turns) >= count:
                at = max(at, turns[-count] + seconds)
        turns.append(at)
        return at


class SocketProof:
    """Up to when everything that was pushed to a connection was received.

    Args:
        began: when the connection was begun.
        opened: when the connection was open.
    """

    def __init__(self, began: float, opened: float) -> None:
        self.at: float = began
        """Everything that was pushed before this time was received."""
        self._round_trips: Final = deque([opened - began], maxlen=_ROUND_TRIPS)
        self._unanswered: deque[float] = deque()
        """When the pings without a pong were sent."""

    def delay(self, now: float) -> float:
        """Return the longest recent round trip, which includes that of a ping without a pong."""
        waiting = now - self._unanswered[0] if self._unanswered else 0.0
        return max(waiting, *self._round_trips)

    def frame(self, now: float, responsive_at: float) -> float:
        """Record that a frame was read; return a time at or after which it was pushed.

        Args:
            now: the time.
            responsive_at: everything that had arrived by this time was read.
        """
        proven = min(now, responsive_at) - self.delay(now)
        self.at = max(self.at, proven)
        return proven

    def pinged(self, now: float) -> None:
        """Record that a ping is about to be sent."""
        self._unanswered.append(now)

    def answered(self, sent: float, now: float, *, has_read_all: bool = True) -> None:
        """Record the pong to a ping; it answers all earlier pings as well.

        Args:
            sent: when the ping was sent.
            now: when the pong arrived.
            has_read_all: whether everything that had arrived before the pong was received.
        """
        self._round_trips.append(now - sent)
        if has_read_all:
            self.at = max(self.at, sent)
        while self._unanswered and self._unanswered[0] <= sent:
            self._unanswered.popleft()


class KeyProof:
    """Up to when a listen key was the active one of its account.

    Args:
        confirmed: when the POST was sent that returned the key.
        posts_prove: whether later POSTs are proofs; otherwise only events are.
    """

    def __init__(self, confirmed: float, *, posts_prove: bool = True) -> None:
        self._posts_prove: Final = posts_prove
        self.at: float = confirmed
        """The key was active then."""
        self.confirmed: float = confirmed
        """When the last POST was sent that returned the key."""

    def confirm(self, sent: float) -> None:
        """Record that a POST that was sent at a time returned the key."""
        self.confirmed = max(self.confirmed, sent)
        if self._posts_prove:
            self.at = max(self.at, sent)

    def event(self, proven: float) -> None:
        """Record an event that was pushed at or after a time: the key was the active one then."""
        self.at = max(self.at, proven)
