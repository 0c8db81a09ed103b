"""How long the event loop is held up: the longest of its callbacks, beside the decoding of one large answer.

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

from binance_pm import ENDPOINTS, Client, Session
from binance_pm.budget import Budget
from tests.benchmarks.answering import serving
from tests.benchmarks.contestants import AT_ONCE, KEY, LIMITS, SECRET

TARGET: Final = 1.0
ROUNDS: Final = 7
CALLS: Final = 3


class Stall(NamedTuple):
    """Milliseconds of CPU, the longest each."""

    callback: float
    """While many large answers arrive at once."""
    decoding: float
    """Of one of these answers."""


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


async def _round(port: int) -> Stall:
    decodings: list[float] = []
    kept: list[object] = []
    endpoint = ENDPOINTS["um_account"]
    endpoint = msgspec.structs.replace(endpoint, decode=timed(endpoint.decode, decodings))
    session = Session(budget=Budget(limits=LIMITS), engine="direct")
    url = f"http://127.0.0.1:{port}"
    async with session, Client(KEY, SECRET, session=session, papi_url=url) as client:

        async def some() -> None:
            kept.extend([await client.call(endpoint, {}) for _ in range(CALLS)])

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))
        decodings.clear()
        with without_collector(), watched_callbacks() as callbacks:
            await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return Stall(max(callbacks), max(decodings))


def measure(port: int) -> Stall:
    """The best of a few rounds for each: what disturbs only adds.

    Args:
        port: where `serving` gives large answers.
    """
    rounds = [asyncio.run(_round(port)) for _ in range(ROUNDS)]
    return Stall(min(each.callback for each in rounds), min(each.decoding for each in rounds))


def main() -> None:
    """Print both, and whether the target is met."""
    with serving() as ports:
        stall = measure(ports.large)
    ratio = stall.callback / stall.decoding
    verdict = "met" if ratio <= TARGET else "**missed**"
    print(f"longest callback: {stall.callback:.2f} ms, decoding {stall.decoding:.2f} ms:", end=" ")
    print(f"{ratio:.2f} times, at most {TARGET:g}: {verdict}")


if __name__ == "__main__":
    main()
