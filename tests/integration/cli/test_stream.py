"""``binance-pm stream``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from binance_pm.api.stream_events import decode_event
from binance_pm.cli.stream import as_json, as_text
from binance_pm.stream.items import StreamGap, StreamItem
from binance_pm.testing import Sandbox, StreamFault, running_sandbox
from tests.support.command import COMMAND, NO_KEYS, environment_of, run_process
from tests.support.streams import sample
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("interruptible")

PART = ("--part", "um.positions")
SECONDS = 5.0
"""How long the end of a command may take on a busy machine; on an idle one, it takes less than one second."""
EXPECTED = ["AccountConfigUpdate", "StreamDown", "StreamGap"]
GAP = StreamGap(since=1_800_000_000.0, until=1_800_000_001.5, why="the connection broke")


def item_of(name: str) -> StreamItem:
    """Return the event of a sample."""
    return decode_event(json.dumps(sample(name)).encode())


def without_nulls(text: str) -> dict[str, Any]:
    """Return a JSON object without the fields that are null."""
    return json.loads(text, object_hook=lambda fields: {name: one for name, one in fields.items() if one is not None})


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (GAP, "StreamGap since=1800000000.000 until=1800000001.500 why=the connection broke"),
        (decode_event(b'{"e": "listenKeyExpired", "E": 1, "listenKey": "canary"}'), "ListenKeyExpired"),
        (item_of("ACCOUNT_CONFIG_UPDATE"), "symbol=BTCUSDT leverage="),
        (item_of("ACCOUNT_UPDATE"), "position_amt="),
        (item_of("error"), "UnknownEvent"),
    ],
)
def test_an_item_is_one_line(item: StreamItem, text: str) -> None:
    """An item is one line with its time and its fields, without a listen key."""
    line = as_text(item)

    assert "\n" not in line
    assert line[8] == "Z"
    assert text in line
    assert "canary" not in line + as_json(item)


@pytest.mark.parametrize("name", ["ORDER_TRADE_UPDATE", "executionReport", "PM_PRO_ACCOUNT_UPDATE", "error"])
def test_an_item_is_one_json_object(name: str) -> None:
    """The object has the exchange's field names, and null for a missing field."""
    item = item_of(name)

    expected = {"type": type(item).__name__, "event": without_nulls(json.dumps(sample(name)))}
    assert without_nulls(as_json(item)) == expected


def test_events_and_gaps_are_printed_until_interrupted(tmp_path: Path) -> None:
    """Each item is printed as one JSON object per line when it arrives."""
    out = tmp_path / "out"
    with running_sandbox(accounts=1) as pm:
        with out.open("wb") as file:
            words = [*COMMAND, "stream", "desk", "--json"]
            process = subprocess.Popen(words, stdout=file, env=os.environ | environment_of(pm))
        try:
            wait_until(lambda: pm.exchange.streams.open_connections == 1, seconds=30)
            pm.exchange.streams.push(pm.accounts[0].label, sample("ACCOUNT_CONFIG_UPDATE"))
            wait_until(lambda: "AccountConfigUpdate" in out.read_text(), seconds=30)
            pm.exchange.streams.apply(StreamFault(kind="break"))
            wait_until(lambda: "StreamGap" in out.read_text(), seconds=30)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) in {0, 130, -signal.SIGINT}
        finally:
            process.kill()
            process.wait()

    types = [json.loads(line)["type"] for line in out.read_text().splitlines()]
    assert [name for name in types if name in EXPECTED] == EXPECTED


COMMANDS = [("stream",), ("stream", "--json"), ("live", "--plain", *PART), ("live", "--json", *PART)]


@contextmanager
def started(pm: Sandbox, *words: str) -> Generator[subprocess.Popen[bytes]]:
    """Run a command until its stream is up and it has printed a line."""
    environment = NO_KEYS | environment_of(pm)
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        try:
            wait_until(lambda: pm.exchange.streams.open_connections == 1, seconds=30)
            pm.exchange.streams.push(pm.accounts[0].label, sample("ACCOUNT_CONFIG_UPDATE"))
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_signal_or_a_closed_pipe_ends_the_command_at_once(words: tuple[str, ...]) -> None:
    """Although no event arrives; stderr stays empty."""
    with running_sandbox(accounts=1) as pm:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)):
            with started(pm, *words) as process:
                began = time.monotonic()
                if number is None:
                    assert process.stdout is not None
                    process.stdout.close()
                else:
                    os.kill(process.pid, number)
                assert process.wait(20) == code
                assert time.monotonic() - began < SECONDS
                assert process.stderr is not None
                assert process.stderr.read() == b""
            wait_until(lambda: pm.exchange.streams.open_connections == 0)


def test_a_wrong_key_is_an_error_in_one_line() -> None:
    """A wrong key is reported in one line, and the exit code is that of a failure."""
    with running_sandbox(accounts=1) as pm:
        began = time.monotonic()
        done = run_process("stream", **(environment_of(pm) | {"BINANCE_PM_API_KEY": "k" * 64}))

    assert done.code == 1
    assert "create_listen_key" in done.err
    assert done.err.count("\n") == 1
    assert time.monotonic() - began < 30
