"""``--on-event``: the command is told everything, holds nobody up, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
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

LONGEST = 20.0


def shell(script: str, *words: object) -> str:
    """A command line that runs a piece of shell with some words."""
    return shlex.join(["/bin/sh", "-c", script, "sh", *map(str, words)])


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what a command does."""
    with anyio.fail_after(LONGEST):
        while not holds():  # noqa: ASYNC110 - what other processes do wakes nobody
            await anyio.sleep(0.01)


def lines(path: Path) -> list[str]:
    """The lines of a file that a command writes."""
    with suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").splitlines()
    return []


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the hook has logged: the first releases of Python 3.11 log of every pipe that broke, too."""
    return [record.getMessage() for record in caplog.records if record.name == module.__name__]


def is_there(process: int) -> bool:
    """Whether a process is left, be it a zombie."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # What lost its parent is a zombie until the machine's first process looks: that one is nobody's of ours.
    state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return not (state[0] == "Z" and int(state[1]) != os.getpid())


def test_the_kinds_are_those_of_the_events() -> None:
    """Readings are not told unless they are asked for."""
    assert set(get_args(EventKind)) == {kind.__name__ for kind in get_args(FleetEvent)}
    assert set(STATE_KINDS) == {kind.__name__ for kind in get_args(StateEvent)} == {*get_args(EventKind)} - {"Reading"}


class TestTelling:
    """What a command is told."""

    async def test_each_event_is_one_run_with_json_on_stdin(self, tmp_path: Path) -> None:
        """Of the events that were asked for; arguments with blanks arrive whole, and no shell reads them."""
        out = tmp_path / "a $HOME b"
        program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"
        async with Hook(shlex.join([sys.executable, "-c", program, str(out)])).running() as hook:
            hook.receive(reading(0))
            hook.receive(fresh(1))
            hook.receive(HostUnblocked(at=1.0, origin="h"))
            await until(lambda: len(lines(out)) == 2)

        told = {event["type"]: event for event in map(json.loads, lines(out))}
        assert set(told) == {"Fresh", "HostUnblocked"}
        assert told["Fresh"]["label"] == "desk-1"
        assert (hook.failures, hook.dropped) == (0, 0)

    async def test_other_kinds_may_be_asked_for(self, tmp_path: Path) -> None:
        """Readings, too."""
        out = tmp_path / "out"
        async with Hook(shell('cat >> "$1"; echo >> "$1"', out), kinds=["Reading"]).running() as hook:
            hook.receive(fresh(1))
            hook.receive(reading(2))
            await until(lambda: len(lines(out)) == 1)

        assert json.loads(lines(out)[0])["type"] == "Reading"

    async def test_events_of_an_account_come_in_order_beside_those_of_others(self, tmp_path: Path) -> None:
        """At most four run at once, and never two of one account."""
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
            await until(lambda: len(lines(out)) == 48)

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


class TestTrouble:
    """What a command may do."""

    async def test_one_that_does_not_read_does_no_harm(self, tmp_path: Path) -> None:
        """Though the event is larger than any pipe."""
        out = tmp_path / "out"
        async with Hook(shell('echo done >> "$1"', out), grace=LONGEST).running() as hook:
            for _ in range(3):
                hook.receive(fresh(1, "x" * 500_000))
            await until(lambda: len(lines(out)) == 3)

        assert hook.failures == 0

    async def test_a_failure_is_told_without_the_event_and_the_arguments(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """And counted; the next event is told all the same."""
        async with Hook(shell("echo $1 canary-2 >&2; exit 3", "canary-1")).running() as hook:
            hook.receive(fresh(1, "canary-3"))
            hook.receive(fresh(2, "canary-3"))
            await until(lambda: hook.failures == 2)

        assert said(caplog) == [
            "/bin/sh ended with status 3, told of a Fresh; failures: 1",
            "/bin/sh ended with status 3, told of a Fresh; failures: 2",
        ]

    async def test_one_that_hangs_is_killed_with_what_it_started(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After its timeout, and the next event is told."""
        out = tmp_path / "out"
        async with Hook(shell('sleep 60 & echo $$ $! >> "$1"; wait', out), timeout=0.3).running() as hook:
            hook.receive(fresh(1))
            hook.receive(fresh(2))
            await until(lambda: hook.failures == 2)

        processes = [int(word) for line in lines(out) for word in line.split()]
        assert len(processes) == 4
        await until(lambda: not any(map(is_there, processes)))
        assert said(caplog)[0] == "/bin/sh ran for 0.3 s and was killed, told of a Fresh; failures: 1"

    async def test_one_that_vanished_is_a_failure(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """An update took the program away for a moment."""
        program = tmp_path / "page"
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
        hook = Hook(str(program))
        program.unlink()
        async with hook.running():
            hook.receive(fresh(1))
            await until(lambda: hook.failures == 1)

        assert "cannot be run (No such file or directory)" in caplog.text

    async def test_too_many_events_are_bounded(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The oldest readings give way first, then the oldest of the others; it is told once, and summed in the end."""
        out = tmp_path / "out"
        kinds = ["Reading", "Fresh"]
        hook = Hook(shell('cat >> "$1"; echo >> "$1"', out), kinds=kinds, limit=4)
        for number, make in enumerate([fresh, reading, fresh, reading, fresh, fresh, fresh]):
            hook.receive(make(number))
        async with hook.running():
            await until(lambda: len(lines(out)) == 4)

        assert [int(json.loads(line)["at"]) % 10 for line in lines(out)] == [2, 4, 5, 6]
        assert hook.dropped == 3
        assert said(caplog) == [
            "/bin/sh is too slow: events are dropped until it has caught up",
            "/bin/sh was not run for 3 events",
        ]

    @pytest.mark.parametrize("command", ["", "  ", "'", "there-is-no-such-program x"])
    def test_a_command_that_cannot_be_run_is_refused(self, command: str) -> None:
        """Before anything begins."""
        with pytest.raises(ConfigurationError, match="--on-event"):
            Hook(command)


class TestLeaving:
    """What happens to commands when a watch ends."""

    async def test_what_is_nearly_done_may_finish(self, tmp_path: Path) -> None:
        """Though everything around it was cancelled."""
        out = tmp_path / "out"
        hook = Hook(shell('echo begun >> "$1"; sleep 0.6; echo done >> "$1"', out), grace=LONGEST)
        with anyio.CancelScope() as scope:
            async with hook.running():
                hook.receive(fresh(1))
                await until(lambda: lines(out) == ["begun"])
                scope.cancel()
                await anyio.sleep(10)

        assert lines(out) == ["begun", "done"]
        assert hook.failures == 0

    async def test_what_hangs_is_killed_and_what_waits_is_told(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Within a second, and no process is left."""
        out = tmp_path / "out"
        async with Hook(shell('sleep 60 & echo $$ $! >> "$1"; wait', out)).running() as hook:
            for number in range(3):
                hook.receive(fresh(number))
            await until(lambda: len(lines(out)) == 1)
            begun = time.monotonic()

        assert 0.3 < time.monotonic() - begun < 1.5
        processes = list(map(int, lines(out)[0].split()))
        await until(lambda: not any(map(is_there, processes)))
        assert (hook.failures, hook.dropped) == (1, 2)
        assert sorted(said(caplog)) == [
            "/bin/sh was not run for 2 events",
            "/bin/sh was still running when the watch ended and was killed, told of a Fresh; failures: 1",
        ]

    async def test_what_fails_beside_it_goes_on_as_it_was(self) -> None:
        """No group wraps it: the command line says it in one line."""
        with pytest.raises(ValueError, match="theirs"):
            async with Hook("/bin/sh").running():
                raise ValueError("theirs")
