"""The results of one scenario, and whether they meet its targets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tests.simulation.calls import PAPI, Ask, Priority
from tests.simulation.server import FOREIGN, Server, minute_of


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Targets of a scenario; None if there is no target."""

    refusals: int | None = 0
    """Responses 429 and 418 to our calls, at most."""
    use: float | None = None
    """Share of the limit that was served, including external usage, at least."""
    order_p99: float | None = None
    order_max: float | None = None
    poll_p99: float | None = None
    rescue_max: float | None = None
    jain: float | None = None
    """Fairness between the accounts, at least."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one scenario; seconds are from the request to the response, including the network."""

    refusals: int
    """Responses 429 to our calls."""
    banned_calls: int
    """Responses 418 to our calls."""
    bans: int
    neighbour_refusals: int
    """Responses 429 and 418 to other programs on the IP."""
    use: float
    """Share of the limit that was served, including external usage, over all complete minutes."""
    own_use: float
    """Our part of that share."""
    peak: float
    """The highest count of a minute, as a share of the limit."""
    calls: int
    """Our calls that were answered with success."""
    unanswered: int
    """Calls that were lost or not sent."""
    order_p50: float
    order_p99: float
    order_max: float
    poll_p50: float
    poll_p99: float
    rescue_p50: float
    rescue_max: float
    jain: float
    broken_bounds: tuple[str, ...]
    """When the exchange had counted more of ours than the limiter held."""
    longest_open: float
    """Waiting time of the longest waiting call at the end, in seconds."""

    def missed(self, targets: Targets) -> list[str]:
        """Return the missed targets in words."""
        figures = (
            ("429 and 418", self.refusals + self.banned_calls, targets.refusals),
            ("order wait p99", self.order_p99, targets.order_p99),
            ("order wait max", self.order_max, targets.order_max),
            ("poll wait p99", self.poll_p99, targets.poll_p99),
            ("rescue wait max", self.rescue_max, targets.rescue_max),
        )
        missed = [f"{name} {was:.4g} > {most:.4g}" for name, was, most in figures if most is not None and was > most]
        least = (("use", self.use, targets.use), ("Jain index", self.jain, targets.jain))
        missed += [f"{name} {was:.4f} < {want:.4g}" for name, was, want in least if want is not None and was < want]
        return missed + [f"bound broken {broken}" for broken in self.broken_bounds[:3]]


class Record:
    """The events of the programs, from the first call on.

    Args:
        since: the exchange's time from which it counts.
    """

    def __init__(self, since: float) -> None:
        self.since: Final = since
        self.waits: Final[defaultdict[Priority, list[float]]] = defaultdict(list)
        self.served: Final[Counter[str]] = Counter()
        self.open: Final[dict[object, tuple[Priority, float]]] = {}
        self.unanswered: int = 0
        self.broken_bounds: Final[list[str]] = []

    def answered(self, ask: Ask, *, began: float, now: float) -> None:
        """Record a call that was answered with success."""
        if began >= self.since:
            self.waits[ask.priority].append(now - began)
        if now >= self.since and ask.priority == "polls":
            self.served[ask.account] += ask.weight

    def result(self, server: Server, now: float) -> Result:
        """Return the results at the end."""
        statuses = Counter(refusal.status for refusal in server.refusals if refusal.owner != FOREIGN)
        whole = range(minute_of(self.since), minute_of(now))
        use, own_use = _use(server, whole)
        orders, polls, rescues = (sorted(self._waits(priority, now)) for priority in ("orders", "polls", "rescue"))
        return Result(
            refusals=statuses[429],
            banned_calls=statuses[418],
            bans=len(server.bans),
            neighbour_refusals=len(server.refusals) - statuses.total(),
            use=use,
            own_use=own_use,
            peak=_peak(server, whole),
            calls=sum(map(len, self.waits.values())),
            unanswered=self.unanswered,
            order_p50=quantile(orders, 0.5),
            order_p99=quantile(orders, 0.99),
            order_max=quantile(orders, 1),
            poll_p50=quantile(polls, 0.5),
            poll_p99=quantile(polls, 0.99),
            rescue_p50=quantile(rescues, 0.5),
            rescue_max=quantile(rescues, 1),
            jain=jain(self.served.values()),
            broken_bounds=tuple(self.broken_bounds),
            longest_open=max((now - began for _, began in self.open.values()), default=0.0),
        )

    def _waits(self, priority: Priority, now: float) -> Iterable[float]:
        """Include calls that still wait and have waited for long, so that starvation shows."""
        yield from self.waits[priority]
        for still, began in self.open.values():
            if still == priority and began >= self.since and now - began > 1:
                yield now - began


def _use(server: Server, minutes: range) -> tuple[float, float]:
    allowed = server.limit(PAPI) * max(len(minutes), 1)
    served = Counter[str]()
    for number in minutes:
        served.update(server.minute(PAPI, number).served)
    return served.total() / allowed, (served.total() - served[FOREIGN]) / allowed


def _peak(server: Server, minutes: range) -> float:
    """The highest count as a share of the limit, including the incomplete last minute."""
    numbers = range(minutes.start, minutes.stop + 1)
    return max(server.minute(PAPI, number).counted for number in numbers) / server.limit(PAPI)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which the share of the ordered values lies; 0 if there are none."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def jain(served: Iterable[float]) -> float:
    """Return Jain's index: 1 if all got the same, 1/n if one got everything."""
    amounts = list(served)
    squares = sum(amount * amount for amount in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0
