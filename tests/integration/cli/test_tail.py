"""``binance-pm tail``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from binance_pm.cli.tail import as_json, as_text
from binance_pm.fleet import Gap, Missed, Publisher, Started, StreamEntry, StreamEvent, ThresholdCrossed
from tests.support.command import COMMAND, run_process
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import START, fresh
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"

pytestmark = pytest.mark.usefixtures("interruptible")


@contextmanager
def running(folder: Path, *words: str, **environment: str) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run the command with its output in the files ``out`` and ``err``."""
    with (folder / "out").open("ab") as out, (folder / "err").open("ab") as err:
        process = subprocess.Popen([*COMMAND, *words], stdout=out, stderr=err, env=os.environ | environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def entry(event: StreamEvent | None) -> StreamEntry:
    """Return an entry of a shard."""
    return StreamEntry(shard="1/2", run="r", number=3, event=event, text=msgspec.json.encode(event).decode())


CROSSED = ThresholdCrossed(
    at=START, label="desk-1", name="warn", threshold=Decimal(2), below=True, uni_mmr=Decimal("1.9")
)


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (CROSSED, "08:00:00Z ThresholdCrossed desk-1: uniMMR 1.9 is at or below warn 2"),
        (
            Started(at=START, shard="1/2", since=START - 60, previous_run="q", previous_number=9),
            "08:00:00Z Started          shard 1/2: publishing started; nothing was published since 07:59:00Z",
        ),
        (
            Gap(at=START, shard="1/2", readings=7, events=1, vanished=0, since=START - 60, until=START),
            "08:00:00Z Gap              shard 1/2: lost 7 readings, 1 state events between 07:59:00Z and 08:00:00Z",
        ),
        (
            Gap(at=START, shard="1/2", readings=0, events=0, vanished=5, since=START - 60, until=START),
            "08:00:00Z Gap              shard 1/2: lost 5 published entries between 07:59:00Z and 08:00:00Z",
        ),
        (
            Missed(at=START, shard="1/2", entries=4),
            "08:00:00Z Missed           shard 1/2: 4 entries were deleted from the stream before they were read",
        ),
        (
            Started(at=1e300, shard="1/2", since=None, previous_run=None, previous_number=0),
            "--:--:--Z Started          shard 1/2: publishing started",
        ),
        (None, "-         ?                shard 1/2: unknown event type"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_text(event: StreamEvent | None, text: str) -> None:
    """Each entry is one line; events have the lines of a watch."""
    assert as_text(entry(event)) == text


def test_json_contains_the_event_as_published() -> None:
    """The object names the publisher as well."""
    event = json.loads(msgspec.json.encode(fresh(1)))

    assert json.loads(as_json(entry(fresh(1)))) == {"shard": "1/2", "run": "r", "number": 3, "event": event}


def test_a_group_continues_where_it_stopped(valkey: str, tmp_path: Path) -> None:
    """Ctrl-C ends the command, a kill loses no entry, and a closed pipe is no failure."""
    words = ("tail", "--stream", "continued", "--group", "desk", "--from-start", "--json")

    def numbers() -> list[int]:
        return [json.loads(line)["number"] for line in (tmp_path / "out").read_text(encoding="utf-8").splitlines()]

    with Publisher(valkey, stream="continued") as publisher:
        publisher.receive(fresh(1))
        with running(tmp_path, *words, valkey) as process:
            wait_until(lambda: numbers() == [1, 2])
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        publisher.receive(fresh(2))
        with running(tmp_path, *words, BINANCE_PM_PUBLISH=valkey):
            wait_until(lambda: 3 in numbers())
        publisher.receive(fresh(3))
        wait_until(lambda: not publisher.waiting)
        with subprocess.Popen([*COMMAND, *words, valkey], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # If the command was killed before it acknowledged the third entry, it gets that entry again.
            assert json.loads(process.stdout.readline())["number"] in {3, 4}
            process.stdout.close()
            assert process.wait(timeout=20) == 0

    assert sorted(set(numbers())) == [1, 2, 3]
    assert (tmp_path / "err").read_text(encoding="utf-8") == ""


def test_failures_do_not_show_the_password() -> None:
    """An unreachable server and a misplaced URL are one line each."""
    with refusing_port() as port:
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
        failures = [run_process("tail", url), run_process("tail", url, url)]

    assert [(ended.code, ended.out, ended.err.count("\n")) for ended in failures] == [(1, "", 1), (2, "", 1)]
    assert not any(PASSWORD in ended.err for ended in failures)
    assert "redis://...@127.0.0.1" in failures[1].err
