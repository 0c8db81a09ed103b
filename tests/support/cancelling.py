"""Cancel a coroutine at each of its suspensions."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any


@types.coroutine
def cancelled_at(point: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, bool]:
    """Run a coroutine and cancel this task at its given suspension; whether it came to that."""
    task = asyncio.current_task()
    assert task is not None
    sent: Any = None
    count = 0
    reached = False
    thrown: BaseException | None = None
    while True:
        try:
            awaited = coroutine.throw(thrown) if thrown else coroutine.send(sent)
        except StopIteration:
            return reached
        except asyncio.CancelledError:
            assert reached
            task.uncancel()
            return True
        sent, thrown = None, None
        if count == point:
            reached = True
            task.cancel()
        count += 1
        try:
            sent = yield awaited
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the coroutine's to handle
            thrown = error
