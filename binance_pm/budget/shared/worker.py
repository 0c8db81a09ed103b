"""The thread that carries the messages of a shared budget.

No event loop waits for the store, and no cancelled call interrupts a message: calls wait for weight alone, and the
thread wakes them.
"""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from binance_pm.budget.shared.budget import SharedBudget
from binance_pm.budget.shared.messages import Message
from binance_pm.budget.shared.store import Store
from binance_pm.redis_client import StoreLost

_log = logging.getLogger(__name__)

# How long closing waits for the last message.
_PARTING_SECONDS: Final = 1.0


class StoreWorker:
    """Starts with the first message, and ends when it is closed or nobody uses the budget any more.

    Args:
        budget: whose messages it carries; it does not keep it alive.
        connect: a connection to the store, of which nothing is sent before it is used.
    """

    def __init__(self, budget: SharedBudget, *, connect: Callable[[], Store]) -> None:
        self._budget: Final = weakref.ref(budget)
        self._connect: Final = connect
        # A wrong address is told at once.
        self._store: Store | None = connect()
        self._lock: threading.RLock = threading.RLock()
        self._run: _WorkerThread | None = None
        self._last: _WorkerThread | None = None
        """The latest, which may still be leaving."""

    def wake(self) -> None:
        """Look again when the next message is due."""
        with self._lock:
            run = self._run
            if run is None or not run.is_alive():
                store, self._store = self._store or self._connect(), None
                run = self._run = self._last = _WorkerThread(self._budget, store, after=self._last)
                run.start()
            run.news.set()

    def restart(self) -> None:
        """Begin anew in the child of a fork: the connection is the parent's."""
        self._lock = threading.RLock()
        self._run = self._last = self._store = None

    def close(self, leave_message: Message | None = None) -> None:
        """End when the store was told that the process leaves."""
        with self._lock:
            run, self._run = self._run, None
            if run is None:
                return
            run.leave_message, run.is_leaving = leave_message, True
            run.news.set()
        # Without a budget it may be the thread itself that found that out.
        if leave_message is None:
            run.join(_PARTING_SECONDS)


class _WorkerThread(threading.Thread):
    """One life of the thread.

    Args:
        budget: whose messages it carries.
        store: where to.
        after: the one before, whose last message has to be answered first.
    """

    def __init__(self, budget: weakref.ref[SharedBudget], store: Store, *, after: _WorkerThread | None) -> None:
        super().__init__(name="binance-pm shared budget", daemon=True)
        self.news: Final = threading.Event()
        self.is_leaving = False
        self.leave_message: Message | None = None
        self._budget = budget
        self._store = store
        self._after = after

    def run(self) -> None:
        """Carry what is due until it is time to leave."""
        before, self._after = self._after, None
        if before is not None:
            before.join()
            if not before.is_leaving and (budget := self._budget()) is not None:
                # It ended by itself, maybe in the middle of a message.
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
        self.news.clear()
        budget = self._budget()
        left = budget.due() - budget.monotonic() if budget else math.inf
        if budget and left <= 0:
            self._exchange(budget, budget.message)
            return
        del budget
        self.news.wait(min(left, threading.TIMEOUT_MAX) if left < math.inf else None)

    def _exchange(self, budget: SharedBudget, message: Callable[[], Message]) -> None:
        try:
            try:
                reply = self._store.exchange(message())
            except StoreLost as error:
                budget.no_reply_received(str(error))
            else:
                budget.reply_received(reply)
        except Exception as error:  # noqa: BLE001 - without the thread no call would be served any more
            _log.exception("A message of the shared budget failed.")
            with suppress(Exception):
                budget.no_reply_received(type(error).__name__)
