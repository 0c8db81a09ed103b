"""``binance-pm tail``: the events that a watch has published, as text or JSON."""

from __future__ import annotations

import sys
from contextlib import closing

import msgspec

from binance_pm.cli.console import printable
from binance_pm.cli.describe import clock_time, describe_event
from binance_pm.fleet import Gap, Missed, Started, StreamEntry
from binance_pm.fleet.relay.subscribe import StreamReader


def run(*, url: str, stream: str, group: str, from_start: bool, json: bool) -> int:
    """Print every entry until Ctrl-C.

    Raises:
        ConfigurationError: an argument is invalid, or another reader took over the group.
        ConnectError: the server does not respond at the start.
    """
    with closing(StreamReader(url, group=group, stream=stream, from_start=from_start)) as reader:
        reader.open()
        while True:
            # Printed entries are acknowledged when the next ones are requested.
            for entry in reader.read():
                print(printable(as_json(entry) if json else as_words(entry)))
            sys.stdout.flush()


def as_json(entry: StreamEntry) -> str:
    """Return the entry as one JSON object, with the event unchanged from the stream."""
    whole = {
        "shard": entry.shard,
        "run": entry.run,
        "number": entry.number,
        "event": msgspec.Raw(entry.text.encode()),
    }
    return msgspec.json.encode(whole).decode()


def as_words(entry: StreamEntry) -> str:
    """Return the entry as one line: the line that a watch prints for the event, or a line for a mark."""
    match entry.event:
        case Started() | Gap() | Missed() as mark:
            return f"{clock_time(mark.at)} {type(mark).__name__:<16} shard {entry.shard}: {_what(mark)}"
        case None:
            return f"{'-':<9} {'?':<16} shard {entry.shard}: an event that this version does not know"
        case event:
            return describe_event(event)


def _what(mark: Started | Gap | Missed) -> str:
    match mark:
        case Started():
            since = "" if mark.since is None else f"; nothing was published since {clock_time(mark.since)}"
            return f"begins to publish{since}"
        case Missed():
            return f"{mark.entries} entries had vanished from the stream before they were read"
        case Gap():
            counts = ((mark.readings, "readings"), (mark.events, "state events"), (mark.vanished, "published entries"))
            lost = ", ".join(f"{count} {what}" for count, what in counts if count)
            return f"lost {lost} between {clock_time(mark.since)} and {clock_time(mark.until)}"
