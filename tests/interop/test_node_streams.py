"""Packages of npm receive every event of a scripted day from the sandbox; `nox -s interop_node` installs them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.interop.day import listen_key, scripted_day

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.interop.conftest import Served

STREAM = Path(__file__).parent / "node" / "stream.cjs"
NAMES = {"binance": "npm binance, streams", "official": "official JS, streams"}
MOST = 2**53
"""The largest whole number that a float holds."""
# What the package binance adds to an event.
ADDED = {"wsMarket", "wsKey", "isWSAPIResponse"}


@contextmanager
def following(served: Served, client: str) -> Generator[list[dict[str, Any]]]:
    """Return the events that a package of npm receives, in a process of its own."""
    modules, node = os.environ.get("NODE_PATH"), shutil.which("node")
    if not modules or not node:
        pytest.skip("no Node.js with the packages of npm: run nox -s interop_node")
    served.client = NAMES[client]
    account, events = served.account, list[dict[str, Any]]()
    options = {"url": served.url, "accounts": [[account.api_key, account.api_secret]], "mode": "events"}
    command = [node, str(STREAM), client]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        lines = process.stdout
        assert lines is not None
        reader = threading.Thread(target=lambda: events.extend(map(json.loads, lines)))
        reader.start()
        try:
            print(json.dumps(options), file=process.stdin, flush=True)
            yield events
        finally:
            process.kill()
            reader.join()


@pytest.mark.parametrize("client", NAMES)
async def test_receives_every_event(trading: Served, client: str) -> None:
    """Each event has the fields that the sandbox pushed, except for the last digits of whole numbers above 2**53."""
    # The key expires with two events, and the package binance closes the connection after the first one.
    missing = 1 if client == "binance" else 0
    with following(trading, client) as seen:
        async with scripted_day(trading, listen_key(trading)) as day:
            await day.run(lambda: len(seen) + missing)
            events = day.events

    received = [{name: value for name, value in event.items() if name not in ADDED} for event in seen]
    assert len(received) >= len(events) - missing
    assert as_javascript(received) == as_javascript(events[: len(received)])


def as_javascript(value: Any) -> Any:
    """Return the value with floats for whole numbers, which lose digits in one package and are text in the other."""
    match value:
        case bool():
            return value
        case int():
            return float(value)
        case str() if value.isdigit() and int(value) > MOST:
            return float(value)
        case dict():
            return {name: as_javascript(one) for name, one in cast("dict[str, Any]", value).items()}
        case list():
            return [as_javascript(one) for one in cast("list[Any]", value)]
        case _:
            return value
