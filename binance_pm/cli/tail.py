"""``binance-pm tail``: the events that a watch has published, as text or JSON."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import msgspec
from cyclopts import Parameter

from binance_pm.cli.options import PUBLISH_VARIABLE, flag
from binance_pm.cli.output import check_reader, clock_time, describe_event, printable
from binance_pm.fleet import Gap, Missed, Started, StreamEntry
from binance_pm.fleet.relay.entries import STREAM
from binance_pm.fleet.relay.subscribe import StreamReader


def run(
    url: Annotated[str, Parameter(help="URL of the Redis or Valkey server to read from.", env_var=PUBLISH_VARIABLE)],
    /,
    *,
    stream: Annotated[str, Parameter(help="Name of the stream that watch --publish appends to.")] = STREAM,
    group: Annotated[str, Parameter(help="Name of the reader group; each group continues where it stopped.")] = "tail",
    from_start: Annotated[bool, flag("Let a new group begin with the oldest entry.")] = False,
    json: Annotated[bool, flag("Print one JSON object per entry.")] = False,
) -> int:
    """Print the events that a watch publishes, one per line, until Ctrl-C."""
    with closing(StreamReader(url, group=group, stream=stream, from_start=from_start)) as reader:
        reader.open()
        while True:
            # Printed entries are acknowledged when the next ones are requested.
            for entry in reader.read():
                print(printable(as_json(entry) if json else as_text(entry)))
            sys.stdout.flush()
            check_reader()


def as_json(entry: StreamEntry) -> str:
    """Return the entry as one JSON object, with the event unchanged from the stream."""
    event = msgspec.Raw(entry.text.encode())
    whole = {"shard": entry.shard, "run": entry.run, "number": entry.number, "event": event}
    return msgspec.json.encode(whole).decode()


def as_text(entry: StreamEntry) -> str:
    """Return the entry as one line: the line that a watch prints for the event, or a line for a mark."""
    match entry.event:
        case Started() | Gap() | Missed() as mark:
            return f"{clock_time(mark.at)} {type(mark).__name__:<16} shard {entry.shard}: {_what(mark)}"
        case None:
            return f"{'-':<9} {'?':<16} shard {entry.shard}: unknown event type"
        case event:
            return describe_event(event)


def _what(mark: Started | Gap | Missed) -> str:
    match mark:
        case Started():
            since = "" if mark.since is None else f"; nothing was published since {clock_time(mark.since)}"
            return f"publishing started{since}"
        case Missed():
            return f"{mark.entries} entries were deleted from the stream before they were read"
        case Gap():
            counts = ((mark.readings, "readings"), (mark.events, "state events"), (mark.vanished, "published entries"))
            lost = ", ".join(f"{count} {what}" for count, what in counts if count)
            return f"lost {lost} between {clock_time(mark.since)} and {clock_time(mark.until)}"
