"""The metrics: gauges are read from the fleet during a scrape, counters count events.

A figure that is not known is absent, and so is a figure that is older than promised: a graph of the last good value
would look healthy while the account is not being read. Only ages, ``stale``, ``failed`` and crossed thresholds remain.
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
_DURATION_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# Prometheus aborts a scrape after 10 seconds by default.
_TIMEOUT_SECONDS: Final = 5.0
_REFUSALS: Final = "429", "418"
_UNKNOWN: Final = "unknown"
_ACCOUNT_EVENTS: Final = [kind.__name__ for kind in get_args(FleetEvent) if "label" in kind.__struct_fields__]


class Metrics:
    """The state of a fleet and the outcome of its calls, in a Prometheus registry.

    Call `watch` with an open fleet and `receive` with every event, then `serve` the metrics, or let your own program
    serve the registry, which may be collected from any thread. If the event loop of the fleet does not respond,
    collecting fails instead of showing old figures.

    Args:
        registry: registry for the metrics; None for a new registry that includes the process metrics.

    Raises:
        ValueError: the registry contains these metrics already.

    Attributes:
        registry: registry that contains the metrics.
    """

    @checked("Metrics")
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry: Final = _own_registry() if registry is None else registry
        self._source: _Source | None = None
        self._observed: Final[WeakSet[Session | Budget]] = WeakSet()
        self._readings: Final = self._counter("account_readings", "Good responses", "account", "endpoint")
        self._errors: Final = self._counter(
            "account_errors", "Attempts that ended in an error, by its class", "account", "endpoint", "error"
        )
        self._events: Final = self._counter("events", "Events of the fleet, by type", "account", "type")
        self._refusals: Final = self._counter(
            "refusals", "Responses that closed the gate of an origin", "origin", "status"
        )
        self._durations: Final = self._histogram(
            "request_duration_seconds",
            "From the first byte of a request until its response was received or abandoned",
            _DURATION_SECONDS,
            "endpoint",
            "outcome",
        )
        self._waits: Final = self._histogram(
            "budget_wait_seconds",
            "Time a request waited for weight or a gate",
            _WAIT_SECONDS,
            "endpoint",
            "priority",
        )
        self.registry.register(self)

    def watch(self, fleet: Fleet) -> None:
        """Show an open fleet from now on, instead of the previous one; call this in the event loop of the fleet.

        Raises:
            SessionClosed: the fleet is not open.
        """
        for one in (fleet.budget, *(member.client.session for member in fleet.members)):
            if one not in self._observed:
                self._observed.add(one)
                if isinstance(one, Session):
                    one.add_listener(self._count_attempt)
                else:
                    one.add_listener(self._count_refusal)
        source = _Source(fleet)
        # If a counter appeared with its first event, Prometheus would see no increase.
        for member in fleet.members:
            for name in member.endpoints:
                self._readings.labels(member.client.label, name)
            for kind in _ACCOUNT_EVENTS:
                self._events.labels(member.client.label, kind)
        for origin in fleet.origins:
            for status in _REFUSALS:
                self._refusals.labels(origin, status)
        self._source = source

    def receive(self, event: FleetEvent) -> None:
        """Count an event of the fleet."""
        self._events.labels(label_of(event), type(event).__name__).inc()

    def serve(self, *, port: int, host: str = "127.0.0.1") -> AbstractAsyncContextManager[None]:
        """Serve ``GET /metrics`` while the block lasts, from its event loop.

        The response is 503 until an open fleet is watched.

        Args:
            port: port to listen on.
            host: address to listen on; by default only this machine can connect.

        Raises:
            OSError: on entering, listening failed, usually because the port is in use.
        """
        return serving(self.registry, self._is_watching, host=host, port=port)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry.

        Raises:
            TimeoutError: the event loop of the fleet does not respond.
        """
        build = InfoMetricFamily(f"{_PREFIX}build", "Version of the package")
        build.add_metric((), {"version": VERSION})
        yield build
        source = self._source
        state = source and source.ask()
        if source is not None and state is not None:
            yield from _account_metrics(state.accounts)
            yield from _pool_metrics(state.pools, source.labels)
            yield from _gate_metrics(state.gates)

    def _is_watching(self) -> bool:
        return self._source is not None and self._source.is_open

    def _count_attempt(self, attempted: AttemptEvent) -> None:
        call, error = attempted.call, attempted.error
        # Client.request() accepts any path.
        endpoint = call.endpoint if call.endpoint in ENDPOINTS else "undeclared"
        outcome = "ok" if error is None else error.__name__
        if error is not None:
            self._errors.labels(call.label, endpoint, outcome).inc()
        elif not call.write:
            self._readings.labels(call.label, endpoint).inc()
        self._waits.labels(endpoint, attempted.priority.name.lower()).observe(attempted.waited)
        if attempted.seconds is not None:
            self._durations.labels(endpoint, outcome).observe(attempted.seconds)

    def _count_refusal(self, event: BudgetEvent) -> None:
        if isinstance(event, Refused):
            self._refusals.labels(event.origin, _UNKNOWN if event.status is None else str(event.status)).inc()

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, about, labels, registry=self.registry, buckets=buckets)


class _Source:
    """An open fleet, whose state is read in its own event loop for any thread."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet: Final = fleet
        self.labels: Final = {member.client.key_id: member.client.label for member in reversed(fleet.members)}
        """Labels by key id, which is how pools name accounts."""
        self._asked: Final[deque[Future[FleetState | None]]] = deque()
        self._wake: Final = waker(self._answer)

    @property
    def is_open(self) -> bool:
        """Whether the fleet is still open."""
        try:
            _ = self._fleet.budget
        except SessionClosed:
            return False
        return True

    def ask(self) -> FleetState | None:
        """Return the state of the fleet, or None if the fleet or its event loop has ended."""
        answer: Future[FleetState | None] = Future()
        self._asked.append(answer)
        return answer.result(_TIMEOUT_SECONDS) if self._wake() else None

    def _answer(self) -> None:
        while self._asked:
            answer = self._asked.popleft()
            try:
                answer.set_result(self._fleet.state() if self.is_open else None)
            except Exception as error:  # noqa: BLE001 - raised in the thread that asked
                answer.set_exception(error)


def _own_registry() -> CollectorRegistry:
    # The global registry of the library belongs to the embedding program.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def _account_metrics(snapshots: Iterable[AccountSnapshot]) -> Iterator[Metric]:
    figures = {name: _gauge(f"account_{name}", about, "account") for name, (_, about) in _FIGURES.items()}
    status = _gauge("account_status", "1 for the status of the account, 0 for the others", "account", "status")
    line = _gauge("account_threshold_uni_mmr", "uniMMR of each threshold", "account", "threshold")
    below = _gauge(
        "account_below_threshold",
        "1 from falling to a threshold until a reading is back above it",
        "account",
        "threshold",
    )
    stale = _gauge("account_stale", "1 if data of an endpoint is older than promised", "account")
    failed = _gauge("account_failed", "1 if the last reading failed", "account")
    # Implausible figures are treated as not known.
    snapshots = [snapshot.plausible() for snapshot in snapshots]
    for snapshot in snapshots:
        label = snapshot.label
        is_stale = _is_old(snapshot, HEADLINES)
        stale.add_metric((label,), _is_stale(snapshot))
        failed.add_metric((label,), bool(snapshot.error))
        for name, at in snapshot.thresholds.items():
            line.add_metric((label, name), float(at))
            is_below = name in snapshot.below
            if is_below or (snapshot.uni_mmr is not None and not is_stale):
                below.add_metric((label, name), is_below)
        if is_stale:
            continue
        for name, (attribute, _) in _FIGURES.items():
            value: Decimal | None = getattr(snapshot, attribute)
            if value is not None:
                figures[name].add_metric((label,), float(value))
        if snapshot.status is not None:
            shown = snapshot.status if snapshot.status.is_known else _UNKNOWN
            for known in (*AccountStatus, _UNKNOWN):
                status.add_metric((label, known), known == shown)
    return iter([*figures.values(), status, line, below, stale, failed, *_profits(snapshots), *_ages(snapshots)])


def _profits(snapshots: Iterable[AccountSnapshot]) -> list[GaugeMetricFamily]:
    about = "Of all USD-M positions; absent if one is settled in an asset other than a dollar"
    dollars = _gauge("account_unrealized_profit_usd", about, "account")
    assets = _gauge("account_unrealized_profit", "Of USD-M positions, in units of the asset", "account", "asset")
    for snapshot in snapshots:
        if _is_old(snapshot, ("um_account",)):
            continue
        for asset, value in snapshot.profits.items():
            assets.add_metric((snapshot.label, asset), float(value))
        if snapshot.unrealized_profit is not None:
            dollars.add_metric((snapshot.label,), float(snapshot.unrealized_profit))
    return [dollars, assets]


def _ages(snapshots: Iterable[AccountSnapshot]) -> list[GaugeMetricFamily]:
    age = _gauge("account_age_seconds", "Since the oldest response; +Inf if an endpoint never responded", "account")
    ages = _gauge(
        "account_reading_age_seconds", "Since the last good response; +Inf if there was none", "account", "endpoint"
    )
    for snapshot in snapshots:
        age.add_metric((snapshot.label,), inf if snapshot.age is None else snapshot.age)
        for name, seconds in snapshot.ages.items():
            ages.add_metric((snapshot.label, name), inf if seconds is None else seconds)
    return [age, ages]


def _is_stale(snapshot: AccountSnapshot) -> bool:
    # The fleet updates `is_stale` only once a second.
    return snapshot.is_stale or (snapshot.age is not None and snapshot.age > snapshot.bound)


def _is_old(snapshot: AccountSnapshot, names: Iterable[str]) -> bool:
    """Return whether the data of one of the endpoints is older than promised."""
    ages = {name: age for name, age in snapshot.ages.items() if name in names}
    is_late = any(
        name in snapshot.stale_endpoints or (age is not None and age > snapshot.bound) for name, age in ages.items()
    )
    return is_late if snapshot.ages else _is_stale(snapshot)


_FIGURES: Final = {
    "uni_mmr": ("uni_mmr", "Equity over maintenance margin"),
    "equity_usd": ("account_equity", "Equity after collateral haircut"),
    "maintenance_margin_usd": ("account_maint_margin", "Maintenance margin"),
}


def _pool_metrics(pools: Iterable[PoolState], labels: Mapping[str, str]) -> Iterator[Metric]:
    names = "origin", "pool", "account"
    limit = _gauge("pool_weight_limit", "Weight that the exchange allows per minute", *names)
    used = _gauge("pool_weight_used", "Upper bound of what the exchange has counted in this minute", *names)
    in_flight = _gauge("pool_weight_in_flight", "Weight of requests in flight, part of the weight used", *names)
    reserve = _gauge("pool_weight_reserve", "Weight that polls may not use, kept for orders and rescues", *names)
    external = _gauge(
        "pool_weight_external", "Weight that other programs on the IP used in the latest minute, a lower bound", *names
    )
    waiting = _gauge("pool_waiting_calls", "Calls that wait for weight or a gate", *names, "priority")
    reason = _gauge(
        "pool_waiting_reason", "1 for what most of the calls wait for; none if no call waits", *names, "reason"
    )
    for state in pools:
        pool = _pool_labels(state.pool, labels)
        limit.add_metric(pool, state.limit)
        used.add_metric(pool, state.used)
        in_flight.add_metric(pool, state.in_flight)
        reserve.add_metric(pool, state.reserve)
        external.add_metric(pool, state.external)
        for priority, number in state.waiting.items():
            waiting.add_metric((*pool, priority.name.lower()), number)
        reason.add_metric((*pool, state.waiting_for.reason if state.waiting_for else "none"), 1)
    return iter([limit, used, in_flight, reserve, external, waiting, reason])


def _pool_labels(pool: Pool, labels: Mapping[str, str]) -> tuple[str, str, str]:
    return pool.origin, pool.name, labels.get(pool.key_id, pool.key_id)


def _gate_metrics(gates: Iterable[GateState]) -> Iterator[Metric]:
    closed = _gauge("gate_closed", "1 while nothing may be sent to an origin", "origin")
    opens = _gauge("gate_opens_seconds", "Seconds until the gate opens; 0 if it is open", "origin")
    for gate in gates:
        closed.add_metric((gate.origin,), gate.seconds > 0)
        opens.add_metric((gate.origin,), gate.seconds)
    return iter([closed, opens])


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, about, labels=labels)
