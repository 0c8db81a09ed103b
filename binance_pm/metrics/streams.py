"""The metrics of user data streams, read during a scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from binance_pm.stream.stream import EventStream

_LABELS: Final = ("account", "product")

# By name without the prefix: the help text, and the value of an open stream.
_GAUGES: Final[dict[str, tuple[str, Callable[[EventStream], float]]]] = {
    "stream_up": ("1 while the connection is open and its listen key is active", lambda one: one.is_up),
    "stream_proof_age_seconds": ("Seconds since the stream was last proven to be up", lambda one: one.age),
    "stream_queued_events": ("Events that wait for the consumer", lambda one: one.queued),
}
_COUNTERS: Final[dict[str, tuple[str, Callable[[EventStream], float]]]] = {
    "stream_gaps": ("Reported gaps", lambda one: one.counts.gaps),
    "stream_lost_events": ("Events that are known to be lost", lambda one: one.counts.lost),
    "stream_duplicates": ("Duplicates that were dropped", lambda one: one.duplicates),
    "stream_reconnects": ("Connections opened after the stream was down", lambda one: one.counts.reconnects),
    "stream_rotations": ("Connections replaced as planned", lambda one: one.counts.rotations),
}


def stream_metrics(prefix: str, streams: Iterable[EventStream]) -> Iterator[Metric]:
    """Yield the metrics of the streams that are open."""
    open_streams = [stream for stream in streams if stream.is_open]
    for name, (about, value) in _GAUGES.items():
        gauge = GaugeMetricFamily(prefix + name, about, labels=_LABELS)
        for stream in open_streams:
            gauge.add_metric((stream.label, stream.product), float(value(stream)))
        yield gauge
    for name, (about, value) in _COUNTERS.items():
        counter = CounterMetricFamily(prefix + name, about, labels=_LABELS)
        for stream in open_streams:
            counter.add_metric((stream.label, stream.product), float(value(stream)))
        yield counter
