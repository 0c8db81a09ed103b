"""Cancel a program at each of its suspensions."""

from __future__ import annotations

import asyncio
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Final

import sniffio
import trio


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
        except BaseException as error:  # noqa: BLE001 - the coroutine handles it
            thrown = error


class CountedSteps:
    """The steps of all tasks of an event loop, from one suspension to the next.

    Args:
        at: the number of the step before which a function is called.
        cancel: the function.
    """

    def __init__(self, at: int, cancel: Callable[[], object]) -> None:
        self._at: Final = at
        self._cancel: Final = cancel
        self._count: int = 0
        self.is_over: bool = False
        """Whether the program has ended, so that there is nothing to cancel."""
        self.cancelled_at: float | None = None
        """Monotonic time at which the function was called; None if it was not called."""

    def step(self) -> None:
        """Count a step."""
        if self._count == self._at and not self.is_over:
            self.cancelled_at = time.monotonic()
            self._cancel()
        self._count += 1


class _CountedCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine of a task of asyncio whose steps are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], steps: CountedSteps) -> None:
        self._inner: Final = inner
        self._steps: Final = steps

    def send(self, value: Any, /) -> Any:
        """Run a step."""
        self._steps.step()
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        """Run a step that begins with an error."""
        self._steps.step()
        return self._inner.throw(*error)

    def close(self) -> None:
        """Close the coroutine."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class _Instrument(trio.abc.Instrument):
    """Counts the steps of all tasks of trio."""

    def __init__(self, steps: CountedSteps) -> None:
        self._steps: Final = steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count a step."""
        del task
        self._steps.step()


async def cancelled_before_step(step: int, program: Callable[[], Coroutine[Any, Any, Any]]) -> float | None:
    """Run a program, and cancel it before a step of any of its tasks.

    Args:
        step: the number of the step.
        program: the program.

    Returns:
        How many seconds the program took to end afterwards; None if it had ended before.
    """
    cancelled_at = await (_on_trio if sniffio.current_async_library() == "trio" else _on_asyncio)(step, program)
    return None if cancelled_at is None else time.monotonic() - cancelled_at


async def _on_asyncio(step: int, program: Callable[[], Coroutine[Any, Any, Any]]) -> float | None:
    loop = asyncio.get_running_loop()

    def cancel() -> None:
        task.cancel()

    steps = CountedSteps(step, cancel)

    def counted(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_CountedCoroutine(coroutine, steps), loop=loop, **options)

    before = loop.get_task_factory()
    loop.set_task_factory(counted)
    try:
        task: asyncio.Task[Any] = loop.create_task(program())
        with suppress(asyncio.CancelledError):
            await task
    finally:
        steps.is_over = True
        loop.set_task_factory(before)
    return steps.cancelled_at


async def _on_trio(step: int, program: Callable[[], Awaitable[Any]]) -> float | None:
    scope = trio.CancelScope()
    steps = CountedSteps(step, scope.cancel)
    instrument = _Instrument(steps)
    with scope:
        trio.lowlevel.add_instrument(instrument)
        try:
            await program()
        finally:
            steps.is_over = True
            trio.lowlevel.remove_instrument(instrument)
    return steps.cancelled_at
