"""``--on-event``: the command gets every event, never delays the watch, and leaves no process behind."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import get_args

import anyio
import pytest

from binance_pm import ConfigurationError
from binance_pm.cli import hook as module
from binance_pm.cli.hook import STATE_KINDS, EventKind, Hook
from binance_pm.fleet import FleetEvent, HostUnblocked, StateEvent
from tests.support.relay_streams import fresh, reading
from tests.support.waiting import eventually

LONGEST = 20.0


def shell(script: str, *words: object) -> str:
    """Return a command that runs a shell script with arguments."""
    return shlex.join(["/bin/sh", "-c", script, "sh", *map(str, words)])


def lines(path: Path) -> list[str]:
    """Return the lines of a file that a command writes."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings of the hook only: early releases of Python 3.11 also log broken pipes."""
    return [record.getMessage() for record in caplog.records if record.name == module.__name__]


def is_there(process: int) -> bool:
    """Return whether a process exists, or is a zombie of this process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # A process that lost its parent is a zombie until init reaps it, which is not our concern.
    state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return not (state[0] == "Z" and int(state[1]) != os.getpid())


def test_the_kinds_are_the_events_of_a_fleet() -> None:
    """By default, the program runs for all events except readings and changes of positions and balances."""
    frequent = {"Reading", "PositionChanged", "BalanceChanged"}
    assert set(get_args(EventKind)) == {kind.__name__ for kind in get_args(FleetEvent)}
    assert set(STATE_KINDS) == {kind.__name__ for kind in get_args(StateEvent)} == {*get_args(EventKind)} - frequent


class TestEvents:
    """The events that a command gets."""

    async def test_each_event_is_one_run_with_json_on_stdin(self, tmp_path: Path) -> None:
        """Arguments with blanks arrive whole, without a shell, and the default kinds are passed on."""
        out = tmp_path / "a $HOME b"
        program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
        async with Hook(shlex.join([sys.executable, "-c", program, str(out)])).running() as hook:
            hook.receive(reading(0))
            hook.receive(fresh(1))
            hook.receive(HostUnblocked(at=1.0, origin="h"))
            await eventually(lambda: len(lines(out)) == 2)

        told = {event["type"]: event for event in map(json.loads, lines(out))}
        assert set(told) == {"Fresh", "HostUnblocked"}
        assert told["Fresh"]["label"] == "desk-1"
        assert (hook.failures, hook.dropped) == (0, 0)

    async def test_events_of_one_account_are_processed_in_order(self, tmp_path: Path) -> None:
        """At most four commands run at once, and never two for one account."""
        out = tmp_path / "out"
        program = (
            "import json, os, sys, time; event = json.load(sys.stdin)\n"
            "def note(word): os.write(file, f\"{word} {event['label']} {event['age']:.0f}\\n\".encode())\n"
            "file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
            "note('+'); time.sleep(0.05); note('-')"
        )
        async with Hook(shlex.join([sys.executable, "-S", "-c", program, str(out)])).running() as hook:
            for number in range(4):
                for account in "abcdef":
                    hook.receive(fresh(number, account))
            await eventually(lambda: len(lines(out)) == 48)

        running: list[str] = []
        most, begun = 0, dict[str, list[str]]()
        for word, account, number in map(str.split, lines(out)):
            if word == "+":
                assert account not in running
                running.append(account)
                begun.setdefault(account, []).append(number)
            else:
                running.remove(account)
            most = max(most, len(running))
        assert begun == {account: ["0", "1", "2", "3"] for account in "abcdef"}
        assert 2 <= most <= 4


class TestFailures:
    """Commands that fail, hang or are too slow."""

    async def test_a_command_need_not_read_its_input(self, tmp_path: Path) -> None:
        """The event may be larger than the buffer of a pipe."""
        out = tmp_path / "out"
        async with Hook(shell('echo done >> "$1"', out), grace=LONGEST).running() as hook:
            for _ in range(3):
                hook.receive(fresh(1, "x" * 500_000))
            await eventually(lambda: len(lines(out)) == 3)

        assert hook.failures == 0

    async def test_a_failure_is_logged_without_event_and_arguments(self, caplog: pytest.LogCaptureFixture) -> None:
        """Failures are counted, and the next event is processed."""
        async with Hook(shell("echo $1 canary-2 >&2; exit 3", "canary-1")).running() as hook:
            hook.receive(fresh(1, "canary-3"))
            hook.receive(fresh(2, "canary-3"))
            await eventually(lambda: hook.failures == 2)

        assert logged(caplog) == [
            "/bin/sh ended with status 3 (event: Fresh, failures: 1)",
            "/bin/sh ended with status 3 (event: Fresh, failures: 2)",
        ]

    async def test_a_command_that_hangs_is_killed_with_its_children(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The command is killed after its timeout, and the next event is processed."""
        out = tmp_path / "out"
        async with Hook(shell('sleep 60 & echo $$ $! >> "$1"; wait', out), timeout=0.3).running() as hook:
            hook.receive(fresh(1))
            hook.receive(fresh(2))
            await eventually(lambda: hook.failures == 2)

        processes = [int(word) for line in lines(out) for word in line.split()]
        assert len(processes) == 4
        await eventually(lambda: not any(map(is_there, processes)))
        assert logged(caplog)[0] == "/bin/sh was killed after 0.3 s (event: Fresh, failures: 1)"

    async def test_waiting_events_are_bounded(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The oldest readings are dropped first, then the oldest other events, with one warning and a final count."""
        out = tmp_path / "out"
        kinds = ["Reading", "Fresh"]
        hook = Hook(shell('cat >> "$1"; echo >> "$1"', out), kinds=kinds, limit=4)
        for number, make in enumerate([fresh, reading, fresh, reading, fresh, fresh, fresh]):
            hook.receive(make(number))
        async with hook.running():
            await eventually(lambda: len(lines(out)) == 4)

        assert [int(json.loads(line)["at"]) % 10 for line in lines(out)] == [2, 4, 5, 6]
        assert hook.dropped == 3
        assert logged(caplog) == [
            "/bin/sh is too slow: events are dropped until it catches up",
            "/bin/sh was not run for 3 events",
        ]

    @pytest.mark.parametrize("command", ["", "  ", "'", "there-is-no-such-program x"])
    def test_a_command_that_cannot_be_run_is_refused(self, command: str) -> None:
        """The constructor raises before any event."""
        with pytest.raises(ConfigurationError, match="--on-event"):
            Hook(command)


class TestEnd:
    """The commands when a watch ends."""

    async def test_a_running_command_may_finish(self, tmp_path: Path) -> None:
        """The cancellation of the watch leaves the command its grace period."""
        out = tmp_path / "out"
        hook = Hook(shell('echo begun >> "$1"; sleep 0.6; echo done >> "$1"', out), grace=LONGEST)
        with anyio.CancelScope() as scope:
            async with hook.running():
                hook.receive(fresh(1))
                await eventually(lambda: lines(out) == ["begun"])
                scope.cancel()
                await anyio.sleep(10)

        assert lines(out) == ["begun", "done"]
        assert hook.failures == 0

    async def test_a_hanging_command_is_killed_and_waiting_events_are_counted(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """This takes about a second, and no process is left."""
        out = tmp_path / "out"
        async with Hook(shell('sleep 60 & echo $$ $! >> "$1"; wait', out)).running() as hook:
            for number in range(3):
                hook.receive(fresh(number))
            await eventually(lambda: len(lines(out)) == 1)
            begun = time.monotonic()

        assert 0.3 < time.monotonic() - begun < 1.5
        processes = list(map(int, lines(out)[0].split()))
        await eventually(lambda: not any(map(is_there, processes)))
        assert (hook.failures, hook.dropped) == (1, 2)
        assert sorted(logged(caplog)) == [
            "/bin/sh was killed when the watch ended (event: Fresh, failures: 1)",
            "/bin/sh was not run for 2 events",
        ]

    async def test_an_error_of_the_watch_is_not_wrapped(self) -> None:
        """The command line reports the error itself in one line."""
        with pytest.raises(ValueError, match="theirs"):
            async with Hook("/bin/sh").running():
                raise ValueError("theirs")
