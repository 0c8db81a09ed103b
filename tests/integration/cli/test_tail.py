"""``binance-pm tail`` and ``watch --publish --on-event``, as their user meets them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from binance_pm.cli.tail import as_json, as_words
from binance_pm.extras import installation
from binance_pm.fleet import Gap, Missed, Publisher, Started, StreamEntry, StreamEvent, ThresholdCrossed
from binance_pm.testing import Sandbox
from tests.support.command import COMMAND
from tests.support.raw_server import refusing_port
from tests.support.relay_streams import START, beside, fresh, seen_in
from tests.support.waiting import wait_until

PASSWORD = "canary-4711"

pytestmark = pytest.mark.usefixtures("interruptible")


@contextmanager
def running(
    folder: Path, *words: str, environment: dict[str, str] | None = None
) -> Generator[subprocess.Popen[bytes], None, None]:
    """Run the command, its output in the files ``out`` and ``err``."""
    with (folder / "out").open("ab") as out, (folder / "err").open("ab") as err:
        env = os.environ | (environment or {})
        process = subprocess.Popen([*COMMAND, *words], stdout=out, stderr=err, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def lines(folder: Path, name: str = "out") -> list[str]:
    """What the command has said."""
    return (folder / name).read_text(encoding="utf-8").splitlines()


def entry(event: StreamEvent | None, number: int | None = 3) -> StreamEntry:
    """An entry of a shard."""
    return StreamEntry(shard="1/2", run="r", number=number, event=event, text=msgspec.json.encode(event).decode())


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            ThresholdCrossed(
                at=START, label="desk-1", name="warn", threshold=Decimal(2), below=True, uni_mmr=Decimal("1.9")
            ),
            "08:00:00Z ThresholdCrossed desk-1: uniMMR 1.9 is at or below warn 2",
        ),
        (
            Started(at=START, shard="1/2", since=None, previous_run=None, previous_number=0),
            "08:00:00Z Started          shard 1/2: begins to publish",
        ),
        (
            Started(at=START, shard="1/2", since=START - 60, previous_run="q", previous_number=9),
            "08:00:00Z Started          shard 1/2: begins to publish; nothing was published since 07:59:00Z",
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
            "08:00:00Z Missed           shard 1/2: 4 entries had vanished from the stream before they were read",
        ),
        (
            Started(at=1e300, shard="1/2", since=None, previous_run=None, previous_number=0),
            "--:--:--Z Started          shard 1/2: begins to publish",
        ),
        (None, "-         ?                shard 1/2: an event that this version does not know"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_words(event: StreamEvent | None, words: str) -> None:
    """One line an entry, events as a watch prints them."""
    assert as_words(entry(event)) == words


def test_json_is_whole() -> None:
    """The event as it stands in the stream, and who wrote it."""
    told = json.loads(as_json(entry(fresh(1))))

    assert told == {"shard": "1/2", "run": "r", "number": 3, "event": json.loads(msgspec.json.encode(fresh(1)))}


def test_it_takes_up_where_it_left_off(valkey: str, tmp_path: Path) -> None:
    """Ctrl-C ends it, killing it loses nothing, and a pipe that is closed is no error."""
    name = "taking-up"
    words = ("tail", "--stream", name, "--group", "desk", "--from-start", "--json")
    numbers: Callable[[], list[int]] = lambda: [json.loads(line)["number"] for line in lines(tmp_path)]  # noqa: E731
    with Publisher(valkey, stream=name) as publisher:
        publisher.receive(fresh(1))
        with running(tmp_path, *words, valkey) as process:
            wait_until(lambda: numbers() == [1, 2])
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=20) == 130
        publisher.receive(fresh(2))
        with running(tmp_path, *words, environment={"BINANCE_PM_PUBLISH": valkey}):
            wait_until(lambda: 3 in numbers())
        publisher.receive(fresh(3))
        wait_until(lambda: not publisher.waiting)
        with subprocess.Popen([*COMMAND, *words, valkey], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            # Where it was killed before it could acknowledge, the third comes again.
            assert json.loads(process.stdout.readline())["number"] in {3, 4}
            process.stdout.close()
            # Nobody who writes into a pipe knows before the next line.
            publisher.receive(fresh(4))
            assert process.wait(timeout=20) == 0

    assert sorted(set(numbers())) == [1, 2, 3]
    assert lines(tmp_path, "err") == []


@pytest.mark.parametrize("command", [("tail",), ("watch", "--accounts", "none.toml", "--publish")])
def test_what_cannot_be_is_one_line(command: tuple[str, ...], tmp_path: Path) -> None:
    """Without the password."""
    with refusing_port() as port:
        url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
        ended = subprocess.run(
            [*COMMAND, *command, url], capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path
        )

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert PASSWORD not in ended.stderr


def test_a_url_in_the_wrong_place_is_shown_without_its_password() -> None:
    """What is left over is quoted."""
    url = f"redis://:{PASSWORD}@127.0.0.1"
    ended = subprocess.run([*COMMAND, "tail", url, url], capture_output=True, text=True, timeout=20, check=False)

    assert (ended.returncode, ended.stderr) == (2, "binance-pm: Unused Tokens: ['redis://...@127.0.0.1'].\n")


@pytest.mark.parametrize("words", ["tail redis://h", "watch --accounts x --publish redis://h"])
def test_a_missing_extra_is_named(words: str) -> None:
    """One line says how to get it."""
    code = "import sys; sys.modules['redis'] = None; from binance_pm.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, timeout=20, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"Install it: {installation('redis')}\n" in ended.stderr


class TestWatch:
    """What a watch passes on."""

    @pytest.fixture
    def accounts(self, pm_sandbox: Sandbox, tmp_path: Path) -> tuple[str, dict[str, str]]:
        """An accounts file, and the environment with the key."""
        account = pm_sandbox.accounts[0]
        path = tmp_path / "accounts.toml"
        path.write_text(
            '[[accounts]]\nlabel = "desk-1"\nproduct = "span"\napi_key = { env = "K" }\napi_secret = { env = "S" }\n',
            encoding="utf-8",
        )
        keys = {"K": account.api_key, "S": account.api_secret, "BINANCE_PM_BASE_URL": pm_sandbox.base_url}
        return str(path), keys

    @pytest.mark.pm_sandbox(accounts=1)
    @pytest.mark.parametrize(("way", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_what_is_printed_is_published_and_told(
        self, valkey: str, accounts: tuple[str, dict[str, str]], tmp_path: Path, way: signal.Signals, code: int
    ) -> None:
        """Ctrl-C and SIGTERM end everything at once, and the last events have arrived."""
        path, environment = accounts
        told = tmp_path / "told"
        hook = shlex.join(["/bin/sh", "-c", 'cat >> "$1"; echo >> "$1"', "sh", str(told)])
        words = ("watch", "--accounts", path, "--json", "--floor", "0.1", "--ceiling", "0.1", "--warn", "1000")
        passing = ("--publish", valkey, "--stream", way.name, "--on-event", hook)
        with running(tmp_path, *words, *passing, environment=environment) as process:
            wait_until(lambda: len(lines(tmp_path)) > 5 and told.exists())
            begun = time.monotonic()
            process.send_signal(way)
            assert process.wait(timeout=20) == code
            taken = time.monotonic() - begun

        printed = lines(tmp_path)
        seen = [one.event for one in seen_in(valkey, way.name)]
        assert taken < 2
        assert isinstance(seen[0], Started)
        assert [msgspec.json.encode(event).decode() for event in seen[1:]] == printed
        assert [json.loads(line)["type"] for line in told.read_text(encoding="utf-8").splitlines()] == [
            "ThresholdCrossed"
        ]
        assert lines(tmp_path, "err") == []

    @pytest.mark.pm_sandbox(accounts=1)
    def test_a_server_that_is_gone_does_not_hold_it_up(
        self, accounts: tuple[str, dict[str, str]], tmp_path: Path
    ) -> None:
        """It is said once, and the accounts are read."""
        path, environment = accounts
        with refusing_port() as port:
            url = f"redis://:{PASSWORD}@127.0.0.1:{port}"
            words = ("watch", "--accounts", path, "--floor", "0.1", "--ceiling", "0.1", "--budget", url)
            with running(tmp_path, *words, "--publish", url, environment=environment) as process:
                wait_until(lambda: len(lines(tmp_path)) > 15)
                begun = time.monotonic()
                process.send_signal(signal.SIGINT)
                assert process.wait(timeout=20) == 130
                taken = time.monotonic() - begun

        said = "\n".join(lines(tmp_path, "err"))
        assert taken < 3
        assert said.count("The stream is unavailable") == 1
        assert re.search(rf"127\.0\.0\.1:{port}: \d+ events were not published", said)
        assert PASSWORD not in said
        assert "Traceback" not in said

    @pytest.mark.pm_sandbox(accounts=1)
    def test_lines_that_cannot_be_are_one_line(self, accounts: tuple[str, dict[str, str]]) -> None:
        """Whatever is at work already."""
        path, environment = accounts
        words = ("watch", "--accounts", path, "--warn", "1.2", "--alarm", "1.5", "--on-event", "/bin/sh")
        ended = subprocess.run(
            [*COMMAND, *words], capture_output=True, text=True, timeout=20, check=False, env=os.environ | environment
        )

        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
        assert "is not below warn" in ended.stderr

    def test_nothing_is_written_where_the_accounts_are_wrong(self, valkey: str, tmp_path: Path) -> None:
        """The stream does not say that a shard began to publish which never did."""
        words = ("watch", "--accounts", str(tmp_path / "none.toml"), "--publish", valkey, "--stream", "unwritten")
        ended = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=20, check=False)

        assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
        with beside(valkey) as client:
            assert not client.exists("binance-pm:{unwritten}:events")
