"""The metrics: gauges are read from the fleet in the moment of a scrape, counters are fed by what happens.

What is not known is absent, and a figure that is older than promised counts as not known: a graph that goes on with the
last good value would be all green while nobody sees the account. Only ages, ``stale``, ``failed`` and what was told as
below a line outlive it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from math import inf
from typing import Final, get_args
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from binance_pm.arguments import checked
from binance_pm.attempt_event import AttemptEvent
from binance_pm.budget import Budget, BudgetEvent, Pool, PoolState, Refused
from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import SessionClosed
from binance_pm.fleet import AccountSnapshot, Fleet, FleetEvent, FleetState, GateState
from binance_pm.fleet.events import label_of
from binance_pm.fleet.products import HEADLINES
from binance_pm.metrics.server import serving
from binance_pm.session import Session
from binance_pm.version import VERSION
from binance_pm.wakeup import waker

_PREFIX: Final = "binance_pm_"
_TRAVEL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# Prometheus gives a scrape ten seconds.
_LONGEST_LOOK: Final = 5.0
_REFUSALS: Final = "429", "418"
_UNKNOWN: Final = "unknown"
_OF_ACCOUNTS: Final = [kind.__name__ for kind in get_args(FleetEvent) if "label" in kind.__struct_fields__]


class Metrics:
    """What a fleet knows and what its calls meet, in a registry of Prometheus.

    Have it `watch` an open fleet, give every event to `receive`, and `serve` it, or let your own program serve the
    registry: it may be collected from any thread. If the fleet's event loop does not answer, collecting fails rather
    than show old figures.

    Args:
        registry: where the metrics are registered; None for one of their own, with those of the process.

    Raises:
        ValueError: the registry has such metrics already.

    Attributes:
        registry: where they are registered.
    """

    @checked("Metrics")
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry: Final = _own_registry() if registry is None else registry
        self._source: _Source | None = None
        self._heard: Final[WeakSet[Session | Budget]] = WeakSet()
        self._readings: Final = self._counter("account_readings", "Good answers", "account", "endpoint")
        self._errors: Final = self._counter(
            "account_errors", "Attempts that ended in an error, by its class", "account", "endpoint", "error"
        )
        self._events: Final = self._counter("events", "What the fleet told, by kind", "account", "type")
        self._refusals: Final = self._counter("refusals", "Refusals that closed the gate of a host", "host", "status")
        self._travel: Final = self._histogram(
            "request_duration_seconds",
            "From the first byte of a request until its answer had come or was given up",
            _TRAVEL_SECONDS,
            "endpoint",
            "outcome",
        )
        self._waits: Final = self._histogram(
            "budget_wait_seconds",
            "Waiting for weight or a gate before a request",
            _WAIT_SECONDS,
            "endpoint",
            "priority",
        )
        self.registry.register(self)

    def watch(self, fleet: Fleet) -> None:
        """Show an open fleet from now on, in place of the one before; call it in the fleet's event loop.

        Raises:
            SessionClosed: the fleet is not open.
        """
        for one in (fleet.budget, *(member.client.session for member in fleet.members)):
            if one not in self._heard:
                self._heard.add(one)
                if isinstance(one, Session):
                    one.add_listener(self._count)
                else:
                    one.add_listener(self._hear)
        source = _Source(fleet)
        # A counter that appears with its first event has no increase to be seen.
        for member in fleet.members:
            for name in member.endpoints:
                self._readings.labels(member.client.label, name)
            for kind in _OF_ACCOUNTS:
                self._events.labels(member.client.label, kind)
        for host in fleet.origins:
            for status in _REFUSALS:
                self._refusals.labels(host, status)
        self._source = source

    def receive(self, event: FleetEvent) -> None:
        """Count an event of the fleet."""
        self._events.labels(label_of(event), type(event).__name__).inc()

    def serve(self, *, port: int, host: str = "127.0.0.1") -> AbstractAsyncContextManager[None]:
        """Answer ``GET /metrics`` while the block lasts, from its event loop.

        As long as no open fleet is watched the answer is 503.

        Args:
            port: where to listen.
            host: the address to listen on; by default this machine alone can reach it.

        Raises:
            OSError: on entering, it cannot listen there; mostly because the port is taken.
        """
        return serving(self.registry, self._is_watching, host=host, port=port)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for.

        Raises:
            TimeoutError: the fleet's event loop does not answer.
        """
        build = InfoMetricFamily(f"{_PREFIX}build", "The version of the package")
        build.add_metric((), {"version": VERSION})
        yield build
        source = self._source
        state = source and source.ask()
        if source is not None and state is not None:
            yield from _of_accounts(state.accounts)
            yield from _of_pools(state.pools, source.labels)
            yield from _of_gates(state.gates)

    def _is_watching(self) -> bool:
        return self._source is not None and self._source.is_open

    def _count(self, attempted: AttemptEvent) -> None:
        call, error = attempted.call, attempted.error
        # Programs may call any path.
        endpoint = call.endpoint if call.endpoint in ENDPOINTS else "undeclared"
        outcome = "ok" if error is None else error.__name__
        if error is not None:
            self._errors.labels(call.label, endpoint, outcome).inc()
        elif not call.write:
            self._readings.labels(call.label, endpoint).inc()
        self._waits.labels(endpoint, attempted.priority.name.lower()).observe(attempted.waited)
        if attempted.seconds is not None:
            self._travel.labels(endpoint, outcome).observe(attempted.seconds)

    def _hear(self, event: BudgetEvent) -> None:
        if isinstance(event, Refused):
            self._refusals.labels(event.origin, _UNKNOWN if event.status is None else str(event.status)).inc()

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, about, labels, registry=self.registry, buckets=buckets)


class _Source:
    """An open fleet, read in its own event loop by whoever asks."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet: Final = fleet
        self.labels: Final = {member.client.key_id: member.client.label for member in reversed(fleet.members)}
        """Labels by key id, which is how pools name accounts."""
        self._asked: Final[deque[Future[FleetState | None]]] = deque()
        self._wake: Final = waker(self._answer)

    @property
    def is_open(self) -> bool:
        """Whether the fleet was not closed yet."""
        try:
            _ = self._fleet.budget
        except SessionClosed:
            return False
        return True

    def ask(self) -> FleetState | None:
        """What is known now, None where the fleet or its event loop has ended."""
        answer: Future[FleetState | None] = Future()
        self._asked.append(answer)
        return answer.result(_LONGEST_LOOK) if self._wake() else None

    def _answer(self) -> None:
        while self._asked:
            answer = self._asked.popleft()
            try:
                answer.set_result(self._fleet.state() if self.is_open else None)
            except Exception as error:  # noqa: BLE001 - whatever it is, whoever asks is told
                answer.set_exception(error)


def _own_registry() -> CollectorRegistry:
    # The library's global one is whoever's embeds this.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _of_accounts(pictures: Iterable[AccountSnapshot]) -> Iterator[Metric]:
    figures = {name: _gauge(f"account_{name}", about, "account") for name, (_, about) in _FIGURES.items()}
    status = _gauge("account_status", "1 for the status that the account has", "account", "status")
    line = _gauge("account_line_uni_mmr", "The uniMMR of a line that is watched", "account", "line")
    below = _gauge("account_below_line", "1 from falling to a line until it is seen back above", "account", "line")
    stale = _gauge("account_stale", "1 where a part of the picture is older than promised", "account")
    failed = _gauge("account_failed", "1 where the last reading failed", "account")
    # An implausible figure is not known.
    pictures = [picture.plausible() for picture in pictures]
    for picture in pictures:
        label = picture.label
        is_stale = _is_old(picture, HEADLINES)
        stale.add_metric((label,), _is_stale(picture))
        failed.add_metric((label,), bool(picture.error))
        for name, at in picture.lines.items():
            line.add_metric((label, name), float(at))
            is_below = name in picture.below
            if is_below or (picture.uni_mmr is not None and not is_stale):
                below.add_metric((label, name), is_below)
        if is_stale:
            continue
        for name, (attribute, _) in _FIGURES.items():
            value: Decimal | None = getattr(picture, attribute)
            if value is not None:
                figures[name].add_metric((label,), float(value))
        if picture.status is not None:
            shown = picture.status if picture.status.is_known else _UNKNOWN
            for known in (*AccountStatus, _UNKNOWN):
                status.add_metric((label, known), known == shown)
    return iter([*figures.values(), status, line, below, stale, failed, *_profits(pictures), *_ages(pictures)])


def _profits(pictures: Iterable[AccountSnapshot]) -> list[GaugeMetricFamily]:
    about = "Of all USD-M positions; absent if one is settled in an asset that is no dollar"
    dollars = _gauge("account_unrealized_profit_usd", about, "account")
    assets = _gauge("account_unrealized_profit", "Of USD-M positions, in units of the asset", "account", "asset")
    for picture in pictures:
        if _is_old(picture, ("um_account",)):
            continue
        for asset, value in picture.profits.items():
            assets.add_metric((picture.label, asset), float(value))
        if picture.unrealized_profit is not None:
            dollars.add_metric((picture.label,), float(picture.unrealized_profit))
    return [dollars, assets]


def _ages(pictures: Iterable[AccountSnapshot]) -> list[GaugeMetricFamily]:
    age = _gauge("account_age_seconds", "Since the oldest part of the picture came; +Inf if never", "account")
    ages = _gauge("account_reading_age_seconds", "Since an endpoint was read; +Inf if never", "account", "endpoint")
    for picture in pictures:
        age.add_metric((picture.label,), inf if picture.age is None else picture.age)
        for name, seconds in picture.ages.items():
            ages.add_metric((picture.label, name), inf if seconds is None else seconds)
    return [age, ages]


def _is_stale(picture: AccountSnapshot) -> bool:
    # The fleet itself looks once a second.
    return picture.is_stale or (picture.age is not None and picture.age > picture.bound)


def _is_old(picture: AccountSnapshot, names: Iterable[str]) -> bool:
    """Whether one of the readings, if there is such a one, is older than promised."""
    ages = {name: age for name, age in picture.ages.items() if name in names}
    is_late = any(name in picture.old or (age is not None and age > picture.bound) for name, age in ages.items())
    return is_late if picture.ages else _is_stale(picture)


_FIGURES: Final = {
    "uni_mmr": ("uni_mmr", "Equity over maintenance margin"),
    "equity_usd": ("account_equity", "Equity after collateral haircut"),
    "maintenance_margin_usd": ("account_maint_margin", "Maintenance margin"),
}


def _of_pools(pools: Iterable[PoolState], labels: Mapping[str, str]) -> Iterator[Metric]:
    names = "host", "pool", "account"
    limit = _gauge("pool_weight_limit", "What the exchange allows in a minute", *names)
    used = _gauge("pool_weight_used", "The most that it can have counted in this minute", *names)
    flying = _gauge("pool_weight_in_flight", "Of it, for requests on their way", *names)
    reserve = _gauge("pool_weight_reserve", "What is kept for orders and rescues", *names)
    foreign = _gauge("pool_weight_foreign", "What others on the IP surely used of the latest minute", *names)
    waiting = _gauge("pool_waiting_calls", "Calls that wait for weight or a gate", *names, "priority")
    reason = _gauge("pool_waiting_reason", "1 for what most of them wait for; none if none waits", *names, "reason")
    for state in pools:
        pool = _pool_labels(state.pool, labels)
        limit.add_metric(pool, state.limit)
        used.add_metric(pool, state.used)
        flying.add_metric(pool, state.in_flight)
        reserve.add_metric(pool, state.reserve)
        foreign.add_metric(pool, state.external)
        for priority, number in state.waiting.items():
            waiting.add_metric((*pool, priority.name.lower()), number)
        reason.add_metric((*pool, state.waiting_for.reason if state.waiting_for else "none"), 1)
    return iter([limit, used, flying, reserve, foreign, waiting, reason])


def _pool_labels(pool: Pool, labels: Mapping[str, str]) -> tuple[str, str, str]:
    return pool.origin, pool.name, labels.get(pool.key_id, pool.key_id)


def _of_gates(gates: Iterable[GateState]) -> Iterator[Metric]:
    closed = _gauge("gate_closed", "1 while nothing may be sent to a host", "host")
    opens = _gauge("gate_opens_seconds", "Until the gate opens; 0 where it is open", "host")
    for gate in gates:
        closed.add_metric((gate.origin,), gate.seconds > 0)
        opens.add_metric((gate.origin,), gate.seconds)
    return iter([closed, opens])


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, about, labels=labels)
