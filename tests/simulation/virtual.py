"""Virtual time: an asyncio event loop whose clock jumps to the next timer as soon as nothing is left to do.

Ordinary asyncio code runs unchanged, an hour in seconds and always in the same order. A round of the loop takes a
microsecond. There is no input or output: sockets are never ready, and threads that asyncio starts work at once, in the
loop's own thread.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from types import BuiltinFunctionType
from typing import Any, Final, ParamSpec, TypeVar
from unittest import mock

P = ParamSpec("P")
T = TypeVar("T")

Clock = Callable[[], float]

# CPU time of the process: other work on the machine must not decide what is too slow.
_spent: Final = time.process_time
# Reading the real clock in every round would cost more than many rounds.
_ROUNDS_BETWEEN_LOOKS: Final = 256
# Without a minimum, a program that sleeps for less than the clock's resolution would spin forever.
_ROUND: Final = 1e-6


class Deadlock(Exception):
    """Every task waits and no timer is set, so no event can follow."""


class TooSlow(Exception):
    """The allowed CPU time is spent."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    Args:
        start: what its clock shows at first, in seconds.
        patience: seconds of CPU time after which it gives up, None for never.
    """

    def __init__(self, *, start: float = 0.0, patience: float | None = None) -> None:
        self._jumps = _Jumps(start, patience)
        super().__init__(self._jumps)
        self.set_default_executor(_Inline(max_workers=1))

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._jumps.now

    async def shutdown_default_executor(self, *_: object) -> None:
        """Do nothing: there is no thread, and asyncio would wait in a new one that the loop cannot see."""


class _Jumps(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    def __init__(self, start: float, patience: float | None) -> None:
        super().__init__()
        self.now = start
        self._ends = None if patience is None else _spent() + patience
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the time; no socket is ever ready."""
        self._rounds += 1
        if self._ends is not None and self._rounds % _ROUNDS_BETWEEN_LOOKS == 0 and _spent() > self._ends:
            self._ends = None
            raise TooSlow
        if timeout is None:
            raise Deadlock
        self.now += max(timeout, 0.0) + _ROUND
        return []


class _Inline(ThreadPoolExecutor):
    """Runs work at once, as the clock must not jump while a thread is busy."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Return the result of the call, or its error."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - the task that awaits the result handles it
            future.set_exception(error)
        return future


def run(main: Callable[[], Coroutine[Any, Any, T]], *, start: float = 0.0, patience: float | None = None) -> T:
    """Run the program to its end in virtual time; what is left of its tasks is cancelled.

    Args:
        main: the program; it is called inside the loop.
        start: what the clock shows at first, in seconds.
        patience: seconds of CPU time after which to give up, None for never.

    Raises:
        Deadlock: nothing could ever happen again.
        TooSlow: the CPU time that was allowed is spent.
    """

    async def inside() -> T:
        return await main()

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(start=start, patience=patience)) as runner:
        return runner.run(inside())


@contextmanager
def clocks_told_by(*, monotonic: Clock, wall: Clock, readers: tuple[str, ...] = ()) -> Generator[None]:
    """Give programs that use the `time` module the given times.

    Args:
        monotonic: for `time.monotonic` and `time.perf_counter`.
        wall: for `time.time`.
        readers: prefixes of loaded modules that have imported these functions by name: they are patched, too.
    """
    clocks: dict[Callable[[], float], Callable[[], float]] = {
        time.time: wall,
        time.time_ns: lambda: int(wall() * 1e9),
        time.monotonic: monotonic,
        time.monotonic_ns: lambda: int(monotonic() * 1e9),
        time.perf_counter: monotonic,
        time.perf_counter_ns: lambda: int(monotonic() * 1e9),
    }
    modules = [time, *(module for name, module in list(sys.modules.items()) if name.startswith(readers))]
    with ExitStack() as stack:
        for module in modules:
            for name, value in list(vars(module).items()):
                if isinstance(value, BuiltinFunctionType) and value in clocks:
                    stack.enter_context(mock.patch.object(module, name, clocks[value]))
        yield
