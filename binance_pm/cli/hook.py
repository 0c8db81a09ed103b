"""``--on-event``: a command that is run for events, with the event as one JSON object on its standard input.

What is promised
    * The watch never waits for a command. At most `_AT_ONCE` commands run, one at a time per account, and a bounded
      number of events waits. Beyond the bound the oldest reading is dropped, or else the oldest event, with a warning.
    * A command that exceeds its timeout is killed together with its process group.
    * Failures are logged as warnings with the name of the program and the type of the event, never with the event's
      content or the arguments, which may be secret.
    * When the watch ends, running commands have half a second to finish before they are killed; no others are started.
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

_log = logging.getLogger(__name__)

_CALL: Final = CallInfo("--on-event")
_AT_ONCE: Final = 4


class Hook:
    """A command that is run for events inside ``async with hook.running()``.

    Args:
        command: the program and its arguments, split as by a shell, but not run by one.
        kinds: types of the events that the command is run for.
        timeout: seconds after which the command is killed.
        grace: seconds that running commands have to finish when the watch ends.
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
        timeout: float = 10.0,
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
            _log.warning("%s is too slow: events are dropped until it has caught up", self._program)

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

    @property
    def _program(self) -> str:
        # Arguments may be secret.
        return self._words[0]

    def _leave(self) -> None:
        self._is_leaving = True
        for scope in self._scopes:
            scope.deadline = min(scope.deadline, anyio.current_time() + self._grace)
        self.dropped += len(self._queue)
        self._queue.clear()
        if self.dropped:
            _log.warning("%s was not run for %d events", self._program, self.dropped)

    async def _work(self, tasks: anyio.abc.TaskGroup) -> None:
        while True:
            self._changed = anyio.Event()
            while len(self._busy) < _AT_ONCE and (key := self._next()) is not None:
                event = self._queue.pop(key)
                self._busy.add(label_of(event))
                tasks.start_soon(self._run_for, event)
            self._is_behind = self._is_behind and bool(self._queue)
            await self._changed.wait()

    def _next(self) -> int | None:
        """Return the key of the oldest event whose account has no running command."""
        return next((key for key, event in self._queue if label_of(event) not in self._busy), None)

    async def _run_for(self, event: FleetEvent) -> None:
        longest = self._grace if self._is_leaving else self._timeout
        why = ""
        # Only the deadline ends a running command; leaving shortens it.
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + longest) as scope:
            self._scopes.add(scope)
            try:
                why = await self._run(json_of(event))
            except OSError as error:
                why = f"cannot be run ({error.strerror})"
            except Exception as error:  # noqa: BLE001 - the other events are independent
                why = f"could not be told ({type(error).__name__})"
            finally:
                self._scopes.discard(scope)
                self._busy.discard(label_of(event))
                self._changed.set()
        if scope.cancelled_caught:
            why = "was still running when the watch ended" if self._is_leaving else f"ran for {self._timeout:g} s"
            why += " and was killed"
        if why:
            self.failures += 1
            _log.warning("%s %s, told of a %s; failures: %d", self._program, why, type(event).__name__, self.failures)

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
    assert process.stdin is not None  # noqa: S101
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
