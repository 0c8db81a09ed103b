"""The thread that carries the messages of a shared budget.

No event loop waits for the store, and no cancelled call interrupts a message: calls only wait for weight, and the
thread wakes them.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from binance_pm.budget.shared.messages import StoreMessage, StoreReply
from binance_pm.redis_client import StoreLost

_log = logging.getLogger(__name__)

# How long closing waits for the last message.
_CLOSE_SECONDS: Final = 1.0


class Store(Protocol):
    """A store of shared budgets, used by one thread; each step blocks."""

    def exchange(self, message: StoreMessage) -> StoreReply:
        """Send a message and return the reply.

        Raises:
            StoreLost: no reply came. The message can be sent again under its number.
        """
        ...

    def close(self) -> None:
        """Close the connection; `exchange` would open it again."""
        ...


class _Budget(Protocol):
    """A shared budget, as its worker needs it."""

    def monotonic(self) -> float: ...
    def due(self) -> float: ...
    def message(self) -> StoreMessage: ...
    def reply_received(self, reply: StoreReply) -> None: ...
    def no_reply_received(self, why: str) -> None: ...
    def leave_message(self) -> StoreMessage: ...


class Worker(Protocol):
    """Carries the messages of one budget to its store, one at a time, when they are due."""

    def wake(self) -> None:
        """Look again when the next message is due; callable from any thread, and quick."""
        ...

    def restart(self) -> None:
        """Start again in the child of a fork, with a connection of its own."""
        ...

    def close(self, leave_message: StoreMessage | None = None) -> None:
        """End as soon as the store knows that the process leaves; a later `wake` starts again.

        Args:
            leave_message: the last message, if the budget no longer exists.
        """
        ...


class StoreWorker:
    """A thread that starts with the first message, and ends when it is closed or when the budget is no longer used.

    Args:
        budget: the budget whose messages are carried; only a weak reference is kept.
        connect: returns a connection to the store; nothing is sent before it is used.
    """

    def __init__(self, budget: _Budget, *, connect: Callable[[], Store]) -> None:
        self._budget: Final = weakref.ref(budget)
        self._connect: Final = connect
        # A wrong URL is reported at once.
        self._store: Store | None = connect()
        self._lock: threading.RLock = threading.RLock()
        self._run: _WorkerThread | None = None
        self._last: _WorkerThread | None = None
        """The latest thread, which may still be sending its last message."""

    def wake(self) -> None:
        """Look again when the next message is due."""
        with self._lock:
            run = self._run
            if run is None or not run.is_alive():
                store, self._store = self._store or self._connect(), None
                run = self._run = self._last = _WorkerThread(self._budget, store, after=self._last)
                run.start()
            run.wake_event.set()

    def restart(self) -> None:
        """Start again in the child of a fork: the connection is the parent's."""
        self._lock = threading.RLock()
        self._run = self._last = self._store = None

    def close(self, leave_message: StoreMessage | None = None) -> None:
        """End as soon as the store knows that the process leaves."""
        with self._lock:
            run, self._run = self._run, None
            if run is None:
                return
            run.leave_message, run.is_leaving = leave_message, True
            run.wake_event.set()
        # Without a budget, the caller may be the thread itself.
        if leave_message is None:
            run.join(_CLOSE_SECONDS)


class _WorkerThread(threading.Thread):
    """One life of the thread; `after` is the previous one, whose last message has to be replied to first."""

    def __init__(self, budget: weakref.ref[_Budget], store: Store, *, after: _WorkerThread | None) -> None:
        super().__init__(name="binance-pm shared budget", daemon=True)
        self.wake_event: Final = threading.Event()
        self.is_leaving = False
        self.leave_message: StoreMessage | None = None
        self._budget = budget
        self._store = store
        self._after = after

    def run(self) -> None:
        """Carry what is due until it is time to leave."""
        before, self._after = self._after, None
        if before is not None:
            before.join()
            if not before.is_leaving and (budget := self._budget()) is not None:
                # The previous thread ended by itself, maybe in the middle of a message.
                budget.no_reply_received("the thread before has ended")
                del budget
        while not self.is_leaving:
            self._step()
        if (budget := self._budget()) is not None:
            self._exchange(budget, budget.leave_message)
        elif self.leave_message is not None:
            with suppress(StoreLost):
                self._store.exchange(self.leave_message)
        self._store.close()

    def _step(self) -> None:
        self.wake_event.clear()
        budget = self._budget()
        left = budget.due() - budget.monotonic() if budget else math.inf
        if budget and left <= 0:
            self._exchange(budget, budget.message)
            return
        del budget
        self.wake_event.wait(min(left, threading.TIMEOUT_MAX) if left < math.inf else None)

    def _exchange(self, budget: _Budget, message: Callable[[], StoreMessage]) -> None:
        try:
            try:
                reply = self._store.exchange(message())
            except StoreLost as error:
                budget.no_reply_received(str(error))
            else:
                budget.reply_received(reply)
        except Exception as error:  # noqa: BLE001 - without the thread, no call would be admitted any more
            _log.exception("A message of the shared budget failed.")
            with suppress(Exception):
                budget.no_reply_received(type(error).__name__)
