"""Where the CPU of a call goes: samples of its stack, by the innermost module of this package that was at work.

``nox -s bench`` prints it, on Unix. It samples at moments of CPU time, 50 calls at once on the
direct engine and uvloop. What a module has others do for it, such as hashing, is counted as its own.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvloop

import binance_pm
from tests.benchmarks.answering import serving
from tests.benchmarks.contestants import AT_ONCE, direct

CALLS: Final = 60_000
WARM: Final = 1_000
INTERVAL: Final = 0.001
PACKAGE: Final = Path(binance_pm.__file__).parent
ELSEWHERE: Final = "event loop and system"


def layer_of(frame: FrameType | None) -> str:
    """The innermost module of the package, as a path in it."""
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(PACKAGE):
            return str(file.relative_to(PACKAGE))
        frame = frame.f_back
    return ELSEWHERE


@contextmanager
def sampled() -> Generator[Counter[str], None, None]:
    """Samples of what the main thread does within the block."""
    samples: Counter[str] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        samples[layer_of(frame)] += 1

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    try:
        yield samples
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


async def measure(port: int) -> Counter[str]:
    """The samples of many calls."""
    async with direct(port) as call:

        async def some(calls: int) -> None:
            for _ in range(calls // AT_ONCE):
                await call()

        await asyncio.gather(*(some(WARM) for _ in range(AT_ONCE)))
        with sampled() as samples:
            await asyncio.gather(*(some(CALLS) for _ in range(AT_ONCE)))
    return samples


def main() -> None:
    """Print the shares, the largest first."""
    with serving() as ports, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(measure(ports["small"]))
    print("| module | of the CPU time |")
    print("|---|---:|")
    for layer, number in samples.most_common():
        if number / samples.total() >= 0.005:
            print(f"| {layer} | {number / samples.total():.1%} |")


if __name__ == "__main__":
    main()
