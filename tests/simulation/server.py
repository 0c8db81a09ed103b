"""The simulated exchange: it counts by its own clock, refuses, bans, and remembers what it did.

Unpublished behaviour is assumed to be the worse: a 429 raises the counter like any other call, and the tenth of
them within a minute bans the IP.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from random import Random
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from binance_pm.budget import LIMITS, Charge, Family, LimitType, Pool
from binance_pm.transport.http import HttpResponse

MINUTE: Final = 60.0
FOREIGN: Final = ""
"""Owner of the calls of other programs."""


class Variants(msgspec.Struct, frozen=True, kw_only=True):
    """How an exchange may differ from the assumed one."""

    limits: dict[tuple[Family, LimitType], int] = msgspec.field(default_factory=dict[tuple[Family, LimitType], int])
    """Limits that differ from those of `LIMITS`."""
    refusals_count: bool = True
    """Whether a call answered with 429 raises the counter."""
    rolling: bool = False
    """Whether the exchange counts the last 60 s instead of the minute of its clock."""
    header_share: float = 1.0
    """Share of the responses with a count."""
    edges: tuple[float, ...] = (0.0,)
    """By how many seconds the `Date` of each edge is off."""
    retry_after: Literal["seconds", "zero", "absent"] = "seconds"
    """What a 429 says about its end."""
    offences_before_ban: int = 10
    """The number of the 429 within one minute that bans."""
    ban: float = 120.0
    """Seconds of the first ban; each further one is twice as long."""


class Refusal(NamedTuple):
    """A call answered with 429 or 418."""

    at: float
    owner: str
    status: int


class Ban(NamedTuple):
    """Start and duration of a ban in seconds."""

    at: float
    seconds: float


class Minute:
    """What one counter saw in one minute of the exchange's clock.

    Attributes:
        counted: the count at its highest.
        served: weight that was answered with success, by owner.
        owned: weight that was counted, by owner.
    """

    def __init__(self) -> None:
        self.counted: int = 0
        self.served: Counter[str] = Counter()
        self.owned: Counter[str] = Counter()


class _Count(Protocol):
    """A counter of the exchange."""

    def __call__(self, now: float) -> int:
        """Return the count at a time."""
        ...

    def add(self, now: float, weight: int) -> None:
        """Count a call."""
        ...


class _FixedCount:
    def __init__(self) -> None:
        self._minute = -1
        self._count = 0

    def __call__(self, now: float) -> int:
        return self._count if minute_of(now) == self._minute else 0

    def add(self, now: float, weight: int) -> None:
        self._minute, self._count = minute_of(now), self(now) + weight


class _RollingCount:
    def __init__(self) -> None:
        self._calls: deque[tuple[float, int]] = deque()
        self._count = 0

    def __call__(self, now: float) -> int:
        while self._calls and self._calls[0][0] <= now - MINUTE:
            self._count -= self._calls.popleft()[1]
        return self._count

    def add(self, now: float, weight: int) -> None:
        self._calls.append((now, weight))
        self._count += weight


class Server:
    """The exchange.

    Args:
        variants: how it differs from the assumed one.
        clock: its own clock, in seconds since the epoch.
        random: decides which responses lack the header, and which edge responds.
    """

    def __init__(self, variants: Variants, clock: Callable[[], float], random: Random) -> None:
        self.clock: Final = clock
        self.refusals: Final[list[Refusal]] = []
        self.bans: Final[list[Ban]] = []
        self._variants: Final = variants
        self._random: Final = random
        self._counts: Final[dict[Pool, _Count]] = {}
        self._minutes: Final[dict[tuple[Pool, int], Minute]] = {}
        self._offences: Final[Counter[int]] = Counter()
        self._banned_until: float = -math.inf

    def limit(self, pool: Pool) -> int:
        """Return the limit of the pool per minute."""
        return self._variants.limits.get((pool.family, pool.limit_type), LIMITS[pool.family, pool.limit_type].limit)

    def minute(self, pool: Pool, number: int) -> Minute:
        """Return what the pool's counter saw in that minute."""
        return self._minutes.setdefault((pool, number), Minute())

    def owned(self, pool: Pool, owner: str) -> int:
        """Return the counted weight of the owner's calls in the current minute."""
        return self.minute(pool, minute_of(self.clock())).owned[owner]

    def arrive(self, charges: tuple[Charge, ...], owner: str) -> HttpResponse:
        """Count an arriving call and answer it."""
        now = self.clock()
        if now < self._banned_until:
            return self._banned(now, owner)
        full = [pool for pool, weight in charges if self._count(pool)(now) + weight > self.limit(pool)]
        if not full or self._variants.refusals_count:
            self._add(charges, owner, now)
        if full:
            return self._refuse(
                charges, owner, now, timed=any(pool.limit_type is not LimitType.ORDERS for pool in full)
            )
        for pool, weight in charges:
            self.minute(pool, minute_of(now)).served[owner] += weight
        return HttpResponse(200, self._headers(charges, now), b"{}")

    def _count(self, pool: Pool) -> _Count:
        if pool not in self._counts:
            self._counts[pool] = _RollingCount() if self._variants.rolling else _FixedCount()
        return self._counts[pool]

    def _add(self, charges: tuple[Charge, ...], owner: str, now: float) -> None:
        for pool, weight in charges:
            count = self._count(pool)
            count.add(now, weight)
            minute = self.minute(pool, minute_of(now))
            minute.counted = max(minute.counted, count(now))
            minute.owned[owner] += weight

    def _refuse(self, charges: tuple[Charge, ...], owner: str, now: float, *, timed: bool) -> HttpResponse:
        self.refusals.append(Refusal(now, owner, 429))
        number = minute_of(now)
        self._offences[number] += 1
        if self._offences[number] % self._variants.offences_before_ban == 0:
            seconds = self._variants.ban * 2 ** len(self.bans)
            self.bans.append(Ban(now, seconds))
            self._banned_until = now + seconds
        headers = self._headers(charges, now)
        # A full order count is refused without a stated end.
        if timed and self._variants.retry_after != "absent":
            left = math.ceil(MINUTE * (number + 1) - now)
            headers["retry-after"] = "0" if self._variants.retry_after == "zero" else str(left)
        return HttpResponse(429, headers, b'{"code":-1003,"msg":"Too many requests."}')

    def _banned(self, now: float, owner: str) -> HttpResponse:
        self.refusals.append(Refusal(now, owner, 418))
        headers = {"date": self._date(now), "retry-after": str(math.ceil(self._banned_until - now))}
        text = f'{{"code":-1003,"msg":"IP banned until {int(self._banned_until * 1000)}."}}'
        return HttpResponse(418, headers, text.encode())

    def _headers(self, charges: tuple[Charge, ...], now: float) -> dict[str, str]:
        headers = {"date": self._date(now)}
        if self._random.random() < self._variants.header_share:
            for pool, _ in charges:
                headers[LIMITS[pool.family, pool.limit_type].header] = str(self._count(pool)(now))
        return headers

    def _date(self, now: float) -> str:
        return _http_date(math.floor(now + self._random.choice(self._variants.edges)))


def minute_of(time: float) -> int:
    """Return the number of the minute since the epoch."""
    return math.floor(time / MINUTE)


@lru_cache(maxsize=256)
def _http_date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)
