"""How long the event loop is held up: the longest of its callbacks, beside plain decoding of one large response.

What is not measured: the garbage collector, which looks at all that a program holds, and the end of what it held.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec

from binance_pm import ENDPOINTS
from tests.benchmarks.answering import Ports, Size, maker, serving
from tests.benchmarks.contestants import AT_ONCE, direct
from tests.benchmarks.verdicts import Ratio, print_ratios

TARGET: Final = 1.0
ROUNDS: Final = 7
CALLS: Final = 3


class Stall(NamedTuple):
    """Milliseconds of CPU, the longest each."""

    callback: float
    """While many such responses arrive at once."""
    decoding: float
    """Of one such response, by msgspec alone."""


def timed(work: Callable[[Any], Any], taken: list[float]) -> Callable[[Any], Any]:
    """The same function; what it takes is noted, in milliseconds of the thread's CPU."""

    def run(argument: object) -> object:
        began = time.thread_time()
        try:
            return work(argument)
        finally:
            taken.append((time.thread_time() - began) * 1000)

    return run


@contextmanager
def watched_callbacks() -> Generator[list[float], None, None]:
    """What each callback of asyncio takes."""
    taken: list[float] = []
    run = asyncio.Handle._run
    setattr(asyncio.Handle, "_run", timed(run, taken))  # noqa: B010 - it is declared under another name
    try:
        yield taken
    finally:
        asyncio.Handle._run = run


@contextmanager
def without_collector() -> Generator[None, None, None]:
    """No garbage collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _round(ports: Ports, size: Size) -> Stall:
    kept: list[object] = []
    async with direct(ports[size]) as call:

        async def some() -> None:
            kept.extend([await call() for _ in range(CALLS)])

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        with without_collector(), watched_callbacks() as callbacks:
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    decodings: list[float] = []
    decode = timed(msgspec.json.Decoder(ENDPOINTS["um_account"].returns).decode, decodings)
    with without_collector():
        kept.extend(map(decode, map(maker(size), range(AT_ONCE))))
    return Stall(max(callbacks), max(decodings))


def measure(ports: Ports, size: Size) -> Stall:
    """Return the best of a few rounds for each: what disturbs only adds."""
    rounds = [asyncio.run(_round(ports, size)) for _ in range(ROUNDS)]
    return Stall(min(each.callback for each in rounds), min(each.decoding for each in rounds))


def main() -> None:
    """Print both, and whether the target is met."""
    sizes: tuple[Size, ...] = ("realistic", "all change")
    with serving() as ports:
        stalls = {size: measure(ports, size) for size in sizes}
    print("| response | longest callback, ms | msgspec alone, ms |")
    print("|---|---:|---:|")
    for size, stall in stalls.items():
        print(f"| {size} | {stall.callback:.2f} | {stall.decoding:.2f} |")
    print()
    print_ratios(
        Ratio("longest callback", f"{size}, to decoding by msgspec alone", TARGET, stall.callback / stall.decoding)
        for size, stall in stalls.items()
    )


if __name__ == "__main__":
    main()
