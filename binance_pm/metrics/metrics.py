"""The metrics: gauges are read from the fleet during a scrape, counters count events.

A figure that is not known is absent, and so is a figure that is older than promised: a graph of the last good value
would look healthy while the account is not being read. Only ages, ``stale``, ``failed`` and crossed thresholds remain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, get_args
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from binance_pm.arguments import checked
from binance_pm.attempt_event import AttemptEvent
from binance_pm.budget import Budget, BudgetEvent, PoolState, Refused
from binance_pm.endpoint import ENDPOINTS
from binance_pm.enums import AccountStatus
from binance_pm.errors import SessionClosed
from binance_pm.fleet import AccountSnapshot, Fleet, FleetEvent, FleetState, GateState
from binance_pm.fleet.events import label_of
from binance_pm.fleet.products import HEADLINES
from binance_pm.metrics.server import serving
from binance_pm.metrics.streams import stream_metrics
from binance_pm.session import Session
from binance_pm.version import VERSION
from binance_pm.wakeup import waker

if TYPE_CHECKING:
    from binance_pm.stream.stream import EventStream

_PREFIX: Final = "binance_pm_"
_DURATION_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_WAIT_SECONDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
# Prometheus aborts a scrape after 10 seconds by default.
_TIMEOUT_SECONDS: Final = 5.0
_REFUSALS: Final = "429", "418"
_UNKNOWN: Final = "unknown"
_POOL: Final = "origin pool account"
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
        # The global registry of the library belongs to the embedding program.
        self.registry: Final = CollectorRegistry() if registry is None else registry
        if registry is None:
            ProcessCollector(registry=self.registry)
        self._source: _Source | None = None
        self._streams: Final[WeakSet[EventStream]] = WeakSet()
        self._observed: Final[WeakSet[Session | Budget]] = WeakSet()
        counter, histogram = partial(Counter, registry=self.registry), partial(Histogram, registry=self.registry)
        self._readings: Final = counter(
            f"{_PREFIX}account_readings", "Successful responses to readings", ("account", "endpoint")
        )
        self._errors: Final = counter(
            f"{_PREFIX}account_errors", "Failed attempts by class of the error", ("account", "endpoint", "error")
        )
        self._events: Final = counter(f"{_PREFIX}events", "Events of the fleet by type", ("account", "type"))
        self._refusals: Final = counter(
            f"{_PREFIX}refusals", "Responses that closed the gate of an origin", ("origin", "status")
        )
        about = "Seconds from the first byte of a request until its response was received or given up"
        self._durations: Final = histogram(
            f"{_PREFIX}request_duration_seconds", about, ("endpoint", "outcome"), buckets=_DURATION_SECONDS
        )
        about = "Seconds that a request waited for weight or a gate"
        self._waits: Final = histogram(
            f"{_PREFIX}budget_wait_seconds", about, ("endpoint", "priority"), buckets=_WAIT_SECONDS
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

    def watch_stream(self, stream: EventStream) -> None:
        """Show a user data stream from now on, while it is open."""
        self._streams.add(stream)

    def receive(self, event: FleetEvent) -> None:
        """Count an event of the fleet."""
        self._events.labels(label_of(event), type(event).__name__).inc()

    def serve(self, *, port: int, host: str = "127.0.0.1") -> AbstractAsyncContextManager[None]:
        """Serve ``GET /metrics`` in threads while the block lasts.

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
        yield InfoMetricFamily(f"{_PREFIX}build", "Version of the package", {"version": VERSION})
        yield from stream_metrics(_PREFIX, list(self._streams))
        source = self._source
        if source is not None and (state := source.ask()) is not None:
            gauges = _Gauges()
            for snapshot in state.accounts:
                gauges.set_account(snapshot)
            for pool in state.pools:
                gauges.set_pool(pool, source.labels)
            for gate in state.gates:
                gauges.set_gate(gate)
            yield from gauges.values()

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
            except Exception as error:  # noqa: BLE001 - raised in the calling thread
                answer.set_exception(error)


# By name without the prefix: the labels and the help text.
_GAUGES: Final = {
    "account_uni_mmr": ("account", "Equity divided by maintenance margin"),
    "account_equity_usd": ("account", "Equity after collateral haircut, in USD"),
    "account_maintenance_margin_usd": ("account", "Maintenance margin, in USD"),
    "account_unrealized_profit_usd": ("account", "USD-M profit; absent if a position is not settled in dollars"),
    "account_unrealized_profit": ("account asset", "USD-M profit by margin asset, in units of the asset"),
    "account_status": ("account status", "1 for the current status of the account, 0 for every other status"),
    "account_threshold_uni_mmr": ("account threshold", "uniMMR of each threshold"),
    "account_below_threshold": ("account threshold", "1 from falling to the threshold until uniMMR is above it again"),
    "account_stale": ("account", "1 if data of an endpoint is older than promised"),
    "account_failed": ("account", "1 if the last reading failed"),
    "account_age_seconds": ("account", "Age of the oldest response; +Inf if an endpoint never responded"),
    "account_reading_age_seconds": ("account endpoint", "Age of the last good response; +Inf if there was none"),
    "pool_weight_limit": (_POOL, "Weight that the exchange allows per minute"),
    "pool_weight_used": (_POOL, "Upper bound of the weight that the exchange has counted in this minute"),
    "pool_weight_in_flight": (_POOL, "Weight of requests in flight, included in the weight used"),
    "pool_weight_reserve": (_POOL, "Weight that polls may not use, kept for orders and rescues"),
    "pool_weight_external": (_POOL, "Lower bound of the weight that other programs used in the latest minute"),
    "pool_waiting_calls": (f"{_POOL} priority", "Number of calls that wait for weight or a gate"),
    "pool_waiting_reason": (f"{_POOL} reason", "1 for what most of the waiting calls wait for; none if no call waits"),
    "gate_closed": ("origin", "1 while nothing may be sent to the origin"),
    "gate_opens_seconds": ("origin", "Seconds until the gate opens; 0 if the gate is open"),
}


class _Gauges(dict[str, GaugeMetricFamily]):
    """The gauges of one scrape, by name."""

    def __init__(self) -> None:
        for name, (labels, about) in _GAUGES.items():
            self[name] = GaugeMetricFamily(_PREFIX + name, about, labels=labels.split())

    def set(self, name: str, value: Decimal | float | None, *labels: str) -> None:
        """Set a gauge, unless the value is not known."""
        if value is not None:
            self[name].add_metric(labels, float(value))

    def set_account(self, snapshot: AccountSnapshot) -> None:
        # Implausible figures are treated as not known.
        snapshot, label = snapshot.plausible(), snapshot.label
        self.set("account_stale", snapshot.is_stale or bool(snapshot.stale_endpoints), label)
        self.set("account_failed", bool(snapshot.error), label)
        self.set("account_age_seconds", inf if snapshot.age is None else snapshot.age, label)
        for name, age in snapshot.ages.items():
            self.set("account_reading_age_seconds", inf if age is None else age, label, name)
        is_known = snapshot.uni_mmr is not None and not _is_stale(snapshot, HEADLINES)
        for name, threshold in snapshot.thresholds.items():
            self.set("account_threshold_uni_mmr", threshold, label, name)
            if name in snapshot.crossed or is_known:
                self.set("account_below_threshold", name in snapshot.crossed, label, name)
        if not _is_stale(snapshot, HEADLINES):
            self.set("account_uni_mmr", snapshot.uni_mmr, label)
            self.set("account_equity_usd", snapshot.account_equity, label)
            self.set("account_maintenance_margin_usd", snapshot.account_maint_margin, label)
            if snapshot.status is not None:
                shown = snapshot.status if snapshot.status.is_known else _UNKNOWN
                for status in (*AccountStatus, _UNKNOWN):
                    self.set("account_status", status == shown, label, status)
        if not _is_stale(snapshot, ("um_account",)):
            self.set("account_unrealized_profit_usd", snapshot.unrealized_profit, label)
            for asset, profit in snapshot.profits.items():
                self.set("account_unrealized_profit", profit, label, asset)

    def set_pool(self, state: PoolState, labels: Mapping[str, str]) -> None:
        pool = state.pool.origin, state.pool.name, labels.get(state.pool.key_id, state.pool.key_id)
        for name in ("limit", "used", "in_flight", "reserve", "external"):
            self.set(f"pool_weight_{name}", getattr(state, name), *pool)
        for priority, number in state.waiting.items():
            self.set("pool_waiting_calls", number, *pool, priority.name.lower())
        self.set("pool_waiting_reason", 1, *pool, state.waiting_for.reason if state.waiting_for else "none")

    def set_gate(self, gate: GateState) -> None:
        self.set("gate_closed", gate.seconds > 0, gate.origin)
        self.set("gate_opens_seconds", gate.seconds, gate.origin)


def _is_stale(snapshot: AccountSnapshot, names: Container[str]) -> bool:
    return any(name in names for name in snapshot.stale_endpoints)
