"""``--on-event``: a command that is run for events, with the event as one JSON object on its standard input.

The watch never waits for a command. At most `_AT_ONCE` commands run, one at a time per account, and a bounded number
of events waits; beyond the bound the oldest reading is dropped, or else the oldest event. Warnings name the program and
the type of the event, never the arguments or the content of the event, which may be secret.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import subprocess
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal, Self, get_args

import anyio
import anyio.abc

from binance_pm.amounts import json_of
from binance_pm.errors import CallInfo, ConfigurationError
from binance_pm.fleet import FleetEvent, Reading, StateEvent
from binance_pm.fleet.event_queue import EventQueue
from binance_pm.fleet.events import label_of
from binance_pm.fleet.processes import end_process

EventKind = Literal[
    "Reading",
    "PositionChanged",
    "BalanceChanged",
    "StatusChanged",
    "ThresholdCrossed",
    "Stale",
    "Fresh",
    "AccountFailed",
    "HostBlocked",
    "HostUnblocked",
    "BudgetTight",
]
STATE_KINDS: Final = tuple(kind.__name__ for kind in get_args(StateEvent))
"""The events that a command is run for by default."""
TIMEOUT_SECONDS: Final = 10.0
"""Default of `--on-event-timeout`."""

_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("--on-event")
_AT_ONCE: Final = 4


class Hook:
    """A command that is run for events inside ``async with hook.running()``.

    Args:
        command: the program and its arguments, split as by a shell, but not run by one.
        kinds: types of the events that the command is run for.
        timeout: seconds after which the command is killed together with its process group.
        grace: seconds that running commands have to finish when the watch ends; no others are started then.
        limit: maximum number of events that wait.

    Attributes:
        failures: number of commands that failed.
        dropped: number of events without a command, because too many waited or the watch ended.

    Raises:
        ConfigurationError: the command cannot be split, or there is no such program.
    """

    def __init__(
        self,
        command: str,
        *,
        kinds: Collection[str] = STATE_KINDS,
        timeout: float = TIMEOUT_SECONDS,
        grace: float = 0.5,
        limit: int = 1_000,
    ) -> None:
        self._words: Final = _split(command)
        self._kinds: Final = frozenset(kinds)
        self._timeout: Final = timeout
        self._grace: Final = grace
        self._queue: Final = EventQueue[FleetEvent](limit, self._drop)
        self._busy: Final[set[str]] = set()
        """Labels of accounts with a running command; the empty label stands for events without an account."""
        self._scopes: Final[set[anyio.CancelScope]] = set()
        """Cancel scopes of the running commands."""
        self._changed: anyio.Event = anyio.Event()
        self._is_behind: bool = False
        self._is_leaving: bool = False
        self.failures: int = 0
        self.dropped: int = 0

    def receive(self, event: FleetEvent) -> None:
        """Queue an event; never waits and never fails."""
        if type(event).__name__ not in self._kinds:
            return
        self._queue.put(event, is_reading=isinstance(event, Reading))
        self._changed.set()

    def _drop(self, _: FleetEvent, _is_reading: bool) -> None:  # noqa: FBT001 - as EventQueue calls it
        self.dropped += 1
        if not self._is_behind:
            self._is_behind = True
            _log.warning("%s is too slow: events are dropped until it catches up", self._words[0])

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self, None]:
        """Run commands while the block lasts; then let running commands finish briefly, and start no others."""
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._work, tasks)
            try:
                yield self
            except Exception as error:  # noqa: BLE001 - raised below, outside the task group that would wrap it
                failure = error
            finally:
                tasks.cancel_scope.cancel()
                self._leave()
        if failure is not None:
            raise failure

    def _leave(self) -> None:
        self._is_leaving = True
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, anyio.current_time() + self._grace)
        self.dropped += len(self._queue)
        self._queue.clear()
        if self.dropped:
            _log.warning("%s was not run for %d events", self._words[0], self.dropped)

    async def _work(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            self._changed = anyio.Event()
            while len(self._busy) < _AT_ONCE and (event := self._next()) is not None:
                self._busy.add(label_of(event))
                tasks.start_soon(self._run_for, event)
            self._is_behind = self._is_behind and bool(self._queue)
            await self._changed.wait()

    def _next(self) -> FleetEvent | None:
        """Remove and return the oldest event whose account has no running command."""
        key = next((key for key, event in self._queue if label_of(event) not in self._busy), None)
        return None if key is None else self._queue.pop(key)

    async def _run_for(self, event: FleetEvent) -> None:
        longest = self._grace if self._is_leaving else self._timeout
        why = ""
        # Only the deadline ends a running command; leaving shortens it.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + longest) as scope:
            self._scopes.add(scope)
            try:
                why = await self._run(json_of(event))
            except OSError as error:
                why = f"could not be started: {error.strerror}"
            except Exception as error:  # noqa: BLE001 - the other events are independent
                why = f"did not get the event: {type(error).__name__}"
            finally:
                self._scopes.discard(scope)
                self._busy.discard(label_of(event))
                self._changed.set()
        if scope.cancelled_caught:
            why = f"was killed {'when the watch ended' if self._is_leaving else f'after {self._timeout:g} s'}"
        if why:
            self.failures += 1
            kind = type(event).__name__
            _log.warning("%s %s (event: %s, failures: %d)", self._words[0], why, kind, self.failures)

    async def _run(self, text: bytes) -> str:
        """Run the command once, and return why it failed, or an empty text."""
        process = await anyio.open_process(
            self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            await _send_event(process, text)
            status = await process.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await end_process(process, kill=process.returncode is None)
        return f"ended with status {status}" if status else ""


async def _send_event(process: anyio.abc.Process, text: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    # A command need not read its input.
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        await process.stdin.send(text)
        await process.stdin.aclose()


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigurationError(_CALL, f"the command cannot be split into words: {error}") from None
    if not words:
        raise ConfigurationError(_CALL, "the command is empty")
    if shutil.which(words[0]) is None:
        raise ConfigurationError(_CALL, f"there is no program {words[0]}")
    return words
